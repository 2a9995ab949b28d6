"""A budget is never exceeded, waits for what others may give back, and steers by its price."""

import asyncio
import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.nano import WEIGHTS
from rrm.allocation.account import AllOf, Capped, Metered, Unlimited
from rrm.allocation.controller import HORIZON
from rrm.allocation.cost_model import CostModel
from rrm.allocation.ledger import Ledger
from rrm.allocation.meter import Compute, Tokens, Work, amount
from rrm.budget import Budget, PairAccount
from rrm.calibration import calibrated
from rrm.calibration.arrays import TOKENS_ALONE, TraceArrays
from rrm.calibration.calibration import Calibration
from rrm.calibration.replay import replay, whole
from rrm.decision.priced import PricedPolicy
from rrm.types import Usage
from tests.helpers.traces import BOND, LADDER, simulated

DIGEST = "0" * 64


def begin(
    budget: Budget, calibration: Calibration | None = None, pair: str = DIGEST
) -> PairAccount:
    return budget.begin(calibration, pair, (10, 10))


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return calibrated(
        simulated(1, 2000), LADDER, "simulated", BOND, epsilon=0.05, tokens=TOKENS_ALONE
    )


def thought(tokens: float) -> list[Work]:
    return [Work("thought", int(tokens), 0)]


@given(st.integers(0, 10_000), st.floats(1, 400))
def test_reserves_are_never_more_than_there_is(seed: int, total: float) -> None:
    rng = random.Random(seed)
    ledger = Ledger(total)
    most = 0.0

    async def pair() -> None:
        nonlocal most
        holding = ledger.open()
        try:
            for _ in range(rng.randint(0, 4)):
                need = rng.uniform(0, 40)
                if not await holding.reserve(need, rng.random()):
                    break
                most = max(most, ledger.spent + ledger.reserved)
                await asyncio.sleep(0)
                holding.pay(rng.uniform(0, need))
        finally:
            holding.close()

    async def all_of_them() -> None:
        await asyncio.wait_for(asyncio.gather(*(pair() for _ in range(12))), 10)

    asyncio.run(all_of_them())
    assert most <= total * (1 + 1e-6)
    assert ledger.reserved == pytest.approx(0)
    assert not ledger.holdings


def test_the_highest_priority_goes_first_and_nobody_waits_for_nothing() -> None:
    async def run() -> None:
        ledger = Ledger(100)
        one, low, high, vast = (ledger.open() for _ in range(4))
        assert await one.reserve(80, 0.0)
        waiting = {
            name: asyncio.ensure_future(holding.reserve(amount, priority))
            for name, holding, amount, priority in (
                ("low", low, 60, 0.1),
                ("high", high, 60, 0.9),
                ("vast", vast, 101, 1.0),
            )
        }
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert {name for name, task in waiting.items() if task.done()} == {"vast"}
        assert not await waiting["vast"]
        one.pay(10)
        one.close()  # gives 70 back: enough for one of the two
        assert await waiting["high"]
        high.pay(60)
        high.close()
        assert not await waiting["low"]  # 30 are left, and nobody can give more
        assert low.refused

    asyncio.run(run())


def test_who_leaves_while_waiting_takes_nothing_along() -> None:
    async def run() -> None:
        ledger = Ledger(100)
        one, two = ledger.open(), ledger.open()
        assert await one.reserve(80, 0.0)
        task = asyncio.ensure_future(two.reserve(60, 0.0))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        two.close()
        one.close()
        assert (ledger.free, ledger.reserved) == (100, 0)

    asyncio.run(run())


def test_what_is_held_back_is_lent_only_at_infinite_priority() -> None:
    async def run() -> None:
        ledger = Ledger(100, held_back=lambda: 40.0)
        assert not await ledger.open().reserve(70, 1.0)
        assert await ledger.open().reserve(60, 1.0)
        assert await ledger.open().reserve(40, math.inf)

    asyncio.run(run())


def test_accounts_compose_and_a_step_that_fails_costs_what_it_reserved() -> None:
    async def run() -> None:
        ledger = Ledger(100)
        cap, drawn = Capped(Tokens(), 50), Metered(ledger.open(), Tokens())
        account = AllOf(cap, drawn)
        assert list(account.instalments((8, 16, 32))) == [8, 16, 32]
        assert list(AllOf(Unlimited()).instalments((8, 16, 32))) == [32]
        assert not await account.reserve(thought(51), 0.0)
        assert (cap.refused, ledger.reserved) == (True, 0)
        assert await account.reserve(thought(40), 0.0)
        account.pay(thought(30))
        assert (cap.spent, ledger.spent, ledger.reserved) == (30, 30, 10)
        assert await account.reserve(thought(20), 0.0)
        account.forfeit()
        assert (cap.spent, ledger.spent, ledger.reserved) == (50, 50, 0)

    asyncio.run(run())


def spend(
    budget: Budget, calibration: Calibration, costs: Callable[[PairAccount, int], float], pairs: int
) -> float:
    """Every pair costs what its policy says on `costs`; one after the other."""
    rng = random.Random(5)
    for number in range(pairs):
        share = budget.begin(calibration, f"{rng.getrandbits(256):064x}", (10, 10))
        cost = costs(share, number)
        share.holding.spent += cost
        budget.ledger.spent += cost
        share.end()
    return float(budget.spent)


