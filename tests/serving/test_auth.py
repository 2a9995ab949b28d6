"""Who may call what."""

import pytest

from serving.app import build_app
from serving.auth import Decision, decide
from serving.settings import load_settings

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


OPEN_OR_CLOSED = {
    "/v1/judge": "closed",
    "/v1/score": "closed",
    "/get_reward": "closed",
    "/v1/judges": "closed",
    "/metrics": "closed",
    "/live": "open",
    "/ready": "open",
    "/docs": "closed",
    "/docs/oauth2-redirect": "closed",
    "/redoc": "closed",
    "/openapi.json": "closed",
}


def test_every_route_there_is_has_its_row() -> None:
    """A new route fails here until somebody decided who may call it."""
    app = build_app(load_settings(api_keys=list(KEYS)), None)  # type: ignore[arg-type]
    found = {
        path: "open" if decide(path, None, KEYS) is Decision.ALLOW else "closed"
        for path in (vars(route)["path"] for route in app.routes)
    }
    assert found == OPEN_OR_CLOSED


def test_without_keys_everything_is_open() -> None:
    assert decide("/v1/judge", None, ()) is Decision.ALLOW
