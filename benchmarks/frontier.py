"""Accuracy against thought, ours and what others do, on one set of traces:
`python -m benchmarks.frontier`.

For each style a stopper is fitted and certified on one set of labelled pairs and played on another
that no fit has seen; every baseline is played on the same held-out pairs, with its best setting
picked there, which favours it. Sets: pairs of mixed closeness; close ones (errors at most 20
apart); and fewer mixed ones with five pairs of chains each, for what takes votes. `--plot FILE`
draws the curves. Traces lie in `benchmarks/traces`, made by `closecall calibrate` on `python -m
judges.nano.pairs`; `--traces DIR` reads others.
"""

from __future__ import annotations

import gzip
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import finish, machine, parser
from judges.nano import WEIGHTS
from rrm.audit import Auditor
from rrm.baselines import PUBLISHED, VOTING, Curve, Operating, Route, oracle, others, ours, played
from rrm.calibration import calibrated
from rrm.cost import CostModel
from rrm.engine import ModelCard
from rrm.engines.words import Words
from rrm.replay import Table, play
from rrm.style import open_style
from rrm.trace import Trace
from serving.calibrate import TraceLine

TRACES = Path(__file__).parent / "traces"
STYLES = ("rrm", "rm-r1")
RESAMPLES = 400
AUDITED = 1000
"""pairs of an audited stream"""
DRIFTS, QUIET = 100, 1000
"""streams of harder pairs, and of the same kind"""
BOND = {"data": "held by the benchmark", "model": "nano", "prompt_hash": "of the style"}
MOST_LOST = 0.01
LEAST_SAVED = {"mixed": 0.68, "close": 0.45}
LEAST_OF_UNIFORM = 0.60
LEAST_POINTS = 0.08
LEAST_OF_ORACLE = 0.75
MOST_SECONDS = 60.0
"""to replay all policies on one set"""


@dataclass(frozen=True)
class Set:
    """A set of pairs in one style."""

    name: str
    style: str
    fitted: list[Trace]
    held: list[Trace]


def read(folder: Path, name: str, part: str, style: str, n: int) -> list[Trace]:
    """Raises FileNotFoundError if there are no such traces."""
    with gzip.open(folder / f"{name}.{part}.{style}.jsonl.gz", "rt", encoding="utf-8") as file:
        lines = [TraceLine.model_validate_json(line) for line in file]
    return [line.trace for line in lines if line.trace is not None][:n]


def read_sets(folder: Path, style: str, n: int) -> dict[str, Set]:
    """The sets by name. Raises FileNotFoundError."""
    sets = {
        name: Set(name, style, *(read(folder, name, part, style, n) for part in ("fit", "held")))
        for name in LEAST_SAVED
    }
    voted = read(folder, "mixed", "votes", style, n)
    return {**sets, "voted": Set("voted", style, sets["mixed"].fitted, voted)}


Measure = Callable[[Operating], NDArray[Any]]
"""what each pair costs"""


