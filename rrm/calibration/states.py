"""One policy at one price: a rule for every state, found backwards on traces.

From the last state to the first, each state gets

1. a logistic curve over all margins seen, less what order alone adds to them on average;
2. the later rung that those in doubt should think to without a readout: the end, unless an earlier
   one is clearly better;
3. one or two cuts of |log-odds| between its steps, found exactly on the losses of the pairs that
   come by under the policy so far; a second cut only where it clearly gains. A stop's loss is half
   counted, half the curve's word.

A few rounds settle who comes by where.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rrm.calibration.arrays import TraceArrays
from rrm.calibration.replay import Steps, chance, walk
from rrm.decision.priced import Chance, PricedPolicy, StateKey, StateRule, Step, TokenPrices
from rrm.decision.thresholds import Rule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]
    Numbers = NDArray[np.float64]

CELLS = 50
"""places where a cut may lie: quantiles of |log-odds| among those that come by"""
FEW = 30
"""where fewer pairs come by, a state is learnt from all that have its depth"""
RARE = 0.0375
"""share of the traces: a rung that fewer chains reach is not read"""
ASIDE = 0.1
"""weight of pairs that do not come by"""
CLEAR = 1.0
"""a gain counts where it is this many standard errors"""
DOUBTFUL = 0.075
"""who may be wrong with this probability is in doubt"""
KNEE = 0.4
"""quantile of |margin| beyond which a margin may count for less"""
CLOSEST = 0.55
"""a verdict more likely right than this is never given up as a tie"""
CLEAR_TIE = 3.0
"""standard errors that ties must gain: a guess keeps half of what a tie loses"""
LEAST_TIED = 0.01
"""share of the pairs that must be so close before a tie is a way to end"""
DIGITS = 6
"""of the numbers in a rule"""


def in_digits(value: float) -> float:
    """In as many digits as a rule is kept with."""
    return float(f"{value:.{DIGITS}g}")


@dataclass(frozen=True)
class Learnt:
    """The best policy at one price, and which pairs come to which state by it, [traces]."""

    loss: float
    policy: PricedPolicy
    came: Mapping[StateKey, Flags]


class Costs:
    """[traces]: what every step costs, in generated tokens, whatever their price."""

    def __init__(self, arrays: TraceArrays, tokens: TokenPrices) -> None:
        steps, end = Steps(arrays), arrays.end
        self.arrays, self.tokens = arrays, tokens
        self.there = arrays.there
        reached = self.there.mean(axis=0)
        self.columns = [0, *(k for k in range(1, end) if reached[k] >= RARE), end]
        self.other, self.vote = (one.cost(tokens) for one in (steps.other(), steps.vote()))
        self.think = {
            (k, goal): steps.think(k, arrays.onto(goal)).cost(tokens)
            for k in self.columns
            for goal in self.columns
            if goal > k
        }
        self.both = {
            (k, other): steps.both(k, other).cost(tokens)
            for k in self.columns
            for other in (False, True)
        }


@dataclass
class Learner:
    """Learns over some depths at one price. blind: over the leading chain's end alone."""

    costs: Costs
    price: float
    both: Rule
    blind: bool = False

    def __post_init__(self) -> None:
        import numpy as np

        arrays = self.arrays = self.costs.arrays
        self.there = self.costs.there
        self.columns = [arrays.end] if self.blind else self.costs.columns
        self.start: Literal[0, "end"] = "end" if self.blind else 0
        settled, after = arrays.whole_right.astype(float), np.zeros(len(arrays))
        if arrays.has_votes:
            votes = ~self.both.stops(np.abs(arrays.whole), arrays.agree)
            settled = np.where(votes, arrays.voted * arrays.truth > 0, settled)
            after = self.price * self.costs.vote * votes
        self.whole_loss = 1 - settled + after
        """[traces]: of both whole chains, but for the thought before them"""

    def learn(self, came: Mapping[StateKey, Flags] | None, rounds: int) -> Learnt:
        """The best of some rounds."""
        tried: list[Learnt] = []
        for _ in range(rounds):
            policy = self._round(came)
            found = walk(self.arrays, policy)
            came = found.came
            spent = self.price * found.spent.cost(self.costs.tokens)
            loss = (1 - found.right - 0.5 * found.tied) + spent
            tried.append(Learnt(float(loss.mean()), policy, came))
        return min(tried, key=lambda one: one.loss)

    def _round(self, came: Mapping[StateKey, Flags] | None) -> PricedPolicy:
        """Every state's rule, from the last backwards, for those who came by."""
        import numpy as np

        arrays = self.arrays
        rules: list[StateRule] = []
        worth: dict[StateKey, Numbers] = {}
        for column in reversed(self.columns):
            for other in (True, False):
                key = StateKey(other, arrays.depth(column))
                there = self.there[:, column] & arrays.can_read(other, column)
                some = there & came[key] if came is not None and key in came else ~there & there
                some = some if some.sum() >= FEW else there
                weight = there.astype(float) * np.where(some, 1.0, ASIDE)
                rules.append(self._state(key, some, weight, worth))
        return PricedPolicy(
            price=self.price,
            start=self.start,
            last_rung=arrays.end,
            rules=tuple(reversed(rules)),
            both=self.both,
        )

    def _state(
        self, key: StateKey, came: Flags, weight: Numbers, worth: dict[StateKey, Numbers]
    ) -> StateRule:
        """The rule of one state, and what it is worth to each trace, added to `worth`."""
        import numpy as np

        arrays, column = self.arrays, self.arrays.column(key.depth)
        of = fit_chance(arrays, key, not self.blind, weight)
        log_odds = chance(arrays, key, of, not self.blind)
        doubt = _sigmoid(-np.abs(log_odds))
        offers: dict[Step, Numbers] = {"stop": ((log_odds * arrays.truth <= 0) + doubt) / 2}
        both = self.whole_loss + self.price * self.costs.both[column, key.other]
        if key.depth == "end":
            on: Step = "both"
            offers[on] = both
        else:
            on = "end"
            offers[on] = self._onward(key, arrays.end, worth)
            doubtful = weight * (doubt > DOUBTFUL)
            for goal in (k for k in self.columns if column < k < arrays.end):
                tried = self._onward(key, goal, worth)
                if _clear_mean(tried - offers[on], doubtful):
                    del offers[on]
                    on, offers[goal] = goal, tried
        if not key.other:
            with_other = StateKey(True, key.depth)
            offers["other"] = self.price * self.costs.other + worth[with_other]
        ways: list[tuple[Step, ...]] = [(on, "stop")]
        if not key.other:
            ways += [(on, "other", "stop"), ("other", on, "stop")]
        offers["tie"] = np.full(len(arrays), 0.5)
        ways.append(("tie", on, "stop"))
        rule, loss = self._best(key, of, log_odds, offers, ways, came, weight)
        worth[key] = np.where(arrays.can_read(key.other, column), loss, both)
        return rule

    def _onward(self, key: StateKey, goal: int, worth: Mapping[StateKey, Numbers]) -> Numbers:
        """[traces]: the loss of thinking to `goal`, or to the end that comes before it."""
        import numpy as np

        arrays = self.arrays
        there = self.there[:, goal]
        later, end = (worth[StateKey(key.other, arrays.depth(k))] for k in (goal, arrays.end))
        found: Numbers = np.where(there, later, end)
        return self.price * self.costs.think[arrays.column(key.depth), goal] + found

    def _best(
        self,
        key: StateKey,
        of: Chance,
        log_odds: Numbers,
        offers: Mapping[Step, Numbers],
        ways: Sequence[tuple[Step, ...]],
        came: Flags,
        weight: Numbers,
    ) -> tuple[StateRule, Numbers]:
        """The best cuts, and [traces] their loss."""
        import numpy as np

        size = np.abs(log_odds)
        edges = np.unique(np.quantile(size[came], np.linspace(0, 1, CELLS + 1)[1:-1]))
        cell = np.searchsorted(edges, size)
        between = np.r_[-np.inf, edges, np.inf]
        sums: dict[Step, Numbers] = {
            step: np.bincount(cell, weight * loss, len(edges) + 1).astype(float)
            for step, loss in offers.items()
        }
        rows = np.arange(len(size))
        close = int(np.searchsorted(edges, np.log(CLOSEST / (1 - CLOSEST)), side="right"))

        def cut(way: tuple[Step, ...]) -> tuple[float, StateRule, Numbers]:
            """The best cuts between these steps: the loss in sum, the rule, the loss of each."""
            most = close if way[0] == "tie" else len(edges) + 1
            total, borders = _cuts([sums[step] for step in way], most)
            cuts = tuple(in_digits(between[border]) for border in borders)
            losses = np.stack([offers[step] for step in way])
            loss = losses[np.searchsorted(cuts, size), rows]
            rule = StateRule(other=key.other, depth=key.depth, chance=of, cuts=cuts, steps=way)
            return total, rule, loss

        best, rule, loss = cut(ways[0])
        for way in ways[1:]:
            total, other, tried = cut(way)
            errors = CLEAR_TIE if way[0] == "tie" else CLEAR
            if way[0] == "tie" and (size <= other.cuts[0])[came].mean() < LEAST_TIED:
                continue
            if total < best and _clear_sum(weight * (tried - loss), errors):
                best, rule, loss = total, other, tried
        return rule, loss


