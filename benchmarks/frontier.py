"""Accuracy against compute, ours and what others do, on one set of traces:
`python -m benchmarks.frontier`.

For each set, style and measure of cost a policy is learnt on one half of the pairs, at the price
that loses at most .5 points on folds of it, and played on the other half. Measures: generated
tokens; all computed tokens, every read charged; the same with a read token at a tenth, as in
seconds on a GPU. Rivals: fixed lines (one order or both, with looks or without), tuned on the same
pairs; and the published ways, whose best setting is picked where they are compared, which favours
them. All are compared at equal held-out accuracy.

Sets: nano's pairs of mixed closeness; its close ones (errors at most 20 apart); mini's, a language
judge; these again with a liking for what is shown first, drawn pair by pair; mini's first adapter;
and fewer mixed ones with five pairs of chains each, for what takes votes. Figures as the files are
cut and over `--splits` random cuts; certificates are tested on `--proofs` random cuts. `--plot
FILE` draws curves.
Traces lie in `benchmarks/traces`; `--traces DIR` reads others.
"""

from __future__ import annotations

import gzip
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import finish, machine, parser
from judges.nano import WEIGHTS
from rrm.calibration import COMPUTED, calibrated
from rrm.calibration.arrays import TOKENS_ALONE, TraceArrays, concatenated
from rrm.calibration.baselines import (
    PUBLISHED,
    VOTING,
    Operating,
    OperatingCurve,
    Route,
    oracle,
    others,
    ours,
    played,
)
from rrm.calibration.certify import p_value
from rrm.calibration.learn import path, prices_of, prices_within
from rrm.calibration.monitor import RiskMonitor
from rrm.calibration.replay import Walked, replay, walk, whole
from rrm.calibration.rivals import settings
from rrm.calibration.trace import Trace
from rrm.decision.priced import PricedPolicy, TokenPrices
from rrm.engines.card import ModelCard
from serving.calibrate import TraceLine

TRACES = Path(__file__).parent / "traces"
STYLES = ("rrm", "rm-r1")
MINI_LADDER = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
MEASURES = {
    "saved": TOKENS_ALONE,
    "saved (computed)": COMPUTED,
    "saved (reading at a tenth)": COMPUTED.model_copy(update={"read": 0.1}),
}
LIKINGS = {"liking 1.5": (0.0, 1.5), "liking 3": (3.0, 3.0)}
"""mean and standard deviation, in log-odds"""
MOST = 0.005
"""accuracy that the price may lose on folds"""
RESAMPLES = 400
AUDITED = 1000
"""pairs of an audited stream"""
DRIFTS, QUIET = 100, 1000
"""streams of harder pairs, and of the same kind"""
BOND = {"data": "held by the benchmark", "model": "nano", "prompt_hash": "of the style"}
PROVED = (0.01, 0.02)
DELTA = 0.1
GOALS = {
    ("mixed", "saved (computed)"): 0.63,
    ("close", "saved (computed)"): 0.48,
    ("mixed, liking 3", "saved (computed)"): 0.55,
    ("mixed", "saved (reading at a tenth)"): 0.78,
    ("mini first", "saved (computed)"): 0.59,
    ("mini first", "saved"): 0.90,
}
MOST_LOST = 0.01
LEAST_SAVED = {
    ("mixed", "saved"): 0.79,
    ("mixed", "saved (computed)"): 0.61,
    ("mixed", "saved (reading at a tenth)"): 0.74,
    ("mixed, liking 1.5", "saved"): 0.79,
    ("mixed, liking 1.5", "saved (computed)"): 0.59,
    ("mixed, liking 1.5", "saved (reading at a tenth)"): 0.74,
    ("mixed, liking 3", "saved"): 0.79,
    ("mixed, liking 3", "saved (computed)"): 0.53,
    ("mixed, liking 3", "saved (reading at a tenth)"): 0.73,
    ("close", "saved"): 0.58,
    ("close", "saved (computed)"): 0.48,
    ("close", "saved (reading at a tenth)"): 0.55,
    ("close, liking 1.5", "saved"): 0.54,
    ("close, liking 1.5", "saved (computed)"): 0.48,
    ("close, liking 1.5", "saved (reading at a tenth)"): 0.53,
    ("close, liking 3", "saved"): 0.55,
    ("close, liking 3", "saved (computed)"): 0.45,
    ("close, liking 3", "saved (reading at a tenth)"): 0.52,
    ("mini", "saved"): 0.94,
    ("mini", "saved (computed)"): 0.6,
    ("mini", "saved (reading at a tenth)"): 0.83,
    ("mini, liking 1.5", "saved"): 0.93,
    ("mini, liking 1.5", "saved (computed)"): 0.59,
    ("mini, liking 1.5", "saved (reading at a tenth)"): 0.82,
    ("mini, liking 3", "saved"): 0.94,
    ("mini, liking 3", "saved (computed)"): 0.57,
    ("mini, liking 3", "saved (reading at a tenth)"): 0.79,
}
"""what was reached, less its interval"""


