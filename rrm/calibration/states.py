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

from rrm.calibration.arrays import TraceArrays, state_at
from rrm.calibration.chance import fit_chance, in_digits, sigmoid
from rrm.calibration.replay import chance, walk
from rrm.calibration.spent import Steps
from rrm.decision.priced import Chance, PricedPolicy, StateKey, StateRule, Step, TokenPrices
from rrm.decision.thresholds import Rule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]
    Numbers = NDArray[np.float64]
    Places = NDArray[np.int_]

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
CLOSEST = 0.55
"""a verdict more likely right than this is never given up as a tie"""
CLEAR_TIE = 3.0
"""standard errors that ties must gain: a guess keeps half of what a tie loses"""
LEAST_TIED = 0.01
"""share of the pairs that must be so close before a tie is a way to end"""


@dataclass(frozen=True)
class Learnt:
    """The best policy at one price, and which pairs come to which state by it, [traces]."""

    loss: float
    policy: PricedPolicy
    came: Mapping[StateKey, Flags]


class Costs:
    """[traces]: what every step costs, in generated tokens, whatever their price."""

    def __init__(self, arrays: TraceArrays, tokens: TokenPrices) -> None:
        import numpy as np

        steps, end = Steps(arrays), arrays.end
        self.arrays, self.tokens = arrays, tokens
        self.there = arrays.there
        reached = self.there.mean(axis=0)
        must = {0, end, *(k for k, (depth, _) in enumerate(arrays.places) if depth == "query")}
        must |= {int(k) for k in np.unique(arrays.resumes)}
        often = {k for k in range(end) if reached[k] >= RARE}
        self.columns = sorted(must | often)
        self.other, self.vote = (one.cost(tokens) for one in (steps.other(), steps.vote()))
        self.think = {
            (k, goal): steps.think(k, arrays.onto(goal, arrays.places[k][1])).cost(tokens)
            for k in self.columns
            for goal in self.columns
            if _leads(arrays, k, goal)
        }
        self.search = {
            k: steps.search(k).cost(tokens) for k in self.columns if arrays.places[k][0] == "query"
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
                key = state_at(arrays, column, other)
                there = self.there[:, column] & arrays.can_read(other, column)
                some = there & came[key] if came is not None and key in came else ~there & there
                some = some if some.sum() >= FEW else there
                weight = there.astype(float) * np.where(some, 1.0, ASIDE)
                rules.append(self._state(key, some, weight, worth))
        return PricedPolicy(
            price=self.price,
            start=self.start,
            last_rung=len(arrays.ladder),
            rules=tuple(reversed(rules)),
            both=self.both,
        )

    def _state(
        self, key: StateKey, came: Flags, weight: Numbers, worth: dict[StateKey, Numbers]
    ) -> StateRule:
        """The rule of one state, and what it is worth to each trace, added to `worth`."""
        import numpy as np

        arrays, column = self.arrays, self.arrays.column(*key[1:])
        of = fit_chance(arrays, key, not self.blind, weight)
        log_odds = self._log_odds(key, of)
        doubt = sigmoid(-np.abs(log_odds))
        offers: dict[Step, Numbers] = {"stop": ((log_odds * arrays.truth <= 0) + doubt) / 2}
        both = self.whole_loss + self.price * self.costs.both[column, key.other]
        if key.depth == "end":
            on: Step = "both"
            offers[on] = both
        elif key.depth == "query":
            on = "search"
            offers[on] = self._with_answer(key, worth)
        else:
            on = "end"
            offers[on] = self._onward(key, arrays.end, worth)
            doubtful = weight * (doubt > DOUBTFUL)
            for goal in self.columns:
                rung = arrays.places[goal][0]
                if not isinstance(rung, int) or not _leads(arrays, column, goal):
                    continue
                tried = self._onward(key, goal, worth)
                if _clear_mean(tried - offers[on], doubtful):
                    del offers[on]
                    on, offers[rung] = rung, tried
        if not key.other:
            offers["other"] = self.price * self.costs.other + worth[key._replace(other=True)]
        ways: list[tuple[Step, ...]] = [(on, "stop")]
        if not key.other:
            ways += [(on, "other", "stop"), ("other", on, "stop")]
        offers["tie"] = np.full(len(arrays), 0.5)
        ways.append(("tie", on, "stop"))
        rule, loss = self._best(key, of, log_odds, offers, ways, came, weight)
        worth[key] = np.where(arrays.can_read(key.other, column), loss, both)
        return rule

    def _log_odds(self, key: StateKey, of: Chance) -> Numbers:
        """[traces]: in a state, by the chance that is its own."""
        bare = StateRule(
            other=key.other, depth=key.depth, searches=key.searches, chance=of, cuts=(), steps=()
        )
        return chance(self.arrays, key, bare, not self.blind)

    def _onward(self, key: StateKey, goal: int, worth: Mapping[StateKey, Numbers]) -> Numbers:
        """[traces]: the loss of thinking to `goal`, or to what comes before it."""
        column = self.arrays.column(*key[1:])
        return self.price * self.costs.think[column, goal] + self._worth(
            key.other, self.arrays.onto(goal, key.searches), worth
        )

    def _with_answer(self, key: StateKey, worth: Mapping[StateKey, Numbers]) -> Numbers:
        """[traces]: the loss of searching what the leading chain asks for."""
        goal = self.arrays.resumes[:, key.searches]
        column = self.arrays.column(*key[1:])
        return self.price * self.costs.search[column] + self._worth(key.other, goal, worth)

    def _worth(self, other: bool, at: Places, worth: Mapping[StateKey, Numbers]) -> Numbers:
        """[traces]: the loss from the column where each stands."""
        import numpy as np

        found = np.zeros(len(at))
        for column in np.unique(at):
            here = at == column
            found[here] = worth[state_at(self.arrays, int(column), other)][here]
        return found

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

        def rule_of(way: tuple[Step, ...], cuts: tuple[float, ...]) -> StateRule:
            return StateRule(
                other=key.other,
                depth=key.depth,
                searches=key.searches,
                chance=of,
                cuts=cuts,
                steps=way,
            )

        if not came.any():  # nobody to learn from: it goes on
            return rule_of(ways[0][:1], ()), offers[ways[0][0]]
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
            return total, rule_of(way, cuts), loss

        best, rule, loss = cut(ways[0])
        for way in ways[1:]:
            total, other, tried = cut(way)
            errors = CLEAR_TIE if way[0] == "tie" else CLEAR
            if way[0] == "tie" and (size <= other.cuts[0])[came].mean() < LEAST_TIED:
                continue
            if total < best and _clear_sum(weight * (tried - loss), errors):
                best, rule, loss = total, other, tried
        return rule, loss


def _leads(arrays: TraceArrays, column: int, goal: int) -> bool:
    """Whether thought alone may lead from `column` to `goal`."""
    (depth, searches), (there, after) = arrays.places[column], arrays.places[goal]
    ahead = goal > column and depth != "query"
    return ahead and (there == "end" or (there != "query" and after == searches))


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
