"""What a calibration found, as one self-contained HTML page: `closecall calibrate` writes it.

Needs matplotlib (`closecall[calibrate]`); the pictures are drawn into the page as SVG.
"""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrm.calibration import FEWEST
from rrm.calibration.arrays import TraceArrays
from rrm.calibration.baselines import PUBLISHED, Route, oracle, others, ours, played
from rrm.calibration.calibration import Calibration, PositionBias
from rrm.calibration.gain import ThinkingGain
from rrm.calibration.replay import Walked, replay
from rrm.calibration.sensitivity import (
    Confidence,
    Sensitivity,
    blind,
    confidence_by_depth,
    instance_sensitivity,
    verdicts,
)
from rrm.calibration.trace import Trace
from rrm.calibration.tune import Arm, Sampled, values

BINS = 8
"""of the reliability curve, equally many pairs in each"""
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .2rem .8rem; text-align: right }
th { border-bottom: 1px solid #999 } td:first-child, th:first-child { text-align: left }
p.finding { background: #eef4fb; padding: .8rem 1rem; border-left: 4px solid #2a6fb0 }
svg { max-width: 100%; height: auto } tr.chosen { background: #fdf1dc }
"""


def page(
    calibration: Calibration, traces: Sequence[Trace], ladder: Sequence[int], title: str
) -> str:
    """The whole page. Figures are of the half that certified it, if there is one."""
    fitted, held = (traces[::2], traces[1::2]) if len(traces) >= FEWEST else (traces, traces)
    arrays = TraceArrays.of(held, ladder)
    report = calibration.productivity
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{html.escape(calibration.source)}; {len(held)} of them for what is shown here.</p>",
        *(f'<p class="finding">{html.escape(said)}</p>' for said in _findings(calibration)),
        "<h2>Accuracy against thought</h2>",
        _frontier(calibration, fitted, held, ladder, arrays),
        "<h2>Is its probability to be believed?</h2>",
        _reliability(calibration, arrays),
        "<h2>What the order of the responses alone does</h2>",
        _bias(calibration.position_bias),
        *_confidence(traces, ladder),
        *_wordings(calibration, traces),
        *(["<h2>What thought brings</h2>", _gains(report)] if report else []),
        *(["<h2>Every price</h2>", _prices(calibration, arrays)] if calibration.policies else []),
    ]
    return _document(title, parts)


def _document(title: str, parts: Iterable[str]) -> str:
    head = f"<meta charset=utf-8><title>{html.escape(title)}</title><style>{STYLE}</style>"
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def sensitivity_page(
    found: Sensitivity, confidence: Sequence[Confidence], traces: Sequence[Trace], title: str
) -> str:
    """What changes with the wording, and whether confidence tells. confidence: none unlabelled."""
    said = blind(confidence)
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        *([f'<p class="finding">{html.escape(said)}</p>'] if said else []),
        _sensitivity(found),
        "<h2>Sensitivity by how sure the judge is without thought</h2>",
        _by_margin(traces),
        *(["<h2>Does its confidence know?</h2>", _areas(confidence)] if confidence else []),
    ]
    return _document(title, parts)


def _confidence(traces: Sequence[Trace], ladder: Sequence[int]) -> list[str]:
    """Of labelled traces."""
    if any(one.own for one in traces):
        return []
    found = confidence_by_depth(traces, ladder)
    said = blind(found)
    warning = [f'<p class="finding">{html.escape(said)}</p>'] if said else []
    return ["<h2>Does its confidence know?</h2>", *warning, _areas(found)]


def _wordings(calibration: Calibration, traces: Sequence[Trace]) -> list[str]:
    if calibration.wordings < 2:
        return []
    return ["<h2>How much hangs on the wording?</h2>", _sensitivity(Sensitivity.of(traces))]


def _areas(found: Sequence[Confidence]) -> str:
    rows = [
        (
            "whole" if one.thinking_tokens is None else str(one.thinking_tokens),
            f"{one.right:.3f}",
            *(("", "") if one.auroc is None else _told(one.auroc)),
        )
        for one in found
    ]
    return _table(("tokens of each chain", "right", "AUROC of |margin|", "95 % interval"), rows)


def _sensitivity(found: Sensitivity) -> str:
    rows = [
        (name, *(("", "") if value is None else _told(value)))
        for name, value in (
            ("sensitivity of verdicts without thought", found.unthought),
            ("its rank correlation with |margin| there", found.correlation_unthought),
            ("sensitivity of whole chains", found.whole),
            ("its rank correlation with |margin| without thought", found.correlation),
        )
    ]
    return _table((f"{found.wordings} wordings, both orders", "value", "95 % interval"), rows)


def _told(value: tuple[float, float, float]) -> tuple[str, str]:
    return f"{value[0]:.3f}", f"{value[1]:.3f} to {value[2]:.3f}"


def _by_margin(traces: Sequence[Trace]) -> str:
    """Mean sensitivity in bins of |margin| of the first wording's prompt."""
    size = np.array([abs(sum(chain.margins[0] for chain in one.votes[0]) / 2) for one in traces])
    panel, finish = _panel("|margin| without thought", "sensitivity to the wording")
    for label, place in (("without thought", 0), ("whole chains", -1)):
        found = instance_sensitivity(verdicts(traces, place))
        bins = [b for b in np.array_split(np.argsort(size), BINS) if len(b)]
        x, y = ([float(of[b].mean()) for b in bins] for of in (size, found))
        panel.plot(x, y, marker="o", label=label)
    panel.legend(fontsize=8)
    return finish()


def tune_page(held: Sampled, prices: Sequence[float], chosen: Sequence[Arm], style: str) -> str:
    """Every arm by its cost and accuracy, the chosen ones marked; on pairs not chosen by."""
    arms = held.arms()
    accuracy, tokens = values(held, arms)
    panel, finish = _panel("thinking tokens a pair", "accuracy")
    for wording in sorted({arm.wording for arm in arms}):
        some = [n for n, arm in enumerate(arms) if arm.wording == wording]
        panel.plot(tokens[some], accuracy[some], ".", label=f"wording {wording}", alpha=0.7)
    best, spent = values(held, list(chosen))
    order = np.argsort(spent)
    panel.plot(spent[order], best[order], "k*-", linewidth=1, label="chosen, by price")
    panel.set_xscale("symlog", linthresh=10)
    panel.legend(fontsize=7, loc="lower right", ncols=2)
    rows = [
        (
            f"{price:.2g}",
            str(arm.wording),
            "whole" if arm.depth == len(held.depths) - 1 else str(held.depths[arm.depth]),
            f"{arm.votes}",
            arm.aggregation if arm.votes > 1 else "",
            f"{right:.4f}",
            f"{cost:.1f}",
        )
        for price, arm, right, cost in zip(prices, chosen, best, spent, strict=True)
    ]
    heads = ("price of a token", "wording", "thought", "votes", "put together by", "right")
    title = f"style {style}: wording and way to judge, chosen together"
    parts = [f"<h1>{html.escape(title)}</h1>", finish(), _table((*heads, "tokens"), rows)]
    return _document(title, parts)


def _findings(calibration: Calibration) -> list[str]:
    said = [calibration.productivity.finding] if calibration.productivity else []
    proof = calibration.certificate
    if proof is None:
        return [*said, "No certificate: whole chains are thought." if calibration.thinks else ""]
    return [
        *said,
        f"Certified: stopping early loses at most {proof.epsilon:g} of {proof.promises} against "
        f"whole chains, with probability {1 - proof.delta:g}. Of {proof.n} pairs it lost "
        f"{proof.lost} and gained {proof.gained}. Price {proof.price:.2g} of accuracy a token; "
        f"data {proof.data[:12]}, weights {proof.model}, prompt {proof.prompt_hash}.",
    ]


def _frontier(
    calibration: Calibration,
    fitted: Sequence[Trace],
    held: Sequence[Trace],
    ladder: Sequence[int],
    arrays: TraceArrays,
) -> str:
    rivals = others(fitted, held, ladder, seed=0)
    curves = {
        "ours": ours(arrays, calibration),
        "ours, as served": [played(arrays, calibration.policy)],
        "oracle": [oracle(Route.one_order(held, ladder))],
        **{name: rivals[name][0] for name in PUBLISHED},
    }
    panel, finish = _panel("thinking tokens a pair", "accuracy")
    for label, curve in curves.items():
        points = sorted((float(one.tokens.mean()), float(one.right.mean())) for one in curve)
        alone = len(points) == 1
        style = {"marker": "*", "markersize": 13, "linestyle": "none"} if alone else {"marker": "."}
        x, y = zip(*points, strict=True)
        panel.plot(x, y, label=label, linewidth=2.5 if label == "ours" else 1, **style)
    panel.legend(fontsize=8, loc="lower right")
    return finish()


def _reliability(calibration: Calibration, arrays: TraceArrays) -> str:
    """Where it stops: what it says and how often it is right."""
    found = replay(arrays, calibration.policy)
    said, right = chances(calibration, found)[~found.tied], found.right[~found.tied]
    bins = [b for b in np.array_split(np.argsort(said), min(BINS, len(said))) if len(b)]
    x = [float(said[some].mean()) for some in bins]
    y = [float(right[some].mean()) for some in bins]
    error = sum(len(b) * abs(p - q) for b, p, q in zip(bins, x, y, strict=True)) / max(1, len(said))
    panel, finish = _panel("probability said", "share right")
    panel.plot([0.5, 1], [0.5, 1], linestyle=":", color="#888")
    panel.plot(x, y, marker="o")
    panel.set_title(f"expected calibration error {error:.3f}", fontsize=10)
    return finish()


def chances(calibration: Calibration, found: Walked) -> NDArray[np.float64]:
    """[traces]: the probability that is said where each stopped."""
    arrays = found.arrays
    said: NDArray[np.float64]
    said = 1 / (1 + np.exp(-np.abs(np.clip(found.value, -40, 40))))  # a bought stop's log-odds
    for place, stage, agree in (
        ("both", calibration.both, arrays.agree),
        ("votes", calibration.votes, arrays.vote_agree),
    ):
        for row in np.flatnonzero(found.stopped.get(place, np.zeros(len(arrays), dtype=bool))):
            if stage is not None:
                said[row] = stage.probability(found.value[row], bool(agree[row]))
    if not calibration.thinks:
        prompt_agree = arrays.lead[:, 0] * arrays.other_prompt > 0
        for index, value in enumerate(found.value):
            said[index] = calibration.stages[0].probability(value, bool(prompt_agree[index]))
    return said


def _bias(biases: Sequence[PositionBias]) -> str:
    rows = [
        (
            "whole" if one.thinking_tokens is None else str(one.thinking_tokens),
            f"{one.mean:+.2f}",
            f"{one.spread:.2f}",
            f"{one.otherwise:.1%}",
        )
        for one in biases
    ]
    heads = ("tokens of each chain", "liking for the first place, log-odds", "spread")
    return _table((*heads, "pairs that one order alone decides otherwise"), rows)


def _gains(report: ThinkingGain) -> str:
    gains = [("cut at a checkpoint", gain) for gain in report.by_checkpoint]
    gains += [("whole", report.whole)]
    gains += [(f"whole, {name}", gain) for name, gain in report.groups.items()]
    rows = [
        (
            name,
            f"{gain.thinking_tokens:.0f}",
            f"{gain.value:+.3f}",
            f"{gain.low:+.3f} to {gain.high:+.3f}",
        )
        for name, gain in gains
    ]
    return _table(("chains", "thinking tokens", "gain in accuracy", "95 % interval"), rows)


def _prices(calibration: Calibration, arrays: TraceArrays) -> str:
    rows = []
    for policy in calibration.policies:
        found = replay(arrays, policy)
        spent = found.spent
        read = spent.first + spent.other + spent.votes
        rows.append(
            (
                f"{policy.price:.2g}",
                f"{found.right.mean():.4f}",
                f"{spent.thought.mean():.1f}",
                f"{read.mean():.1f}",
                f"{spent.probes.mean():.2f}",
                f"{found.orders.mean():.2f}",
            )
        )
    heads = ("accuracy a token must bring", "right", "thinking tokens", "prompt tokens read")
    return _table((*heads, "probes", "orders"), rows, calibration.chosen)


def _table(heads: Iterable[str], rows: Iterable[Sequence[str]], chosen: int | None = None) -> str:
    def line(cells: Iterable[str], tag: str, kind: str = "") -> str:
        made = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
        return f"<tr{kind}>{made}</tr>"

    body = [
        line(cells, "td", " class=chosen" if index == chosen else "")
        for index, cells in enumerate(rows)
    ]
    return f"<table>{line(heads, 'th')}{''.join(body)}</table>"


def _panel(x: str, y: str) -> tuple[Any, Callable[[], str]]:
    """An empty panel, and what turns it into SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="tight")
    panel = figure.subplots()
    panel.set(xlabel=x, ylabel=y)
    panel.grid(alpha=0.3)

    def finish() -> str:
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
        text = drawn.getvalue()
        return text[text.index("<svg") :]

    return panel, finish
