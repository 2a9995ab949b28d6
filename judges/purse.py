"""Thought that is paid for: chains grow as far as their share of a budget reaches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from judges.asked import Watch
from rrm.budget import Meter, Share
from rrm.chain import ORDERS, ChainPair, Order, PairReading
from rrm.parse import Reading


class Purse:
    """Grows and reads the chains of one judgement. Without a share it pays nothing.

    goals: the checkpoints, so that no more is reserved at once than to the next of them.
    """

    def __init__(self, share: Share | None, goals: Sequence[int], watch: Watch | None) -> None:
        self.share, self.goals, self.watch = share, goals, watch

    async def open(self, chains: ChainPair, bid: float) -> bool:
        """Pay for both prompts, and have enough for a look; False if the budget has not."""
        if self.share is None:
            return True
        meter = self.share.budget.meter
        prompts = sum(meter.prompt(tokens) for tokens in chains.prompt_tokens)
        if not await self.share.reserve(prompts + _look(meter, chains), bid):
            return False
        self.share.pay(prompts)
        return True

    async def read(self, chains: ChainPair) -> PairReading:
        reading = await chains.read()
        if self.share is not None:
            self.share.pay(_look(self.share.budget.meter, chains))
        return reading

    async def grow(
        self, chains: ChainPair, upto: int, bid: float, orders: Sequence[Order] = ORDERS
    ) -> bool:
        """Let the chains of `orders` think up to `upto` tokens each, with enough left for a look.

        False if the budget does not reach so far; the chains then are as long as it does.
        """
        if self.share is None:
            await chains.grow(upto, self.watch, orders)
            return True
        for goal in [*(goal for goal in self.goals if goal < upto), upto]:
            need = _thought(self.share.budget.meter, chains, goal, orders)
            if need == 0:
                continue
            # A look behind the longer chain; what one behind the shorter cost is reserved before.
            look = _look(self.share.budget.meter, chains, goal)
            if not await self.share.reserve(need + look, bid):
                return False
            with self._paying(self.share, chains, orders):
                await chains.grow(goal, self.watch, orders)
        return True

    async def reply(
        self, chains: ChainPair, tokens: int, bid: float
    ) -> tuple[Reading, Reading] | None:
        """Both orders' whole replies of up to `tokens`; None if the budget has not so many."""
        if self.share is None:
            return await chains.reply(tokens)
        need = _thought(self.share.budget.meter, chains, tokens, ORDERS)
        if not await self.share.reserve(need, bid):
            return None
        with self._paying(self.share, chains, ORDERS):
            return await chains.reply(tokens)

    async def finish(
        self, chains: ChainPair, tokens: int, bid: float
    ) -> tuple[Reading, Reading] | None:
        """Both orders' written verdicts, of up to `tokens` more; None as for `reply`."""
        if self.share is None:
            return await chains.finish(tokens)
        meter = self.share.budget.meter
        chain = (thought.chain for thought in chains.thoughts.values())
        need = sum(meter.thought(tokens, len(one.prompt_ids) + len(one.ids)) for one in chain)
        if not await self.share.reserve(need, bid):
            return None
        with self._paying(self.share, chains, ORDERS):
            return await chains.finish(tokens)

    @contextmanager
    def _paying(self, share: Share, chains: ChainPair, orders: Sequence[Order]) -> Iterator[None]:
        """Pay for what the chains grow by; a step that fails has cost all that it reserved."""
        before = {order: len(chains.thoughts[order].chain.ids) for order in orders}
        try:
            yield
        except BaseException:
            share.pay(share.reserved)
            raise
        meter = share.budget.meter
        for order, length in before.items():
            chain = chains.thoughts[order].chain
            grown = len(chain.ids) - length
            share.pay(meter.thought(grown, len(chain.prompt_ids) + length))


def _thought(meter: Meter, chains: ChainPair, upto: int, orders: Sequence[Order]) -> float:
    """What it costs at most that the chains of `orders` grow to `upto`."""
    need = 0.0
    for order in orders:
        chain = chains.thoughts[order].chain
        more = upto - len(chain.ids)
        if more > 0 and not chain.ended:
            need += meter.thought(more, len(chain.prompt_ids) + len(chain.ids))
    return need


def _look(meter: Meter, chains: ChainPair, upto: int = 0) -> float:
    """A look at both orders, when their chains are at least `upto` tokens long."""
    chain = (thought.chain for thought in chains.thoughts.values())
    return sum(meter.look(len(one.prompt_ids) + max(upto, len(one.ids))) for one in chain)