@dataclass(frozen=True)
class Set:
    """A set of pairs in one style."""

    name: str
    style: str
    fitted: list[Trace]
    held: list[Trace]
    ladder: tuple[int, ...]

    def arrays(self) -> tuple[TraceArrays, TraceArrays]:
        return TraceArrays.of(self.fitted, self.ladder), TraceArrays.of(self.held, self.ladder)


def read(folder: Path, name: str, part: str, style: str, n: int) -> list[Trace]:
    """Raises FileNotFoundError if there are no such traces."""
    with gzip.open(folder / f"{name}.{part}.{style}.jsonl.gz", "rt", encoding="utf-8") as file:
        lines = [TraceLine.model_validate_json(line) for line in file]
    return [line.trace for line in lines if line.trace is not None][:n]


def read_sets(folder: Path, style: str, n: int) -> dict[str, Set]:
    """nano's sets by name. Raises FileNotFoundError."""
    ladder = ModelCard.of(WEIGHTS).ladder
    sets = {
        name: Set(
            name,
            style,
            read(folder, name, "fit", style, n),
            read(folder, name, "held", style, n),
            ladder,
        )
        for name in ("mixed", "close")
    }
    voted = read(folder, "mixed", "votes", style, n)
    return {**sets, "voted": Set("voted", style, sets["mixed"].fitted, voted, ladder)}


def read_mini(folder: Path, n: int, part: str = "all") -> Set:
    """mini's, or its first adapter's, with every other pair held out. Raises FileNotFoundError."""
    every = read(folder, "mini", part, "rrm", 2 * n)
    name = "mini" if part == "all" else f"mini {part}"
    return Set(name, "rrm", every[::2], every[1::2], MINI_LADDER)


def liking(arrays: TraceArrays, mean: float, spread: float, seed: int) -> TraceArrays:
    """The same judge with a liking for what is shown first, drawn pair by pair."""
    extra = mean + spread * np.random.default_rng(seed).standard_normal(len(arrays))
    return replace(
        arrays,
        lead=arrays.lead + extra[:, None],
        liked=arrays.liked + extra[:, None],
        other_prompt=arrays.other_prompt - extra,
        other_end=arrays.other_end - extra,
    )


# -- one set, one measure -------------------------------------------------------------------------


def cheapest(cost: NDArray[Any], accuracy: NDArray[Any], level: float) -> float:
    """Least cost to reach `level` by one setting, or by two settings mixed at random.

    Infinite if no setting reaches it.
    """
    reach = accuracy >= level - 1e-12
    if not reach.any():
        return float("inf")
    least = float(cost[reach].min())
    for high in np.flatnonzero(reach):
        low = np.flatnonzero(~reach & (cost < cost[high]))
        if not len(low):
            continue
        share = (level - accuracy[low]) / (accuracy[high] - accuracy[low])
        least = min(least, float((cost[low] + share * (cost[high] - cost[low])).min()))
    return least


def chosen(fit: TraceArrays, prices: TokenPrices) -> PricedPolicy | None:
    """The policy at the price that loses at most MOST on folds; none: whole chains."""
    wanted = prices_within(fit, prices, prices_of(fit, prices), MOST)
    return list(path(fit, prices, wanted))[-1] if wanted else None


