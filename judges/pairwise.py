"""A pair in, a verdict out: the judge, and whether what it was calibrated for still holds."""

from __future__ import annotations

import asyncio
import time

from judges.options import LADDER, REPLY_AT_ONCE, JudgeOptions, Watch
from judges.outcome import SPENT, OutcomeBuilder, checkpoint, weighed
from judges.written import agree
from rrm.allocation.account import Unlimited
from rrm.budget import Budget, PairAccount
from rrm.calibration.calibration import Calibration
from rrm.calibration.monitor import RiskMonitor
from rrm.decision.chains import ORDERS, Order, SwapPair, prepared
from rrm.decision.driver import Decision, decide
from rrm.decision.plan import LadderPlan, Plan, Written
from rrm.decision.policy import Always, Audited, OrdersAgree, Priced, Thresholds
from rrm.decision.policy import Policy as DecisionPolicy
from rrm.decision.priced import PricedPolicy
from rrm.decision.run import JudgeRun
from rrm.decision.state import Readout
from rrm.decision.thresholds import PROMPT_ONLY, Policy
from rrm.engines.base import Engine
from rrm.errors import EngineError, RefusedText, StyleMismatch
from rrm.style import Style
from rrm.types import (
    SCHEMA,
    Certificate,
    Pair,
    Provenance,
    StopReason,
    Unscored,
    Usage,
    Verdict,
    prompt_text,
)


class PairwiseJudge:
    """One engine asked in one style. Safe for many tasks at once.

    Raises StyleMismatch if the engine's model is of another family than the style.
    """

    def __init__(
        self,
        engine: Engine,
        style: Style,
        calibration: Calibration | None = None,
        ladder: tuple[int, ...] = LADDER,
        temperature: float = 0.0,
        monitor: RiskMonitor | None = None,
    ) -> None:
        """monitor: takes some pairs, which are thought through whole for it."""
        if engine.control:
            style.check(engine.control)
        if 2 not in style.sizes:
            raise StyleMismatch(f"style {style.name} scores one response and compares none")
        self.engine, self.style, self.calibration = engine, style, calibration
        self.ladder, self.temperature = ladder, temperature
        self.monitor = monitor

    async def judge(
        self,
        pair: Pair,
        options: JudgeOptions = JudgeOptions(),
        watch: Watch | None = None,
        budget: Budget | None = None,
    ) -> Verdict | Unscored:
        """Judge `pair`. Raises RefusedText for text that the model cannot take.

        watch: told every piece of thought and every checkpoint as it comes. budget: shared with
        other pairs; effort must then be adaptive, without a limit of its own.
        """
        began = time.monotonic()
        if pair.response_a == pair.response_b:
            if budget is not None:
                budget.skip()
            return self._identical(options, began)
        try:
            texts = (prompt_text(pair.prompt), *pair.responses)
            chains = await prepared(texts, lambda: self._chains(pair, options))
        except RefusedText:
            if budget is not None:
                budget.skip()
            raise
        pair_account = None
        if budget is not None:
            known = None if self.revoked else self.calibration
            pair_account = budget.begin(known, pair.digest, chains.prompt_tokens)
        call = _Judging(self, pair, options, chains, watch, pair_account, began)
        try:
            return await call.judge()
        finally:
            if pair_account is not None:
                pair_account.end()

    def _chains(self, pair: Pair, options: JudgeOptions) -> SwapPair:
        """The first pair of chains; an endpoint that cannot be probed is asked to reply at once
        first, unless whole chains are asked for."""
        whole = None if self.engine.can_probe else REPLY_AT_ONCE if options.effort != "full" else ""
        return SwapPair(self.engine, self.style, pair, self.temperature, whole)

    @property
    def policy(self) -> PricedPolicy | Policy | None:
        """By which adaptive effort stops; none: it thinks whole chains."""
        return (
            self.calibration.policy if self.calibration is not None and not self.revoked else None
        )

    @property
    def revoked(self) -> str | None:
        """Why the calibration is not followed any more."""
        return self.monitor.revoked if self.monitor else None

    def audits(self, pair: Pair, options: JudgeOptions) -> bool:
        """Whether this pair is thought through whole for the auditor."""
        if self.monitor is None or self.policy is None or not options.plain:
            return False
        return self.monitor.selects(pair.digest)

    def provenance(
        self,
        options: JudgeOptions,
        sanitized: tuple[str, ...] = (),
        pair_account: PairAccount | None = None,
    ) -> Provenance:
        """pair_account: of a budget, whose price of thought then is the one that decides."""
        following = pair_account.calibration if pair_account else self.calibration
        calibration = self.calibration
        notes = []
        if sanitized:
            notes.append(f"neutralised in the input: {', '.join(map(repr, sanitized[:8]))}")
        source = calibration.source if calibration else "none for this model and prompt"
        if not self.engine.can_probe:
            notes.append(
                "this endpoint cannot be probed, so written verdicts were read; whether to think "
                "was decided once, by whether both orders agreed without thought"
            )
        elif self.revoked and options.effort == "adaptive":
            notes.append(f"certificate revoked, so it thought its whole chain: {self.revoked}")
        elif pair_account is not None and pair_account.most is not None:
            notes.append("no thresholds for this model, so each pair may spend an equal share")
        elif pair_account is None and self.policy is None and options.effort == "adaptive":
            missing = "thresholds for this model" if self.calibration is None else "certificate"
            notes.append(f"no {missing}, so it thought its whole chain")
        if calibration is None:
            notes.append("the probability is the model's own, not calibrated")
        return Provenance(
            model=self.engine.card.name,
            style=self.style.name,
            prompt_hash=self.style.prompt_hash,
            effort=options.effort,
            stopper=source,
            certificate=self._certificate(options, following),
            notes=tuple(notes),
        )

    def _certificate(
        self, options: JudgeOptions, calibration: Calibration | None
    ) -> Certificate | None:
        """It holds for adaptive thought that nothing else cuts short."""
        held = calibration is not None and options.plain and not self.revoked
        return calibration.certificate if calibration is not None and held else None

    def _identical(self, options: JudgeOptions, began: float) -> Verdict:
        return Verdict(
            version=SCHEMA,
            preferred="tie",
            probability=0.5,
            margin=0.0,
            orders_read=0,
            agree=True,
            reason=StopReason.IDENTICAL,
            path=(),
            orders=(),
            usage=Usage(seconds=time.monotonic() - began),
            judge=self.provenance(options),
        )


