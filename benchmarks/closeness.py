"""Does thought follow closeness, and what does that save? `python -m benchmarks.closeness`.

Judges `n` held-out nano pairs in each pairwise style three times: no thought, adaptive, and both
chains whole with every checkpoint read, which gives the uniform depths too. Adaptive is really run,
not replayed. Rivals that read one order or both and look at the margin, tuned on the traces that
`benchmarks.frontier` fits on, are played on the same whole chains. Computed tokens are all that are
read or generated, probes included. Exits 1 if a figure that is promised is missed.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from scipy.stats import spearmanr

from benchmarks.frontier import MOST, TRACES, read
from benchmarks.report import finish, interval, machine, parser
from judges.nano import data
from judges.nano.pairs import pair_of
from judges.options import JudgeOptions
from rrm.calibration import COMPUTED
from rrm.calibration.arrays import TraceArrays
from rrm.calibration.replay import whole
from rrm.calibration.rivals import settings
from rrm.calibration.trace import Trace, trace
from rrm.types import Effort, Verdict
from serving.model_host import ModelHost
from serving.settings import load_settings

STYLES = ("rrm", "rm-r1")
MOST_LOST = 0.01
"""which is certified; missed where the interval lies above it, as 500 pairs tell it to .01"""
MOST_OF_FULL = 0.25
MOST_OF_UNIFORM = 0.25
LEAST_CORRELATION = 0.5
LEAST_SAVED = 0.64
SUFFIX = 2
"""tokens of one probe of nano in either style"""


@dataclass(frozen=True)
class Row:
    """One pair: whether each policy was right, and its tokens in both orders."""

    gap: int
    right: dict[str, bool]
    tokens: dict[str, int]
    computed: dict[str, int]
    unscored: bool = False
    """adaptive: the orders contradict each other, within what order alone explains"""
    whole: Trace | None = None


Figure = Callable[[Sequence[Row]], float]


def accuracy(policy: str) -> Figure:
    return lambda rows: sum(row.right[policy] for row in rows) / len(rows)


def tokens(policy: str) -> Figure:
    return lambda rows: sum(row.tokens[policy] for row in rows) / len(rows)


def computed(policy: str) -> Figure:
    return lambda rows: sum(row.computed[policy] for row in rows) / len(rows)


async def judge_all(host: ModelHost, style: str, examples: list[data.Example]) -> list[Row]:
    judge = host.pairwise(style)
    ladder = host.ladder

    async def one(example: data.Example) -> Row:
        pair, label = pair_of(example), "ab"[example.better]
        right: dict[str, bool] = {}
        spent: dict[str, int] = {}
        every: dict[str, int] = {}
        unscored = False
        efforts: tuple[Effort, ...] = ("none", "adaptive")
        for effort in efforts:
            outcome = await judge.judge(pair, JudgeOptions(effort))
            if not isinstance(outcome, Verdict) and outcome.reason != "order_conflict":
                raise RuntimeError(f"{example.question}: {outcome.reason}, {outcome.detail}")
            unscored = not isinstance(outcome, Verdict)
            right[effort] = isinstance(outcome, Verdict) and outcome.preferred == label
            spent[effort] = outcome.usage.thinking_tokens
            every[effort] = outcome.usage.read_tokens + outcome.usage.generated_tokens
        side: Literal["a", "b"] = "a" if example.better == 0 else "b"
        made = await trace(judge.engine, judge.style, pair, side, ladder)
        for depth in (0, *ladder):
            point = made.in_step(depth)
            right[f"uniform {depth}"] = made.right(point.margin)
            spent[f"uniform {depth}"] = point.tokens
        right["full"], spent["full"] = right[f"uniform {ladder[-1]}"], made.whole_tokens
        every["full"] = sum(made.prompt_tokens) + made.whole_tokens + 2 * SUFFIX
        return Row(example.gap, right, spent, every, unscored, made)

    rows = []
    for future in asyncio.as_completed([one(example) for example in examples]):
        rows.append(await future)
        if sys.stderr.isatty() and len(rows) % 20 == 0:
            print(f"\r{style}: {len(rows)} of {len(examples)} pairs", end="", file=sys.stderr)
    return rows


def best_uniform(rows: Sequence[Row], ladder: Sequence[int]) -> str:
    """The shallowest uniform depth at least as accurate as adaptive, or else full chains."""
    goal = accuracy("adaptive")(rows)
    names = [f"uniform {depth}" for depth in (0, *ladder)]
    return next((name for name in names if accuracy(name)(rows) >= goal), "full")


def rivals(
    style: str, rows: Sequence[Row], ladder: Sequence[int]
) -> dict[str, tuple[float, float]]:
    """What fixed lines lose and save (computed), each at the cheapest setting that loses at most
    MOST of whole chains' accuracy where it was tuned."""
    fit = TraceArrays.of(read(TRACES, "mixed", "fit", style, 4000), ladder)
    held = TraceArrays.of([row.whole for row in rows if row.whole is not None], ladder)
    best: dict[str, tuple[float, float, float]] = {}
    full = float(whole(held).spent.cost(COMPUTED).mean())
    for name, fitted, shown in settings(fit, held, COMPUTED):
        cost = float(fitted.spent.cost(COMPUTED).mean())
        if fitted.lost.mean() <= MOST and cost < best.get(name, (float("inf"),))[0]:
            saved = 1 - float(shown.spent.cost(COMPUTED).mean()) / full
            best[name] = cost, float(shown.lost.mean()), saved
    return {name: (lost, saved) for name, (_, lost, saved) in best.items()}


