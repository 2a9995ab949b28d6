"""What tests share: the bundled model, opened once, and small judges on scripts."""

from __future__ import annotations

import os
from collections.abc import Iterator

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
from hypothesis import settings

from judges.nano import WEIGHTS
from rrm.engine import Engine, open_engine

settings.register_profile("closecall", deadline=None)  # timings never decide a test
settings.load_profile("closecall")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def nano() -> Iterator[Engine]:
    """The real engine on the bundled weights."""
    engine = open_engine(f"transformers:{WEIGHTS}")
    yield engine
    engine.close()
