"""What others do, replayed on the same traces: each way is a curve of operating points.

All of them read both orders, in step. That one order leads is ours; what it would bring the others
is shown too, and a uniform budget may have it: one order alone, for as long as is best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrm.allocation.hulls import allocate
from rrm.calibration.arrays import TraceArrays
from rrm.calibration.calibration import Calibration
from rrm.calibration.replay import Walked, replay
from rrm.calibration.trace import Point, Trace
from rrm.decision.fixed import Rules
from rrm.decision.priced import TokenPrices

CONFIDENCES = (0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999)
"""of a judge's own word, not calibrated"""
WINDOWS = (2, 3, 4, 5, 6)
"""checkpoints at which the verdict must have been the same"""
DIFFICULTIES = 5
"""quantiles of the margin without thought, for the compute-optimal table"""
GATES = 40
"""thresholds of a gate, quantiles of the margin without thought"""


@dataclass(frozen=True)
class Operating:
    """One setting of one way, over all pairs."""

    right: NDArray[Any]
    """1 where it is right, one half for a tie"""
    tokens: NDArray[Any]
    """thinking tokens of both orders"""
    probes: NDArray[Any]
    """verdicts read, each order's counted"""
    prompts: NDArray[Any]
    """tokens of the prompts that were read"""

    @classmethod
    def of(cls, found: Walked) -> Operating:
        spent = found.spent
        prompts = spent.first + spent.other + spent.votes
        return cls(found.right + 0.5 * found.tied, spent.thought, spent.probes, prompts)

    def cost(self, prices: TokenPrices) -> NDArray[Any]:
        """[pairs], in generated tokens. No prompt is taken from a cache."""
        read = prices.read * (self.prompts + prices.suffix * self.probes)
        found: NDArray[Any] = read + prices.look * self.probes + prices.generated * self.tokens
        return found


OperatingCurve = list[Operating]


@dataclass(frozen=True)
class Route:
    """Readings along one way through the traces, [pairs, places]; the last is where it ends."""

    margin: NDArray[Any]
    """positive prefers the better response"""
    tokens: NDArray[Any]
    agree: NDArray[np.bool_]
    """[pairs]: whether both orders prefer the same response without thought"""
    each: int
    """orders that are read anew at a place"""
    prompts: NDArray[Any]
    """[pairs]: tokens of both orders' prompts, which are read first"""

    @classmethod
    def in_step(cls, traces: Sequence[Trace], ladder: Sequence[int]) -> Route:
        """Both orders think for as long; a chain that has ended waits for the other."""
        goals = (0, *ladder)
        return cls._of(traces, [[trace.in_step(goal) for goal in goals] for trace in traces], 2)

    @classmethod
    def one_order(cls, traces: Sequence[Trace], ladder: Sequence[int]) -> Route:
        """One order leads; a place behind its end is its end. Both whole chains come last."""
        points = []
        for trace in traces:
            *lead, both = (point for point in trace.route(ladder) if point.at != "votes")
            points.append([*lead, *[lead[-1]] * (len(ladder) + 2 - len(lead)), both])
        return cls._of(traces, points, 1)

    @classmethod
    def with_votes(cls, traces: Sequence[Trace], ladder: Sequence[int]) -> Route:
        """Both orders in step, and behind whole chains two, three, ... votes of them."""
        route, votes = cls.in_step(traces, ladder), uniform_votes(traces)[1:]
        signs = np.array([1.0 if trace.label == "a" else -1.0 for trace in traces])
        ends = [trace.votes_at(max(ladder))[0] for trace in traces]
        means = np.array([np.cumsum(end) / np.arange(1, len(end) + 1) for end in ends])
        margin = np.hstack([route.margin, means[:, 1:] * signs[:, None]])
        tokens = np.hstack([route.tokens, np.stack([vote.tokens for vote in votes]).T])
        return cls(margin, tokens, route.agree, route.each, route.prompts)

    @classmethod
    def _of(cls, traces: Sequence[Trace], points: Sequence[Sequence[Point]], each: int) -> Route:
        signs = np.array([1.0 if trace.label == "a" else -1.0 for trace in traces])
        margin = np.array([[point.margin for point in row] for row in points], dtype=np.float64)
        tokens = np.array([[point.tokens for point in row] for row in points], dtype=np.float64)
        agree = np.array([row[0].agree for row in points], dtype=bool)
        prompts = np.array([sum(trace.prompt_tokens) for trace in traces], dtype=np.float64)
        return cls(margin * signs[:, None], tokens, agree, each, prompts)

    def part(self, rows: NDArray[np.int_]) -> Route:
        return Route(
            self.margin[rows], self.tokens[rows], self.agree[rows], self.each, self.prompts[rows]
        )

    @property
    def last(self) -> int:
        return int(self.margin.shape[1]) - 1

    def stop(self, where: NDArray[np.int_], probes: NDArray[Any]) -> Operating:
        """Where each pair stops, by its place."""
        rows = np.arange(len(self.margin))
        margin = self.margin[rows, where]
        right = np.where(margin == 0, 0.5, margin > 0)
        return Operating(right, self.tokens[rows, where], probes, self.prompts)

    def once(self, where: NDArray[np.int_]) -> Operating:
        """The same, where each pair is read without thought, and once more if it gets some."""
        return self.stop(where, 2.0 + self.each * (where > 0))

    def first(self, stops: NDArray[np.bool_]) -> Operating:
        """At the first place that is marked, or at the end; every place before is read."""
        stops = stops.copy()
        stops[:, -1] = True
        where = stops.argmax(axis=1)
        grown = np.diff(self.tokens, axis=1, prepend=self.tokens[:, :1]) > 0
        read = np.cumsum(grown, axis=1)[np.arange(len(where)), where]
        return self.stop(where, 2.0 + self.each * read)


