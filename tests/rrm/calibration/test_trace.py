"""A trace says what a judge would have seen, whatever it did."""

import asyncio
import math
from collections.abc import Mapping

import pytest

from judges.nano import data
from judges.nano.pairs import pair_of
from judges.options import JudgeOptions
from judges.pairwise import PairwiseJudge
from rrm.calibration.calibration import Calibration, PlattScaler, PlattScalers
from rrm.calibration.trace import Trace, TracedChain, trace
from rrm.decision.thresholds import Policy, Rule
from rrm.engines.base import Engine, TokenSequence
from rrm.engines.scripted import ScriptedEngine
from rrm.types import Pair, Verdict
from tests.helpers.judging import examples
from tests.helpers.styles import RRM

LADDER = (8, 16, 32)
PAIR = Pair(prompt="Which?", response_a="good", response_b="bad")


def leaning(chain: TokenSequence, suffix: str, labels: tuple[str, ...]) -> Mapping[str, float]:
    """A twentieth of log-odds for the first response with each token."""
    share = 1 / (1 + math.exp(-0.05 * (len(chain.ids) + 1)))
    return {labels[0]: math.log(share), labels[1]: math.log(1 - share)}


def traced(texts: list[str], pair: Pair = PAIR) -> Trace:
    engine = ScriptedEngine(texts, leaning)
    return asyncio.run(trace(engine, RRM, pair, "a", LADDER, group="g"))


def test_every_checkpoint_is_read_and_the_end() -> None:
    found = traced(["x" * 10 + "</think>"])
    for chain in found.votes[0]:
        assert chain.tokens == (0, 8, 16, 18)
        assert chain.closed
    assert found.group == "g"
    assert found.votes[0][0].margins[1] == pytest.approx(0.45)
    assert found.votes[0][1].margins[1] == pytest.approx(-0.45)  # seen from response a
    assert found.whole_tokens == 36


def test_a_chain_that_does_not_end_is_cut_at_the_last_checkpoint() -> None:
    found = traced(["x" * 99])
    assert [chain.tokens[-1] for chain in found.votes[0]] == [32, 32]
    assert not found.leading.closed
    assert [point.at for point in found.route(LADDER)] == [0, 1, 2, 3, "both"]
    assert [point.tokens for point in found.route(LADDER)] == [0, 8, 16, 32, 64]


def test_without_a_label_the_whole_chains_give_one() -> None:
    engine = ScriptedEngine(["x" * 10 + "</think>"], leaning)
    found = asyncio.run(trace(engine, RRM, PAIR, None, LADDER))
    assert found.own
    assert found.right(found.route(LADDER)[-1].margin) or found.route(LADDER)[-1].margin == 0


def test_votes_are_whole_chains_of_their_own() -> None:
    engine = ScriptedEngine(["x" * 10 + "</think>", "x" * 4 + "</think>"], leaning)
    found = asyncio.run(trace(engine, RRM, PAIR, "a", LADDER, votes=3))
    assert len(found.votes) == 3
    assert [chain.tokens for chain in found.votes[1]] == [(0, 8, 16, 18), (0, 8, 12)]
    point = found.route(LADDER)[-1]
    assert point.at == "votes"
    # The orders contradict, so the test asks for all there are.
    assert point.tokens == sum(chain.length for pair in found.votes for chain in pair)


def test_the_chains_of_a_vote_differ(nano: Engine) -> None:
    [example] = examples(1, seed=8)
    made = trace(nano, RRM, pair_of(example), "a", nano.card.ladder, votes=4, vote_temperature=2.0)
    found = asyncio.run(made)
    margins = {chain.margins[-1] for pair in found.votes[1:] for chain in pair}
    assert len(margins) > 2


def test_a_route_goes_through_the_leading_chain_first() -> None:
    found = traced(["x" * 10 + "</think>"])
    route = found.route(LADDER)
    assert [point.at for point in route] == [0, 1, 2, "lead", "both"]
    assert [point.tokens for point in route] == [0, 8, 16, 18, 36]
    # One order says more with every token, the other stays where it began.
    lead = 0 if found.lead == "ab" else 1
    signs = (1, -1)
    assert route[1].margin == pytest.approx((signs[lead] * 0.45 + signs[1 - lead] * 0.05) / 2)


@pytest.mark.parametrize("tokens", [0, 8, 16, 18, 99])
def test_in_step_both_orders_may_think_for_as_long(tokens: int) -> None:
    found = traced(["x" * 10 + "</think>"])
    assert found.in_step(tokens).tokens == 2 * min(tokens, 18)
    assert found.in_step(tokens).margin == pytest.approx(0.0)  # the orders contradict


def test_a_tie_is_not_right() -> None:
    found = traced(["</think>"])
    assert not found.right(0.0)
    assert found.right(0.1)
    assert not found.right(-0.1)


def test_a_chain_shorter_than_what_it_may_think_is_read_at_its_end() -> None:
    chain = TracedChain(tokens=(0, 8, 11), margins=(0, 1, 2), masses=(1, 1, 1), closed=True)
    assert [chain.place(tokens) for tokens in (0, 8, 9, 11, 50)] == [0, 1, 2, 2, 2]


def stopping_at(place: int) -> Calibration:
    """Stops at one checkpoint of nano's ladder, whatever it says."""
    sure = PlattScaler(intercept=0.0, slope=1.0)
    stage = PlattScalers(thinking_tokens=0, agree=sure, differ=sure)
    rules = tuple(
        Rule(agree=0, differ=0) if index == place else Rule() for index in range(place + 1)
    )
    return Calibration(
        source="by hand",
        stages=(stage,) * 12,
        lead=stage,
        both=stage,
        policies=(Policy(price=0.0, rules=(*rules, Rule()), lead=Rule()),),
        chosen=0,
    )


def test_replaying_a_trace_is_judging_again(nano: Engine) -> None:
    """What the real judge finds when it stops at a checkpoint is what the trace has there."""
    ladder = nano.card.ladder

    async def one(example: data.Example) -> None:
        pair = pair_of(example)
        found = await trace(nano, RRM, pair, "a", ladder)
        for point in found.route(ladder):
            if not isinstance(point.at, int):
                continue
            judge = PairwiseJudge(nano, RRM, stopping_at(point.at), ladder)
            verdict = await judge.judge(pair)
            assert isinstance(verdict, Verdict)
            assert verdict.usage.thinking_tokens == point.tokens
            assert verdict.margin == pytest.approx(point.margin, abs=1e-3)
        whole = await PairwiseJudge(nano, RRM, None, ladder).judge(pair, JudgeOptions("full"))
        assert isinstance(whole, Verdict)
        last = found.route(ladder)[-1]
        assert whole.usage.thinking_tokens == last.tokens == found.whole_tokens
        assert whole.margin == pytest.approx(last.margin, abs=1e-3)

    for example in examples(3, seed=5):
        asyncio.run(one(example))
