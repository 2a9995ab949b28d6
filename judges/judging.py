"""One judgement: how effort, limits, audits and budgets become a plan, a policy and an account."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from judges.options import JudgeOptions, Watch
from judges.outcome import SPENT, OutcomeBuilder, checkpoint, looked_up, weighed
from judges.written import agree
from rrm.allocation.account import Unlimited
from rrm.budget import PairAccount
from rrm.calibration.calibration import Calibration
from rrm.calibration.monitor import RiskMonitor
from rrm.decision.chains import ORDERS, Order, SwapPair
from rrm.decision.driver import Decision, decide
from rrm.decision.fixed import FixedPolicy, Rules
from rrm.decision.plan import LadderPlan, Plan, StrataPlan, Written
from rrm.decision.policy import (
    Always,
    Audited,
    ByStratum,
    OrdersAgree,
    OwnMode,
    Planned,
    Priced,
    Thresholds,
)
from rrm.decision.policy import Policy as DecisionPolicy
from rrm.decision.priced import PricedPolicy
from rrm.decision.run import JudgeRun
from rrm.decision.state import Readout
from rrm.decision.thresholds import PROMPT_ONLY, Policy
from rrm.errors import EngineError
from rrm.search.evidence import Evidence
from rrm.types import Provenance, StopReason, Unscored, Verdict


class Judge(Protocol):
    """What a judgement needs of its judge."""

    @property
    def ladder(self) -> tuple[int, ...]: ...
    @property
    def can_probe(self) -> bool: ...
    @property
    def calibration(self) -> Calibration | None: ...
    @property
    def monitor(self) -> RiskMonitor | None: ...
    @property
    def revoked(self) -> str | None: ...
    @property
    def chooses_mode(self) -> bool: ...
    def provenance(
        self,
        options: JudgeOptions,
        sanitized: tuple[str, ...] = (),
        account: PairAccount | None = None,
    ) -> Provenance: ...


@dataclass(frozen=True)
class Limits:
    """How far the chains of one judgement may grow. rungs: tokens of each chain, the limit last."""

    rungs: tuple[int, ...]
    capped: bool
    """the limit is below the ladder's"""

    @classmethod
    def of(cls, ladder: tuple[int, ...], options: JudgeOptions, rules: Rules | None) -> Limits:
        limit = ladder[-1]
        if isinstance(rules, FixedPolicy) and rules.depth is not None:
            limit = min(limit, rules.depth)
        if options.max_thinking_tokens is not None:
            limit = min(limit, options.max_thinking_tokens // 2)
        limit = 0 if options.effort == "none" else limit
        return cls((*(rung for rung in ladder if rung < limit), limit), limit < ladder[-1])


class Judging:
    """One judgement by `judge`. chains: the first pair's; more: makes those of a vote.

    account: of a budget, which then says at which price the calibration decides. began: in
    monotonic seconds.
    """

    def __init__(
        self,
        judge: Judge,
        options: JudgeOptions,
        chains: SwapPair,
        more: Callable[[int], Awaitable[SwapPair]],
        watch: Watch | None,
        account: PairAccount | None,
        began: float,
        evidence: Evidence,
    ) -> None:
        self.judge, self.options, self.account, self.watch = judge, options, account, watch
        self.began = began
        self.following = account.calibration if account else judge.calibration
        """which decides: at the budget's price, if there is a budget"""
        self.rules = self.following.policy if self.following and not judge.revoked else None
        self.limits = Limits.of(judge.ladder, options, self.followed)
        self.audit = self._audit(chains.digest)
        self.run = JudgeRun(
            chains,
            more,
            self.limits.rungs,
            self._marginal_value,
            watch,
            no_thought=options.effort == "none",
            evidence=evidence,
        )

    async def outcome(self) -> Verdict | Unscored:
        account = self.account.account if self.account else Unlimited()
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

    @property
    def followed(self) -> Rules | None:
        """The rules that decide; none where effort or the engine leave nothing to them."""
        adaptive = self.options.effort == "adaptive" and self.judge.can_probe
        return self.rules if adaptive else None

    def _plan(self) -> Plan:
        options, rungs, rules = self.options, self.limits.rungs, self.followed
        if not self.judge.can_probe:
            return Written(options.effort != "full", options.effort != "none", rungs[-1])
        lead = self.run.chains.lead
        stepping: tuple[Order, ...] = () if rules is None else (lead,)
        if options.effort == "full" and options.trace:
            stepping = ORDERS
        voting = self.following is not None and self.rules and options.plain
        votes = self.following.most_votes if self.following and voting else 1
        if isinstance(rules, FixedPolicy) and rules.strata:
            return StrataPlan(rungs, rules)
        if isinstance(rules, FixedPolicy):
            votes, how = rules.votes, rules.aggregation
            return LadderPlan(rungs, self.limits.capped, votes=votes, every=True, aggregation=how)
        alone = isinstance(rules, PricedPolicy) and not rules.together
        return LadderPlan(rungs, self.limits.capped, stepping, (lead,) if alone else ORDERS, votes)

    def _policy(self) -> DecisionPolicy:
        options = self.options
        if not self.judge.can_probe:
            return OrdersAgree(agree, stop=options.effort == "adaptive")
        if self.audit is not None:
            return self.audit
        if isinstance(self.followed, FixedPolicy) and self.followed.strata:
            plan = StrataPlan(self.limits.rungs, self.followed)
            return ByStratum(self.followed, plan.way)
        if isinstance(self.followed, FixedPolicy):
            return Planned(prompt=self.limits.rungs[-1] == 0)
        if self.followed is not None:
            return self._stopping(self.followed)
        if options.effort == "adaptive" and self.judge.chooses_mode:
            return OwnMode()
        every = options.effort != "full" or options.trace or self.limits.rungs[-1] == 0
        return Always(every)

    def _stopping(self, rules: PricedPolicy | Policy) -> Priced | Thresholds:
        reason = StopReason.MARGIN
        if self.following is not None and not self.following.thinks:
            reason = StopReason.UNPRODUCTIVE
        elif rules.price >= PROMPT_ONLY.price:
            reason = StopReason.BUDGET_SPENT
        if isinstance(rules, PricedPolicy):
            return Priced(rules, reason)
        return Thresholds(rules, reason)

    def _audit(self, digest: str) -> Audited | None:
        """Some pairs are thought through whole, to see whether the certificate still holds."""
        monitor, rules = self.judge.monitor, self.rules
        if monitor is None or rules is None or isinstance(rules, FixedPolicy):
            return None
        if self.account is not None or not self.options.plain:
            return None
        return Audited(self._stopping(rules), self._report) if monitor.selects(digest) else None

    def _marginal_value(self, readout: Readout) -> float:
        """What a token more is worth to a pair that stands so."""
        return 0.0 if self.following is None else self.following.marginal_value(readout)

    @property
    def _seconds(self) -> float | None:
        """How long it may take."""
        left = self.account.budget.seconds_left if self.account else None
        limits = [seconds for seconds in (self.options.seconds, left) if seconds is not None]
        return min(limits, default=None)

    # -- what is told -----------------------------------------------------------------------------

    def _observe(self, readout: Readout) -> None:
        if self.audit is not None:
            self.audit.observe(readout)
        point = checkpoint(readout, self.judge.calibration, self.followed)
        if self.watch is not None and point is not None:
            self.watch(point)

    def _report(self, early: Readout, reason: StopReason, whole: Readout) -> None:
        """Of an audited pair, to the monitor."""
        monitor, calibration = self.judge.monitor, self.judge.calibration
        first, last = (weighed(one, calibration, self.followed) for one in (early, whole))
        if monitor is None or first is None or last is None:
            return
        apart = first.margin * last.margin <= 0 or reason is StopReason.TOO_CLOSE
        monitor.observe(apart, early.tokens / max(1, whole.tokens), self.run.chains.digest)

    def _builder(self) -> OutcomeBuilder:
        usage = self.run.usage.model_copy(update={"seconds": time.monotonic() - self.began})
        judge = self.judge.provenance(self.options, self.run.chains.sanitized, self.account)
        if self.audit is not None and self.audit.early is not None:
            note = f"audited: it would have stopped after {self.audit.early[0].tokens} tokens"
            judge = judge.model_copy(update={"notes": (*judge.notes, note)})
        searching = self.run.chains.by_order["ab"].search.pause is not None
        judge = looked_up(judge, self.run.evidence, self.options, searching)
        return OutcomeBuilder(
            self.options,
            self.run.chains,
            self.run.path,
            usage,
            judge,
            self.judge.calibration,
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
        left = self.account.budget.seconds_left if self.account else None
        spent = left is not None and (left <= 0 or self.options.seconds is None)
        last = self.run.path[-1] if self.run.path else None
        if last is not None and last.readable:
            reason = StopReason.BUDGET_SPENT if spent else StopReason.DEADLINE
            return builder.build(Decision(reason, last))
        if spent:
            return builder.unscored("budget", SPENT)
        why = f"no readable checkpoint within {self.options.seconds:g} s; allow more time"
        return builder.unscored("deadline", why)
