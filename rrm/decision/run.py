"""JudgeRun: the chains of one judgement as it goes on, what was read of them, what that cost."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from rrm.allocation.account import Account
from rrm.allocation.meter import Work
from rrm.decision.chain import JudgeChain
from rrm.decision.chains import ORDERS, ChainText, Order, PairReadout, SwapPair
from rrm.decision.fixed import Aggregation
from rrm.decision.search import ChainSearch, answer
from rrm.decision.state import READABLE_MASS, ChainKey, ChainState, Place, Readout, State
from rrm.decision.votes import Votes
from rrm.parse import ParsedVerdict
from rrm.search.evidence import Evidence
from rrm.types import At, StopReason, Usage

Start = Callable[[int], Awaitable[SwapPair]]
"""vote to fresh chains"""
MarginalValue = Callable[[Readout], float]


class JudgeRun:
    """The actions' view of one judgement. Raises EngineError where its engine does.

    chains: the first pair. start: makes more. rungs: thinking tokens of each chain at which it
    may be read, the limit last. marginal_value: of one more token, to a pair that stands so.
    watch: told thought as it comes. no_thought: none was asked for.
    """

    def __init__(
        self,
        chains: SwapPair,
        start: Start,
        rungs: Sequence[int],
        marginal_value: MarginalValue = lambda readout: 0.0,
        watch: Callable[[ChainText], None] | None = None,
        no_thought: bool = False,
        evidence: Evidence | None = None,
    ) -> None:
        self.evidence = evidence or Evidence()
        self.chains, self._start = chains, start
        self.rungs, self._marginal_value, self._watch = tuple(rungs), marginal_value, watch
        self._no_thought = no_thought
        self.path: list[Readout] = []
        self._reported = 0
        """readouts that `news` has given out"""
        self._before = Usage()
        """what earlier chains of this judgement cost"""
        self.votes = Votes()
        self._replies = 0

    # -- what is known ----------------------------------------------------------------------------

    @property
    def state(self) -> State:
        chains = {
            ChainKey(order): _state(self.chains.by_order[order], bool(asking(self, (order,))))
            for order in ORDERS
        }
        return State(chains, self.votes.count, self.votes.counted, self._replies)

    def news(self) -> list[Readout]:
        """The readouts since this was last asked."""
        news, self._reported = self.path[self._reported :], len(self.path)
        return news

    @property
    def ending(self) -> StopReason:
        """Why it ends where nothing is left to buy."""
        if self._replies:
            return StopReason.NO_THOUGHT if self.chains.without_thought else StopReason.PARSED
        if self._no_thought:
            return StopReason.NO_THOUGHT
        if self.votes.counted:
            return StopReason.VOTED
        return StopReason.ENDED if self.chains.closed else StopReason.TOKEN_LIMIT

    @property
    def usage(self) -> Usage:
        searches = Usage(searches=self.evidence.searches)
        return self.chains.usage().plus(self._before).plus(searches)

    # -- what actions do --------------------------------------------------------------------------

    async def open(
        self, chains: SwapPair, account: Account, orders: Sequence[Order] = ORDERS
    ) -> bool:
        """Pay for the prompts of `orders` that were not read yet, with enough for their probes.

        A judgement's first prompt goes before all else.
        """
        begun = self.path or any(one.opened for one in self.chains.by_order.values())
        priority = _priority(self) if begun else math.inf
        judge_chains = [chains.by_order[order] for order in orders]
        judge_chains = [one for one in judge_chains if not one.opened]
        prompts = [Work("prompt", len(one.sequence.prompt_ids), 0) for one in judge_chains]
        if prompts and not await account.reserve([*prompts, *_probe_work(judge_chains)], priority):
            return False
        account.pay(prompts)
        for one in judge_chains:
            one.opened = True
        return True

    async def read(self, account: Account, place: Place) -> None:
        """A readout of the first pair's chains where they stand."""
        self._add(place, await _probed(self.chains, account))

    async def grow(
        self,
        chains: SwapPair,
        rungs: Sequence[int],
        account: Account,
        orders: Sequence[Order] = ORDERS,
        searching: bool = True,
    ) -> bool:
        """Grow the chains of `orders` to the last of `rungs`, with enough left for their probes.

        searching: what they ask for on the way is searched; else the first that asks ends it.
        False if the account does not reach so far; they are then as long as it does.
        """
        judge_chains = [chains.by_order[order] for order in orders]
        for depth in account.instalments(rungs):
            while growing := [one for one in judge_chains if _room(one, depth)]:
                paused = [one.search for one in growing if one.sequence.paused]
                if not searching and any(one.asks(self.evidence) for one in paused):
                    return True
                if not await answer(paused, self.evidence, account, _priority(self)):
                    return False
                work = [_growth_work(one, _room(one, depth)) for one in growing]
                reserved = [*work, *_probe_work(judge_chains, depth)]
                if not await account.reserve(reserved, _priority(self)):
                    return False
                with _paying(account, growing):
                    await chains.grow(depth, self._watch, orders)
                if not any(one.sequence.paused for one in growing):
                    break  # as far as they go, be it by the context
        return True

    async def search(self, orders: Sequence[Order], account: Account) -> bool:
        """What the chains of `orders` ask for; False if the account refused it."""
        paid = await answer(asking(self, orders), self.evidence, account, _priority(self))
        if self._watch is not None:
            self.chains.tell(self._watch, orders)
        return paid

    async def read_where_it_stands(self, account: Account) -> None:
        """A readout of what was reached when the account refused more, if that is new."""
        lead = self.chains.by_order[self.chains.lead]
        if not lead.opened or (self.path and _tokens(self) <= self.path[-1].tokens):
            return
        grown = lead.sequence.generated
        place: Place = self.path[-1].place if self.path else 0
        place = next((n for n, rung in enumerate(self.rungs, start=1) if rung >= grown), place)
        if not lead.forced:
            place = "lead"
        both = all(one.sequence.generated for one in self.chains.by_order.values())
        reading = await _probed(self.chains, account)
        self._add("capped" if both else place, reading, _wire(place))

    async def vote(self, account: Account) -> bool:
        """One more pair of whole chains; False if the account refused a part of it."""
        self.votes.begin(self.path[-1])
        chains = await self._start(self.votes.count)
        paid = await self.open(chains, account)
        paid = paid and await self.grow(chains, self.rungs, account)
        if paid:
            reading = await _probed(chains, account)
            self.votes.add(reading)
        self._before = self._before.plus(chains.usage())  # half a vote is none, but it has cost
        return paid

    def read_votes(self, aggregation: Aggregation = "mean") -> None:
        """One readout of all the votes."""
        self._add("votes", self.votes.read(self.path[-1], aggregation))

    async def finish(self, tokens: int, account: Account) -> bool:
        """Let both chains write their verdicts out."""
        judge_chains = list(self.chains.by_order.values())
        work = [_growth_work(one, tokens) for one in judge_chains]
        if not await account.reserve(work, _priority(self)):
            return False
        with _paying(account, judge_chains):
            replies = await self.chains.finish(tokens)
        self._add("both", None, "both", replies)
        return True

    async def reply(self, tokens: int, account: Account, thinking: bool) -> bool:
        """Both orders' whole replies; one without thought costs only what a probe does."""
        if thinking and self.chains.without_thought:
            self._before = self._before.plus(self.chains.usage())
            self.chains = await self._start(0)
        judge_chains = list(self.chains.by_order.values())
        if not await self.open(self.chains, account):
            return False
        work = [_growth_work(one, tokens) for one in judge_chains]
        if thinking and not await account.reserve(work, _priority(self)):
            return False
        if thinking:
            with _paying(account, judge_chains):
                replies = await self.chains.reply(tokens)
        else:
            replies = await self.chains.reply(tokens)
        self._add(0, None, 0, replies)
        return True

    # -- parts ------------------------------------------------------------------------------------

    def _add(
        self,
        place: Place,
        reading: PairReadout | None,
        at: At | None = None,
        replies: tuple[ParsedVerdict, ...] = (),
    ) -> None:
        if at is None and place == "capped":
            at = len(self.rungs) if self.chains.length else 0
        at = _wire(place) if at is None else at
        self._replies += reading is None
        prompt = self.path[0].prompt if self.path else None
        if not self.path and place == 0 and reading is not None:
            prompt = reading.margins[ORDERS.index(self.chains.lead)]
        lead = self.chains.lead
        searches = self.chains.by_order[lead].search.answered
        self.path.append(
            Readout(place, at, _tokens(self), reading, replies, lead, prompt, searches)
        )


