"""The loop's acceptance tests: each is a case that a naive loop gets wrong."""

import asyncio
from collections.abc import Sequence

import pytest

from rrm.allocation.account import Account, Metered, Unlimited
from rrm.allocation.ledger import Holding, Ledger
from rrm.allocation.meter import Tokens
from rrm.decision.actions import Action, Grow, ReadPrompts, Stop, Whole
from rrm.decision.chains import ChainText, SwapPair
from rrm.decision.driver import Decision, decide
from rrm.decision.plan import LadderPlan, Plan
from rrm.decision.policy import Always, Audited, Policy, Thresholds
from rrm.decision.run import JudgeRun
from rrm.decision.state import Readout, State
from rrm.decision.thresholds import NEVER, Rule
from rrm.decision.thresholds import Policy as Rules
from rrm.engines.base import ExtendRequest, ProbeRequest, ProbeResult
from rrm.engines.scripted import ProbeScript, ScriptedEngine
from rrm.errors import EngineError
from rrm.types import StopReason
from tests.helpers.judging import LONG, PAIR, prefers_good, text_of, unreadable
from tests.helpers.styles import RRM

RUNGS = (8, 16, 32, 64)
LEANS = prefers_good(0.1)
WIDE = Rule(agree=99.0)
"""read, and never wide enough"""


class Counting(ScriptedEngine):
    """Counts its calls."""

    def __init__(self, texts: Sequence[str] = (LONG,), probe: ProbeScript = LEANS):
        super().__init__(texts, probe)
        self.grown: list[int] = []
        self.probed: list[int] = []

    async def extend(self, growths: Sequence[ExtendRequest]) -> None:
        self.grown.append(sum(growth.tokens for growth in growths))
        await super().extend(growths)

    async def probe(self, questions: Sequence[ProbeRequest]) -> list[ProbeResult]:
        self.probed += [len(question.sequence.ids) for question in questions]
        return await super().probe(questions)


def made(
    engine: ScriptedEngine, rungs: tuple[int, ...] = RUNGS, told: list[ChainText] | None = None
) -> JudgeRun:
    async def start(vote: int) -> SwapPair:
        return SwapPair(engine, RRM, PAIR, vote=vote)

    return JudgeRun(
        SwapPair(engine, RRM, PAIR),
        start,
        rungs,
        watch=None if told is None else told.append,
    )


def line(run: JudgeRun, votes: int = 1) -> LadderPlan:
    return LadderPlan(run.rungs, stepping=(run.chains.lead,), votes=votes)


def drive(
    run: JudgeRun, plan: Plan, policy: Policy, account: Account | None = None
) -> tuple[Decision, list[Readout]]:
    readouts: list[Readout] = []
    ended = asyncio.run(decide(run, plan, policy, account or Unlimited(), readouts.append))
    return ended, readouts


def path(readouts: Sequence[Readout]) -> list[tuple[object, int]]:
    return [(one.place, one.tokens) for one in readouts]


def holding(total: float) -> tuple[Ledger, Metered]:
    ledger = Ledger(total)
    return ledger, Metered(ledger.open(), Tokens())


def test_rungs_that_nobody_can_stop_at_cost_no_call() -> None:
    """A ladder of four with rules at the last two only: three engine calls, not five."""
    engine = Counting(["x" * 90])
    run = made(engine)
    rules = Rules(price=0.1, rules=(NEVER, NEVER, NEVER, WIDE, WIDE), lead=NEVER)
    _, readouts = drive(run, line(run), Thresholds(rules))
    assert engine.grown == [32, 32, 64]
    assert path(readouts) == [(0, 0), (3, 32), (4, 64), ("both", 128)]


def test_a_budget_that_ends_between_rungs_is_read_where_it_reached() -> None:
    """20 tokens: the rungs are 8, 16, 32, and the third cannot be paid."""
    run = made(Counting(["x" * 90]))
    ledger, account = holding(20)
    rules = Rules(price=0.1, rules=(NEVER, NEVER, NEVER, WIDE, WIDE), lead=NEVER)
    ended, readouts = drive(run, line(run), Thresholds(rules), account)
    assert path(readouts) == [(0, 0), (2, 16)]
    assert (ended.reason, ended.last) == (StopReason.BUDGET_SPENT, readouts[-1])
    assert ledger.spent == 16


