"""The loop that decides one pair: the plan offers, the policy buys or stops, the account pays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rrm.allocation.account import Account
from rrm.decision.actions import Stop
from rrm.decision.plan import Plan
from rrm.decision.policy import Policy
from rrm.decision.run import JudgeRun
from rrm.decision.state import Readout
from rrm.types import StopReason

Observer = Callable[[Readout], None]


@dataclass(frozen=True)
class Decision:
    """Where a judgement ended. last: None if nothing was read."""

    reason: StopReason
    last: Readout | None


async def decide(
    run: JudgeRun, plan: Plan, policy: Policy, account: Account, observe: Observer
) -> Decision:
    """Buy actions until the policy stops or the account refuses.

    Where nothing is left to buy the policy is asked all the same: it may know why it stops.

    Raises EngineError. A deadline cancels the task; `run.path` then has the last readout.
    """
    while True:
        actions = plan.actions(run.state)
        choice = policy.choose(run.state, run.path, actions)
        if isinstance(choice, Stop):
            return decision(run, choice.reason)
        paid = await choice.run(run, account, policy.reads)
        for readout in run.news():
            observe(readout)
        if not paid:
            return decision(run, StopReason.BUDGET_SPENT)


def decision(run: JudgeRun, reason: StopReason | None) -> Decision:
    """It ends here: for `reason`, or because nothing is left to buy."""
    return Decision(reason or run.ending, run.path[-1] if run.path else None)
