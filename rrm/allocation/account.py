"""Accounts: what one judgement may spend. Several compose into one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from rrm.allocation.ledger import Holding
from rrm.allocation.meter import Meter, Work, amount


class Account(Protocol):
    """Pays for the work of one judgement."""

    def instalments(self, depths: Sequence[int]) -> Sequence[int]:
        """By which of the `depths` on the way to the last one growth is paid for."""
        ...

    async def reserve(self, work: Iterable[Work], priority: float) -> bool:
        """Have enough for `work`, counting what is reserved already; False if it cannot be had."""
        ...

    def pay(self, work: Iterable[Work]) -> None:
        """For work that was reserved and done."""
        ...

    def forfeit(self) -> None:
        """Pay all that is reserved: a step that failed has cost at most that."""
        ...


class Unlimited:
    """Pays everything at once."""

    def instalments(self, depths: Sequence[int]) -> Sequence[int]:
        return depths[-1:]

    async def reserve(self, work: Iterable[Work], priority: float) -> bool:
        return True

    def pay(self, work: Iterable[Work]) -> None:
        return

    def forfeit(self) -> None:
        return


class Metered:
    """Draws from a ledger, in the unit of `meter`."""

    def __init__(self, holding: Holding, meter: Meter) -> None:
        self.holding, self.meter = holding, meter

    def instalments(self, depths: Sequence[int]) -> Sequence[int]:
        return depths

    async def reserve(self, work: Iterable[Work], priority: float) -> bool:
        return await self.holding.reserve(amount(self.meter, work), priority)

    def pay(self, work: Iterable[Work]) -> None:
        self.holding.pay(amount(self.meter, work))

    def forfeit(self) -> None:
        self.holding.pay(self.holding.reserved)


class Capped:
    """At most `most` in the unit of `meter`."""

    def __init__(self, meter: Meter, most: float) -> None:
        self.meter, self.most = meter, most
        self.spent = self._reserved = 0.0
        self.refused = False

    def instalments(self, depths: Sequence[int]) -> Sequence[int]:
        return depths

    async def reserve(self, work: Iterable[Work], priority: float) -> bool:
        need = amount(self.meter, work)
        if self.spent + need > self.most:
            self.refused = True
            return False
        self._reserved = max(self._reserved, need)
        return True

    def pay(self, work: Iterable[Work]) -> None:
        paid = amount(self.meter, work)
        self.spent += paid
        self._reserved -= paid

    def forfeit(self) -> None:
        self.spent += self._reserved
        self._reserved = 0.0


class AllOf:
    """Every one of `accounts` must agree, and every one pays."""

    def __init__(self, *accounts: Account) -> None:
        self.accounts = accounts

    def instalments(self, depths: Sequence[int]) -> Sequence[int]:
        wanted = {depth for one in self.accounts for depth in one.instalments(depths)}
        return sorted(wanted)

    async def reserve(self, work: Iterable[Work], priority: float) -> bool:
        every = list(work)
        for one in self.accounts:
            if not await one.reserve(every, priority):
                return False  # what the others reserved serves their next step, or goes back
        return True

    def pay(self, work: Iterable[Work]) -> None:
        every = list(work)
        for one in self.accounts:
            one.pay(every)

    def forfeit(self) -> None:
        for one in self.accounts:
            one.forfeit()
