"""Learning a PricedPolicy on traces: backward induction over states, at one price after another.

Optimal stopping with several ways to go on (Longstaff and Schwartz, 2001), kept so plain that what
is best on the traces is best on others. The loss of a pair is its error (1) and its cost at the
price. From the last state backwards, each state gets

1. a logistic curve over all margins seen, less what order alone adds to them on average;
2. the later rung that those in doubt should think to without a readout: the end, unless an earlier
   one is clearly better;
3. one or two cuts of |log-odds| between its steps, found exactly on the losses of the pairs that
   come by under the policy so far; a second cut only where it clearly gains. A stop's loss is half
   counted, half the curve's word.

A few rounds settle who comes by where. Prices rise along a path on which every policy starts from
the one before. A policy that reads no prompt for its verdict competes with the one that does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rrm.calibration.arrays import Steps, TraceArrays, Walked, chance, walk, whole
from rrm.priced import Chance, Depth, PricedPolicy, StateKey, StateRule, Step, TokenPrices
from rrm.thresholds import ALWAYS, Rule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]
    Numbers = NDArray[np.float64]

PATH = tuple(0.02 * 2 ** (step / 2) for step in range(14))
"""prices, as what the tokens of whole chains cost together beside an error's 1"""
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
NEARLY = 0.9
"""share of the pairs that is taken for all, to ask for both prompts in one call"""
DIGITS = 6
"""of the numbers in a rule"""
CLEAR_TIE = 3.0
"""standard errors that ties must gain: a guess keeps half of what a tie loses"""
LEAST_TIED = 0.01
"""share of the pairs that must be so close before a tie is a way to end"""
FOLDS = 4
CAREFUL = 0.5
"""standard errors by which a loss on folds is kept under what may be lost"""


def path(
    arrays: TraceArrays, tokens: TokenPrices, prices: Iterable[float]
) -> Iterator[PricedPolicy]:
    """Policies at rising prices, each learnt on from the one before it."""
    came: Mapping[StateKey, Flags] | None = None
    votes, costs = VoteRules(arrays, tokens), _Costs(arrays, tokens)
    for price in prices:
        learnt = _Looking(costs, price, votes(price)).learn(came, 2 if came else 3)
        blind = _Looking(costs, price, votes(price), blind=True).learn(None, 2)
        came = learnt.came
        best = _reachable(min((learnt, blind), key=lambda one: one.loss).policy)
        found = walk(arrays, best)
        if _asks_for_both(found, best):
            best = best.model_copy(update={"together": True})
            found = walk(arrays, best)
        yield best.model_copy(
            update={
                "tokens": float(found.spent.thought.mean()),
                "probes": float(found.spent.probes.mean()),
                "orders": float(found.orders.mean()),
            }
        )


def _asks_for_both(found: Walked, policy: PricedPolicy) -> bool:
    """Whether nearly all pairs go from the leading prompt to the other one."""
    first, both = (found.came.get(StateKey(other, 0)) for other in (False, True))
    if policy.start != 0 or first is None or both is None:
        return False
    return float(both.sum()) >= NEARLY * float(first.sum())


def _reachable(policy: PricedPolicy) -> PricedPolicy:
    """Without the rules of states that no chain comes by."""
    open_ = [StateKey(False, policy.start), StateKey(False, "end")]
    found: set[StateKey] = set()
    while open_:
        key = open_.pop()
        if key in found:
            continue
        found.add(key)
        for step in policy.by_state[key].steps:
            if step == "other":
                open_.append(StateKey(True, key.depth))
            elif step == "end" or isinstance(step, int):  # or the end, where that comes before
                open_ += [StateKey(key.other, step), StateKey(key.other, "end")]
    rules = tuple(rule for rule in policy.rules if rule.key in found)
    return policy.model_copy(update={"rules": rules})


def _kept(value: float) -> float:
    """In as many digits as a rule is kept with."""
    return float(f"{value:.{DIGITS}g}")


def prices_of(arrays: TraceArrays, tokens: TokenPrices) -> tuple[float, ...]:
    """The path's prices for these traces: accuracy that a generated token must bring."""
    cost = float(whole(arrays).spent.cost(tokens).mean())
    return tuple(_kept(price / max(1.0, cost)) for price in PATH)


def prices_within(
    arrays: TraceArrays, tokens: TokenPrices, prices: Sequence[float], most: float
) -> tuple[float, ...]:
    """The prices up to the one, perhaps between two of them, at which `most` accuracy is lost.

    By the loss on folds that were not learnt from, made to rise with the price, on the safe side.
    """
    import numpy as np

    losses = _out_of_fold(arrays, tokens, prices)
    level = _rising(losses.mean(axis=1))
    level += CAREFUL * losses.std(axis=1) / np.sqrt(losses.shape[1])
    within = np.flatnonzero(level <= most)
    last = int(within[-1]) if len(within) else -1
    kept = tuple(prices[: last + 1])
    if last < 0 or last + 1 == len(prices):
        return kept
    low, high = prices[last], prices[last + 1]
    share = (most - level[last]) / (level[last + 1] - level[last])
    return (*kept, float(low * (high / low) ** share))


