"""Actions: ways to buy a better verdict.

An action reserves each instalment, together with the probe that reads it, before the engine is
called, and pays what was done. Where it is refused it returns False; what was reached until then is
read with the probe that is already reserved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rrm.allocation.account import Account
from rrm.decision.chains import ORDERS, Order
from rrm.decision.fixed import Aggregation
from rrm.decision.run import JudgeRun, asking, narrow
from rrm.decision.state import Place
from rrm.types import StopReason

Reads = Callable[[Place], bool]
"""whether somebody wants a readout at a place"""


@dataclass(frozen=True)
class Stop:
    """What a policy chooses instead of an action. reason None: it came to its natural end."""

    reason: StopReason | None = None


class Action(Protocol):
    """Something that can be bought."""

    async def run(self, run: JudgeRun, account: Account, reads: Reads) -> bool:
        """Do it; False if the account refused a part of it. Raises EngineError."""
        ...


@dataclass(frozen=True)
class ReadPrompts:
    """Read the prompts of `orders`, and what they say without thought.

    Where the other chain has grown already, the readout stands where that one does.
    """

    orders: tuple[Order, ...]

    async def run(self, run: JudgeRun, account: Account, reads: Reads) -> bool:
        if not await run.open(run.chains, account, self.orders):
            return False
        place = run.path[-1].place if run.path else 0
        if reads(place):
            await run.read(account, place)
        return True


@dataclass(frozen=True)
class Grow:
    """Grow the chains of `orders` to the last of `rungs`, the ladder's rung number `stage`.

    Prompts that were not read are read first. A chain that asks for a search on the way stays
    there. last: there is no rung after it.
    """

    orders: tuple[Order, ...]
    rungs: tuple[int, ...]
    stage: int
    last: bool = False

    @property
    def places(self) -> tuple[Place, ...]:
        """What makes it worth buying: its rung; for the last one, a leading chain's end too."""
        return (self.stage, "lead") if self.last and len(self.orders) == 1 else (self.stage,)

    async def run(self, run: JudgeRun, account: Account, reads: Reads) -> bool:
        opened = await run.open(run.chains, account, self.orders)
        paid = opened and await run.grow(
            run.chains, self.rungs, account, self.orders, searching=False
        )
        if not paid:
            await run.read_where_it_stands(account)
            return False
        if asking(run, self.orders):
            if reads("query"):
                await run.read(account, "query")
            return True
        alone = [run.chains.by_order[order] for order in self.orders]
        place: Place = "lead" if len(alone) == 1 and not alone[0].forced else self.stage
        if not run.chains.ended and reads(place):  # where both have ended, `Whole` reads them
            await run.read(account, place)
        return True


@dataclass(frozen=True)
class Search:
    """Search what the chains of `orders` ask for, and read the verdict with what was found.

    It is read for whoever wants one where the search was asked for. rungs: of the ladder; the
    readout stands at the last one that the leading chain has passed.
    """

    orders: tuple[Order, ...]
    rungs: tuple[int, ...]

    async def run(self, run: JudgeRun, account: Account, reads: Reads) -> bool:
        if not await run.search(self.orders, account):
            await run.read_where_it_stands(account)
            return False
        if reads("query"):
            grown = run.chains.by_order[run.chains.lead].sequence.generated
            await run.read(account, sum(rung <= grown for rung in self.rungs))
        return True


@dataclass(frozen=True)
class Whole:
    """Grow both chains to their ends, or to the last of `rungs`. capped: that is no ladder's.

    Prompts that were not read are read first, and what the chains ask for is searched.
    """

    rungs: tuple[int, ...]
    capped: bool = False

    async def run(self, run: JudgeRun, account: Account, reads: Reads) -> bool:
        opened = await run.open(run.chains, account)
        if not opened or not await run.grow(run.chains, self.rungs, account, ORDERS):
            await run.read_where_it_stands(account)
            return False
        capped = self.capped and not run.chains.closed
        await run.read(account, "capped" if capped else "both")
        return True


@dataclass(frozen=True)
class Vote:
    """Fresh pairs of whole chains, up to `most` in all, until a sequential test has heard enough.

    They have one readout together. every: all are heard.
    """

    most: int
    every: bool = False
    aggregation: Aggregation = "mean"

    async def run(self, run: JudgeRun, account: Account, reads: Reads) -> bool:
        paid = True
        while paid and run.votes.count < self.most:
            if not self.every and run.votes.decided(run.path[-1]):
                break
            paid = await run.vote(account)
        run.read_votes(self.aggregation)
        return paid


@dataclass(frozen=True)
class Spend:
    """Grow both chains to the last of `rungs`, with up to `searches` each; then so many votes."""

    rungs: tuple[int, ...]
    votes: int
    searches: int
    aggregation: Aggregation

    async def run(self, run: JudgeRun, account: Account, reads: Reads) -> bool:
        narrow(run, self.rungs, self.searches)
        if not await run.grow(run.chains, self.rungs, account, ORDERS):
            await run.read_where_it_stands(account)
            return False
        await run.read(account, "both" if run.chains.closed else "capped")
        if self.votes == 1:
            return True
        return await Vote(self.votes, True, self.aggregation).run(run, account, reads)


@dataclass(frozen=True)
class WriteVerdict:
    """Let chains that have ended write their verdicts out, in up to `tokens` more."""

    tokens: int

    async def run(self, run: JudgeRun, account: Account, reads: Reads) -> bool:
        return await run.finish(self.tokens, account)


@dataclass(frozen=True)
class Reply:
    """Whole written replies of up to `tokens`, from an endpoint that cannot be probed."""

    tokens: int
    thinking: bool

    async def run(self, run: JudgeRun, account: Account, reads: Reads) -> bool:
        return await run.reply(self.tokens, account, self.thinking)
