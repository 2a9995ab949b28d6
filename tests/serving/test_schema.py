"""Every route against its own schema, with whatever schemathesis thinks of: the real service."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.specs.openapi.checks import positive_data_acceptance

from serving.rlhf import routers
from serving.routes import build_app
from serving.settings import load_settings
from serving.testing.process import ServiceProcess

pytestmark = pytest.mark.service

KEY = "a-long-random-key"
ROUTES = (
    "POST /v1/judge",
    "POST /v1/score",
    "POST /get_reward",
    "GET /v1/judges",
    "GET /live",
    "GET /ready",
    "GET /metrics",
)
load_all_checks()


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """An engine that takes no time, behind a key."""
    folder = tmp_path_factory.mktemp("keyed")
    config = folder / "closecall.toml"
    config.write_text(f'engine = "scripted"\napi_keys = ["{KEY}"]\n')
    running = ServiceProcess(folder / "log", "--config", str(config))
    running.http.headers["authorization"] = f"Bearer {KEY}"
    yield running
    assert running.stop() == 0


ours = load_settings(engine="scripted", api_keys=[KEY])
document = build_app(ours, None, routers(None, 1.0)).openapi()  # type: ignore[arg-type]
schema = schemathesis.openapi.from_dict(document)
asked: set[str] = set()


def with_a_key(route: str) -> Any:
    """Every answer of `route` matches the schema."""
    method, path = route.split()

    @schema.include(method=method, path=path).parametrize()
    @settings(max_examples=60, suppress_health_check=list(HealthCheck), derandomize=True)
    def test(case: Any, keyed: ServiceProcess) -> None:
        asked.add(f"{case.method} {case.path}")
        # A schema cannot say which texts a model reads, or that three lists are of one length.
        case.call_and_validate(
            base_url=keyed.url,
            headers={"Authorization": f"Bearer {KEY}"},
            excluded_checks=[positive_data_acceptance],
        )

    return test


def without_a_key(route: str) -> Any:
    """Only the probes answer."""
    method, path = route.split()

    @schema.include(method=method, path=path).parametrize()
    @settings(max_examples=20, suppress_health_check=list(HealthCheck), derandomize=True)
    def test(case: Any, keyed: ServiceProcess) -> None:
        answer = case.call(base_url=keyed.url, headers={"Authorization": ""})
        case.validate_response(answer, excluded_checks=[positive_data_acceptance])
        if case.path not in {"/live", "/ready"}:
            assert answer.status_code == 401

    return test


# A test for each route under a name of its own: of several under one, a worker runs one only.
for one in ROUTES:
    globals()[f"test_with_a_key[{one}]"] = with_a_key(one)
    globals()[f"test_without_a_key[{one}]"] = without_a_key(one)


def test_every_route_was_asked(keyed: ServiceProcess) -> None:
    assert keyed.http.get("/openapi.json").json() == document
    assert len(CHECKS.get_all()) > 8
    assert asked >= set(ROUTES)  # and methods that are not served
