"""Traces of nano's pairs, made anew: one engine a process, many pairs at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from judges.nano import WEIGHTS, data
from rrm.calibration.trace import Trace
from rrm.engines import open_engine
from rrm.engines.base import Engine

Ask = Callable[[Engine, data.Example], Awaitable[Trace]]
CONCURRENCY = 64


def trace_all(some: Sequence[data.Example], ask: Ask) -> list[Trace]:
    """`ask` for each of `some`, in their order."""
    engine, free = open_engine(f"transformers:{WEIGHTS}"), asyncio.Semaphore(CONCURRENCY)

    async def one(example: data.Example) -> Trace:
        async with free:
            return await ask(engine, example)

    async def all_of_them() -> list[Trace]:
        return list(await asyncio.gather(*map(one, some)))

    try:
        return asyncio.run(all_of_them())
    finally:
        engine.close()


def label(example: data.Example) -> Literal["a", "b"]:
    """The better response."""
    return "b" if example.better else "a"
