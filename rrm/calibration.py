"""Traces -> Stopper: how sure a margin is at each checkpoint, and how sure is sure enough.

A trace is one labelled pair judged with the full ladder. Fitting needs scipy
(`closecall[calibrate]`) and no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rrm.stopping import Curve, Stage, Stopper
from rrm.types import At, Checkpoint, Frozen, Verdict

CONFIDENCES = (0.8, 0.82, 0.84, 0.86, 0.88, 0.9, 0.92, 0.94, 0.96, 0.97, 0.98, 0.99, 0.995)
LOOK_PRICE = 10.0
"""what one look at a pair costs, in generated tokens: a probe, and a chain taken up again. nano on
SGLang on a CPU: 2 rows of 1.8 ms and a third of a prefill pass's 14 ms, against .8 ms a token"""
RIDGE = 1e-2
"""weight of the prior that keeps the curve of a stage without errors finite"""


class Trace(Frozen):
    """One labelled pair with its verdict at every checkpoint, the whole chains last."""

    label: Literal["a", "b"]
    path: tuple[Checkpoint, ...]

    @classmethod
    def of(cls, verdict: Verdict, label: Literal["a", "b"]) -> Trace:
        """From a verdict that read every checkpoint (`Asked.trace`)."""
        return cls(label=label, path=verdict.path)

    def right(self, index: int) -> bool:
        """Whether the verdict at checkpoint `index` is the label; a margin of 0 is not."""
        margin = self.path[index].margin
        return margin != 0 and (margin > 0) == (self.label == "a")


@dataclass(frozen=True)
class Replayed:
    """What one policy would have done on one trace."""

    right: bool
    thinking_tokens: int
    """both orders together"""
    looks: int
    """checkpoints read before the last"""

    @property
    def cost(self) -> float:
        """In generated tokens."""
        return self.thinking_tokens + LOOK_PRICE * self.looks


def replay(
    trace: Trace,
    stop: Callable[[At, Checkpoint], bool],
    look: Callable[[At], bool] = lambda at: True,
) -> Replayed:
    """Stop at the first checkpoint looked at where `stop` says so, or at the end."""
    last = len(trace.path) - 1
    seen = [index for index in range(last) if look(trace.path[index].at)]
    index = next((i for i in seen if stop(trace.path[i].at, trace.path[i])), last)
    looks = sum(i < index for i in seen)
    return Replayed(trace.right(index), trace.path[index].thinking_tokens, looks)


def replay_stopper(trace: Trace, stopper: Stopper) -> Replayed:
    """What adaptive thinking with `stopper` would have done."""
    return replay(
        trace,
        lambda at, point: stopper.stop(at, point.margin, point.agree),
        stopper.looks,
    )


def fit_curve(margins: Sequence[float], rights: Sequence[bool]) -> Curve:
    """Platt scaling (Platt 1999): maximum likelihood with add-one smoothed targets.

    A small ridge on the slope keeps it finite where no verdict was wrong; it is never negative.
    With no data at all, the curve knows nothing: 0.5 everywhere.
    """
    import numpy as np
    from scipy.optimize import minimize

    if not margins:
        return Curve(intercept=0.0, slope=0.0)
    x = np.abs(np.asarray(margins, dtype=float))
    hits = np.asarray(rights, dtype=bool)
    wins = int(hits.sum())
    target = np.where(hits, (wins + 1) / (wins + 2), 1 / (len(hits) - wins + 2))

    def loss(weights: np.ndarray) -> float:
        logit = weights[0] + weights[1] * x
        likelihood = np.logaddexp(0, logit) - target * logit
        return float(likelihood.sum() + RIDGE * weights[1] ** 2)

    found = minimize(loss, np.array([0.0, 1.0]), bounds=[(None, None), (0.0, None)])
    return Curve(intercept=float(found.x[0]), slope=float(found.x[1]))


def fit_stage(traces: Sequence[Trace], at: At, tokens: int, confidence: float) -> Stage:
    """The curves of checkpoint `at`, over the traces that come by it."""
    seen = [
        (point, trace.right(place))
        for trace in traces
        for place, point in enumerate(trace.path)
        if point.at == at
    ]
    curves = [
        fit_curve(
            [point.margin for point, _ in seen if point.agree == agree],
            [right for point, right in seen if point.agree == agree],
        )
        for agree in (True, False)
    ]
    return Stage(
        thinking_tokens=tokens,
        agree=curves[0],
        differ=curves[1],
        stop_agree=curves[0].threshold(confidence),
        stop_differ=curves[1].threshold(confidence),
    )


def fit_stopper(
    traces: Sequence[Trace], ladder: Sequence[int], confidence: float, source: str
) -> Stopper:
    """Curves and thresholds for every checkpoint of `ladder`, zero thought first."""
    points = (0, *ladder)
    return Stopper(
        source=source,
        confidence=confidence,
        stages=tuple(
            fit_stage(traces, index, tokens, confidence) for index, tokens in enumerate(points)
        ),
        lead=fit_stage(traces, "lead", points[-1], confidence),
        final=fit_stage(traces, "both", points[-1], confidence),
    )


def prune(stopper: Stopper, traces: Sequence[Trace]) -> Stopper:
    """Pass over, one by one, the checkpoints that cost these traces more than they save.

    The prompt alone is always looked at.
    """
    best = stopper
    least = sum(replay_stopper(trace, best).cost for trace in traces)
    while True:
        looks = [index for index in range(len(best.stages)) if best.looks(index)]
        tried = [best.keeping([i for i in looks if i != without]) for without in looks[1:]]
        costs = [sum(replay_stopper(trace, one).cost for trace in traces) for one in tried]
        if not costs or min(costs) > least:
            return best
        least = min(costs)
        best = tried[costs.index(least)]


def choose_stopper(
    traces: Sequence[Trace], ladder: Sequence[int], most_lost: float, source: str
) -> Stopper:
    """Take the least confidence that loses at most `most_lost`, each half judged by a fit of the
    other, with the checkpoints that pay there; then fit and prune on both.

    most_lost: accuracy against the whole chains, as a share. Raises ValueError for fewer than 200
    traces.
    """
    if len(traces) < 200:
        raise ValueError(f"{len(traces)} labelled pairs are too few to fit a stopper; give 200")
    halves = (traces[::2], traces[1::2])
    fitted = [fit_stopper(half, ladder, CONFIDENCES[-1], source) for half in halves]
    whole = sum(trace.right(len(trace.path) - 1) for trace in traces)
    final = fit_stopper(traces, ladder, CONFIDENCES[-1], source)
    for confidence in CONFIDENCES:
        pruned = [
            prune(stopper.at(confidence), half)
            for stopper, half in zip(fitted, halves, strict=True)
        ]
        kept = sum(
            replay_stopper(trace, stopper).right
            for stopper, other in zip(pruned, reversed(halves), strict=True)
            for trace in other
        )
        if (whole - kept) / len(traces) <= most_lost:
            return prune(final.at(confidence), traces)
    return prune(final, traces)
