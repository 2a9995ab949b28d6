"""Judging by a priced policy: one order first, the other where it is worth its price."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judges.options import JudgeOptions
from judges.pairwise import PairwiseJudge
from rrm.budget import Budget
from rrm.calibration.calibration import Calibration
from rrm.calibration.monitor import Expected, RiskMonitor
from rrm.decision.priced import PricedPolicy
from rrm.decision.thresholds import Rule
from rrm.engines.base import TokenSequence
from rrm.engines.scripted import ProbeScript, ScriptedEngine
from rrm.types import Pair, StopReason, Unscored, Verdict
from tests.helpers.judging import LONG, PAIR, at, judged, scripted, text_of, unreadable, verdict
from tests.helpers.policies import any_policy, buying
from tests.helpers.styles import RRM

LADDER = (8, 16, 32, 64)
SHORT = "x" * 12 + "</think>"


def bought(policy: PricedPolicy) -> Calibration:
    return at(0.0).model_copy(update={"policies": (policy,)})


def orders_say(first: float, second: float, a_token: float = 0.0) -> ProbeScript:
    """The two orders' log-odds that good is better before any thought; each token adds to them.

    first: of the order that shows good first.
    """

    def probe(chain: TokenSequence, suffix: str, labels: tuple[str, ...]) -> Mapping[str, float]:
        prompt = text_of(chain)
        shown_first = prompt.index("good") < prompt.index("bad")
        odds = (first if shown_first else second) + a_token * len(chain.ids)
        share = 1 / (1 + math.exp(-(odds if shown_first else -odds)))
        return {labels[0]: math.log(share), labels[1]: math.log(1 - share)}

    return probe


def test_a_plain_pair_costs_one_prompt() -> None:
    found = verdict(scripted(orders_say(5, 5), [LONG], bought(buying(2.0, 4))))
    assert (found.preferred, found.reason, found.orders_read) == ("a", StopReason.MARGIN, 1)
    assert (found.agree, found.consistent) == (None, None)
    assert found.margin == pytest.approx(5, abs=1e-3)
    assert found.probability == pytest.approx(1 / (1 + math.exp(-5)), abs=1e-4)
    [point] = found.path
    assert sum(margin is not None for margin in point.margins) == 1
    both = verdict(scripted(orders_say(5, 5), [LONG]), options=JudgeOptions("none"))
    assert found.usage.read_tokens * 2 == both.usage.read_tokens
    assert found.usage.prompt_tokens * 2 == both.usage.prompt_tokens
    assert found.usage.generated_tokens == 0


def test_in_doubt_the_other_prompt_is_read_and_both_weigh() -> None:
    """Whichever order leads says 1; the other settles it, or not."""
    settled = verdict(scripted(orders_say(1, 9), [LONG], bought(buying(2.0, 4))))
    turned = verdict(scripted(orders_say(9, 1), [LONG], bought(buying(2.0, 4))))
    two = settled if settled.orders_read == 2 else turned
    assert (two.orders_read, two.usage.thinking_tokens, two.preferred) == (2, 0, "a")
    assert two.margin == pytest.approx(5, abs=1e-2)
    assert len(two.path) == 2
    assert two.consistent is True


def test_orders_are_compared_only_where_both_were_read_as_deep() -> None:
    """The leading chain thinks on while the other order stands at its prompt."""
    judge = scripted(orders_say(0.5, 0.5, a_token=0.1), [SHORT], bought(buying(1.2, 4)))
    found = verdict(judge)
    assert (found.orders_read, found.agree, found.consistent) == (2, True, None)
    whole = verdict(judge, options=JudgeOptions("full"))
    assert (whole.agree, whole.consistent) == (True, True)
    assert verdict(judge, options=JudgeOptions("none")).consistent is True


def test_both_prompts_are_one_call_where_nearly_all_pairs_need_them() -> None:
    policy = buying(2.0, 4).model_copy(update={"together": True})
    found = verdict(scripted(orders_say(5, 5), [LONG], bought(policy)))
    assert (found.orders_read, len(found.path), found.reason) == (2, 1, StopReason.MARGIN)


def test_still_in_doubt_it_thinks_in_one_order_then_in_both() -> None:
    judge = scripted(orders_say(0.5, 0.5, a_token=0.1), [SHORT], bought(buying(1.2, 4)))
    one = verdict(judge)
    assert (one.reason, one.orders_read) == (StopReason.MARGIN, 2)
    assert sorted(order.thinking_tokens for order in one.orders) == [0, len(SHORT)]
    never = scripted(orders_say(0.5, 0.5, a_token=0.1), [SHORT], bought(buying(99.0, 4)))
    two = verdict(never)
    assert two.reason is StopReason.ENDED
    assert [order.thinking_tokens for order in two.orders] == [len(SHORT)] * 2
    assert two.path[-1].at == "both"


def test_a_policy_that_reads_no_prompt_asks_for_one_chain_and_one_probe() -> None:
    policy = buying(0.1, 4).model_copy(update={"start": "end"})
    judge = scripted(orders_say(1, 1), [SHORT], bought(policy))
    found = verdict(judge)
    assert (found.orders_read, found.usage.thinking_tokens) == (1, len(SHORT))
    assert [point.at for point in found.path] == ["lead"]
    engine = judge.engine
    assert isinstance(engine, ScriptedEngine)
    assert found.usage.probe_tokens == len(RRM.suffix("", ended=True))


@pytest.mark.parametrize("limit", [0, 1, 2, 15, 16, 17, 40, 64, 1000])
def test_no_thought_beyond_the_limit(limit: int) -> None:
    judge = scripted(orders_say(0.5, 0.5), ["x" * 500], bought(buying(99.0, 4)))
    found = verdict(judge, options=JudgeOptions(max_thinking_tokens=limit))
    assert min(limit - 1, 128) <= found.usage.thinking_tokens <= limit
    assert found.reason is StopReason.TOKEN_LIMIT
    assert found.orders_read == 2


def test_whole_chains_that_leave_it_open_take_votes() -> None:
    policy = buying(99.0, 4).model_copy(update={"both": Rule(agree=99.0)})
    calibration = bought(policy).model_copy(update={"most_votes": 3})
    found = verdict(scripted(orders_say(0.5, 0.5, a_token=0.01), [SHORT], calibration))
    assert found.reason is StopReason.VOTED
    assert found.path[-1].at == "votes"
    assert found.usage.thinking_tokens > 2 * len(SHORT)
    once = verdict(scripted(orders_say(0.5, 0.5), [SHORT], bought(policy)))
    assert once.reason is StopReason.ENDED  # no votes were fitted


def test_what_is_too_close_to_buy_anything_for_is_a_tie() -> None:
    policy = buying(99.0, 4)
    rules = tuple(
        rule.model_copy(update={"cuts": (0.2, 99.0), "steps": ("tie", *rule.steps)})
        for rule in policy.rules
    )
    calibration = bought(policy.model_copy(update={"rules": rules}))
    found = verdict(scripted(orders_say(0.1, 0.1), [SHORT], calibration))
    assert (found.reason, found.preferred, found.probability) == (StopReason.TOO_CLOSE, "tie", 0.5)
    assert (found.orders_read, found.usage.thinking_tokens) == (1, 0)


def test_labels_that_say_nothing_in_one_order_buy_both_whole_chains() -> None:
    found = judged(scripted(unreadable, [SHORT], bought(buying(0.0, 4))))
    assert isinstance(found, Unscored)
    assert found.usage.thinking_tokens == 2 * len(SHORT)


def test_a_deadline_keeps_what_one_order_said() -> None:
    judge = scripted(orders_say(0.5, 0.5), ["x" * 500], bought(buying(99.0, 4)), delay=0.05)
    found = judged(judge, options=JudgeOptions(seconds=0.12))
    assert isinstance(found, Verdict)
    assert found.reason is StopReason.DEADLINE
    assert found.judge.certificate is None


def test_an_audit_thinks_both_orders_whole_and_says_where_it_would_have_stopped() -> None:
    calibration = bought(buying(2.0, 4))
    watch = RiskMonitor(Expected(apart=0.5, spent=0.5), delta=0.1)
    made = scripted(orders_say(5, 5), [LONG], calibration)
    judge = PairwiseJudge(made.engine, made.style, calibration, made.ladder, monitor=watch)
    found = verdict(judge)
    assert found.reason is StopReason.ENDED
    assert [order.thinking_tokens for order in found.orders] == [len(LONG)] * 2
    assert watch.audited == 1
    assert "audited: it would have stopped after 0 tokens" in found.judge.notes
    watch.revoked = "pairs are not what they were"
    whole = verdict(judge)
    assert whole.usage.thinking_tokens == 2 * len(LONG)
    assert whole.path[-1].at == "both"


def test_without_a_budget_for_more_one_order_decides() -> None:
    """The policy would buy all there is; the sum allows for eight tokens."""
    judge = scripted(orders_say(0.5, 0.5), ["x" * 500], bought(buying(99.0, 4)))
    budget = Budget(8, 1)
    share = asyncio.run(judge.judge(PAIR, budget=budget))
    assert isinstance(share, Verdict)
    assert share.reason is StopReason.BUDGET_SPENT
    assert budget.spent <= 8
    assert budget.reserved == 0


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 10**6),
    st.floats(-3, 3),
    st.floats(-3, 3),
    st.floats(-0.2, 0.2),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, 0, 9, 40, 100]),
)
def test_swapping_a_pair_mirrors_its_verdict(
    seed: int,
    first: float,
    second: float,
    a_token: float,
    at_end: bool,
    together: bool,
    limit: int | None,
) -> None:
    calibration = bought(any_policy(seed, len(LADDER), at_end, together))
    texts = [SHORT, LONG]

    def judge(scripts: list[str], pair: Pair) -> Verdict | Unscored:
        made = scripted(orders_say(first, second, a_token), scripts, calibration)
        return judged(made, pair, JudgeOptions(max_thinking_tokens=limit))

    one, other = judge(texts, PAIR), judge(texts[::-1], PAIR.swapped())
    other = other.mirrored() if isinstance(other, Verdict) else other
    assert one == other.model_copy(update={"usage": one.usage})
    if isinstance(one, Verdict):
        assert (one.margin > 0) == (one.preferred == "a") or one.preferred == "tie"
        assert one.orders_read == sum(order.margin is not None for order in one.orders)
