"""SGLang against stock transformers on nano: `python -m benchmarks.parity`.

Each of `n` pairs in three styles, full sequences with every checkpoint read, on both engines.
Promised: at least 98 % of the verdicts are equal, and half of the label log-probabilities differ
by less than 0.02.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.report import finish, interval, machine, parser
from benchmarks.sglang import sglang_on_cpu
from judges.nano import WEIGHTS, data
from judges.nano.pairs import pair_of
from judges.options import JudgeOptions
from judges.pairwise import PairwiseJudge
from judges.styles.registry import open_style
from rrm.engines import open_engine
from rrm.engines.base import (
    Engine,
    ExtendRequest,
    ProbeRequest,
    ProbeResult,
    Sampling,
    TokenSequence,
)
from rrm.prompt import Rendered
from rrm.types import Pair, Unscored, Verdict

STYLES = ("rrm", "rm-r1", "grm")
LEAST_EQUAL = 0.98
MOST_APART = 0.02
"""nats, at the median"""
Place = tuple[tuple[int, ...], int, str, str]
"""prompt, tokens of thought, suffix, label"""


@dataclass
class Recorder:
    """An engine that notes every label log-probability it gives."""

    engine: Engine
    seen: dict[Place, float] = field(default_factory=dict)

    can_probe = True

    def __post_init__(self) -> None:
        self.card, self.url, self.control = self.engine.card, self.engine.url, self.engine.control

    def start(self, rendered: Rendered, sampling: Sampling = Sampling()) -> TokenSequence:
        return self.engine.start(rendered, sampling)

    def begin(self, sequence: TokenSequence, opening: str) -> None:
        self.engine.begin(sequence, opening)

    def append(self, sequence: TokenSequence, text: str) -> None:
        self.engine.append(sequence, text)

    async def probe(self, requests: Sequence[ProbeRequest]) -> list[ProbeResult]:
        answers = await self.engine.probe(requests)
        for request, answer in zip(requests, answers, strict=True):
            sequence = request.sequence
            for label, value in answer.labels.logprobs.items():
                place = tuple(sequence.prompt_ids), len(sequence.ids), request.suffix, label
                self.seen[place] = value
        return answers

    async def extend(self, requests: Sequence[ExtendRequest]) -> None:
        await self.engine.extend(requests)

    async def check(self) -> None:
        await self.engine.check()

    def close(self) -> None:
        self.engine.close()


async def judged(engine: Engine, style: str, pairs: Sequence[Pair]) -> list[Verdict | Unscored]:
    judge = PairwiseJudge(engine, open_style(style), ladder=engine.card.ladder)
    return list(
        await asyncio.gather(
            *(judge.judge(pair, JudgeOptions("full", trace=True)) for pair in pairs)
        )
    )


def compared(
    style: str, pairs: Sequence[Pair], engines: Sequence[Engine], seed: int
) -> dict[str, Any]:
    """Print and return the figures of one style."""
    recorders = [Recorder(engine) for engine in engines]
    outcomes = [asyncio.run(judged(recorder, style, pairs)) for recorder in recorders]
    equal = [
        isinstance(one, Verdict) and isinstance(two, Verdict) and one.preferred == two.preferred
        for one, two in zip(*outcomes, strict=True)
    ]
    thought = [
        one.usage.thinking_tokens == two.usage.thinking_tokens
        for one, two in zip(*outcomes, strict=True)
    ]
    first, second = (recorder.seen for recorder in recorders)
    apart = sorted(abs(first[place] - second[place]) for place in first.keys() & second.keys())
    found = {
        "n": len(pairs),
        "equal": statistics.mean(equal),
        "equal_95": interval(equal, lambda sample: float(statistics.mean(sample)), seed),
        "same_length": statistics.mean(thought),
        "log_probabilities": len(apart),
        "apart_median": statistics.median(apart),
        "apart_99": apart[int(0.99 * len(apart))],
        "apart_most": apart[-1],
    }
    low, high = found["equal_95"]
    print(
        f"{style}: verdicts equal {found['equal']:.3f} [{low:.3f}, {high:.3f}], sequences equally "
        f"long {found['same_length']:.3f}; {len(apart)} label log-probabilities apart by "
        f"{found['apart_median']:.1e} at the median, {found['apart_99']:.1e} at the 99th of a "
        f"hundred, {found['apart_most']:.1e} at most"
    )
    return found


def missed(style: str, found: dict[str, Any]) -> list[str]:
    lines = []
    if found["equal"] < LEAST_EQUAL:
        lines.append(f"{style}: {found['equal']:.3f} of verdicts equal, under {LEAST_EQUAL}")
    if found["apart_median"] >= MOST_APART:
        lines.append(f"{style}: {found['apart_median']:.3f} nats apart, {MOST_APART} or more")
    return lines


def main() -> int:
    args = parser(__doc__, n=200, seed=14).parse_args()
    began = time.monotonic()
    figures: dict[str, Any] = {}
    engines = [open_engine(f"transformers:{WEIGHTS}"), sglang_on_cpu(WEIGHTS)]
    try:
        for style in STYLES:
            rng = random.Random(f"parity {args.seed} {style}")
            pairs = [pair_of(data.draw(rng)) for _ in range(args.n)]
            figures[style] = compared(style, pairs, engines, args.seed)
    finally:
        for engine in engines:
            engine.close()
    print(f"\nmachine: {machine()}; model: nano; seed {args.seed}, n {args.n} a style")
    print(f"took {time.monotonic() - began:.0f} s")
    lines = [line for style, found in figures.items() for line in missed(style, found)]
    return finish(figures, lines, args.json)


if __name__ == "__main__":
    sys.exit(main())
