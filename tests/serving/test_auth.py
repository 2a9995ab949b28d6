"""Who may call what."""

import pytest

from serving.auth import Decision, decide

KEYS = ("a-long-random-key", "another-long-key")


@pytest.mark.parametrize(
    "path", ["/v1/judge", "/v1/score", "/v1/judges", "/docs", "/new", "/live/x"]
)
@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, Decision.NO_KEY),
        ("", Decision.NO_KEY),
        ("Basic a-long-random-key", Decision.NO_KEY),
        ("Basic dHJhaW5lcjphLWxvbmctcmFuZG9tLWtleQ==", Decision.ALLOW),
        ("Basic dHJhaW5lcjp3cm9uZw==", Decision.WRONG_KEY),
        ("Bearer ", Decision.NO_KEY),
        ("Bearer wrong", Decision.WRONG_KEY),
        ("Bearer a-long-random-ke", Decision.WRONG_KEY),
        ("Bearer a-long-random-key", Decision.ALLOW),
        ("bearer another-long-key", Decision.ALLOW),
    ],
)
def test_every_route_is_closed_without_a_right_key(
    path: str, header: str | None, expected: Decision
) -> None:
    assert decide(path, header, KEYS) is expected


def test_only_the_probes_are_open() -> None:
    assert decide("/live", None, KEYS) is Decision.ALLOW
    assert decide("/ready", None, KEYS) is Decision.ALLOW


def test_without_keys_everything_is_open() -> None:
    assert decide("/v1/judge", None, ()) is Decision.ALLOW
