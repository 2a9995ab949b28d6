"""A pair in, a verdict out: probe, ask the stopper, think on in one order, probe again."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rrm.audit import Auditor
from rrm.chain import ORDERS, ChainPair, ChainText, Order, PairReading
from rrm.engine import Engine, EngineError
from rrm.parse import Choice, Reading, Scores, Unread
from rrm.stopping import Policy, Stopper, uncalibrated
from rrm.style import Style, StyleMismatch
from rrm.types import (
    At,
    Certificate,
    Checkpoint,
    Effort,
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

LADDER = (64, 128, 256, 512, 1024, 2048, 4096)
"""Checkpoints for a model that names none: thinking tokens of each chain."""
READABLE_MASS = 0.5
"""labels that hold less probability than this cannot be read by probe"""
REPLY_TOKENS = 32
"""how much a closed chain may write to state its verdict, where that has to be parsed"""
AT_ONCE = "\n\nDo not think about it: reply at once, with nothing but the verdict in its form."
"""how a judge that cannot be probed is asked for an answer without thought"""
TIE = 1e-9
"""a |margin| below this is no preference"""

Event = ChainText | Checkpoint
Watch = Callable[[Event], None]


@dataclass(frozen=True)
class Asked:
    """How a caller wants a pair judged.

    max_thinking_tokens: for both orders together; None leaves it to the ladder. seconds: when they
    are over, the last checkpoint decides; a judgement that has none is unscored.
    """

    effort: Effort = "adaptive"
    max_thinking_tokens: int | None = None
    return_chain: bool = False
    seconds: float | None = None
    trace: bool = False
    """with effort full: read every checkpoint too, although nothing depends on it"""


class PairwiseJudge:
    """One engine asked in one style. Safe for many tasks at once.

    Raises StyleMismatch if the engine's model is of another family than the style.
    """

    def __init__(
        self,
        engine: Engine,
        style: Style,
        stopper: Stopper | None = None,
        ladder: tuple[int, ...] = LADDER,
        temperature: float = 0.0,
        auditor: Auditor | None = None,
        audit_share: float = 0.0,
    ) -> None:
        """auditor: told of a share of pairs, which are thought through whole for it."""
        if engine.control:
            style.check(engine.control)
        if 2 not in style.sizes:
            raise StyleMismatch(f"style {style.name} scores one response and compares none")
        self.engine, self.style, self.stopper = engine, style, stopper
        self.ladder, self.temperature = ladder, temperature
        self.auditor, self.audit_share = auditor, audit_share

    async def judge(
        self, pair: Pair, asked: Asked = Asked(), watch: Watch | None = None
    ) -> Verdict | Unscored:
        """Judge `pair`. Raises RefusedText for text that the model cannot take.

        watch: told every piece of thought and every checkpoint as it comes.
        """
        began = time.monotonic()
        if pair.response_a == pair.response_b:
            return self._identical(asked, began)
        whole = None if self.engine.can_probe else AT_ONCE if asked.effort != "full" else ""
        chains = ChainPair(self.engine, self.style, pair, self.temperature, whole)
        call = _Call(self, asked, chains, watch, began, self.audits(pair, asked))
        try:
            async with asyncio.timeout(asked.seconds):
                return await (call.run() if whole is None else call.run_whole(pair))
        except EngineError as failure:
            return call.unscored("engine_error", str(failure))
        except TimeoutError:
            return call.out_of_time()

    @property
    def policy(self) -> Policy | None:
        """By which adaptive effort stops; none: it thinks whole chains."""
        return self.stopper.policy if self.stopper is not None and not self.revoked else None

    @property
    def revoked(self) -> str | None:
        """Why the stopper is not followed any more."""
        return self.auditor.revoked if self.auditor else None

    def audits(self, pair: Pair, asked: Asked) -> bool:
        """Whether this pair is in the share that is thought through whole: its texts decide."""
        plain = asked.effort == "adaptive" and asked.max_thinking_tokens is None
        if self.auditor is None or self.policy is None or not plain:
            return False
        texts = repr((pair.prompt, *sorted(pair.responses))).encode()
        draw = int.from_bytes(hashlib.sha256(texts).digest()[:8], "big") / 2**64
        return draw < self.audit_share

    def provenance(self, asked: Asked, defanged: tuple[str, ...] = ()) -> Provenance:
        notes = []
        if defanged:
            notes.append(f"neutralised in the input: {', '.join(map(repr, defanged[:8]))}")
        source = self.stopper.source if self.stopper else "none for this model and prompt"
        if not self.engine.can_probe:
            notes.append(
                "this endpoint cannot be probed, so written verdicts were read; whether to think "
                "was decided once, by whether both orders agreed without thought"
            )
        elif self.revoked and asked.effort == "adaptive":
            notes.append(f"certificate revoked, so it thought its whole chain: {self.revoked}")
        elif self.policy is None and asked.effort == "adaptive":
            missing = "thresholds for this model" if self.stopper is None else "certificate"
            notes.append(f"no {missing}, so it thought its whole chain")
        if self.stopper is None:
            notes.append("the probability is the model's own, not calibrated")
        return Provenance(
            model=self.engine.card.name,
            style=self.style.name,
            prompt_hash=self.style.prompt_hash,
            effort=asked.effort,
            stopper=source,
            certificate=self._certificate(asked),
            notes=tuple(notes),
        )

    def _certificate(self, asked: Asked) -> Certificate | None:
        """It holds for adaptive thought that nothing else cuts short."""
        plain = asked.effort == "adaptive" and asked.max_thinking_tokens is None
        held = self.stopper is not None and plain and not self.revoked
        return self.stopper.certificate if self.stopper is not None and held else None

    def _identical(self, asked: Asked, began: float) -> Verdict:
        return Verdict(
            preferred="tie",
            probability=0.5,
            margin=0.0,
            agree=True,
            reason=StopReason.IDENTICAL,
            path=(),
            orders=(),
            usage=Usage(seconds=time.monotonic() - began),
            judge=self.provenance(asked),
        )


class _Call:
    """One pair on its way from question to outcome."""

    def __init__(
        self,
        judge: PairwiseJudge,
        asked: Asked,
        chains: ChainPair,
        watch: Watch | None,
        began: float,
        audited: bool = False,
    ) -> None:
        self.judge, self.asked, self.chains, self.watch = judge, asked, chains, watch
        self.began, self.audited = began, audited
        self.early: tuple[float, int] | None = None
        """margin and tokens where an audited pair would have stopped"""
        self.before = Usage()
        """what earlier chains of this judgement cost"""
        self.path: list[Checkpoint] = []
        self.last: tuple[PairReading, At] | None = None
        """the latest reading and its checkpoint"""
        self.limit = judge.ladder[-1]
        if asked.max_thinking_tokens is not None:
            self.limit = min(self.limit, asked.max_thinking_tokens // 2)
        self.goals = [goal for goal in judge.ladder if goal < self.limit] + [self.limit]

    async def run(self) -> Verdict | Unscored:
        """The prompt alone, then the leading order's thought, then the other's."""
        reading = None
        if self._looks(0):
            reading = await self._checkpoint(0)
            if self.asked.effort == "none":
                return self._decide(reading, 0, StopReason.NO_THOUGHT)
            if self._sure(reading, 0):
                stopper = self.judge.stopper
                thinks = stopper is None or stopper.thinks
                reason = StopReason.MARGIN if thinks else StopReason.UNPRODUCTIVE
                return self._decide(reading, 0, reason)
        stepping = self._stepping()
        if stepping:
            decided = await self._step(stepping)
            if decided is not None:
                return decided
        at: At = 0
        if self.limit > 0 or reading is None:
            await self.chains.grow(self.limit, self.watch)
            whole = self.chains.closed or self.limit == self.judge.ladder[-1]
            at = "both" if whole else len(self.goals) if self.chains.length else 0
            reading = await self._checkpoint(at)
        self._audit(reading)
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
            await self.chains.grow(goal, self.watch, orders)
            if self.chains.ended or (goal == self.limit and orders == ORDERS):
                return None  # nobody has anything left to say
            closed = len(growing) == 1 and not growing[0].forced
            at: At = "lead" if closed else stage
            reading = await self._checkpoint(at)
            if self._sure(reading, at):
                return self._decide(reading, at, StopReason.MARGIN)
            if all(thought.chain.ended for thought in growing):
                return None
        return None

    async def run_whole(self, pair: Pair) -> Verdict | Unscored:
        """For an engine that cannot be probed: an answer without thought, and a whole chain where
        the orders then disagree or say nothing."""
        effort = self.asked.effort
        if effort != "full":
            sides = self._sides(await self.chains.reply(REPLY_TOKENS))
            agreed = not isinstance(sides, Unscored) and sides[0] * sides[1] > 0
            if agreed or effort == "none" or self.limit == 0:
                if isinstance(sides, Unscored):
                    return sides
                none = effort == "none" or not agreed
                return self._written(sides, StopReason.NO_THOUGHT if none else StopReason.AGREED)
            self.before = self.chains.usage()
            judge = self.judge
            self.chains = ChainPair(judge.engine, judge.style, pair, judge.temperature, whole="")
        sides = self._sides(await self.chains.reply(self.limit))
        if isinstance(sides, Unscored):
            return sides
        return self._written(sides, StopReason.PARSED)

    def _stepping(self) -> tuple[Order, ...]:
        """The orders that stop at checkpoints: the leading one, where it may settle the pair.

        It cannot beside an order that says nothing without thought.
        """
        if self.limit == 0 or self.asked.effort == "none":
            return ()
        if self.asked.effort == "full":
            return ORDERS if self.asked.trace else ()
        silent = self.last is not None and self.last[0].mass < READABLE_MASS
        return () if self.judge.policy is None or silent else (self.chains.lead,)

    def _looks(self, at: At) -> bool:
        """Whether checkpoint `at` is read: only where somebody might stop, or to trace."""
        if self.limit == 0 or self.asked.effort == "none":
            return True
        if self.asked.effort == "full":
            return self.asked.trace
        policy = self.judge.policy
        return at == 0 or (policy is not None and policy.rule(at).looks)

    def _sure(self, reading: PairReading, at: At) -> bool:
        policy = self.judge.policy
        sure = (
            self.asked.effort == "adaptive"
            and policy is not None
            and reading.mass >= READABLE_MASS
            and policy.rule(at).stops(reading.margin, reading.agree)
        )
        if sure and self.audited:
            self.early = self.early or (reading.margin, self.chains.thinking_tokens)
            return False
        return sure

    def _audit(self, reading: PairReading) -> None:
        """Tell the auditor what stopping early would have said, and cost."""
        auditor = self.judge.auditor
        if not self.audited or auditor is None or reading.mass < READABLE_MASS:
            return
        whole = self.chains.thinking_tokens
        margin, tokens = self.early or (reading.margin, whole)
        auditor.saw(margin * reading.margin <= 0, tokens / max(1, whole))

    async def _checkpoint(self, at: At) -> PairReading:
        reading = await self.chains.read()
        point = Checkpoint(
            at=at,
            thinking_tokens=self.chains.thinking_tokens,
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
        return reading

    def _probability(self, reading: PairReading, at: At) -> float:
        if abs(reading.margin) < TIE:
            return 0.5
        stopper = self.judge.stopper
        if stopper is None:
            return uncalibrated(reading.margin)
        return stopper.probability(at, reading.margin, reading.agree)

    def _decide(self, reading: PairReading, at: At, reason: StopReason) -> Verdict | Unscored:
        if reading.mass < READABLE_MASS:
            why: UnscoredReason = "truncated" if reason is StopReason.BUDGET else "unparseable"
            return self.unscored(
                why,
                f"the verdict labels hold {reading.mass:.2f} of the probability here, too little "
                "to read; allow more thought (effort=full, a larger max_thinking_tokens)",
            )
        margin = reading.margin
        preferred: Side = "tie" if abs(margin) < TIE else "a" if margin > 0 else "b"
        return self._verdict(
            preferred, self._probability(reading, at), reading.margins, reading.scores, reason
        )

    def out_of_time(self) -> Verdict | Unscored:
        """What the last checkpoint said, if there was a readable one."""
        if self.last is not None and self.last[0].mass >= READABLE_MASS:
            return self._decide(*self.last, StopReason.DEADLINE)
        return self.unscored(
            "deadline", f"no readable checkpoint within {self.asked.seconds:g} s; allow more time"
        )

    async def _parse(self) -> Verdict | Unscored:
        """The labels cannot be probed in this style and model: read what the chains wrote."""
        if self.chains.length + REPLY_TOKENS > self.limit:
            return self.unscored("truncated", "no tokens left to write the verdict out")
        sides = self._sides(await self.chains.finish(REPLY_TOKENS))
        if isinstance(sides, Unscored):
            return sides
        return self._written(sides, StopReason.PARSED)

    def _sides(self, readings: Sequence[Reading]) -> tuple[float, float] | Unscored:
        """Which response each order's written verdict prefers: 1 is a, -1 is b, 0 neither."""
        sides: list[float] = []
        for reading, sign in zip(readings, (1.0, -1.0), strict=True):
            if isinstance(reading, Unread):
                return self.unscored(reading.reason, reading.detail)
            sides.append(sign * direction(reading))
        return sides[0], sides[1]

    def _written(self, sides: tuple[float, float], reason: StopReason) -> Verdict | Unscored:
        if sides[0] * sides[1] < 0:
            return self.unscored("order_conflict", "the orders' written verdicts contradict")
        margin = sum(sides) / 2
        preferred: Side = "tie" if margin == 0 else "a" if margin > 0 else "b"
        # Two votes and Laplace's rule: (votes + 1) / (orders + 2).
        votes = sum(side * margin > 0 for side in sides)
        probability = 0.5 if margin == 0 else (votes + 1) / 4
        return self._verdict(preferred, probability, sides, None, reason)

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
            judge=self._provenance(late=reason is StopReason.DEADLINE),
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
        found = self.judge.provenance(self.asked, self.chains.defanged)
        if self.early is not None:
            said = f"audited: it would have stopped after {self.early[1]} tokens"
            found = found.model_copy(update={"notes": (*found.notes, said)})
        return found.model_copy(update={"certificate": None}) if late else found


def direction(reading: Reading) -> float:
    """+1 if the reply prefers the first response shown, -1 the second, 0 neither."""
    if isinstance(reading, Choice) and reading.index is not None:
        return 1.0 if reading.index == 0 else -1.0
    if isinstance(reading, Scores):
        first, second = reading.values
        return float((first > second) - (first < second))
    return 0.0
