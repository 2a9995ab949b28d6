"""Which functions a text passes on its way through a judgement: `python -m tests.helpers.way`.

A function is on the way if one of its arguments is the text, or holds it in a value (a tuple, a
mapping, a model, a dataclass). Measured by running it, in this thread; what only comes back to a
coroutine after it waited is no step.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from pydantic import BaseModel

from judges.options import JudgeOptions
from rrm.types import Pair
from serving.replica import Judge
from serving.settings import load_settings

ROOT = Path(__file__).parents[2]
ROOMS = tuple(f"{ROOT / room}/" for room in ("rrm", "judges", "serving"))
TEXT = "It comes to 611."
PAIR = Pair(prompt="What is 345 + 278?", response_a=TEXT, response_b="The answer is 623.")
DEEPEST = 5


class Way(NamedTuple):
    """steps: (module, function) in the order in which they were entered."""

    steps: list[tuple[str, str]]

    @property
    def functions(self) -> list[tuple[str, str]]:
        return list(dict.fromkeys(self.steps))

    @property
    def modules(self) -> list[str]:
        return list(dict.fromkeys(module for module, _ in self.steps))

    @property
    def returns(self) -> int:
        """How often it comes back to a module that it had left."""
        stays = [
            one
            for one, before in zip(self.steps, [("", ""), *self.steps], strict=False)
            if one[0] != before[0]
        ]
        return len(stays) - len(self.modules)


def holds(value: Any, depth: int = DEEPEST) -> bool:
    if isinstance(value, str):
        return TEXT in value
    if depth == 0:
        return False
    if isinstance(value, BaseModel):
        return any(holds(one, depth - 1) for one in vars(value).values())
    if isinstance(value, dict):
        return any(holds(one, depth - 1) for one in value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return any(holds(one, depth - 1) for one in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return any(holds(getattr(value, name, None), depth - 1) for name in names)
    return False


class Tracer:
    def __init__(self) -> None:
        self.steps: list[tuple[str, str]] = []
        self._entered: set[int] = set()

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(ROOMS) or "<" in code.co_name:
            return
        if code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
            if id(frame) in self._entered:
                return
            self._entered.add(id(frame))
        names, _, _, values = inspect.getargvalues(frame)
        given = [values[name] for name in names if name != "self" or _is_value(values[name])]
        if any(map(holds, given)):
            module = str(Path(code.co_filename).relative_to(ROOT))
            self.steps.append((module, code.co_qualname))


def _is_value(value: object) -> bool:
    return isinstance(value, BaseModel | tuple) or dataclasses.is_dataclass(value)


def way() -> Way:
    """Of `response_a`, from the replica to the verdict, on the bundled judge."""
    tracer = Tracer()

    async def judged(replica: Judge) -> None:
        await replica.judge(PAIR, None, JudgeOptions(), time.time() + 60)

    async def twice() -> None:
        replica = Judge(load_settings())
        try:
            await judged(replica)  # what is opened once is no part of a request
            sys.setprofile(tracer)
            try:
                await judged(replica)
            finally:
                sys.setprofile(None)
        finally:
            replica.host.close()

    asyncio.run(twice())
    return Way(tracer.steps)


if __name__ == "__main__":
    found = way()
    for module, function in found.functions:
        print(f"{module:32} {function}")
    print(
        f"{len(found.functions)} functions, {len(found.modules)} modules, {found.returns} returns"
    )