def compare(fit: TraceArrays, held: TraceArrays, measure: str, seed: int) -> dict[str, Any]:
    """Ours and the lines, on held-out pairs: by name `lost` (as each was chosen on the fitted
    pairs) and `saved` (ours; for rivals what they save at our accuracy, no more than nothing lost).
    """
    prices = MEASURES[measure]
    found = replay(held, chosen(fit, prices))
    full = whole(held)
    costs, whole_costs = found.spent.cost(prices), full.spent.cost(prices)
    rng, n = np.random.default_rng(seed), len(held)
    counts = np.vstack([np.ones(n), rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES)]) / n
    lost, saved = counts @ found.lost, 1 - counts @ costs / (counts @ whole_costs)
    rivals: dict[str, list[list[float]]] = {}
    for name, fitted, shown in settings(fit, held, prices):
        figures = fitted.lost, fitted.spent.cost(prices), shown.lost, shown.spent.cost(prices)
        rivals.setdefault(name, []).append([float(one.mean()) for one in figures])
    said: dict[str, Any] = {"ours": {"lost": interval(lost), "saved": interval(saved)}}
    for name, rows in rivals.items():
        fit_lost, fit_cost, held_lost, held_cost = np.array(rows).T
        within = fit_lost <= MOST
        picked = int(np.where(within, fit_cost, np.inf).argmin()) if within.any() else None
        level = min(1.0, 1 - lost[0])  # who gains on whole chains is held against those
        least = cheapest(np.r_[held_cost, whole_costs.mean()], np.r_[1 - held_lost, 1.0], level)
        said[name] = {
            "lost": None if picked is None else float(held_lost[picked]),
            "saved": 1 - least / float(whole_costs.mean()),
            "saved as chosen": None
            if picked is None
            else 1 - float(held_cost[picked]) / float(whole_costs.mean()),
        }
    return {**said, "orders": float(found.orders.mean())}