class _Judging:
    """One judgement: how effort, limits, audits and budgets become a plan, a policy, an account."""

    def __init__(
        self,
        judge: PairwiseJudge,
        pair: Pair,
        options: JudgeOptions,
        chains: SwapPair,
        watch: Watch | None,
        pair_account: PairAccount | None,
        began: float,
    ) -> None:
        self.owner, self.pair, self.options, self.pair_account = judge, pair, options, pair_account
        self.watch, self.began = watch, began
        self.following = pair_account.calibration if pair_account else judge.calibration
        """whose thresholds decide: at the budget's price, if there is a budget"""
        self.rules = self.following.policy if self.following and not judge.revoked else None
        self.audit = self._audit()
        limit = judge.ladder[-1]
        if options.max_thinking_tokens is not None:
            limit = min(limit, options.max_thinking_tokens // 2)
        none = options.effort == "none"
        limit = 0 if none else limit
        self.rungs = (*(rung for rung in judge.ladder if rung < limit), limit)
        self.run = JudgeRun(
            chains, self._more, self.rungs, self._marginal_value, watch, no_thought=none
        )

    async def judge(self) -> Verdict | Unscored:
        account = self.pair_account.account if self.pair_account else Unlimited()
        try:
            async with asyncio.timeout(self._seconds):
                decided = await decide(
                    self.run, self._plan(), self._policy(), account, self._observe
                )
        except EngineError as failure:
            return self._builder().unscored("engine_error", str(failure))
        except TimeoutError:
            return self._out_of_time()
        return self._builder().build(decided)

    # -- how it is made ---------------------------------------------------------------------------

    def _plan(self) -> Plan:
        options, judge = self.options, self.owner
        if not judge.engine.can_probe:
            without, within = options.effort != "full", options.effort != "none"
            return Written(without, within, self.rungs[-1])
        stepping: tuple[Order, ...] = ()
        if options.effort == "full" and options.trace:
            stepping = ORDERS
        elif self.followed is not None:
            stepping = (self.run.chains.lead,)
        calibration = self.following
        votes = (
            calibration.most_votes
            if calibration is not None and self.rules and options.plain
            else 1
        )
        rules = self.followed
        alone = isinstance(rules, PricedPolicy) and not rules.together
        first = (self.run.chains.lead,) if alone else ORDERS
        return LadderPlan(self.rungs, self.rungs[-1] < judge.ladder[-1], stepping, first, votes)

    def _policy(self) -> DecisionPolicy:
        options = self.options
        if not self.owner.engine.can_probe:
            return OrdersAgree(agree, stop=options.effort == "adaptive")
        if self.audit is not None:
            return self.audit
        if self.followed is not None:
            return self._stopping(self.followed)
        return Always(every=options.effort != "full" or options.trace or self.rungs[-1] == 0)

    @property
    def followed(self) -> PricedPolicy | Policy | None:
        """The rules that decide; none where effort or the engine leave nothing to them."""
        adaptive = self.options.effort == "adaptive" and self.owner.engine.can_probe
        return self.rules if adaptive else None

    def _stopping(self, rules: PricedPolicy | Policy) -> Priced | Thresholds:
        reason = StopReason.MARGIN
        if self.following is not None and not self.following.thinks:
            reason = StopReason.UNPRODUCTIVE
        elif rules.price >= PROMPT_ONLY.price:
            reason = StopReason.BUDGET_SPENT
        if isinstance(rules, PricedPolicy):
            return Priced(rules, reason)
        return Thresholds(rules, reason)

    def _audit(self) -> Audited | None:
        """Some pairs are thought through whole, to see whether the certificate still holds."""
        if self.pair_account is not None or self.rules is None:
            return None
        if not self.owner.audits(self.pair, self.options):
            return None
        return Audited(self._stopping(self.rules), self._report_audit)

    async def _more(self, vote: int) -> SwapPair:
        """Another pair of chains: a vote, or the thought of an endpoint that replied without."""
        judge, calibration = self.owner, self.following

        def made() -> SwapPair:
            if not judge.engine.can_probe:
                return SwapPair(judge.engine, judge.style, self.pair, judge.temperature, whole="")
            temperature = calibration.vote_temperature if calibration is not None else 0.0
            return SwapPair(judge.engine, judge.style, self.pair, temperature, vote=vote)

        return await prepared((prompt_text(self.pair.prompt), *self.pair.responses), made)

    def _marginal_value(self, readout: Readout) -> float:
        """What a token more is worth to a pair that stands so."""
        return 0.0 if self.following is None else self.following.marginal_value(readout)

    @property
    def _seconds(self) -> float | None:
        """How long it may take."""
        left = self.pair_account.budget.seconds_left if self.pair_account else None
        given = [seconds for seconds in (self.options.seconds, left) if seconds is not None]
        return min(given, default=None)

    # -- what is told -----------------------------------------------------------------------------

    def _observe(self, readout: Readout) -> None:
        if self.audit is not None:
            self.audit.observe(readout)
        point = checkpoint(readout, self.owner.calibration, self.followed)
        if self.watch is not None and point is not None:
            self.watch(point)

    def _report_audit(self, early: Readout, reason: StopReason, whole: Readout) -> None:
        monitor, calibration = self.owner.monitor, self.owner.calibration
        first, last = (weighed(one, calibration, self.followed) for one in (early, whole))
        if monitor is None or first is None or last is None:
            return
        apart = first.margin * last.margin <= 0 or reason is StopReason.TOO_CLOSE
        monitor.observe(apart, early.tokens / max(1, whole.tokens), self.pair.digest)

    def _builder(self) -> OutcomeBuilder:
        usage = self.run.usage.model_copy(update={"seconds": time.monotonic() - self.began})
        judge = self.owner.provenance(self.options, self.run.chains.sanitized, self.pair_account)
        if self.audit is not None and self.audit.early is not None:
            said = f"audited: it would have stopped after {self.audit.early[0].tokens} tokens"
            judge = judge.model_copy(update={"notes": (*judge.notes, said)})
        return OutcomeBuilder(
            self.options,
            self.run.chains,
            self.run.path,
            usage,
            judge,
            self.owner.calibration,
            self.followed,
        )

    def _out_of_time(self) -> Verdict | Unscored:
        """What the last readout said, if there was a readable one.

        An audited pair that had no time for it stops where it would have without the audit.
        """
        builder = self._builder()
        if self.audit is not None and self.audit.early is not None:
            early, reason = self.audit.early
            return builder.build(Decision(reason, early))
        left = self.pair_account.budget.seconds_left if self.pair_account else None
        spent = left is not None and (left <= 0 or self.options.seconds is None)
        last = self.run.path[-1] if self.run.path else None
        if last is not None and last.readable:
            reason = StopReason.BUDGET_SPENT if spent else StopReason.DEADLINE
            return builder.build(Decision(reason, last))
        if spent:
            return builder.unscored("budget", SPENT)
        return builder.unscored(
            "deadline", f"no readable checkpoint within {self.options.seconds:g} s; allow more time"
        )
