"""The engine `faulty`: it fails in one of the ways that engines fail. For tests of the service."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Mapping
from dataclasses import replace

from rrm.engines.base import EngineOptions, TokenSequence
from rrm.engines.registry import ENGINES
from rrm.engines.scripted import ScriptedEngine
from rrm.errors import EngineError

ENTRY = replace(
    ENGINES["scripted"], module=__name__, model="a fault: error, flaky, breaks, hang, garbage, nan"
)
WEARS = 20
"""calls after which an engine that breaks is broken"""


def open_engine(model: str, options: EngineOptions = EngineOptions()) -> ScriptedEngine:
    """`faulty:FAULT`.

    error: every call fails. flaky: one in three does. breaks: the first pair and WEARS calls work,
    then none. hang: no call after the first pair's ends. garbage: labels hold no probability and
    the text says nothing. nan.
    Raises ValueError for anything else.
    """
    text = ["I have looked at both.</think>"]
    match model:
        case "error":
            return ScriptedEngine(text, fault=RuntimeError("scripted to fail"))
        case "flaky":
            return FlakyEngine(text)
        case "breaks":
            return BreakingEngine(text)
        case "hang":
            return HangingEngine(text)
        case "garbage":
            return ScriptedEngine(["%$#" * 40], _no_mass)
        case "nan":
            return ScriptedEngine(text, _nan)
    raise ValueError(f"no fault {model!r}; the engine faulty takes {ENTRY.model}")


class FlakyEngine(ScriptedEngine):
    """Fails one call in three."""

    async def _turn(self) -> None:
        await super()._turn()
        if random.random() < 1 / 3:
            raise EngineError("scripted to fail now and then")


class HangingEngine(ScriptedEngine):
    """Never answers, once the first pair is judged: else no service would start."""

    async def _turn(self) -> None:
        if self.started > 2:
            await asyncio.Event().wait()


class BreakingEngine(ScriptedEngine):
    """Works for WEARS calls after the first pair."""

    calls = 0

    async def _turn(self) -> None:
        self.calls += self.started > 2
        if self.calls > WEARS:
            self.fault = RuntimeError("scripted to break")
        await super()._turn()


def _no_mass(sequence: TokenSequence, suffix: str, labels: tuple[str, ...]) -> Mapping[str, float]:
    return dict.fromkeys(labels, -20.0)


def _nan(sequence: TokenSequence, suffix: str, labels: tuple[str, ...]) -> Mapping[str, float]:
    return dict.fromkeys(labels, math.nan)
