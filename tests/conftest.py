"""What tests share: the bundled model, opened once, and small judges on scripts."""

from __future__ import annotations

import os
from collections.abc import Iterator

os.environ["HF_HUB_OFFLINE"] = "1"
# Two workers at once, and a model so small: threads of one would only wait for the other's.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("CLOSECALL_THREADS", "1")

import pytest
from hypothesis import settings

from judges.nano import WEIGHTS
from rrm.engines import open_engine
from rrm.engines.base import Engine, EngineOptions
from rrm.engines.sglang import SGLangEngine
from serving.testing.process import ServiceProcess
from serving.testing.sglang_cpu import ENV, INSTALLED, OPTIONS

NEEDS = {"service": "service", "slow": "service", "with_sglang": "sglang"}
"""marks of the tests that use these fixtures"""


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    for item in items:
        for fixture, mark in NEEDS.items():
            if fixture in item.fixturenames:
                item.add_marker(mark)


settings.register_profile("closecall", deadline=None)  # timings never decide a test
settings.load_profile("closecall")


@pytest.fixture(scope="session")
def nano() -> Iterator[Engine]:
    """The real engine on the bundled weights."""
    engine = open_engine(f"transformers:{WEIGHTS}")
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def with_sglang() -> None:
    """Skips without SGLang, except where it must be there."""
    if not INSTALLED:
        assert "CLOSECALL_CI" not in os.environ, "continuous integration must have SGLang"
        pytest.skip("SGLang is not installed here; `make test` installs it where it can be had")


@pytest.fixture(scope="session")
def sglang(with_sglang: None) -> Iterator[Engine]:
    """The real SGLang on the bundled weights, a private server."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in ENV.items():
            patched.setenv(name, value)
        engine = open_engine(f"sglang:{WEIGHTS}", OPTIONS)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def openai(sglang: Engine) -> Iterator[Engine]:
    """The same server, spoken to as any OpenAI-compatible endpoint."""
    assert isinstance(sglang, SGLangEngine)
    base, key = f"{sglang.server.url}/v1", sglang.server.key
    engine = open_engine(f"openai:{WEIGHTS}", EngineOptions(base_url=base, api_key=key))
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """The real service with two replicas of nano."""
    running = ServiceProcess(tmp_path_factory.mktemp("service") / "log", "--replicas", "2")
    yield running
    assert running.stop() == 0
