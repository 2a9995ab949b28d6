"""An engine that says what it is told: for faults, exact tests and overhead. Loads nothing."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from rrm.engines.base import (
    EngineOptions,
    ExtendRequest,
    ProbeRequest,
    ProbeResult,
    Sampling,
    TokenSequence,
)
from rrm.engines.card import ModelCard
from rrm.errors import EngineError, PromptTooLong
from rrm.prompt import Rendered
from rrm.style import LabelLogprobs

ProbeScript = Callable[[TokenSequence, str, tuple[str, ...]], Mapping[str, float]]


def always_even(
    sequence: TokenSequence, suffix: str, labels: tuple[str, ...]
) -> Mapping[str, float]:
    """Every label equally likely."""
    return dict.fromkeys(labels, -math.log(len(labels)))


class ScriptedEngine:
    """Follows a script.

    texts: what successive sequences will say, one character a token, repeated in turn. probe: label
    log-probabilities for a sequence at a moment. fault: raised by every probe and extend if set.
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
        self.started = 0
        """sequences so far"""
        self._plans: dict[int, str] = {}

    def start(self, rendered: Rendered, sampling: Sampling = Sampling()) -> TokenSequence:
        text = "".join(turn.content for turn in rendered.messages) + rendered.opening
        if len(text) > self.context:
            raise PromptTooLong(f"{len(text)} tokens; this model takes {self.context}")
        sequence = TokenSequence(prompt_ids=[ord(char) for char in text], sampling=sampling)
        self._plans[id(sequence)] = self._texts[self.started % len(self._texts)]
        self.started += 1
        return sequence

    def begin(self, sequence: TokenSequence, opening: str) -> None:
        sequence.prompt_ids += map(ord, opening)

    def append(self, sequence: TokenSequence, text: str) -> None:
        if len(sequence.prompt_ids) + len(sequence.ids) + len(text) >= self.context:
            raise PromptTooLong(f"with what was found it is longer than {self.context} tokens")
        sequence.text += text
        sequence.ids += map(ord, text)
        sequence.appended += len(text)
        sequence.resumed, sequence.paused = len(sequence.ids), False

    async def probe(self, requests: Sequence[ProbeRequest]) -> list[ProbeResult]:
        await self._turn()
        return [
            ProbeResult(LabelLogprobs(self._probe(q.sequence, q.suffix, q.labels)), len(q.suffix))
            for q in requests
        ]

    async def extend(self, requests: Sequence[ExtendRequest]) -> None:
        await self._turn()
        for request in requests:
            sequence, script = request.sequence, self._plans[id(request.sequence)]
            for _ in range(request.tokens if request.grows else 0):
                if sequence.generated >= len(script):
                    sequence.finish = "eos"
                    break
                sequence.text += script[sequence.generated]
                sequence.ids.append(ord(sequence.text[-1]))
                said = sequence.text[sequence.resumed :]
                met = next((stop for stop in request.stops if said.endswith(stop)), None)
                if met is not None:
                    request.met(met)
                    break

    async def check(self) -> None:
        if self.fault is not None:
            raise EngineError(str(self.fault)) from self.fault

    def close(self) -> None:
        self._plans.clear()

    async def _turn(self) -> None:
        await asyncio.sleep(self.delay)
        if self.fault is not None:
            raise EngineError(str(self.fault)) from self.fault


def open_engine(model: str, options: EngineOptions = EngineOptions()) -> ScriptedEngine:
    """`scripted:` or `scripted:delay=SECONDS`, which each call takes. See `rrm.engines.registry`.

    Raises ValueError for anything else. Faults: `serving.testing.faults`.
    """
    name, _, seconds = model.partition("=")
    if model and name != "delay":
        raise ValueError(f"cannot read {model!r}: give delay=SECONDS")
    return ScriptedEngine(["I have looked at both.</think>"], delay=float(seconds or 0))