def report(style: str, rows: list[Row], ladder: Sequence[int], seed: int) -> dict[str, Any]:
    """Print the tables of one style; returns its figures."""
    uniform = best_uniform(rows, ladder)
    policies = ("none", "adaptive", "full", uniform)
    print(f"\n{style}: {len(rows)} pairs; accuracy and thinking tokens of both orders, 95 %")
    found: dict[str, Any] = {"n": len(rows), "best_uniform": uniform}
    for policy in policies:
        right, spent = accuracy(policy)(rows), tokens(policy)(rows)
        low, high = interval(rows, accuracy(policy), seed)
        few, many = interval(rows, tokens(policy), seed)
        name = f"best uniform ({policy.removeprefix('uniform ')})" if policy == uniform else policy
        line = f"{right:.3f} [{low:.3f}, {high:.3f}]   {spent:6.1f} [{few:.1f}, {many:.1f}]"
        print(f"  {name:<20} {line}")
        found[policy] = {"accuracy": right, "accuracy_95": [low, high], "tokens": spent,
                         "tokens_95": [few, many]}  # fmt: skip
    saved = 1 - computed("adaptive")(rows) / computed("full")(rows)
    found["saved (computed)"] = saved
    found["saved (computed)_95"] = interval(
        rows, lambda some: 1 - computed("adaptive")(some) / computed("full")(some), seed
    )
    found["unscored"] = sum(row.unscored for row in rows) / len(rows)
    print(f"  computed tokens saved {saved:.3f}; {found['unscored']:.1%} unscored (order_conflict)")
    found["rivals"] = rivals(style, rows, ladder)
    for name, (lost, less) in found["rivals"].items():
        print(f"    {name:<28} lost {100 * lost:5.2f} points, computed tokens saved {less:.3f}")
    print("  by band of closeness: accuracy / tokens of none, adaptive, full")
    found["bands"] = {}
    for band, least, most in data.BANDS:
        chosen = [row for row in rows if least <= row.gap <= most]
        if not chosen:
            continue
        cells = {p: (accuracy(p)(chosen), tokens(p)(chosen)) for p in policies[:3]}
        line = "   ".join(f"{right:.3f} / {spent:5.1f}" for right, spent in cells.values())
        print(f"  {band:>9} ({len(chosen):3d})  {line}")
        found["bands"][band] = {"n": len(chosen), **cells}

    def correlation(sample: Sequence[Row]) -> float:
        gaps = [-row.gap for row in sample]
        return float(spearmanr(gaps, [row.tokens["adaptive"] for row in sample]).statistic)

    ratios: dict[str, Figure] = {
        "lost": lambda sample: accuracy("full")(sample) - accuracy("adaptive")(sample),
        "of_full": lambda sample: tokens("adaptive")(sample) / tokens("full")(sample),
        "of_uniform": lambda sample: tokens("adaptive")(sample) / tokens(uniform)(sample),
        "correlation": correlation,
    }
    for name, figure in ratios.items():
        found[name] = figure(rows)
        found[f"{name}_95"] = interval(rows, figure, seed)
    return found


def missed(style: str, found: dict[str, Any]) -> list[str]:
    """Which promises this style did not hold."""
    lines = []
    low, high = found["lost_95"]
    if low > MOST_LOST:
        lines.append(
            f"{style}: adaptive loses {found['lost']:.3f} [{low:.3f}, {high:.3f}], more than "
            f"{MOST_LOST} however it is drawn"
        )
    if found["of_full"] > MOST_OF_FULL:
        lines.append(f"{style}: {found['of_full']:.2f} of full, more than {MOST_OF_FULL}")
    if found["of_uniform"] > MOST_OF_UNIFORM:
        lines.append(f"{style}: {found['of_uniform']:.2f} of uniform, over {MOST_OF_UNIFORM}")
    if found["saved (computed)"] < LEAST_SAVED:
        saved = found["saved (computed)"]
        lines.append(f"{style}: {saved:.3f} of computed tokens saved, promised {LEAST_SAVED}")
    if found["correlation"] < LEAST_CORRELATION:
        lines.append(f"{style}: correlation {found['correlation']:.2f} under {LEAST_CORRELATION}")
    return lines


def main() -> int:
    args = parser(__doc__, n=500, seed=2026).parse_args()
    host = ModelHost(load_settings(model="nano", threads=2))
    began = time.monotonic()
    figures: dict[str, Any] = {}
    try:
        for style in STYLES:
            rng = random.Random(f"closeness {args.seed} {style}")
            examples = [data.draw(rng) for _ in range(args.n)]
            rows = asyncio.run(judge_all(host, style, examples))
            figures[style] = report(style, rows, host.ladder, args.seed)
    finally:
        host.close()
    print(f"\nmachine: {machine()}; model: nano; seed {args.seed}, n {args.n} a style")
    print(f"took {time.monotonic() - began:.0f} s")
    for style, found in figures.items():
        cells = [
            f"{name} {found[name]:.3f} [{found[f'{name}_95'][0]:.3f}, {found[f'{name}_95'][1]:.3f}]"
            for name in ("lost", "of_full", "of_uniform", "saved (computed)", "correlation")
        ]
        print(f"{style}: " + ", ".join(cells))
    lines = [line for style, found in figures.items() for line in missed(style, found)]
    return finish(figures, lines, args.json)


if __name__ == "__main__":
    sys.exit(main())
