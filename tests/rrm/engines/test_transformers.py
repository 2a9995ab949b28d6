"""What only the transformers engine can show: a pass that fails, and one that hangs."""

import asyncio
import threading

import pytest

from rrm.engines.base import ExtendRequest
from rrm.engines.transformers import TransformersEngine
from rrm.errors import EngineError
from tests.helpers.engines import chains, grow


def test_a_failing_pass_fails_its_callers_and_no_others(
    nano: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no memory")

    with monkeypatch.context() as patched:
        patched.setattr(nano.local, "model", broken)
        for _ in range(3):
            with pytest.raises(EngineError, match="no memory"):
                grow(nano, chains(nano, 2), 5)
        with pytest.raises(EngineError, match="in a row"):
            asyncio.run(nano.check())
    [chain] = chains(nano, 1)
    grow(nano, [chain], 5)
    assert len(chain.ids) == 5
    asyncio.run(nano.check())


def test_a_hanging_pass_is_noticed(
    nano: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = threading.Event()
    model = nano.local.model

    def hanging(*args: object, **named: object) -> object:
        hold.wait(60)
        return model(*args, **named)

    async def hang() -> None:
        task = asyncio.ensure_future(nano.extend([ExtendRequest(chains(nano, 1)[0], 2, None)]))
        with pytest.raises(EngineError, match="hangs"):
            while True:
                await asyncio.sleep(0.01)
                await nano.check()
        hold.set()
        await task
        await nano.check()

    with monkeypatch.context() as patched:
        patched.setattr(nano.local, "model", hanging)
        patched.setattr("rrm.engines.local_worker.STUCK", 0.2)
        asyncio.run(asyncio.wait_for(hang(), 50))
