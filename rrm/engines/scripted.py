"""An engine that says what it is told: for faults, exact tests and overhead. Loads nothing."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence

from rrm.engine import (
    Chain,
    EngineError,
    Growth,
    ModelCard,
    Probed,
    PromptTooLong,
    Question,
    Sampling,
)
from rrm.style import LabelLogprobs, Rendered

ProbeScript = Callable[[Chain, str, tuple[str, ...]], Mapping[str, float]]


def always_even(chain: Chain, suffix: str, labels: tuple[str, ...]) -> Mapping[str, float]:
    """Every label equally likely."""
    return dict.fromkeys(labels, -math.log(len(labels)))


class ScriptedEngine:
    """Follows a script.

    texts: what successive chains will say, one character a token, repeated in turn. probe: label
    log-probabilities for a chain at a moment. fault: raised by every probe and extend if set.
    delay: seconds each call takes.
    """

    can_probe = True

    def __init__(
        self,
        texts: Iterable[str] = ("",),
        probe: ProbeScript = always_even,
        *,
        control: Iterable[str] = ("<think>", "</think>", "<|im_start|>", "<|im_end|>"),
        context: int = 1_000_000,
        card: ModelCard | None = None,
        fault: Exception | None = None,
        delay: float = 0.0,
    ) -> None:
        self.card = card or ModelCard(name="scripted")
        self.url = "scripted:"
        self.control = frozenset(control)
        self.context = context
        self.fault = fault
        self.delay = delay
        self._texts = tuple(texts) or ("",)
        self._probe = probe
        self._started = 0
        self._plans: dict[int, str] = {}

    def start(self, rendered: Rendered, sampling: Sampling = Sampling()) -> Chain:
        text = "".join(turn.content for turn in rendered.messages) + rendered.opening
        if len(text) > self.context:
            raise PromptTooLong(f"{len(text)} tokens; this model takes {self.context}")
        chain = Chain(prompt_ids=[ord(char) for char in text], sampling=sampling)
        self._plans[id(chain)] = self._texts[self._started % len(self._texts)]
        self._started += 1
        return chain

    async def probe(self, questions: Sequence[Question]) -> list[Probed]:
        await self._turn()
        return [
            Probed(LabelLogprobs(self._probe(q.chain, q.suffix, q.labels)), len(q.suffix))
            for q in questions
        ]

    async def extend(self, growths: Sequence[Growth]) -> None:
        await self._turn()
        for growth in growths:
            chain, script = growth.chain, self._plans[id(growth.chain)]
            if chain.finish == "eos" or (chain.finish == "stop" and growth.stop is not None):
                continue
            for _ in range(growth.tokens):
                if len(chain.text) >= len(script):
                    chain.finish = "eos"
                    break
                chain.text += script[len(chain.text)]
                chain.ids.append(ord(chain.text[-1]))
                if growth.stop is not None and chain.text.endswith(growth.stop):
                    chain.finish = "stop"
                    break

    async def check(self) -> None:
        if self.fault is not None:
            raise EngineError(str(self.fault)) from self.fault

    def close(self) -> None:
        self._plans.clear()

    async def _turn(self) -> None:
        if math.isinf(self.delay):
            await asyncio.Event().wait()
        await asyncio.sleep(self.delay)
        if self.fault is not None:
            raise EngineError(str(self.fault)) from self.fault


FAULTS = ("error", "flaky", "breaks", "hang", "garbage", "nan")
WEARS = 20
"""calls after which an engine that breaks is broken"""


def scripted(options: str) -> ScriptedEngine:
    """The engine of `scripted:OPTIONS`, such as `scripted:delay=0.05,fault=hang`.

    delay: seconds each call takes. fault: error (every call fails), flaky (one in three does),
    breaks (the first WEARS calls work, then none), hang (no call ends), garbage (labels hold no
    probability and the text says nothing), nan.
    Raises ValueError for anything else.
    """
    known = dict(option.partition("=")[::2] for option in options.split(",") if option)
    delay, fault = known.pop("delay", "0"), known.pop("fault", None)
    if known or (fault is not None and fault not in FAULTS):
        raise ValueError(
            f"cannot read {options!r}: give delay=SECONDS and fault={'|'.join(FAULTS)}, with commas"
        )
    text = "%$#" * 40 if fault == "garbage" else "I have looked at both.</think>"
    probe = {"garbage": _no_mass, "nan": _nan}.get(fault or "", always_even)
    seconds = math.inf if fault == "hang" else float(delay)
    failing = RuntimeError("scripted to fail") if fault == "error" else None
    kinds = {"flaky": FlakyEngine, "breaks": BreakingEngine}
    return kinds.get(fault or "", ScriptedEngine)([text], probe, delay=seconds, fault=failing)


class FlakyEngine(ScriptedEngine):
    """Fails one call in three."""

    async def _turn(self) -> None:
        await super()._turn()
        if random.random() < 1 / 3:
            raise EngineError("scripted to fail now and then")


class BreakingEngine(ScriptedEngine):
    """Works for WEARS calls."""

    calls = 0

    async def _turn(self) -> None:
        self.calls += 1
        if self.calls > WEARS:
            self.fault = RuntimeError("scripted to break")
        await super()._turn()


def _no_mass(chain: Chain, suffix: str, labels: tuple[str, ...]) -> Mapping[str, float]:
    return dict.fromkeys(labels, -20.0)


def _nan(chain: Chain, suffix: str, labels: tuple[str, ...]) -> Mapping[str, float]:
    return dict.fromkeys(labels, math.nan)
