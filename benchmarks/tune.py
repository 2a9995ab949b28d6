"""Are wording and way to judge better chosen together? `python -m benchmarks.tune`.

nano is traced in the eight wordings of its style, eight votes each. An arm is a wording, a depth, a
number of votes and how they are put together; a context is a price of a token. PSST (IAPO, AAAI
2026) is run many times on one half of the pairs beside uniform drawing, with and without using
pulls again, UCB, and tuning prompt and strategy apart, with the same completions: how often each
misses the best arm, and what that costs. The same on the published trap of two prompts, where the
best prompt for one chain is not the best for many. Exits 1 if a promise is missed.
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
from rrm.calibration.trace import Trace, trace
from rrm.calibration.tune import METHODS, Arm, Sampled, values, whole_arm
from rrm.engines.base import Engine
from rrm.engines.card import ModelCard

STYLE, VOTES, HEAT = "rrm", 8, 1.0
"""chains are drawn hot, so that votes differ"""
DEPTHS = (0, 16, 32, 48)
PRICES = (0.0, 0.0003, 0.001)
COMPLETIONS = (3_000, 6_000)
RUNS = 200
TRAP = ((0.4, 0.9), (0.62, 0.62))
"""probability that a chain is right, by prompt and kind of question"""


def traced(wording: int, some: Sequence[data.Example]) -> list[Trace]:
    """In a process of its own."""
    style = family_style(STYLE, wording)

    async def ask(engine: Engine, one: data.Example) -> Trace:
        return await trace(
            engine,
            style,
            pair_of(one),
            label(one),
            engine.card.ladder,
            temperature=HEAT,
            votes=VOTES,
            vote_temperature=HEAT,
        )

    return trace_all(some, ask)


def trap(seed: int, pairs: int = 400) -> Sampled:
    """Two prompts and two kinds of question; votes that are right are not surer than others."""
    rng = np.random.default_rng(seed)
    shares = np.array([list(share) * (pairs // 2) for share in TRAP])[:, :, None]
    right = rng.random((len(TRAP), pairs, VOTES)) < shares
    whole = np.where(right, 1.0, -1.0) * rng.exponential(1.0, right.shape) ** 3
    margins = np.stack([np.full_like(whole, -1.0), whole], axis=-1)
    return Sampled((0, 1), margins, np.stack([np.zeros_like(whole), np.ones_like(whole)], axis=-1))


def compare(
    name: str, sampled: Sampled, prices: Sequence[float], completions: int, runs: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Error and regret of every method, over `runs`."""
    arms = sampled.arms()
    accuracy, tokens = values(sampled, arms)
    worth = [accuracy - price * tokens for price in prices]
    print(
        f"\n{name}: {len(arms)} arms, {len(prices)} prices, {completions} completions, {runs} runs"
    )
    found: dict[str, dict[str, Any]] = {}
    for method, run in METHODS.items():
        regrets, errors = [], []
        for n in range(runs):
            chosen = run(sampled, prices, completions, seed + n)
            lost = [
                float(of.max() - of[arms.index(arm)]) for of, arm in zip(worth, chosen, strict=True)
            ]
            regrets.append(float(np.mean(lost)))
            errors.append(float(np.mean([one > 1e-9 for one in lost])))
        half = Z95 * float(np.std(regrets)) / len(regrets) ** 0.5
        mean = float(np.mean(regrets))
        found[method] = {
            "error": float(np.mean(errors)),
            "regret": (mean, mean - half, mean + half),
        }
        print(
            f"  {method:<16} error {found[method]['error']:.3f}, regret {mean:.4f} "
            f"[{mean - half:.4f}, {mean + half:.4f}]"
        )
    return found


def chosen_by(sampled: Sampled, held: Sampled, prices: Sequence[float], seed: int) -> list[Any]:
    """What PSST picks on one half, and what that is worth on the other beside the untuned judge."""
    print("\nchosen on one half, told by the other")
    plain = whole_arm(held)
    picked: list[Arm] = METHODS["PSST"](sampled, prices, max(COMPLETIONS), seed)
    accuracy, tokens = values(held, [plain, *picked])
    rows = []
    names = ["untuned", *(f"{price:.4f}" for price in prices)]
    for name, arm, right, spent in zip(names, [plain, *picked], accuracy, tokens, strict=True):
        depth = "whole" if arm.depth == len(held.depths) - 1 else f"{held.depths[arm.depth]} tokens"
        print(
            f"  {name:>8}: wording {arm.wording}, {depth}, {arm.votes} votes by {arm.aggregation}: "
            f"right {right:.4f}, {spent:.1f} tokens a pair"
        )
        rows.append(
            {"price": name, "arm": list(arm), "right": float(right), "tokens": float(spent)}
        )
    return rows


def missed(figures: dict[str, Any]) -> list[str]:
    """PSST must lose less than drawing uniformly and than UCB, and fall into no trap."""
    lines = []
    for name, found in figures["compared"].items():
        ours = found["PSST"]["regret"]
        lines += [
            f"{name}: regret {ours} beside {rival} {found[rival]['regret']}"
            for rival in ("uniform", "UCB .1")
            if ours[2] > found[rival]["regret"][1]
        ]
    trapped = figures["compared"]["the trap"]
    if trapped["PSST"]["regret"][2] > trapped["apart"]["regret"][1]:
        lines.append("in the trap, choosing apart loses no more than choosing together")
    return lines


def main() -> int:
    args = parser(__doc__, n=120, seed=0).parse_args()
    began = time.monotonic()
    os.environ["OMP_NUM_THREADS"] = "1"
    rng = random.Random(f"tune {args.seed}")
    some = [data.draw(rng) for _ in range(args.n)]
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        count = families()[STYLE].wordings_count
        jobs = [pool.submit(traced, wording, some) for wording in range(count)]
        wordings = [job.result() for job in jobs]
    print(f"traced {args.n} pairs in {count} wordings: {time.monotonic() - began:.0f} s")
    ladder = ModelCard.of(WEIGHTS).ladder
    every = Sampled.of(wordings, (*DEPTHS, ladder[-1]))
    half, held = every.part(slice(0, None, 2)), every.part(slice(1, None, 2))
    compared = {
        "the trap": compare("the trap", trap(args.seed), (0.0, 0.1), 2_000, RUNS, args.seed),
        **{
            f"nano, {few}": compare(f"nano, {few}", half, PRICES, few, RUNS, args.seed)
            for few in COMPLETIONS
        },
    }
    figures = {"compared": compared, "chosen": chosen_by(half, held, PRICES, args.seed)}
    print(f"\nmachine: {machine()}; model: nano, style {STYLE}; seed {args.seed}, n {args.n}")
    print(f"took {time.monotonic() - began:.0f} s")
    print("goal: less regret than every other method with as many completions")
    return finish(figures, missed(figures), args.json)


if __name__ == "__main__":
    sys.exit(main())