def fit_chance(arrays: TraceArrays, key: StateKey, looked: bool, weight: Numbers) -> Chance:
    """Logistic regression with a small ridge (Newton's method), for the traces that have weight.

    What order alone adds on average is known without labels and taken off every margin; there is no
    other intercept, so that which of two responses tends to be right in these data is not learnt.
    """
    import numpy as np

    column, liking = arrays.column(key.depth), arrays.liking
    some = weight > 0
    centre = float(liking[column])
    if not some.any():
        return Chance(intercept=-centre, margin=1.0, clipped=0.0, knee=0.0)
    margin = arrays.lead[some, column] - centre
    knee = float(np.quantile(np.abs(margin), KNEE))
    columns = {"margin": margin, "clipped": np.clip(margin, -knee, knee)}
    centres = {"margin": centre, "clipped": 0.0}
    if looked and column:
        columns["prompt"], centres["prompt"] = arrays.lead[some, 0] - liking[0], liking[0]
    if key.other:
        columns["other"], centres["other"] = arrays.other_prompt[some] + liking[0], -liking[0]
    x = np.stack(list(columns.values()), axis=1)
    spread = x.std(axis=0)
    scale = np.where(spread > 1e-9, spread, 1.0)
    weights = _logistic(x / scale, arrays.truth[some] > 0, weight[some]) / scale
    intercept = -float(weights @ np.array(list(centres.values())))
    named = dict(zip(columns, map(in_digits, weights.tolist()), strict=True))
    return Chance(
        intercept=in_digits(intercept), knee=in_digits(knee), centre=in_digits(centre), **named
    )


