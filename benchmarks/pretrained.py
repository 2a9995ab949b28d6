"""A real pretrained model through both engines: `python -m benchmarks.pretrained --model DIR`.

`n` pairs of a JSONL file judged whole, both orders, in one style: how much probability the verdict
labels hold, tokens, seconds, and what the probes cost. Accuracy is reported and not promised: a
model that was never trained to judge guesses. `python -m benchmarks.models smollm2 DIR` makes one.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.models import smollm2
from benchmarks.parity import Recorder
from benchmarks.report import finish, interval, machine, parser
from benchmarks.sglang import sglang_on_cpu
from judges.options import JudgeOptions
from judges.pairwise import PairwiseJudge
from judges.styles.registry import open_style
from rrm.engines import open_engine
from rrm.engines.base import Engine, EngineOptions
from rrm.engines.sglang import SGLangEngine
from rrm.types import Pair, Preference, Unscored, Verdict
from serving.datasets import read_dataset
from serving.testing.sglang_cpu import ARGS

LADDER = (16, 32)
CONCURRENCY = 8
LEAST_EQUAL = 0.9
"""of the verdicts of two engines that both decided; a coarse dtype rounds differently in each"""
Labelled = tuple[Pair, Preference | None]


async def judged(engine: Engine, style: str, pairs: Sequence[Labelled]) -> list[Verdict | Unscored]:
    judge = PairwiseJudge(engine, open_style(style), ladder=LADDER)
    gate = asyncio.Semaphore(CONCURRENCY)
    done = 0

    async def one(pair: Pair) -> Verdict | Unscored:
        nonlocal done
        async with gate:
            found = await judge.judge(pair, JudgeOptions("full", trace=True))
        done += 1
        if sys.stderr.isatty():
            print(
                f"\r{engine.url.partition(':')[0]}: {done} of {len(pairs)}", end="", file=sys.stderr
            )
        return found

    return list(await asyncio.gather(*(one(pair) for pair, _ in pairs)))


def probe_share(engine: Engine, outcomes: Sequence[Verdict | Unscored]) -> float:
    """Tokens computed for probes, as a share of all computed tokens.

    SGLang: by the server's own counters. Transformers computes every token it is asked for once.
    """
    if isinstance(engine, SGLangEngine):
        return engine.count.probe_share
    spent = [outcome.usage for outcome in outcomes]
    probe = sum(one.probe_tokens for one in spent)
    return probe / (probe + sum(one.prompt_tokens + one.thinking_tokens for one in spent))


def measured(engine: Engine, style: str, pairs: Sequence[Labelled]) -> dict[str, Any]:
    """Print and return the figures of one engine; `seen` and `outcomes` are for a comparison."""
    recorder = Recorder(engine)
    began = time.monotonic()
    outcomes = asyncio.run(judged(recorder, style, pairs))
    seconds = time.monotonic() - began
    verdicts = [one for one in outcomes if isinstance(one, Verdict)]
    if not verdicts:
        raise SystemExit(f"no verdict at all; the first said: {outcomes[0]}")
    right = [
        one.preferred == label
        for one, (_, label) in zip(outcomes, pairs, strict=True)
        if isinstance(one, Verdict) and label is not None
    ]
    tokens = sum(one.usage.thinking_tokens for one in outcomes)
    figures = {
        "verdicts": len(verdicts),
        "mass_before": statistics.median(one.path[0].mass or 0.0 for one in verdicts),
        "mass_after": statistics.median(one.path[-1].mass or 0.0 for one in verdicts),
        "agree": statistics.mean(bool(one.consistent) for one in verdicts),
        "accuracy": statistics.mean(right) if right else None,
        "prompt_tokens": sum(one.usage.prompt_tokens for one in outcomes),
        "cached_tokens": sum(one.usage.cached_tokens for one in outcomes),
        "thinking_tokens": tokens,
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "probe_share": probe_share(engine, outcomes),
    }
    name = engine.url.partition(":")[0]
    print(
        f"{name}: {len(verdicts)} of {len(pairs)} decided in {seconds:.0f} s; label mass "
        f"{figures['mass_before']:.2f} before thought, {figures['mass_after']:.2f} after; "
        f"{tokens} thinking tokens, {figures['prompt_tokens']} prompt tokens "
        f"({figures['cached_tokens']} cached); orders agree in {figures['agree']:.2f}; "
        f"probes are {figures['probe_share']:.1%} of the computed tokens"
    )
    return {**figures, "seen": recorder.seen, "outcomes": outcomes, "right": right}


def main() -> int:
    made = parser(__doc__, n=20, seed=14)
    made.add_argument("--model", type=Path, required=True, help="made if there is nothing there")
    made.add_argument("--data", type=Path, required=True, help="JSONL or CSV, one pair a row")
    made.add_argument("--style", default="rrm")
    made.add_argument(
        "--dtype", default="float32", help="a CPU without AVX512-BF16 is faster in it"
    )
    args = made.parse_args()
    began = time.monotonic()
    smollm2(args.model)
    rows = [row for row in read_dataset(args.data).rows if row.pair is not None]
    chosen = random.Random(args.seed).sample(rows, min(args.n, len(rows)))
    pairs: list[Labelled] = [(row.pair, row.label) for row in chosen if row.pair is not None]
    figures: dict[str, Any] = {"n": len(pairs), "style": args.style}
    options = EngineOptions(dtype=args.dtype, server_args=ARGS)
    opened: dict[str, Callable[[], Engine]] = {
        "transformers": lambda: open_engine(f"transformers:{args.model}", options),
        "sglang": lambda: sglang_on_cpu(args.model, options, threads=os.cpu_count() or 1),
    }
    for name, opening in opened.items():
        engine = opening()
        try:
            figures[name] = measured(engine, args.style, pairs)
        finally:
            engine.close()
    first, second = (figures[name].pop("seen") for name in opened)
    apart = sorted(abs(first[place] - second[place]) for place in first.keys() & second.keys())
    both = [
        (one, two)
        for one, two in zip(*(figures[name].pop("outcomes") for name in opened), strict=True)
        if isinstance(one, Verdict) and isinstance(two, Verdict)
    ]
    figures["equal"] = statistics.mean(one.preferred == two.preferred for one, two in both)
    figures["apart_median"] = statistics.median(apart)
    right = figures["sglang"].pop("right")
    figures["transformers"].pop("right")
    print(f"\nmachine: {machine()}; model: {args.model.name}; data: {args.data.name}; ", end="")
    print(f"style {args.style}; seed {args.seed}, n {len(pairs)}; ", end="")
    print(f"took {time.monotonic() - began:.0f} s")
    print(
        f"verdicts equal on both engines: {figures['equal']:.2f} of {len(both)}; {len(apart)} "
        f"label log-probabilities apart by {figures['apart_median']:.3f} at the median"
    )
    if right:
        low, high = interval(right, lambda some: float(statistics.mean(some)), args.seed)
        print(f"accuracy on SGLang: {statistics.mean(right):.2f} [{low:.2f}, {high:.2f}]")
    lines = []
    if figures["equal"] < LEAST_EQUAL:
        lines.append(f"{figures['equal']:.2f} of verdicts equal, under {LEAST_EQUAL}")
    return finish(figures, lines, args.json)


if __name__ == "__main__":
    sys.exit(main())
