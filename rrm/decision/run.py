"""JudgeRun: the chains of one judgement as it goes on, what was read of them, what that cost."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from rrm.allocation.account import Account
from rrm.allocation.meter import Work
from rrm.decision.chains import ORDERS, ChainText, JudgeChain, Order, PairReadout, SwapPair
from rrm.decision.state import READABLE_MASS, ChainKey, ChainState, Place, Readout, State
from rrm.decision.votes import Ballot
from rrm.parse import ParsedVerdict
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
    ) -> None:
        self.chains, self._start = chains, start
        self.rungs, self._marginal_value, self._watch = tuple(rungs), marginal_value, watch
        self._no_thought = no_thought
        self.path: list[Readout] = []
        self._news: list[Readout] = []
        self._before = Usage()
        """what earlier chains of this judgement cost"""
        self._ballot: Ballot | None = None
        self._masses: list[tuple[float, float]] = []
        self._voted = False
        self._replies = 0

    # -- what is known ----------------------------------------------------------------------------

    @property
    def state(self) -> State:
        chains = {ChainKey(order): _state(self.chains.by_order[order]) for order in ORDERS}
        return State(chains, self.votes, self._voted, self._replies)

    def news(self) -> list[Readout]:
        """The readouts since this was last asked."""
        found, self._news = self._news, []
        return found

    @property
    def votes(self) -> int:
        """Pairs of chains that count."""
        return 1 if self._ballot is None else len(self._ballot.votes)

    @property
    def ballot(self) -> Ballot:
        """The first pair's verdict, and those of the votes."""
        if self._ballot is None:
            reading = self.path[-1].reading
            if reading is None:
                raise ValueError("only what was read by probe can be put to the vote")
            margins, masses = reading.both
            self._ballot, self._masses = Ballot((margins,)), [masses]
        return self._ballot

    @property
    def ending(self) -> StopReason:
        """Why it ends where nothing is left to buy."""
        if self._replies:
            return StopReason.NO_THOUGHT if self.chains.without_thought else StopReason.PARSED
        if self._no_thought:
            return StopReason.NO_THOUGHT
        if self._voted:
            return StopReason.VOTED
        return StopReason.ENDED if self.chains.closed else StopReason.TOKEN_LIMIT

    @property
    def usage(self) -> Usage:
        return self.chains.usage().plus(self._before)

    # -- what actions do --------------------------------------------------------------------------

    async def open(
        self, chains: SwapPair, account: Account, orders: Sequence[Order] = ORDERS
    ) -> bool:
        """Pay for the prompts of `orders` that were not read yet, with enough for their probes.

        A judgement's first prompt goes before all else.
        """
        begun = self.path or any(one.opened for one in self.chains.by_order.values())
        priority = self._priority if begun else math.inf
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
        self._add(place, await self._probe(self.chains, account))

    async def grow(
        self,
        chains: SwapPair,
        rungs: Sequence[int],
        account: Account,
        orders: Sequence[Order] = ORDERS,
    ) -> bool:
        """Grow the chains of `orders` to the last of `rungs`, with enough left for their probes.

        False if the account does not reach so far; they are then as long as it does.
        """
        judge_chains = [chains.by_order[order] for order in orders]
        for depth in account.instalments(rungs):
            growing = [one for one in judge_chains if _room(one, depth)]
            work = [_growth_work(one, _room(one, depth)) for one in growing]
            if not work:
                continue
            reserved = [*work, *_probe_work(judge_chains, depth)]
            if not await account.reserve(reserved, self._priority):
                return False
            with _paying(account, growing):
                await chains.grow(depth, self._watch, orders)
        return True

    async def read_where_it_stands(self, account: Account) -> None:
        """A readout of what was reached when the account refused more, if that is new."""
        lead = self.chains.by_order[self.chains.lead]
        if not lead.opened or (self.path and self._tokens <= self.path[-1].tokens):
            return
        grown = len(lead.sequence.ids)
        place: Place = self.path[-1].place if self.path else 0
        place = next((n for n, rung in enumerate(self.rungs, start=1) if rung >= grown), place)
        if not lead.forced:
            place = "lead"
        both = all(len(one.sequence.ids) for one in self.chains.by_order.values())
        reading = await self._probe(self.chains, account)
        self._add("capped" if both else place, reading, _wire(place))

    async def vote(self, account: Account) -> bool:
        """One more pair of whole chains; False if the account refused a part of it."""
        number = self.votes
        chains = await self._start(number)
        paid = await self.open(chains, account)
        paid = paid and await self.grow(chains, self.rungs, account)
        if paid:
            reading = await self._probe(chains, account)
            margins, masses = reading.both
            self._ballot = self.ballot.plus(margins)
            self._masses.append(masses)
        self._before = self._before.plus(chains.usage())  # half a vote is none, but it has cost
        return paid

    def read_votes(self) -> None:
        """One readout of all the votes."""
        ballot, first = self.ballot, self.path[-1].reading
        scores = None if first is None else first.scores
        self._voted = True
        self._add("votes", PairReadout(ballot.margins, min(self._masses, key=min), scores))

    async def finish(self, tokens: int, account: Account) -> bool:
        """Let both chains write their verdicts out."""
        judge_chains = list(self.chains.by_order.values())
        work = [_growth_work(one, tokens) for one in judge_chains]
        if not await account.reserve(work, self._priority):
            return False
        with _paying(account, judge_chains):
            replies = await self.chains.finish(tokens)
        self._write(replies, "both")
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
        if thinking and not await account.reserve(work, self._priority):
            return False
        if thinking:
            with _paying(account, judge_chains):
                replies = await self.chains.reply(tokens)
        else:
            replies = await self.chains.reply(tokens)
        self._write(replies, 0)
        return True

    # -- parts ------------------------------------------------------------------------------------

    @property
    def _tokens(self) -> int:
        return self.chains.thinking_tokens + self._before.thinking_tokens

    @property
    def _priority(self) -> float:
        """Of the next step: the marginal value of a token as the pair stands."""
        return self._marginal_value(self.path[-1]) if self.path else 0.0

    async def _probe(self, chains: SwapPair, account: Account) -> PairReadout:
        judge_chains = [one for one in chains.by_order.values() if one.opened]
        work = _probe_work(judge_chains)
        reading = await chains.read([order for order in ORDERS if chains.by_order[order].opened])
        account.pay(work)
        return reading

    def _add(self, place: Place, reading: PairReadout, at: At | None = None) -> None:
        if at is None:
            at = self._capped_at if place == "capped" else _wire(place)
        prompt = self.path[0].prompt if self.path else None
        if not self.path and place == 0:
            prompt = reading.margins[ORDERS.index(self.chains.lead)]
        lead = self.chains.lead
        self.path.append(Readout(place, at, self._tokens, reading, lead=lead, prompt=prompt))
        self._news.append(self.path[-1])

    def _write(self, replies: tuple[ParsedVerdict, ...], place: At) -> None:
        self._replies += 1
        self.path.append(Readout(place, place, self._tokens, None, replies))
        self._news.append(self.path[-1])

    @property
    def _capped_at(self) -> At:
        return len(self.rungs) if self.chains.length else 0