def interval(values: NDArray[Any]) -> dict[str, float]:
    """Of a figure, first, and its resamples."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return {"value": float(values[0]), "low": float(low), "high": float(high)}


def split(every: TraceArrays, fitted: int, measure: str, seed: int) -> tuple[float, float]:
    """What is lost and saved where the pairs are cut at random."""
    order = np.random.default_rng(seed).permutation(len(every))
    fit, held = every.part(order[:fitted]), every.part(order[fitted:])
    prices = MEASURES[measure]
    found = replay(held, chosen(fit, prices))
    cost, full = found.spent.cost(prices), whole(held).spent.cost(prices)
    return float(found.lost.mean()), float(1 - cost.mean() / full.mean())


def proofs(every: TraceArrays, fitted: int, seed: int) -> dict[float, tuple[float, float]]:
    """Learnt on half of `fitted` pairs, certified on the other half: by epsilon, what is lost and
    saved (computed) on the rest."""
    order = np.random.default_rng(seed).permutation(len(every))
    cut = fitted // 2
    learnt, test, rest = (
        every.part(rows) for rows in (order[:cut], order[cut:fitted], order[fitted:])
    )
    known: dict[float, PricedPolicy | None] = dict.fromkeys(PROVED)
    going = set(PROVED)
    for policy in path(learnt, COMPUTED, prices_of(learnt, COMPUTED)):
        lost = walk(test, policy).lost
        counts = int((lost > 0).sum()), int((lost < 0).sum())
        going = {level for level in going if p_value(*counts, len(test), level) <= DELTA}
        if not going:
            break
        known.update(dict.fromkeys(going, policy))
    full = whole(rest).spent.cost(COMPUTED).mean()
    shown: dict[float, Walked] = {level: replay(rest, one) for level, one in known.items()}
    return {
        level: (float(one.lost.mean()), float(1 - one.spent.cost(COMPUTED).mean() / full))
        for level, one in shown.items()
    }


# -- published ways, audits -----------------------------------------------------------------------


def published(made: Set, seed: int) -> tuple[dict[str, Any], dict[str, OperatingCurve]]:
    """What the published ways need for the accuracy of our certified policy, by measure, with 95 %
    intervals over resampled pairs; and the curves."""
    calibration = calibrated(made.fitted, made.ladder, made.name, BOND, tokens=TOKENS_ALONE)
    arrays = TraceArrays.of(made.held, made.ladder)
    certified, full = played(arrays, calibration.policy), Operating.of(whole(arrays))
    rivals = others(made.fitted, made.held, made.ladder, seed)
    n = len(made.held)
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    weights = np.vstack([np.ones(n), counts]) / n
    right = weights @ certified.right
    best = oracle(Route.one_order(made.held, made.ladder))
    said: dict[str, Any] = {"lost": interval(weights @ full.right - right)}
    for measure, prices in (("", TOKENS_ALONE), (" (computed)", COMPUTED)):
        most = weights @ full.cost(prices)
        saved = 1 - weights @ certified.cost(prices) / most
        said[f"saved{measure}"] = interval(saved)
        for name, curves in rivals.items():
            needed = np.minimum(_needed(curves, prices, weights, right), most)
            said[f"points over {name}{measure}"] = interval(saved - (1 - needed / most))
            said[f"fewer than {name}{measure}"] = interval(
                1 - weights @ certified.cost(prices) / needed
            )
        if not measure:
            said["of_oracle"] = interval(saved / (1 - weights @ best.cost(prices) / most))
    said["certificate"] = calibration.certificate.model_dump() if calibration.certificate else {}
    drawn = {"ours": ours(arrays, calibration), "ours, certified": [certified], "oracle": [best]}
    shown = [name for name in (*PUBLISHED, *VOTING) if name in rivals]
    return said, drawn | {name: rivals[name][0] for name in shown}


def _needed(
    curves: Sequence[OperatingCurve],
    prices: TokenPrices,
    weights: NDArray[Any],
    level: NDArray[Any],
) -> NDArray[Any]:
    """What a rival's best setting costs at each resample's level of accuracy."""
    least = np.full(len(level), np.inf)
    for curve in curves:
        costs = weights @ np.stack([one.cost(prices) for one in curve]).T
        right = weights @ np.stack([one.right for one in curve]).T
        for row, wanted in enumerate(level):
            least[row] = min(least[row], cheapest(costs[row], right[row], wanted))
    return least


def drift(made: Set, harder: Set, seed: int, prices: TokenPrices = COMPUTED) -> dict[str, Any]:
    """A risk monitor of the calibration for `made`, shown pairs of `harder`, and of the same kind.

    Streams are drawn from the held-out pairs; the same kind from those that certified it.
    """
    calibration = calibrated(made.fitted, made.ladder, made.name, BOND, tokens=prices)
    if calibration.expected is None or calibration.certificate is None:
        return {}
    expected, delta = calibration.expected, calibration.certificate.delta
    rng = np.random.default_rng(seed)

    def streams(traces: Sequence[Trace], runs: int, length: int) -> list[int | None]:
        """After how many audited pairs each stream was called drift."""
        arrays = TraceArrays.of(traces, made.ladder)
        found, full = replay(arrays, calibration.policy), whole(arrays)
        apart = found.tied | (found.value * full.value <= 0)
        spent = np.minimum(1, found.spent.thought / np.maximum(1, full.spent.thought))
        ends: list[int | None] = []
        for _ in range(runs):
            monitor = RiskMonitor(expected, delta)
            for row in rng.integers(len(arrays), size=length):
                monitor.observe(bool(apart[row]), float(spent[row]))
                if monitor.revoked:
                    break
            ends.append(monitor.audited if monitor.revoked else None)
        return ends

    after = streams(harder.held, DRIFTS, AUDITED)
    quiet = streams(made.fitted[1::2], QUIET, AUDITED)
    found = [end for end in after if end is not None]
    return {
        "found": len(found) / DRIFTS,
        "median": float(np.median(found)) if found else None,
        "false_alarms": sum(end is not None for end in quiet) / QUIET,
        "delta": delta,
    }


def by_way(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Of ours and of every rival: what is saved by each measure, at our accuracy, and what is lost
    (computed tokens), as each was chosen on the fitted pairs."""

    def plain(figure: Any) -> float | None:
        value: float | None = figure["value"] if isinstance(figure, dict) else figure
        return value

    ways = [way for way in figures["saved"] if way != "orders"]
    return {
        way: {
            "lost": plain(figures["saved (computed)"][way]["lost"]),
            **{measure: plain(figures[measure][way]["saved"]) for measure in MEASURES},
        }
        for way in ways
    }