@pytest.mark.parametrize("part", [0.15, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("harder", [0.6, 1.0, 1.5])
def test_the_price_spends_what_there_is(
    calibration: Calibration, part: float, harder: float
) -> None:
    """Also where pairs need more thought, or less, than those that it was fitted on."""
    made = TraceArrays.of(simulated(9, 600), LADDER)
    most = float(whole(made).spent.thought.mean()) * harder
    cache: dict[int | None, list[float]] = {}

    def costs(share: PairAccount, number: int) -> float:
        assert share.calibration is not None
        chosen = share.calibration.chosen if len(share.calibration.policies) > 1 else -1
        if chosen == -1:
            return 0.0
        if chosen not in cache:
            cache[chosen] = list(replay(made, share.calibration.policy).spent.thought * harder)
        return cache[chosen][number]

    total = part * most * 600
    assert spend(Budget(total, 600), calibration, costs, 600) == pytest.approx(total, rel=0.06)


def test_a_certificate_covers_only_what_is_not_dearer(calibration: Calibration) -> None:
    assert calibration.certificate is not None
    assert calibration.policy is not None
    assert calibration.policy.tokens is not None
    rich = begin(Budget(1e6, 10), calibration).calibration
    assert rich is not None
    assert (rich.chosen, rich.certificate) == (None, calibration.certificate)
    poor = begin(Budget(calibration.policy.tokens * 0.5 * 10, 10), calibration).calibration
    assert poor is not None
    assert poor.policy is not None
    assert poor.policy.price > calibration.certificate.price
    assert poor.certificate is None
    none = begin(Budget(0, 10), calibration).calibration
    assert none is not None
    assert isinstance(none.policy, PricedPolicy)
    assert [rule.steps for rule in none.policy.rules] == [("stop",)]


def test_without_prices_each_pair_has_an_equal_share() -> None:
    async def run() -> None:
        budget = Budget(100, 4)
        one = begin(budget)
        assert await one.account.reserve(thought(25), 0.0)
        assert not await one.account.reserve(thought(26), 0.0)
        one.account.pay(thought(5))
        one.end()
        two = begin(budget)
        assert two.most == 95 / 3
        assert await two.account.reserve(thought(31), 0.0)

    asyncio.run(run())


def test_a_stream_earns_as_pairs_come() -> None:
    budget = Budget(per_pair=50)
    first = begin(budget)
    assert (first.most, budget.total) == (50, 50)
    first.end()
    later = begin(budget)
    assert later.most == pytest.approx(50 + 50 / HORIZON)  # what the first left, little by little


def test_a_budget_of_seconds_follows_the_clock(calibration: Calibration) -> None:
    now = 0.0
    budget = Budget(pairs=400, seconds=100, clock=lambda: now)
    assert budget.seconds_left == 100

    def costs(share: PairAccount, number: int) -> float:
        nonlocal now
        assert share.calibration is not None
        policy = share.calibration.policy
        tokens = calibration.whole_tokens if policy is None else policy.tokens or 0.0
        assert tokens is not None
        now += tokens / 80  # a machine of 80 tokens a second
        return tokens

    assert calibration.whole_tokens is not None
    assert calibration.whole_tokens * 400 / 80 > 105  # whole chains would take longer
    spend(budget, calibration, costs, 400)
    assert 90 < now < 105


def test_seconds_are_shared_equally_too_where_no_prices_are_known() -> None:
    now = 0.0
    budget = Budget(pairs=100, seconds=100, clock=lambda: now)

    async def run() -> None:
        nonlocal now
        for _ in range(70):
            share = begin(budget)
            if await share.account.reserve(thought(10), 0.0):
                share.account.pay(thought(10))
            now += 1.0
            share.end()
        late = begin(budget)  # 30 seconds and as many pairs are left: 10 tokens each
        assert late.most == pytest.approx(10, rel=0.1)
        assert not await late.account.reserve(thought(20), 0.0)
        assert (late.refused, budget.reserved) == (True, 0)

    asyncio.run(run())


def test_compute_is_counted_as_the_cost_model_does() -> None:
    cost = CostModel.of_directory(WEIGHTS)
    meter = Compute(cost, suffix=7)
    assert meter.price(Work("prompt", 30, 0)) == cost.prefill_flops(30)
    assert meter.price(Work("thought", 5, 40)) == cost.decode_flops(5, 40)
    assert meter.price(Work("probe", 0, 45)) == cost.probe_flops(45, 7)
    assert Tokens().price(Work("prompt", 30, 0)) == Tokens().price(Work("probe", 0, 30)) == 0
    assert Tokens(4.0).price(Work("probe", 0, 30)) == 4


def test_what_an_earlier_run_paid_is_gone() -> None:
    budget = Budget(100, 4)
    budget.charge(Usage(thinking_tokens=40))
    assert begin(budget).most == 20
    meter = Compute(CostModel.of_directory(WEIGHTS), suffix=7)
    usage = Usage(prompt_tokens=60, thinking_tokens=10, probe_tokens=14)
    work = [Work("prompt", 30, 0), Work("thought", 5, 30), Work("probe", 0, 35)]
    assert meter.past(usage) == pytest.approx(2 * amount(meter, work))