def uniform(route: Route) -> OperatingCurve:
    """Every pair thinks for as long: one point for each checkpoint."""
    everybody = np.ones(len(route.margin), dtype=int)
    return [
        route.stop(everybody * place, 2.0 * everybody) for place in range(route.margin.shape[1])
    ]


def random_gate(route: Route, seed: int) -> OperatingCurve:
    """A coin decides whether a pair gets no thought or all of it."""
    selects = np.random.default_rng(seed).random(len(route.margin))
    return [route.once(np.where(selects < share, route.last, 0)) for share in np.linspace(0, 1, 21)]


def uniform_votes(traces: Sequence[Trace]) -> OperatingCurve:
    """Every pair gets as many pairs of whole chains, and their mean margin decides."""
    signs = np.array([1.0 if trace.label == "a" else -1.0 for trace in traces])
    margins = np.array(
        [[one.margins[-1] + two.margins[-1] for one, two in trace.votes] for trace in traces]
    )
    tokens = np.array([[one.length + two.length for one, two in trace.votes] for trace in traces])
    sums, spent = np.cumsum(margins, axis=1) * signs[:, None], np.cumsum(tokens, axis=1)
    prompts = np.array([sum(trace.prompt_tokens) for trace in traces], dtype=np.float64)
    return [
        Operating(
            np.where(sums[:, vote] == 0, 0.5, sums[:, vote] > 0),
            spent[:, vote].astype(np.float64),
            np.full(len(traces), 2.0 * (vote + 1)),
            prompts * (vote + 1),
        )
        for vote in range(margins.shape[1])
    ]


def consensus_gate(traces: Sequence[Trace], ladder: Sequence[int]) -> OperatingCurve:
    """Short chains first; where they disagree, the first of them is thought to its end.

    E-GRM, with 5 chains. A point for each length and number.
    """
    signs = np.array([1.0 if trace.label == "a" else -1.0 for trace in traces])
    step = Route.in_step(traces, ladder)
    curve = []
    for goal in ladder[:-1]:
        read = [trace.votes_at(goal) for trace in traces]
        margins = np.array([one for one, _ in read]) * signs[:, None]
        tokens = np.array([spent for _, spent in read])
        for many in range(2, margins.shape[1] + 1):
            some = margins[:, :many]
            same = (some > 0).all(axis=1) | (some < 0).all(axis=1)
            margin = np.where(same, some.mean(axis=1), step.margin[:, -1])
            short = tokens[:, :many].sum(axis=1)
            whole = short - tokens[:, 0] + step.tokens[:, -1]
            curve.append(
                Operating(
                    np.where(margin == 0, 0.5, margin > 0),
                    np.where(same, short, whole).astype(np.float64),
                    2.0 * many + 2.0 * ~same,
                    step.prompts * many,
                )
            )
    return curve


def two_level_gate(route: Route, whole: int = -1) -> OperatingCurve:
    """No thought where the margin without it is wide, all of it elsewhere: one threshold (CAMEL).

    whole: the place where all thought ends.
    """
    sure = np.abs(route.margin[:, 0])
    last = route.margin.shape[1] + whole
    thresholds = np.quantile(sure, np.linspace(0, 1, GATES))
    return [route.once(np.where(sure >= least, 0, last)) for least in (*thresholds, np.inf)]


def confident_exit(route: Route) -> OperatingCurve:
    """Stop at the first checkpoint where the judge's own probability reaches a level (DEER)."""
    own = 1 / (1 + np.exp(-np.abs(route.margin)))
    return [route.first(own >= level) for level in CONFIDENCES]