def missed(said: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Which promises these figures break; `said` by set and style."""
    lines = []
    for key, figures in said.items():
        name = key.rsplit(" ", 1)[0]
        for measure in MEASURES:
            mine = figures.get(measure)
            if mine is None:
                continue
            lost, saved = (mine["ours"][figure]["value"] for figure in ("lost", "saved"))
            if lost > MOST_LOST:
                lines.append(f"{key}, {measure}: lost {lost:.4f}, promised {MOST_LOST}")
            least = LEAST_SAVED.get((name, measure))
            if least is not None and saved < least:
                lines.append(f"{key}, {measure}: {saved:.3f}, promised {least}")
    return lines


def missed_by_published(name: str, said: Mapping[str, Any]) -> list[str]:
    """Which published way is not behind ours, in generated tokens."""
    rivals = VOTING if name == "voted" else PUBLISHED if name == "mixed" else ()
    return [
        f"{name}: not ahead of {rival}"
        for rival in rivals
        if said[f"points over {rival}"]["value"] <= 0
    ]


def plot(
    drawn: Mapping[tuple[str, str], Mapping[str, OperatingCurve]], file: Path, seed: int
) -> None:
    """Accuracy against thinking tokens, and below it against computed ones; a column a set and
    style. The bands are 95 % of 200 resamplings of the pairs."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, len(drawn), figsize=(6 * len(drawn), 10), squeeze=False)
    for column, (key, curves) in enumerate(drawn.items()):
        measured = {"thinking tokens a pair": TOKENS_ALONE, "computed tokens a pair": COMPUTED}
        for panel, (unit, prices) in zip(panels[:, column], measured.items(), strict=True):
            for label, curve in curves.items():
                _draw(panel, label, curve, prices, seed)
            panel.set_title(f"{key[0]} pairs, {key[1]}")
            panel.set(xlabel=unit, ylabel="accuracy")
            panel.grid(alpha=0.3)
    panels.flat[0].legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    figure.savefig(file, dpi=90)


def _draw(panel: Any, label: str, curve: OperatingCurve, prices: TokenPrices, seed: int) -> None:
    x = np.array([one.cost(prices).mean() for one in curve])
    order = np.argsort(x)
    right = np.stack([one.right for one in curve])[order]
    n = right.shape[1]
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=200) / n
    low, high = np.quantile(right @ counts.T, [0.025, 0.975], axis=1)
    single = len(curve) == 1
    [line] = panel.plot(
        x[order],
        right.mean(axis=1),
        marker="*" if single else ".",
        markersize=14 if single else 4,
        linewidth=2.5 if label == "ours" else 1,
        linestyle="none" if single else "-",
        label=label,
        zorder=3 if label.startswith("ours") else 2,
    )
    if not single:
        panel.fill_between(x[order], low, high, color=line.get_color(), alpha=0.12, linewidth=0)


# -- all of it ------------------------------------------------------------------------------------


def show(said: Mapping[str, Mapping[str, Any]]) -> None:
    """The table: what each way saves of a measure at our held-out accuracy, and loses as chosen."""
    for measure in MEASURES:
        print(
            f"\n{measure}: share saved at our accuracy (points lost as chosen on the fitted half)"
        )
        for key, figures in said.items():
            if measure not in figures:
                continue
            ways = figures[measure]
            mine = ways["ours"]
            goal = GOALS.get((key.rsplit(" ", 1)[0], measure))
            print(
                f"  {key}: ours {mine['saved']['value']:.3f} "
                f"[{mine['saved']['low']:.3f}, {mine['saved']['high']:.3f}]"
                f"{'' if goal is None else f' (goal {goal:g})'}, lost "
                f"{100 * mine['lost']['value']:.2f} points, {ways['orders']:.2f} orders read"
            )
            for name, way in ways.items():
                if name in ("ours", "orders"):
                    continue
                lost = "loses more" if way["lost"] is None else f"{100 * way['lost']:.2f}"
                print(f"    {name:<28} {way['saved']:6.3f} ({lost})")


Task = tuple[Callable[..., Any], tuple[Any, ...]]