def test_the_probe_is_paid_in_its_reservation() -> None:
    """A probe costs 5: both prompts 10, the first rung 8 and its probe 5, the second beyond."""
    run = made(Counting(["x" * 90]))
    ledger = Ledger(30)
    account = Metered(ledger.open(), Tokens(probe_tokens=5))
    rules = Rules(price=0.1, rules=(NEVER, NEVER, WIDE), lead=NEVER)
    ended, readouts = drive(run, line(run), Thresholds(rules), account)
    assert path(readouts) == [(0, 0), (1, 8)]
    assert (ended.reason, ledger.spent) == (StopReason.BUDGET_SPENT, 10 + 8 + 5)
    account.holding.close()
    assert (ledger.reserved, ledger.free) == (0, 7)


def test_the_leading_order_alone_is_billed_where_it_alone_is_probed() -> None:
    engine = Counting(["x" * 90])
    run = made(engine)
    ledger = Ledger(1000)
    rules = Rules(price=0.1, rules=(NEVER, WIDE, WIDE, WIDE, WIDE), lead=NEVER)
    account = Metered(ledger.open(), Tokens(probe_tokens=5))
    drive(run, line(run), Thresholds(rules), account)
    assert engine.probed == [0, 0, 8, 16, 32, 64, 64]
    assert ledger.spent == 2 * 64 + 5 * len(engine.probed)


def test_first_prompts_are_read_under_a_full_ledger() -> None:
    """What is held back for prompts to come is lent at infinite priority only."""
    ledger = Ledger(10, held_back=lambda: 10.0)
    run = made(Counting())
    account = Metered(ledger.open(), Tokens(probe_tokens=5))
    rules = Rules(price=0.1, rules=(NEVER, WIDE), lead=NEVER)
    ended, readouts = drive(run, line(run), Thresholds(rules), account)
    assert path(readouts) == [(0, 0)]
    assert (ended.reason, ledger.spent) == (StopReason.BUDGET_SPENT, 10)


def test_there_is_one_readout_for_all_votes() -> None:
    run = made(Counting(["x" * 12 + "</think>"]))
    rules = Rules(price=0.1, rules=(NEVER,), lead=NEVER, both=Rule(agree=9.0))
    ended, readouts = drive(run, line(run, votes=4), Thresholds(rules))
    assert path(readouts) == [(0, 0), ("both", 40), ("votes", 80)]
    assert ended.reason is StopReason.VOTED


def test_the_monitor_is_told_before_votes() -> None:
    order: list[object] = []
    run = made(Counting(["x" * 12 + "</think>"]))
    rules = Rules(price=0.1, rules=(Rule(agree=0.0), NEVER), lead=NEVER, both=Rule(agree=9.0))
    audit = Audited(Thresholds(rules), lambda *early: order.append("told"))

    def observe(readout: Readout) -> None:
        audit.observe(readout)
        order.append(readout.place)

    ended = asyncio.run(decide(run, line(run, votes=4), audit, Unlimited(), observe))
    assert order == [0, "told", "both", "votes"]
    assert ended.reason is StopReason.VOTED
    assert audit.early is not None
    assert audit.early[1] is StopReason.MARGIN


def test_one_call_may_bring_several_readouts() -> None:
    """An action that reads on its way; every readout is told, in order."""

    class Twice:
        async def run(self, run: JudgeRun, account: Account, reads: object) -> bool:
            await run.grow(run.chains, (8,), account, (run.chains.lead,))
            await run.read(account, 1)
            await run.grow(run.chains, (16,), account, (run.chains.lead,))
            await run.read(account, 2)
            return True

    class Bundle:
        def actions(self, state: State) -> Sequence[Action]:
            if not all(chain.opened for chain in state.chains.values()):
                return [ReadPrompts(("ab", "ba"))]
            return [] if any(chain.tokens for chain in state.chains.values()) else [Twice()]

    _, readouts = drive(made(Counting()), Bundle(), Always(every=True))
    assert path(readouts) == [(0, 0), (1, 8), (2, 16)]


@pytest.mark.parametrize("choice", [0, 1])
def test_a_policy_takes_either_of_two_actions(choice: int) -> None:
    class Last:
        def reads(self, place: object) -> bool:
            return True

        def choose(
            self, state: State, readouts: Sequence[Readout], actions: Sequence[Action]
        ) -> Action | Stop:
            if not actions:
                return Stop()
            return actions[0] if choice == 0 else actions[-1]

    run = made(Counting(["x" * 90]), (8, 16))
    plan = line(run)
    run.chains.by_order["ab"].opened = run.chains.by_order["ba"].opened = True
    offered = plan.actions(run.state)
    assert [type(one) for one in offered] == [Grow, Grow, Whole]
    _, readouts = drive(run, plan, Last())
    expected = [(1, 8), (2, 16), ("both", 32)] if choice == 0 else [("both", 32)]
    assert path(readouts) == expected


