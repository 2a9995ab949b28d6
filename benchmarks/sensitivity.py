"""How much hangs on the wording, and what is another one worth? `python -m benchmarks.sensitivity`.

nano is asked the same pairs in the eight wordings of its style, in both orders. Told are the
PromptSensiScore without thought and of whole chains (ProSA, arXiv 2410.12405), its rank correlation
with |margin| without thought, and whether |margin| knows right from wrong at every depth. Then a
second wording is bought where whole chains are least sure, beside a second sample of the first, at
equal cost. Exits 1 if a promise is missed.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np

from benchmarks.report import finish, machine, parser
from benchmarks.tracing import label, trace_all
from judges.nano import WEIGHTS, data
from judges.nano.pairs import pair_of
from judges.styles.registry import families, family_style
from rrm.calibration.gain import Z95
from rrm.calibration.sensitivity import (
    Sensitivity,
    blind,
    confidence_by_depth,
    instance_sensitivity,
)
from rrm.calibration.trace import Trace, trace
from rrm.engines.base import Engine
from rrm.engines.card import ModelCard

STYLES = ("rrm", "rm-r1")
DEPTHS = (0, 16, 32, None)
"""thinking tokens of each chain: where a second wording is held against a second sample"""
OPEN = 0.25
"""share of the pairs, the least sure, for which a second pair of chains is bought"""
GOLDEN = {1: 11 / 66, 3: 27 / 66, 0: 0.0}
"""failures among 12 prompts, and the published score"""
CORRELATED = -0.1
"""goal: at most that, with |margin| without thought"""


def traced(style: str, some: Sequence[data.Example], several: bool) -> list[Trace]:
    """In a process of its own. several: in all wordings; else two samples of the first."""
    every = tuple(family_style(style, n) for n in range(families()[style].wordings_count))
    wordings = every if several else every[:1]
    votes = len(wordings) if several else 2

    async def ask(engine: Engine, one: data.Example) -> Trace:
        ladder = engine.card.ladder
        return await trace(
            engine, every[0], pair_of(one), label(one), ladder, votes=votes, wordings=wordings
        )

    return trace_all(some, ask)


def second(traces: Sequence[Trace], depth: int) -> tuple[Any, Any, Any]:
    """[pairs]: |margin| of the first pair of chains, right with a second one, its tokens."""
    size, right, cost = [], [], []
    for one in traces:
        margins, spent = one.votes_at(depth)
        size.append(abs(margins[0]))
        right.append(one.right(margins[0] + margins[1]))
        cost.append(spent[1])
    return np.array(size), np.array(right, dtype=float), np.array(cost, dtype=float)


def worth(wordings: Sequence[Trace], samples: Sequence[Trace], depth: int | None) -> dict[str, Any]:
    """Of a second wording beside a second sample, for the pairs that are least sure.

    The same number of chains as long as each other: the cost is equal but for when they end.
    """
    ladder = ModelCard.of(WEIGHTS).ladder
    at = ladder[-1] if depth is None else depth
    size, worded, price = second(wordings, at)
    _, sampled, other = second(samples, at)
    once = np.array([one.right(one.votes_at(at)[0][0]) for one in wordings], dtype=float)
    least = size <= np.quantile(size, OPEN)
    gain = worded[least] - sampled[least]
    mean, half = float(gain.mean()), Z95 * float(gain.std()) / len(gain) ** 0.5
    return {
        "depth": depth,
        "once": float(once[least].mean()),
        "wording": float(worded[least].mean()),
        "sample": float(sampled[least].mean()),
        "gain": (mean, mean - half, mean + half),
        "cost": (float(price[least].mean()), float(other[least].mean())),
    }


def report(style: str, wordings: Sequence[Trace], samples: Sequence[Trace]) -> dict[str, Any]:
    ladder = ModelCard.of(WEIGHTS).ladder
    found = Sensitivity.of(wordings)
    print(f"\nstyle {style}: {found.wordings} wordings in both orders, {found.pairs} pairs")
    for name, value in (
        ("sensitivity without thought", found.unthought),
        ("  rank correlation with |margin| there", found.correlation_unthought),
        ("sensitivity of whole chains", found.whole),
        ("  rank correlation with |margin| without thought", found.correlation),
    ):
        told = "none: it never changes" if value is None else _told(value)
        print(f"  {name:<52}{told}")
    confidence = confidence_by_depth(wordings, ladder)
    for one in confidence:
        depth = "whole" if one.thinking_tokens is None else f"{one.thinking_tokens:>3} tokens"
        area = "all right" if one.auroc is None else f"AUROC of |margin| {_told(one.auroc)}"
        print(f"    {depth:<11} right {one.right:.3f}  {area}")
    print(f"  {blind(confidence) or 'its confidence knows at every depth'}")
    worths = [worth(wordings, samples, depth) for depth in DEPTHS]
    for bought in worths:
        at = "whole" if bought["depth"] is None else f"{bought['depth']} tokens"
        print(
            f"  the {OPEN:.0%} least sure at {at}: right {bought['once']:.3f} with one pair of "
            f"chains, {bought['wording']:.3f} with another wording ({bought['cost'][0]:.0f} "
            f"tokens), {bought['sample']:.3f} with another sample ({bought['cost'][1]:.0f}): "
            f"{_told(bought['gain'])}"
        )
    shown = {"confidence": [one.model_dump() for one in confidence], "worth": worths}
    return {**found.model_dump(), **shown}


def _told(value: tuple[float, float, float]) -> str:
    return f"{value[0]:+.3f} [{value[1]:+.3f}, {value[2]:+.3f}]"


def golden() -> dict[int, float]:
    """Of 12 prompts, so many of which fail."""
    found = {}
    for failures, published in GOLDEN.items():
        values = np.array([[0.0] * failures + [1.0] * (12 - failures)])
        found[failures] = float(instance_sensitivity(values)[0])
        print(f"  12 prompts, {failures} fail: {found[failures]:.4f} (published {published:.4f})")
    return found


def missed(figures: dict[str, Any]) -> list[str]:
    lines = []
    for failures, published in GOLDEN.items():
        if abs(figures["golden"][failures] - published) > 1e-9:
            lines.append(f"{failures} failures of 12 score {figures['golden'][failures]}")
    for style in STYLES:
        found = figures[style]["correlation_unthought"]
        if found is None or found[2] > 0:
            lines.append(f"{style}: |margin| does not tell sensitivity: {found}")
    return lines


def main() -> int:
    args = parser(__doc__, n=250, seed=0).parse_args()
    began = time.monotonic()
    os.environ["OMP_NUM_THREADS"] = "1"
    rng = random.Random(f"sensitivity {args.seed}")
    some = [data.draw(rng) for _ in range(args.n)]
    print("golden values")
    figures: dict[str, Any] = {"golden": golden()}
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        jobs = {
            style: (pool.submit(traced, style, some, True), pool.submit(traced, style, some, False))
            for style in STYLES
        }
        for style, (wordings, samples) in jobs.items():
            figures[style] = report(style, wordings.result(), samples.result())
    print(f"\nmachine: {machine()}; model: nano; seed {args.seed}, n {args.n}")
    print(f"took {time.monotonic() - began:.0f} s")
    print(f"goal: correlation with |margin| without thought at most {CORRELATED}")
    return finish(figures, missed(figures), args.json)


if __name__ == "__main__":
    sys.exit(main())