def _state(chain: JudgeChain, asks: bool) -> ChainState:
    reading = chain.reading
    return ChainState(
        opened=chain.opened,
        tokens=chain.sequence.generated,
        asks=asks,
        ended=chain.sequence.ended,
        readable=None if reading is None else reading.mass >= READABLE_MASS,
        silent=chain.first_mass is not None and chain.first_mass < READABLE_MASS,
    )


async def _probed(chains: SwapPair, account: Account) -> PairReadout:
    """A readout of the orders that were opened."""
    orders = [order for order in ORDERS if chains.by_order[order].opened]
    work = _probe_work([chains.by_order[order] for order in orders])
    reading = await chains.read(orders)
    account.pay(work)
    return reading


def narrow(run: JudgeRun, rungs: Sequence[int], searches: int) -> None:
    """From now on chains may be no longer than the last of `rungs`, and search so often."""
    run.rungs = tuple(rungs)
    limits = run.evidence.limits
    run.evidence.limits = replace(limits, rounds=min(limits.rounds, searches))


def asking(run: JudgeRun, orders: Sequence[Order]) -> list[ChainSearch]:
    """The chains of `orders` that wait for a search."""
    return run.chains.asking(orders, run.evidence, run.rungs[-1])


def _tokens(run: JudgeRun) -> int:
    """Thinking tokens of all chains so far."""
    return run.chains.thinking_tokens + run._before.thinking_tokens


def _priority(run: JudgeRun) -> float:
    """Of the next step: the marginal value of a token as the pair stands."""
    return run._marginal_value(run.path[-1]) if run.path else 0.0


def _wire(place: Place) -> At:
    return "both" if place == "capped" else place


def _room(chain: JudgeChain, depth: int) -> int:
    """Tokens that a chain may grow by on its way to `depth`."""
    return 0 if chain.sequence.ended else max(0, depth - chain.sequence.generated)


def _growth_work(chain: JudgeChain, tokens: int) -> Work:
    """So many more tokens of one chain."""
    return Work("thought", tokens, chain.search.length)


def _probe_work(chains: Sequence[JudgeChain], depth: int = 0) -> list[Work]:
    """A probe of each, where it is at least `depth` tokens long; none where nothing is new."""
    return [
        Work("probe", 0, one.search.length + _room(one, depth))
        for one in chains
        if one.reading is None or _room(one, depth)
    ]


@contextmanager
def _paying(account: Account, chains: Sequence[JudgeChain]) -> Iterator[None]:
    """Pay for what the chains grow by; a step that fails has cost all that it reserved."""
    before = [one.sequence.generated for one in chains]
    try:
        yield
    except BaseException:
        account.forfeit()
        raise
    grown = [one.sequence.generated - length for one, length in zip(chains, before, strict=True)]
    account.pay(
        Work("thought", tokens, one.search.length - tokens)
        for one, tokens in zip(chains, grown, strict=True)
    )