def test_a_deadline_inside_an_action_leaves_the_last_readout_and_pays_what_was_reserved() -> None:
    class Stalling(Counting):
        """Beyond the first rung no growth ends, and the time is up."""

        async def extend(self, growths: Sequence[ExtendRequest]) -> None:
            if any(len(growth.sequence.ids) >= 8 for growth in growths):
                limits[0].reschedule(asyncio.get_running_loop().time())
                await asyncio.Event().wait()
            await super().extend(growths)

    limits: list[asyncio.Timeout] = []
    engine = Stalling(["x" * 90])
    run = made(engine)
    ledger, account = holding(100)
    rules = Rules(price=0.1, rules=(NEVER, WIDE, WIDE), lead=NEVER)

    async def cut_off() -> None:
        async with asyncio.timeout(None) as limit:
            limits.append(limit)
            await decide(run, line(run), Thresholds(rules), account, lambda readout: None)

    with pytest.raises(TimeoutError):
        asyncio.run(cut_off())
    assert path(run.path) == [(0, 0), (1, 8)]
    assert ledger.spent == 16  # the rung under way is forfeited
    account.holding.close()
    assert ledger.reserved == 0


def test_a_cancelled_action_that_waits_for_its_account_takes_nothing_along() -> None:
    async def go() -> None:
        ledger = Ledger(20)
        other: Holding = ledger.open()
        assert await other.reserve(15, 0.0)
        run = made(Counting(["x" * 90]))
        account = Metered(ledger.open(), Tokens())
        rules = Rules(price=0.1, rules=(NEVER, WIDE), lead=NEVER)
        task = asyncio.ensure_future(
            decide(run, line(run), Thresholds(rules), account, lambda readout: None)
        )
        for _ in range(10):
            await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        account.holding.close()
        other.close()
        assert (ledger.spent, ledger.reserved) == (0, 0)

    asyncio.run(go())


def test_a_stream_hears_thought_as_it_grows_and_whose_it_is() -> None:
    told: list[ChainText] = []
    run = made(Counting(["x" * 12 + "</think>", "y" * 12 + "</think>"]), told=told)
    rules = Rules(price=0.1, rules=(NEVER,), lead=NEVER, both=Rule(agree=9.0))
    drive(run, line(run, votes=2), Thresholds(rules))
    for vote in (0, 1):
        for order in ("ab", "ba"):
            text = "".join(one.text for one in told if (one.order, one.vote) == (order, vote))
            assert text in ("x" * 12 + "</think>", "y" * 12 + "</think>")
    assert {one.vote for one in told} == {0, 1}


def test_unreadable_labels_leave_writing_as_the_last_action() -> None:
    texts = ["hm</think> \\boxed{Assistant 1}", "hm</think> \\boxed{Assistant 2}"]
    run = made(Counting(texts, unreadable))
    ended, readouts = drive(run, line(run), Always(every=True))
    assert [type(one.reading).__name__ for one in readouts] == [
        "PairReadout",
        "PairReadout",
        "NoneType",
    ]
    assert len(readouts[-1].replies) == 2
    assert ended.reason is StopReason.PARSED


def test_a_failing_engine_forfeits_its_reservation() -> None:
    engine = Counting(["x" * 90])
    run = made(engine)
    ledger, account = holding(1000)

    async def go() -> None:
        await ReadPrompts(("ab", "ba")).run(run, account, lambda place: True)
        engine.fault = RuntimeError("gone")
        with pytest.raises(EngineError):
            await Whole(RUNGS).run(run, account, lambda place: True)

    asyncio.run(go())
    assert ledger.spent == 16
    account.holding.close()
    assert ledger.reserved == 0


def test_an_order_can_be_read_alone_and_the_other_late() -> None:
    """An action that no plan has today."""

    class OneFirst:
        def actions(self, state: State) -> Sequence[Action]:
            first, second = state.orders("ab", "ba")
            if not first.opened:
                return [ReadPrompts(("ab",))]
            return [] if second.opened else [ReadPrompts(("ba",))]

    run = made(Counting())
    _, readouts = drive(run, OneFirst(), Always(every=True))
    alone, both = (one.reading for one in readouts)
    assert alone is not None
    assert both is not None
    assert (alone.margins[1], alone.agree) == (None, None)
    assert alone.margin == alone.margins[0] == both.margins[0]
    assert both.agree is not None
    ab, ba = (run.chains.by_order[order].sequence for order in ("ab", "ba"))
    assert text_of(ab) != text_of(ba)