def stable_exit(route: Route) -> OperatingCurve:
    """Stop at the first checkpoint with the same verdict as the w - 1 before it (Dynasor)."""
    sign = np.sign(route.margin)
    curve = []
    for window in WINDOWS:
        stops = np.zeros(sign.shape, dtype=bool)
        for place in range(window - 1, sign.shape[1]):
            recent = sign[:, place - window + 1 : place + 1]
            stops[:, place] = (recent == recent[:, :1]).all(axis=1)
        curve.append(route.first(stops))
    return curve


def compute_optimal(fitted: Route, held: Route) -> OperatingCurve:
    """The best depth for each bin of difficulty, at each of a range of budgets.

    Snell et al., "Scaling LLM Test-Time Compute Optimally", 2408.03314, section 3. Difficulty as
    the judge predicts it: quantiles of the margin without thought, and whether the orders agree
    there. Depths are chosen on `fitted` and played on `held`.
    """
    edges = np.quantile(np.abs(fitted.margin[:, 0]), np.linspace(0, 1, DIFFICULTIES + 1)[1:-1])

    def bins(route: Route) -> NDArray[Any]:
        sure = np.searchsorted(edges, np.abs(route.margin[:, 0]))
        found: NDArray[Any] = np.where(route.agree, sure, sure + DIFFICULTIES)
        return found

    which = bins(fitted)
    shape = 2 * DIFFICULTIES, fitted.margin.shape[1]
    values, costs = np.zeros(shape), np.zeros(shape)
    np.add.at(values, which, fitted.margin > 0)
    np.add.at(costs, which, fitted.tokens)
    whole = costs[:, -1].sum()
    budgets = [allocate(values, costs, share * whole).depth for share in np.linspace(0, 1, GATES)]
    return [held.once(depth[bins(held)]) for depth in budgets]


def cross_fitted(route: Route) -> OperatingCurve:
    """The compute-optimal table of each half of the pairs, played on the other half."""
    halves = [np.arange(start, len(route.margin), 2) for start in (0, 1)]
    parts = [
        compute_optimal(route.part(halves[1 - half]), route.part(halves[half])) for half in (0, 1)
    ]

    def whole(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
        made = np.zeros(len(route.margin))
        made[halves[0]], made[halves[1]] = first, second
        return made

    return [
        Operating(
            whole(one.right, two.right),
            whole(one.tokens, two.tokens),
            whole(one.probes, two.probes),
            whole(one.prompts, two.prompts),
        )
        for one, two in zip(*parts, strict=True)
    ]


def oracle(route: Route) -> Operating:
    """The cheapest checkpoint that is right; none at all where no checkpoint is."""
    right = route.margin > 0
    where = np.where(right.any(axis=1), right.argmax(axis=1), 0)
    return route.stop(where, np.full(len(where), 2.0))


def played(arrays: TraceArrays, policy: Rules | None) -> Operating:
    """One policy of ours."""
    return Operating.of(replay(arrays, policy))


def ours(arrays: TraceArrays, calibration: Calibration) -> OperatingCurve:
    """Every price of the calibration, and whole chains."""
    return [played(arrays, policy) for policy in (None, *calibration.policies)]


PUBLISHED = (
    "uniform budget",
    "random gate",
    "two-level gate",
    "compute-optimal table",
    "confident exit",
    "stable exit",
)
"""the ways of others; what `others` has besides is theirs with our leading order"""
VOTING = ("uniform votes", "consensus gate", "compute-optimal table with votes")
"""those of others that need more than one pair of chains in a trace"""


def others(
    fitted: Sequence[Trace], traces: Sequence[Trace], ladder: Sequence[int], seed: int
) -> dict[str, list[OperatingCurve]]:
    """Every baseline on `traces` with its curves; the best point of any of them counts.

    fitted: other traces, for what has to be fitted.
    """
    step, lead = Route.in_step(traces, ladder), Route.one_order(traces, ladder)
    voting: dict[str, list[OperatingCurve]] = {}
    if all(trace.votes[1:] for trace in traces):
        voting = {
            "uniform votes": [uniform_votes(traces)],
            "consensus gate": [consensus_gate(traces, ladder)],
            "compute-optimal table with votes": [cross_fitted(Route.with_votes(traces, ladder))],
        }
    return {
        **voting,
        "uniform budget": [uniform(step), uniform(lead)],
        "random gate": [random_gate(step, seed)],
        "two-level gate": [two_level_gate(step)],
        "compute-optimal table": [compute_optimal(Route.in_step(fitted, ladder), step)],
        "confident exit": [confident_exit(step)],
        "stable exit": [stable_exit(step)],
        "two-level gate, one order leading": [two_level_gate(lead, whole=-2)],
        "compute-optimal table, one order leading": [
            compute_optimal(Route.one_order(fitted, ladder), lead)
        ],
        "confident exit, one order leading": [confident_exit(lead)],
        "stable exit, one order leading": [stable_exit(lead)],
    }
