"""Ledger: one sum that many draw from. It knows amounts and priorities, and no policy.

Every step reserves what it may cost before it begins, so the sum is never exceeded. Where it runs
short, callers wait for what others may give back, and the highest priority goes first.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

SLACK = 1e-9
"""share of the total by which sums of floats may be off"""


class Ledger:
    """Belongs to one event loop.

    held_back: what is not lent to anybody but at infinite priority, in the ledger's unit.
    """

    def __init__(self, total: float, held_back: Callable[[], float] = lambda: 0.0) -> None:
        self.total = total
        self.spent = 0.0
        self.reserved = 0.0
        self._held_back = held_back
        self._open: set[Holding] = set()
        self._claims: list[_Claim] = []
        self._numbers = itertools.count()

    @property
    def free(self) -> float:
        return self.total - self.spent - self.reserved

    def open(self) -> Holding:
        """A new holding. Whoever opens one closes it."""
        holding = Holding(self)
        self._open.add(holding)
        return holding

    def close(self, holding: Holding) -> None:
        self._open.discard(holding)
        self.reserved -= holding.reserved
        holding.reserved = 0.0
        self.serve()

    async def reserve(self, holding: Holding, more: float, priority: float) -> bool:
        """Whether `more` could be had, perhaps after a wait."""
        claim = _Claim(-priority, next(self._numbers), more, holding)
        heapq.heappush(self._claims, claim)
        self.serve()
        try:
            return await claim.answer
        except asyncio.CancelledError:
            if claim.answer.done() and not claim.answer.cancelled() and claim.answer.result():
                self.reserved -= more
            raise

    def serve(self) -> None:
        """Grant what the waiting ask for, highest priority first, and refuse what never comes."""
        while self._claims:
            claim = self._claims[0]
            if claim.answer.done():
                heapq.heappop(self._claims)
            elif claim.amount <= self._room(claim):
                heapq.heappop(self._claims)
                self.reserved += claim.amount
                claim.answer.set_result(True)
            elif claim.amount > self._room(claim) + self._returning(claim.holding):
                heapq.heappop(self._claims)
                claim.answer.set_result(False)
            else:
                return

    def _room(self, claim: _Claim) -> float:
        room = self.free + SLACK * self.total
        return room if claim.rank == -math.inf else room - self._held_back()

    def _returning(self, without: Holding) -> float:
        """What others hold who do not wait themselves, and may not need in the end."""
        waiting = {claim.holding for claim in self._claims}
        return sum(h.reserved for h in self._open if h is not without and h not in waiting)

    @property
    def holdings(self) -> frozenset[Holding]:
        """Those that are open."""
        return frozenset(self._open)


@dataclass(eq=False)
class Holding:
    """What one judgement has reserved and spent of a ledger."""

    ledger: Ledger
    spent: float = 0.0
    reserved: float = 0.0
    refused: bool = False

    async def reserve(self, amount: float, priority: float) -> bool:
        """Have `amount` ready to be paid, counting what is reserved already."""
        more = amount - self.reserved
        if more > 0:
            if not await self.ledger.reserve(self, more, priority):
                self.refused = True
                return False
            self.reserved += more
        return True

    def pay(self, amount: float) -> None:
        """Of what is reserved."""
        self.spent += amount
        self.reserved -= amount
        self.ledger.spent += amount
        self.ledger.reserved -= amount

    def close(self) -> None:
        """Give back what is left."""
        self.ledger.close(self)


@dataclass(order=True)
class _Claim:
    """Who waits for how much."""

    rank: float
    number: int
    amount: float = field(compare=False)
    holding: Holding = field(compare=False)
    answer: asyncio.Future[bool] = field(
        compare=False, default_factory=lambda: asyncio.get_running_loop().create_future()
    )