def run(tasks: Mapping[Any, Task]) -> dict[Any, Any]:
    """All tasks by their keys, on two processes."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(2) as pool:
        going = {key: pool.submit(work, *given) for key, (work, given) in tasks.items()}
        found = {}
        for key, one in going.items():
            found[key] = one.result()
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return found


def main() -> int:
    made = parser(__doc__, n=4000, seed=15)
    made.add_argument("--traces", type=Path, default=TRACES)
    made.add_argument("--plot", type=Path)
    made.add_argument("--splits", type=int, default=2, help="random cuts of every set")
    made.add_argument("--proofs", type=int, default=16, help="random cuts that certify")
    args = made.parse_args()
    began = time.monotonic()
    sets = {
        f"{name} {style}": one
        for style in STYLES
        for name, one in read_sets(args.traces, style, args.n).items()
    }
    sets["mini rrm"] = read_mini(args.traces, args.n)
    sets["mini first rrm"] = read_mini(args.traces, args.n, "first")
    cut: dict[str, tuple[TraceArrays, TraceArrays]] = {}
    for key, one in sets.items():
        if one.name == "voted":
            continue
        cut[key] = one.arrays()
        for name, how in LIKINGS.items() if one.name != "mini first" else ():
            fit, held = (liking(part, *how, seed) for seed, part in enumerate(cut[key]))
            cut[f"{one.name}, {name} {one.style}"] = fit, held
    tasks: dict[Any, Task] = {}
    for key, (fit, held) in cut.items():
        for measure in MEASURES:
            tasks["cut", key, measure] = compare, (fit, held, measure, args.seed)
        if key.endswith("rrm"):
            every = concatenated(fit, held)
            for seed in range(args.splits):
                tasks["split", key, seed] = split, (every, len(fit), "saved (computed)", seed)
            for seed in range(args.proofs):
                tasks["proof", key, seed] = proofs, (every, len(fit), seed)
    for key, one in sets.items():
        if not one.name.startswith("mini"):
            tasks["published", key] = published, (one, args.seed)
        if one.name == "mixed":
            tasks["drift", one.style] = drift, (one, sets[f"close {one.style}"], args.seed)
    found = run(tasks)
    said: dict[str, Any] = {key: {m: found["cut", key, m] for m in MEASURES} for key in cut}
    lines = missed(said)
    show(said)
    for figures in said.values():
        figures.update(by_way(figures))
    print("\nover random cuts, computed: mean lost and saved; certified (loss over epsilon in)")
    for key in (key for key in cut if key.endswith("rrm")):
        cuts = np.array([found["split", key, seed] for seed in range(args.splits)])
        said[key]["random cuts (computed)"] = dict(
            zip(("lost", "saved"), cuts.mean(axis=0).tolist(), strict=True)
        )
        line = f"  {key}: lost {100 * cuts[:, 0].mean():.2f} points, saved {cuts[:, 1].mean():.3f}"
        for level in PROVED:
            rows = np.array([found["proof", key, seed][level] for seed in range(args.proofs)])
            broken, mean = float((rows[:, 0] > level).mean()), float(rows[:, 1].mean())
            said[key][f"certified {level:g}"] = {"saved": mean, "broken": broken}
            line += f"; at {level:g} {mean:.3f} ({broken:.1%})"
            if broken > DELTA + 2 * np.sqrt(DELTA * (1 - DELTA) / args.proofs):
                lines.append(f"{key}: a certificate at {level:g} is broken in {broken:.1%}")
        print(line)
    drawn = {}
    print("\npublished ways, generated tokens: points of saving that ours is ahead")
    for key, one in sets.items():
        if one.name.startswith("mini"):
            continue
        figures, drawn[one.name, one.style] = found["published", key]
        said.setdefault(key, {})["published"] = figures
        lines += missed_by_published(one.name, figures)
        for name, figure in figures.items():
            if "low" in figure:
                low, high = figure["low"], figure["high"]
                print(f"  {key}: {name:<44} {figure['value']:7.3f} [{low:.3f}, {high:.3f}]")
    for style in STYLES:
        watched = found["drift", style]
        said[f"drift {style}"] = watched
        print(f"audit of {style}, certified on mixed pairs: {watched}")
        if not watched or watched["found"] < 1:
            lines.append(f"{style}: drift to close pairs not found within {AUDITED} audited pairs")
        elif watched["false_alarms"] > watched["delta"]:
            lines.append(f"{style}: {watched['false_alarms']:.3f} false alarms")
    if args.plot:
        plot(drawn, args.plot, args.seed)
    print(
        f"\nmachine: {machine()}; models: nano, mini; seed {args.seed}, n {args.n} a set, ", end=""
    )
    print(f"{RESAMPLES} resamplings; took {time.monotonic() - began:.0f} s")
    return finish(said, lines, args.json)


if __name__ == "__main__":
    sys.exit(main())