def _logistic(x: Numbers, right: Flags, weight: Numbers) -> Numbers:
    import numpy as np

    found, ridge = np.zeros(x.shape[1]), np.eye(x.shape[1])
    for _ in range(12):
        p = _sigmoid(x @ found)
        slope = x.T @ (weight * (p - right)) + ridge @ found
        curvature = weight * np.maximum(p * (1 - p), 1e-6)
        step = np.linalg.solve((x * curvature[:, None]).T @ x + ridge, slope)
        found -= np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-4:
            break
    return found


def _sigmoid(x: Numbers) -> Numbers:
    import numpy as np

    found: Numbers = 1 / (1 + np.exp(-np.clip(x, -30, 30)))
    return found


def _cuts(losses: Sequence[Numbers], most: int) -> tuple[float, tuple[int, ...]]:
    """The best borders between two or three steps in order, and the loss with them.

    losses: of each step, by cells of rising |log-odds|; most: where the first border may lie.
    """
    import numpy as np

    sums: list[Numbers] = [np.r_[0.0, np.cumsum(loss)] for loss in losses]
    total = sums[-1][-1] - sums[-1]
    if len(sums) == 2:
        tried = sums[0] + total
        return float(tried.min()), (int(tried.argmin()),)
    before = sums[0] - sums[1]
    before[most + 1 :] = np.inf
    tried = np.minimum.accumulate(before) + sums[1] + total
    second = int(tried.argmin())
    return float(tried[second]), (int(before[: second + 1].argmin()), second)


def _clear_sum(gain: Numbers, errors: float) -> bool:
    """Whether differences of losses, weighted, one a pair, sum to a clear gain."""
    import numpy as np

    return bool(gain.sum() + errors * np.sqrt((gain**2).sum()) < 0)


def _clear_mean(difference: Numbers, weight: Numbers) -> bool:
    import numpy as np

    every = max(float(weight.sum()), 1.0)
    mean = float((weight * difference).sum()) / every
    spread = np.sqrt(((weight * (difference - mean)) ** 2).sum()) / every
    return bool(mean + CLEAR * spread < 0)
