"""Who may call what."""

import re

import pytest
from fastapi.testclient import TestClient

from serving.auth import Decision, decide
from serving.rlhf import routers
from serving.routes import build_app
from serving.settings import load_settings

KEYS = ("a-long-random-key", "another-long-key")


@pytest.mark.parametrize(
    "path", ["/v1/judge", "/v1/score", "/v1/judges", "/new", "/live/x", "/docs/x"]
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
    "/docs": "open",
    "/docs/oauth2-redirect": "open",
    "/redoc": "open",
    "/openapi.json": "open",
    "/static-offline-docs": "closed",  # the folder itself; its files are open
}


def test_every_route_there_is_has_its_row() -> None:
    """A new route fails here until somebody decided who may call it."""
    trainers = routers(None, 1.0)  # type: ignore[arg-type]
    app = build_app(load_settings(api_keys=list(KEYS)), None, trainers)  # type: ignore[arg-type]
    found = {
        path: "open" if decide(path, None, KEYS) is Decision.ALLOW else "closed"
        for path in {*app.openapi()["paths"], *(vars(route).get("path") for route in app.routes)}
        if path is not None  # a router of routers
    }
    assert found == OPEN_OR_CLOSED


def test_the_docs_load_nothing_from_elsewhere_and_need_no_key() -> None:
    app = build_app(load_settings(api_keys=list(KEYS)), StandIn())  # type: ignore[arg-type]
    with TestClient(app) as http:
        for page in ("/docs", "/redoc"):
            text = http.get(page).text
            parts = re.findall(r'(?:src|href)="([^"]+)"', text)
            assert parts
            assert all(part.startswith("/static-offline-docs/") for part in parts)
            assert [http.get(part).status_code for part in parts] == [200] * len(parts)
        assert http.get("/openapi.json").status_code == 200
        assert http.get("/v1/judges").status_code == 401


class StandIn:
    def began(self) -> None: ...
    def ended(self, *args: object) -> None: ...


def test_without_keys_everything_is_open() -> None:
    assert decide("/v1/judge", None, ()) is Decision.ALLOW
