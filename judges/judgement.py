"""One pair on its way to a verdict: probe, ask the stopper, think on in one order, probe again."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Protocol

from judges.asked import READABLE_MASS, REPLY_TOKENS, TIE, Asked, Watch
from judges.purse import Purse
from judges.written import agree, sides, stated
from rrm.audit import Auditor
from rrm.budget import Share
from rrm.chain import ORDERS, ChainPair, Order, PairReading
from rrm.engine import Engine
from rrm.parse import Reading, Unread
from rrm.stopping import AT_ONCE, Stopper, uncalibrated
from rrm.style import Style
from rrm.types import (
    At,
    Checkpoint,
    OrderReading,
    Pair,
    Provenance,
    Side,
    StopReason,
    Unscored,
    UnscoredReason,
    Usage,
    Verdict,
)
from rrm.votes import Ballot

SPENT = "nothing is left of the budget for all pairs; give more, or fewer pairs"


class Bench(Protocol):
    """What a judgement needs of its judge."""

    engine: Engine
    style: Style
    stopper: Stopper | None
    ladder: tuple[int, ...]
    temperature: float
    auditor: Auditor | None

    @property
    def revoked(self) -> str | None: ...

    def audits(self, pair: Pair, asked: Asked) -> bool: ...

    def provenance(
        self, asked: Asked, defanged: tuple[str, ...] = (), share: Share | None = None
    ) -> Provenance: ...


class Judgement:
    """One pair on its way from question to outcome."""

    def __init__(
        self,
        judge: Bench,
        pair: Pair,
        asked: Asked,
        chains: ChainPair,
        watch: Watch | None,
        began: float,
        share: Share | None = None,
    ) -> None:
        self.judge, self.pair, self.asked = judge, pair, asked
        self.chains, self.watch, self.began = chains, watch, began
        self.share = share
        self.stopper = share.stopper if share else judge.stopper
        self.policy = self.stopper.policy if self.stopper and not judge.revoked else None
        self.audited = share is None and judge.audits(pair, asked)
        self.early: tuple[PairReading, At, int, StopReason] | None = None
        """where an audited pair would have stopped: what was read, the checkpoint, tokens so far,
        and why"""
        self.before = Usage()
        """what earlier chains of this judgement cost"""
        self.path: list[Checkpoint] = []
        self.last: tuple[PairReading, At] | None = None
        """the latest reading and its checkpoint"""
        self.limit = judge.ladder[-1]
        if asked.max_thinking_tokens is not None:
            self.limit = min(self.limit, asked.max_thinking_tokens // 2)
        self.goals = [goal for goal in judge.ladder if goal < self.limit] + [self.limit]
        self.purse = Purse(share, self.goals, watch)

    @property
    def seconds(self) -> float | None:
        """How long it may take."""
        left = self.share.budget.seconds_left if self.share else None
        given = [seconds for seconds in (self.asked.seconds, left) if seconds is not None]
        return min(given, default=None)

    async def run(self) -> Verdict | Unscored:
        """The prompt alone, then the leading order's thought, then the other's."""
        reading = None
        if not await self.purse.open(self.chains, math.inf):
            return self.unscored("budget", SPENT)
        if self._looks(0):
            reading = await self._checkpoint(0)
            if self.asked.effort == "none":
                return self._decide(reading, 0, StopReason.NO_THOUGHT)
            ends = self._ends(reading, 0)
            if ends is not None:
                return self._decide(reading, 0, ends)
        stepping = self._stepping()
        if stepping:
            decided = await self._step(stepping)
            if decided is not None:
                return decided
        at: At = 0
        if self.limit > 0 or reading is None:
            if not await self.purse.grow(self.chains, self.limit, self._bid):
                return await self._cut()
            whole = self.chains.closed or self.limit == self.judge.ladder[-1]
            at = "both" if whole else len(self.goals) if self.chains.length else 0
            reading = await self._checkpoint(at)
        self._audit(reading)
        if at == "both" and self._votes(reading):
            return await self._vote(reading)
        reason = StopReason.ENDED if self.chains.closed else StopReason.BUDGET
        if reading.mass < READABLE_MASS and self.chains.ended:
            return await self._parse()
        return self._decide(reading, at, reason)

    async def _step(self, orders: tuple[Order, ...]) -> Verdict | Unscored | None:
        """Let `orders` think from checkpoint to checkpoint; None where that leaves it open."""
        growing = [self.chains.thoughts[order] for order in orders]
        for stage, goal in enumerate(self.goals, start=1):
            if goal < self.limit and not self._looks(stage):
                continue
            if goal == self.limit and not (self._looks("lead") or self._looks(stage)):
                return None  # nobody looks before both chains are whole
            if not await self.purse.grow(self.chains, goal, self._bid, orders):
                return await self._cut()
            if self.chains.ended or (goal == self.limit and orders == ORDERS):
                return None  # nobody has anything left to say
            closed = len(growing) == 1 and not growing[0].forced
            at: At = "lead" if closed else stage
            if not self._looks(at):
                return None
            reading = await self._checkpoint(at)
            ends = self._ends(reading, at)
            if ends is not None:
                return self._decide(reading, at, ends)
            if all(thought.chain.ended for thought in growing):
                return None
        return None

    async def run_whole(self) -> Verdict | Unscored:
        """For an engine that cannot be probed: an answer without thought, and a whole chain where
        the orders then disagree or say nothing."""
        effort = self.asked.effort
        if not await self.purse.open(self.chains, math.inf):
            return self.unscored("budget", SPENT)
        if effort != "full":
            quick = await self.chains.reply(REPLY_TOKENS)
            agreed = agree(quick)
            if agreed or effort == "none" or self.limit == 0:
                none = effort == "none" or not agreed
                return self._written(quick, StopReason.NO_THOUGHT if none else StopReason.AGREED)
            judge = self.judge
            self.before = self.chains.usage()
            self.chains = ChainPair(
                judge.engine, judge.style, self.pair, judge.temperature, whole=""
            )
            if not await self.purse.open(self.chains, 0.0):
                return self.unscored("budget", SPENT)
        replies = await self.purse.reply(self.chains, self.limit, 0.0)
        if replies is None:
            return self.unscored("budget", SPENT)
        return self._written(replies, StopReason.PARSED)

    def _stepping(self) -> tuple[Order, ...]:
        """The orders that stop at checkpoints: the leading one, where it may settle the pair.

        It cannot beside an order that says nothing without thought.
        """
        if self.limit == 0 or self.asked.effort == "none":
            return ()
        if self.asked.effort == "full":
            return ORDERS if self.asked.trace else ()
        silent = self.last is not None and self.last[0].mass < READABLE_MASS
        return () if self.policy is None or silent else (self.chains.lead,)

    def _looks(self, at: At) -> bool:
        """Whether checkpoint `at` is read: only where somebody might stop, or to trace."""
        if self.limit == 0 or self.asked.effort == "none":
            return True
        if self.asked.effort == "full":
            return self.asked.trace
        return at == 0 or (self.policy is not None and self.policy.rule(at).looks)

    def _ends(self, reading: PairReading, at: At) -> StopReason | None:
        """Why thought ends at checkpoint `at`; None if it goes on."""
        policy = self.policy
        if self.asked.effort != "adaptive" or policy is None or reading.mass < READABLE_MASS:
            return None
        rule = policy.rule(at)
        if rule.stops(reading.margin, reading.agree):
            reason = self._why_at_once() if at == 0 else StopReason.MARGIN
        elif rule.ties(reading.margin, reading.agree):
            reason = StopReason.CLOSE
        else:
            return None
        if self.audited:
            early = reading, at, self.chains.thinking_tokens, reason
            self.early = self.early or early
            return None
        return reason

    def _votes(self, reading: PairReading) -> bool:
        """Whether whole chains leave it so open that more of them are worth their price."""
        return (
            self.asked.plain
            and self.policy is not None
            and reading.mass >= READABLE_MASS
            and not self.policy.both.stops(reading.margin, reading.agree)
        )

    async def _vote(self, reading: PairReading) -> Verdict | Unscored:
        """Fresh pairs of chains, until the test has heard enough."""
        judge, stopper = self.judge, self.stopper
        most = stopper.most_votes if stopper else 1
        heat = stopper.vote_temperature if stopper else 0.0
        ballot = Ballot((reading.margins,))
        masses, reason = [reading.masses], StopReason.VOTED
        for vote in range(1, most):
            if ballot.decided:
                break
            chains = ChainPair(judge.engine, judge.style, self.pair, heat, vote=vote)
            if not await self._whole(chains):
                reason = StopReason.SPENT  # half a vote is none
                self.before = self.before.plus(chains.usage())
                break
            one = await self.purse.read(chains)
            self.before = self.before.plus(chains.usage())
            ballot, masses = ballot.plus(one.margins), [*masses, one.masses]
        least = min(masses, key=min)
        found = PairReading(ballot.margins, least, reading.scores)
        self._point(found, "votes")
        return self._decide(found, "votes", reason)

    async def _whole(self, chains: ChainPair) -> bool:
        """Whether the budget was enough for one more pair of whole chains."""
        bid = self._bid
        return await self.purse.open(chains, bid) and await self.purse.grow(chains, self.limit, bid)

    async def _cut(self) -> Verdict | Unscored:
        """The budget is spent: the chains are closed where they are."""
        if self.last is None:
            return self.unscored("budget", SPENT)
        at = self.last[1]
        if self.chains.thinking_tokens > self.path[-1].thinking_tokens:
            led = self.chains.thoughts[self.chains.lead]
            grown = len(led.chain.ids)
            at = next((n for n, goal in enumerate(self.goals, start=1) if goal >= grown), at)
            at = at if led.forced else "lead"
            return self._decide(await self._checkpoint(at), at, StopReason.SPENT)
        return self._decide(*self.last, StopReason.SPENT)

    @property
    def _bid(self) -> float:
        """What a token more is worth to this pair, as it stands."""
        if self.stopper is None or self.last is None:
            return 0.0
        reading, at = self.last
        return self.stopper.bid(at, reading.margin, reading.agree)

    def _why_at_once(self) -> StopReason:
        """Why the prompt alone was read."""
        if self.stopper is not None and not self.stopper.thinks:
            return StopReason.UNPRODUCTIVE
        return StopReason.SPENT if self.policy is AT_ONCE else StopReason.MARGIN

    def _audit(self, reading: PairReading) -> None:
        """Tell the auditor what stopping early would have said, and cost."""
        auditor = self.judge.auditor
        if not self.audited or auditor is None or reading.mass < READABLE_MASS:
            return
        whole = self.chains.thinking_tokens
        early, _, tokens, reason = self.early or (reading, "both", whole, StopReason.ENDED)
        apart = early.margin * reading.margin <= 0 or reason is StopReason.CLOSE
        auditor.saw(apart, tokens / max(1, whole), self.pair.digest)

    async def _checkpoint(self, at: At) -> PairReading:
        reading = await self.purse.read(self.chains)
        self._point(reading, at)
        return reading

    def _point(self, reading: PairReading, at: At) -> None:
        """Put a reading on the path."""
        point = Checkpoint(
            at=at,
            thinking_tokens=self.chains.thinking_tokens + self.before.thinking_tokens,
            margin=reading.margin,
            margins=reading.margins,
            probability=self._probability(reading, at),
            agree=reading.agree,
            mass=reading.mass,
        )
        self.path.append(point)
        self.last = reading, at
        if self.watch:
            self.watch(point)

    def _probability(self, reading: PairReading, at: At) -> float:
        if abs(reading.margin) < TIE:
            return 0.5
        if self.stopper is None:
            return uncalibrated(reading.margin)
        return self.stopper.probability(at, reading.margin, reading.agree)

    def _decide(self, reading: PairReading, at: At, reason: StopReason) -> Verdict | Unscored:
        if reading.mass < READABLE_MASS:
            why: UnscoredReason = "truncated" if reason is StopReason.BUDGET else "unparseable"
            return self.unscored(
                why,
                f"the verdict labels hold {reading.mass:.2f} of the probability here, too little "
                "to read; allow more thought (effort=full, a larger max_thinking_tokens)",
            )
        margin = reading.margin
        tie = abs(margin) < TIE or reason is StopReason.CLOSE
        preferred: Side = "tie" if tie else "a" if margin > 0 else "b"
        probability = 0.5 if tie else self._probability(reading, at)
        return self._verdict(preferred, probability, reading.margins, reading.scores, reason)

    def out_of_time(self) -> Verdict | Unscored:
        """What the last checkpoint said, if there was a readable one.

        An audited pair that had no time for it stops where it would have without the audit.
        """
        if self.early is not None:
            return self._decide(self.early[0], self.early[1], self.early[3])
        left = self.share.budget.seconds_left if self.share else None
        spent = left is not None and (left <= 0 or self.asked.seconds is None)
        if self.last is not None and self.last[0].mass >= READABLE_MASS:
            return self._decide(*self.last, StopReason.SPENT if spent else StopReason.DEADLINE)
        if spent:
            return self.unscored("budget", SPENT)
        return self.unscored(
            "deadline", f"no readable checkpoint within {self.asked.seconds:g} s; allow more time"
        )

    async def _parse(self) -> Verdict | Unscored:
        """The labels cannot be probed in this style and model: read what the chains wrote."""
        if self.chains.length + REPLY_TOKENS > self.limit:
            return self.unscored("truncated", "no tokens left to write the verdict out")
        replies = await self.purse.finish(self.chains, REPLY_TOKENS, self._bid)
        if replies is None:
            return self.unscored("budget", SPENT)
        return self._written(replies, StopReason.PARSED)

    def _written(self, replies: Sequence[Reading], reason: StopReason) -> Verdict | Unscored:
        """The verdict that both orders' texts state."""
        found = sides(replies)
        if isinstance(found, Unread):
            return self.unscored(found.reason, found.detail)
        if found[0] * found[1] < 0:
            return self.unscored("order_conflict", "the orders' written verdicts contradict")
        preferred, probability = stated(found)
        return self._verdict(preferred, probability, found, None, reason)

    def _verdict(
        self,
        preferred: Side,
        probability: float,
        margins: tuple[float, float],
        scores: tuple[float, float] | None,
        reason: StopReason,
    ) -> Verdict:
        return Verdict(
            preferred=preferred,
            probability=probability,
            margin=sum(margins) / 2,
            agree=margins[0] * margins[1] > 0,
            reason=reason,
            path=tuple(self.path),
            orders=(self._order("ab", margins[0]), self._order("ba", margins[1])),
            scores=scores,
            usage=self._usage(),
            judge=self._provenance(late=reason in (StopReason.DEADLINE, StopReason.SPENT)),
        )

    def _order(self, order: Order, margin: float) -> OrderReading:
        thought = self.chains.thoughts[order]
        return OrderReading(
            order=order,
            led=order == self.chains.lead,
            margin=margin,
            thinking_tokens=thought.thinking_tokens,
            forced=thought.forced,
            chain=thought.chain.text if self.asked.return_chain else None,
        )

    def unscored(self, reason: UnscoredReason, detail: str) -> Unscored:
        return Unscored(reason=reason, detail=detail, usage=self._usage(), judge=self._provenance())

    def _usage(self) -> Usage:
        spent = self.chains.usage().plus(self.before)
        return spent.model_copy(update={"seconds": time.monotonic() - self.began})

    def _provenance(self, late: bool = False) -> Provenance:
        found = self.judge.provenance(self.asked, self.chains.defanged, self.share)
        if self.early is not None:
            said = f"audited: it would have stopped after {self.early[2]} tokens"
            found = found.model_copy(update={"notes": (*found.notes, said)})
        return found.model_copy(update={"certificate": None}) if late else found
