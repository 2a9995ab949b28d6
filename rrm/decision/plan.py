"""Plans: which actions a judgement is offered in a state. Effort, limits and tracing end here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rrm.decision.actions import (
    Action,
    Grow,
    ReadPrompts,
    Reply,
    Search,
    Spend,
    Vote,
    Whole,
    WriteVerdict,
)
from rrm.decision.chains import ORDERS, Order
from rrm.decision.fixed import Aggregation, FixedPolicy, Stratum
from rrm.decision.state import ChainKey, State

REPLY_TOKENS = 32
"""how much a closed chain may write to state its verdict, where that has to be parsed"""


class Plan(Protocol):
    """Offers actions."""

    def actions(self, state: State) -> Sequence[Action]:
        """What can be bought now; nothing: the judgement is over."""
        ...


@dataclass(frozen=True)
class LadderPlan:
    """Prompts, the rungs of some orders, both chains whole, more chains.

    rungs: thinking tokens of each chain, rising; the last one is the limit. capped: it is below
    the ladder's. stepping: the orders that may be read at rungs; a single one leads, while the
    other waits. first: the orders whose prompts come before all else; the other's is offered in
    every state after. votes: pairs of chains in all; every: all of them are heard, and put together
    by `aggregation`.
    """

    rungs: tuple[int, ...]
    capped: bool = False
    stepping: tuple[Order, ...] = ()
    first: tuple[Order, ...] = ORDERS
    votes: int = 1
    every: bool = False
    aggregation: Aggregation = "mean"

    def actions(self, state: State) -> Sequence[Action]:
        chains = state.orders(*ORDERS)
        limit = self.rungs[-1]
        unread = tuple(order for order in ORDERS if not state.chains[ChainKey(order)].opened)
        if unread:
            begun = len(unread) < len(ORDERS)
            prompts: list[Action] = [ReadPrompts(unread if begun else self.first)]
            if limit == 0 or len(self.first) == len(ORDERS):
                return prompts
            return [*prompts, *self._rungs(state), Whole(self.rungs, self.capped)]
        if limit == 0 or state.replies or state.voted:
            return []
        whole = all(chain.ended or chain.tokens >= limit for chain in chains)
        if not whole or any(chain.readable is None for chain in chains):
            return [*self._rungs(state), Whole(self.rungs, self.capped)]
        if not all(chain.readable for chain in chains):
            fits = max(chain.tokens for chain in chains) + REPLY_TOKENS <= limit
            written = fits and all(chain.ended for chain in chains)
            return [WriteVerdict(REPLY_TOKENS)] if written else []
        return [Vote(self.votes, self.every, self.aggregation)] if self.votes > 1 else []

    def _rungs(self, state: State) -> list[Action]:
        """Every rung still ahead of the orders that step; the last one of both is `Whole`.

        Where one of them asks for a search there is nothing to buy but that.
        """
        growing = state.orders(*self.stepping)
        if any(chain.asks for chain in growing):
            return [Search(self.stepping, self.rungs)]
        alone = len(self.stepping) == 1
        if all(chain.ended for chain in growing):
            return []
        if alone and any(chain.silent for chain in state.orders(*ORDERS)):
            return []  # an order that says nothing without thought cannot be left behind
        rungs = self.rungs if alone else self.rungs[:-1]
        depth = min(chain.tokens for chain in growing if not chain.ended)
        return [
            Grow(self.stepping, self.rungs[:stage], stage, last=stage == len(self.rungs))
            for stage, rung in enumerate(rungs, start=1)
            if rung > depth
        ]


@dataclass(frozen=True)
class StrataPlan:
    """Both prompts, then one way of several. rungs: of the ladder, the limit last."""

    rungs: tuple[int, ...]
    policy: FixedPolicy

    def actions(self, state: State) -> Sequence[Action]:
        chains = state.orders(*ORDERS)
        if not all(chain.opened for chain in chains):
            return [ReadPrompts(ORDERS)]
        if any(chain.tokens for chain in chains):
            return []
        return [self.way(one) for one in self.policy.strata if one.depth and self.rungs[-1]]

    def way(self, stratum: Stratum) -> Spend:
        """What is bought for it."""
        limit = min(stratum.depth, self.rungs[-1])
        rungs = (*(rung for rung in self.rungs if rung < limit), limit)
        return Spend(rungs, stratum.votes, stratum.searches, self.policy.aggregation)


@dataclass(frozen=True)
class Written:
    """For an endpoint that cannot be probed: a reply without thought, then one with.

    without, within: whether either is asked for; limit: tokens of each chain.
    """

    without: bool
    within: bool
    limit: int

    def actions(self, state: State) -> Sequence[Action]:
        first = Reply(REPLY_TOKENS, thinking=False)
        then = Reply(self.limit, thinking=True)
        steps = [*([first] if self.without else []), *([then] if self.within else [])]
        return steps[state.replies : state.replies + 1]