def _wire(place: Place) -> At:
    return "both" if place == "capped" else place


def _state(chain: JudgeChain) -> ChainState:
    reading = chain.reading
    return ChainState(
        opened=chain.opened,
        tokens=len(chain.sequence.ids),
        ended=chain.sequence.ended,
        readable=None if reading is None else reading.mass >= READABLE_MASS,
        silent=chain.first_mass is not None and chain.first_mass < READABLE_MASS,
    )


def _room(chain: JudgeChain, depth: int) -> int:
    """Tokens that a chain may grow by on its way to `depth`."""
    return 0 if chain.sequence.ended else max(0, depth - len(chain.sequence.ids))


def _growth_work(chain: JudgeChain, tokens: int) -> Work:
    """So many more tokens of one chain."""
    return Work("thought", tokens, len(chain.sequence.prompt_ids) + len(chain.sequence.ids))


def _probe_work(chains: Sequence[JudgeChain], depth: int = 0) -> list[Work]:
    """A probe of each, where it is at least `depth` tokens long; none where nothing is new."""
    return [
        Work("probe", 0, len(one.sequence.prompt_ids) + max(depth, len(one.sequence.ids)))
        for one in chains
        if one.reading is None or _room(one, depth)
    ]


@contextmanager
def _paying(account: Account, chains: Sequence[JudgeChain]) -> Iterator[None]:
    """Pay for what the chains grow by; a step that fails has cost all that it reserved."""
    before = [len(one.sequence.ids) for one in chains]
    try:
        yield
    except BaseException:
        account.forfeit()
        raise
    account.pay(
        Work("thought", len(one.sequence.ids) - length, len(one.sequence.prompt_ids) + length)
        for one, length in zip(chains, before, strict=True)
    )