def measures(made: Set) -> dict[str, Measure]:
    """Thinking tokens; with what probes add, where the engine forks its cache; operations."""
    style = open_style(made.style)
    suffix = len(Words(WEIGHTS).encode(style.suffix("", ended=False)))
    cost = CostModel.of_directory(WEIGHTS)
    prompt = round(np.mean([trace.prompt_tokens for trace in made.held]))
    whole = max(trace.whole_tokens for trace in made.held)
    longest = whole * (1 + max(len(trace.votes) for trace in made.held))
    decode = np.array([cost.decode_flops(tokens, prompt) for tokens in range(longest + 1)])
    probe = cost.probe_flops(prompt + whole // 4, suffix)
    return {
        "tokens": lambda one: one.tokens,
        "tokens and probes": lambda one: one.tokens + suffix * one.probes,
        "FLOPs": lambda one: (
            2 * cost.prefill_flops(prompt) + decode[one.tokens.astype(int)] + probe * one.probes
        ),
    }


def tokens_for(tokens: NDArray[Any], accuracy: NDArray[Any], level: float) -> float:
    """Least cost to reach `level` by one setting, or by two settings mixed at random.

    Infinite if no setting reaches it.
    """
    reach = accuracy >= level - 1e-12
    if not reach.any():
        return float("inf")
    least = float(tokens[reach].min())
    for high in np.flatnonzero(reach):
        low = np.flatnonzero(~reach & (tokens < tokens[high]))
        if not len(low):
            continue
        share = (level - accuracy[low]) / (accuracy[high] - accuracy[low])
        least = min(least, float((tokens[low] + share * (tokens[high] - tokens[low])).min()))
    return least


def figures(
    made: Set, ladder: tuple[int, ...], seed: int
) -> tuple[dict[str, Any], dict[str, Curve]]:
    """What this set says, with 95 % intervals over resampled pairs; and the curves."""
    stopper = calibrated(made.fitted, ladder, made.name, BOND)
    began = time.monotonic()
    table = Table.of(made.held, ladder)
    curve = ours(table, stopper)
    chosen, whole = played(table, stopper.policy), played(table, None)
    best = oracle(Route.one_order(made.held, ladder))
    rivals = others(made.fitted, made.held, ladder, seed)
    replayed = time.monotonic() - began
    n = len(made.held)
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n
    weights = np.vstack([np.full(n, 1 / n), counts])
    right = weights @ chosen.right
    found = {"lost": weights @ whole.right - right}
    for measure, cost in measures(made).items():
        full, spent = weights @ cost(whole), weights @ cost(chosen)
        saved = 1 - spent / full
        named = "" if measure == "tokens" else f" ({measure})"
        found[f"saved{named}"] = saved
        if measure == "tokens":
            found["of_oracle"] = saved / (1 - weights @ cost(best) / full)
        for name, curves in rivals.items():
            needed = np.minimum(_needed(curves, cost, weights, right), full)
            found[f"fewer than {name}{named}"] = 1 - spent / needed
            found[f"points over {name}{named}"] = saved - (1 - needed / full)
    said: dict[str, Any] = {
        name: {
            "value": float(values[0]),
            "low": float(np.quantile(values[1:], 0.025)),
            "high": float(np.quantile(values[1:], 0.975)),
        }
        for name, values in found.items()
    }
    said["accuracy"] = {"value": float(right[0]), "whole": float(whole.right.mean())}
    said["tokens"] = {"value": float(chosen.tokens.mean()), "whole": float(whole.tokens.mean())}
    said["replay_seconds"] = {"value": replayed}
    said["certificate"] = stopper.certificate.model_dump() if stopper.certificate else {}
    drawn = {"ours": curve, "ours, certified": [chosen], "oracle": [best]}
    shown = [name for name in (*PUBLISHED, *VOTING) if name in rivals]
    return said, drawn | {name: rivals[name][0] for name in shown}


def _needed(
    curves: Sequence[Curve], cost: Measure, weights: NDArray[Any], level: NDArray[Any]
) -> NDArray[Any]:
    """What a rival's best setting costs at each resample's level of accuracy."""
    least = np.full(len(level), np.inf)
    for curve in curves:
        costs = weights @ np.stack([cost(one) for one in curve]).T
        right = weights @ np.stack([one.right for one in curve]).T
        for row, wanted in enumerate(level):
            least[row] = min(least[row], tokens_for(costs[row], right[row], wanted))
    return least


def drift(made: Set, harder: Set, ladder: tuple[int, ...], seed: int) -> dict[str, Any]:
    """An auditor of the stopper for `made`, shown pairs of `harder`, and of the same kind.

    Streams are drawn from the held-out pairs; the same kind from those that certified it.
    """
    stopper = calibrated(made.fitted, ladder, made.name, BOND)
    if stopper.expected is None or stopper.certificate is None:
        return {}
    expected, delta = stopper.expected, stopper.certificate.delta
    rng = np.random.default_rng(seed)

    def streams(traces: Sequence[Trace], runs: int, length: int) -> list[int | None]:
        """After how many audited pairs each stream was called drift."""
        table = Table.of(traces, ladder)
        found = play(table, stopper.policy)
        apart = found.right != table.right[:, -1]
        spent = found.tokens / np.maximum(1, table.tokens[:, -1])
        ends: list[int | None] = []
        for _ in range(runs):
            auditor = Auditor(expected, delta)
            for row in rng.integers(len(table), size=length):
                auditor.saw(bool(apart[row]), float(spent[row]))
                if auditor.revoked:
                    break
            ends.append(auditor.audited if auditor.revoked else None)
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


def missed(name: str, said: Mapping[str, Any]) -> list[str]:
    """Which promises this set breaks."""
    promises: list[tuple[str, float, Callable[[float, float], bool]]]
    promises = [("replay_seconds", MOST_SECONDS, lambda v, b: v <= b)]
    if name == "voted":
        promises += [(f"points over {rival}", 0.0, lambda v, b: v > b) for rival in VOTING]
    else:
        promises += [
            ("lost", MOST_LOST, lambda value, bound: value <= bound),
            ("saved", LEAST_SAVED[name], lambda value, bound: value >= bound),
        ]
    if name == "mixed":
        promises += [
            ("fewer than uniform budget", LEAST_OF_UNIFORM, lambda v, b: v >= b),
            ("points over two-level gate", LEAST_POINTS, lambda v, b: v >= b),
            ("of_oracle", LEAST_OF_ORACLE, lambda v, b: v >= b),
        ]
        rivals = [f"points over {rival}" for rival in PUBLISHED]
        promises += [(rival, 0.0, lambda v, b: v > b) for rival in rivals]
    return [
        f"{rival} {said[rival]['value']:.3f}, promised {bound:g}"
        for rival, bound, holds in promises
        if not holds(said[rival]["value"], bound)
    ]


def plot(
    drawn: Mapping[tuple[str, str], Mapping[str, Curve]],
    costs: Mapping[tuple[str, str], Measure],
    file: Path,
    seed: int,
) -> None:
    """Accuracy against thinking tokens, and below it against operations; a column a set and style.

    The bands are 95 % of 200 resamplings of the pairs.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, len(drawn), figsize=(6 * len(drawn), 10), squeeze=False)
    for column, (key, curves) in enumerate(drawn.items()):
        measured = {"thinking tokens a pair": lambda one: one.tokens, "FLOPs a pair": costs[key]}
        for panel, (unit, cost) in zip(panels[:, column], measured.items(), strict=True):
            for label, curve in curves.items():
                _draw(panel, label, curve, cost, seed)
            panel.set_title(f"{key[0]} pairs, {key[1]}")
            panel.set(xlabel=unit, ylabel="accuracy")
            panel.grid(alpha=0.3)
    panels.flat[0].legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    figure.savefig(file, dpi=90)


def _draw(panel: Any, label: str, curve: Curve, cost: Measure, seed: int) -> None:
    x = np.array([cost(one).mean() for one in curve])
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


def show(made: Set, said: Mapping[str, Any]) -> None:
    print(
        f"\n{made.name} pairs, {made.style}: {len(made.held)} held out, fitted on "
        f"{len(made.fitted)}; right {said['accuracy']['value']:.4f} of "
        f"{said['accuracy']['whole']:.4f}, {said['tokens']['value']:.1f} thinking tokens a pair of "
        f"{said['tokens']['whole']:.1f}; replayed in {said['replay_seconds']['value']:.1f} s"
    )
    for name, figure in said.items():
        if "low" in figure:
            print(
                f"  {name:<34} {figure['value']:7.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
            )


def main() -> int:
    made = parser(__doc__, n=4000, seed=15)
    made.add_argument("--traces", type=Path, default=TRACES)
    made.add_argument("--plot", type=Path)
    args = made.parse_args()
    began = time.monotonic()
    ladder = ModelCard.of(WEIGHTS).ladder
    result: dict[str, Any] = {"n": args.n}
    lines: list[str] = []
    drawn, costs = {}, {}
    for style in STYLES:
        sets = read_sets(args.traces, style, args.n)
        for name, pairs in sets.items():
            said, drawn[name, style] = figures(pairs, ladder, args.seed)
            costs[name, style] = measures(pairs)["FLOPs"]
            show(pairs, said)
            result[f"{name} {style}"] = said
            lines += [f"{name}, {style}: {line}" for line in missed(name, said)]
        watched = drift(sets["mixed"], sets["close"], ladder, args.seed)
        result[f"drift {style}"] = watched
        print(f"\naudit of {style}, certified on mixed pairs: {watched}")
        if not watched or watched["found"] < 1:
            lines.append(f"{style}: drift to close pairs not found within {AUDITED} audited pairs")
        elif watched["false_alarms"] > watched["delta"]:
            lines.append(f"{style}: {watched['false_alarms']:.3f} false alarms")
    if args.plot:
        plot(drawn, costs, args.plot, args.seed)
    print(f"\nmachine: {machine()}; model: nano; seed {args.seed}, n {args.n} a set, ", end="")
    print(f"{RESAMPLES} resamplings; took {time.monotonic() - began:.0f} s")
    return finish(result, lines, args.json)


if __name__ == "__main__":
    sys.exit(main())