def _out_of_fold(arrays: TraceArrays, tokens: TokenPrices, prices: Sequence[float]) -> Numbers:
    """[prices, traces]: accuracy lost by policies that had not seen the trace."""
    import numpy as np

    fold = np.random.default_rng(0).permutation(len(arrays)) % FOLDS
    losses = np.zeros((len(prices), len(arrays)))
    for one in range(FOLDS):
        rest, out = arrays.part(fold != one), arrays.part(fold == one)
        for index, policy in enumerate(path(rest, tokens, prices)):
            losses[index, fold == one] = walk(out, policy).lost
    return losses


def _rising(values: Numbers) -> Numbers:
    """The nearest rising values, by least squares (pool adjacent violators)."""
    from scipy.optimize import isotonic_regression

    found: Numbers = isotonic_regression(values).x.copy()
    return found


# -- votes ----------------------------------------------------------------------------------------


@dataclass
class VoteRules:
    """Where both whole chains settle it, by price; everywhere if the traces have no votes.

    Who votes hangs on the whole chains alone, not on the states before.
    """

    arrays: TraceArrays
    tokens: TokenPrices

    def __call__(self, price: float) -> Rule:
        import numpy as np

        arrays = self.arrays
        if not arrays.has_votes:
            return ALWAYS
        cost = price * Steps(arrays).vote().cost(self.tokens)
        right = arrays.voted * arrays.truth > 0
        gain = arrays.whole_right.astype(float) - (right - cost)  # of stopping there
        size, agree = np.abs(arrays.whole), arrays.agree
        return Rule(
            agree=least_margin(size[agree], gain[agree]),
            differ=least_margin(size[~agree], gain[~agree]),
        )


def least_margin(margins: Numbers, gains: Numbers) -> float:
    """The least margin from which on stopping gains most in sum; infinite if it never gains."""
    import numpy as np

    order = np.argsort(-margins, kind="stable")
    margins, sums = margins[order], np.cumsum(gains[order])
    follows = np.append(margins[1:] == margins[:-1], False) if len(margins) else margins == 0
    sums = np.where(follows, -np.inf, sums)  # no threshold parts equal margins
    if not len(sums) or sums.max() <= 0:
        return float("inf")
    best = int(sums.argmax())
    if best + 1 == len(margins):
        return 0.0
    return float((margins[best] + margins[best + 1]) / 2)


# -- states ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Learnt:
    loss: float
    policy: PricedPolicy
    came: Mapping[StateKey, Flags]


class _Costs:
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
class _Looking:
    """Learns over some depths at one price. blind: over the leading chain's end alone."""

    costs: _Costs
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

    def learn(self, came: Mapping[StateKey, Flags] | None, rounds: int) -> _Learnt:
        """The best of some rounds."""
        best: _Learnt | None = None
        for _ in range(rounds):
            policy = self._round(came)
            found = walk(self.arrays, policy)
            came = found.came
            spent = self.price * found.spent.cost(self.costs.tokens)
            loss = (1 - found.right - 0.5 * found.tied) + spent
            if best is None or loss.mean() < best.loss:
                best = _Learnt(float(loss.mean()), policy, came)
        assert best is not None  # noqa: S101
        return best

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
            asked = StateKey(True, key.depth)
            offers["other"] = self.price * self.costs.other + worth[asked]
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
        best: tuple[float, StateRule, Numbers] | None = None
        for way in ways:
            most = close if way[0] == "tie" else len(edges) + 1
            total, borders = _cuts([sums[step] for step in way], most)
            cuts = tuple(_kept(between[border]) for border in borders)
            if way[0] == "tie" and (size <= cuts[0])[came].mean() < LEAST_TIED:
                continue
            losses = np.stack([offers[step] for step in way])
            loss = losses[np.searchsorted(cuts, size), rows]
            rule = StateRule(other=key.other, depth=key.depth, chance=of, cuts=cuts, steps=way)
            errors = CLEAR_TIE if way[0] == "tie" else CLEAR
            if best is None or (total < best[0] and _clear_sum(weight * (loss - best[2]), errors)):
                best = total, rule, loss
        assert best is not None  # noqa: S101
        return best[1], best[2]


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
    named = dict(zip(columns, map(_kept, weights.tolist()), strict=True))
    return Chance(intercept=_kept(intercept), knee=_kept(knee), centre=_kept(centre), **named)


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


def depths(policy: PricedPolicy) -> list[Depth]:
    """Where it reads, the prompt first."""
    return sorted({rule.depth for rule in policy.rules}, key=lambda d: (d == "end", d))
