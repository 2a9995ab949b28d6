"""Learning a PricedPolicy on traces: backward induction over states, at one price after another.

Optimal stopping with several ways to go on (Longstaff and Schwartz, 2001), kept so plain that what
is best on the traces is best on others. The loss of a pair is its error (1) and its cost at the
price; `states` finds the rule of every state. Prices rise along a path on which every policy starts
from the one before. A policy that reads no prompt for its verdict competes with the one that does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rrm.calibration.arrays import TraceArrays
from rrm.calibration.chance import in_digits
from rrm.calibration.replay import Walked, walk, whole
from rrm.calibration.spent import Steps
from rrm.calibration.states import Costs, Learner
from rrm.decision.priced import PricedPolicy, StateKey, TokenPrices
from rrm.decision.thresholds import ALWAYS, Rule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]
    Numbers = NDArray[np.float64]

PATH = tuple(0.02 * 2 ** (step / 2) for step in range(14))
"""prices, as what the tokens of whole chains cost together beside an error's 1"""
NEARLY = 0.9
"""share of the pairs that is taken for all, to ask for both prompts in one call"""
FOLDS = 4
CAREFUL = 0.5
"""standard errors by which a loss on folds is kept under what may be lost"""


def path(
    arrays: TraceArrays, tokens: TokenPrices, prices: Iterable[float]
) -> Iterator[PricedPolicy]:
    """Policies at rising prices, each learnt on from the one before it."""
    came: Mapping[StateKey, Flags] | None = None
    votes, costs = VoteRules(arrays, tokens), Costs(arrays, tokens)
    for price in prices:
        learnt = Learner(costs, price, votes(price)).learn(came, 2 if came else 3)
        blind = Learner(costs, price, votes(price), blind=True).learn(None, 2)
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
                "searched": in_digits(float(found.spent.searches.mean())),
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
                open_.append(key._replace(other=True))
            elif step == "search":
                open_ += [one for one in policy.by_state if _resumed(key, one)]
            elif step == "end" or isinstance(step, int):  # or what comes before it
                on = [key._replace(depth=step)] if isinstance(step, int) else []
                asks = key._replace(depth="query")
                open_ += [*on, *([asks] if asks in policy.by_state else [])]
                open_.append(StateKey(key.other, "end"))
    rules = tuple(rule for rule in policy.rules if rule.key in found)
    return policy.model_copy(update={"rules": rules})


def _resumed(asking: StateKey, key: StateKey) -> bool:
    """Whether a search leads from one to the other."""
    later = key.searches == asking.searches + 1 and isinstance(key.depth, int)
    return key.other == asking.other and (later or key.depth == "end")


def prices_of(arrays: TraceArrays, tokens: TokenPrices) -> tuple[float, ...]:
    """The path's prices for these traces: accuracy that a generated token must bring."""
    cost = float(whole(arrays).spent.cost(tokens).mean())
    return tuple(in_digits(price / max(1.0, cost)) for price in PATH)


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
    so_far = tuple(prices[: last + 1])
    if last < 0 or last + 1 == len(prices):
        return so_far
    low, high = prices[last], prices[last + 1]
    share = (most - level[last]) / (level[last + 1] - level[last])
    return (*so_far, float(low * (high / low) ** share))


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
