"""The learnt policy buys what pays, and beats every fixed line that it could have walked."""

import random
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm.calibration import COMPUTED
from rrm.calibration.arrays import TOKENS_ALONE, TraceArrays
from rrm.calibration.learn import PATH, least_margin, path, prices_of, prices_within
from rrm.calibration.replay import Walked, replay, walk, whole
from rrm.calibration.trace import Trace, TracedChain
from rrm.decision.priced import PricedPolicy, TokenPrices
from rrm.decision.thresholds import PROMPT_ONLY
from tests.helpers.traces import LADDER, arrays, chain, hopeless, liking, simulated

CHEAP = TokenPrices(kind="tokens", read=0.1, cached=0.0, generated=1.0, suffix=8)
"""reading, as in seconds on a GPU"""


def last(made: TraceArrays, prices: TokenPrices = COMPUTED, upto: int = 8) -> PricedPolicy:
    """The policy at the path's `upto`th price."""
    *_, found = path(made, prices, prices_of(made, prices)[:upto])
    return found


def loss(found: Walked, prices: TokenPrices, price: float) -> float:
    return float((1 - found.right - 0.5 * found.tied + price * found.spent.cost(prices)).mean())


def test_a_higher_price_buys_less() -> None:
    made, fresh = arrays(3, 3000), arrays(4, 3000)
    policies = list(path(made, COMPUTED, prices_of(made, COMPUTED)))
    costs = [float(walk(fresh, one).spent.cost(COMPUTED).mean()) for one in policies]
    assert [one.price for one in policies] == sorted(one.price for one in policies)
    assert costs[0] > 1.5 * costs[-1]
    assert max(np.diff(costs)) < 2
    assert walk(fresh, policies[0]).lost.mean() < 0.01 < walk(fresh, policies[-1]).lost.mean()


def test_it_is_no_worse_than_stopping_at_once_or_never() -> None:
    made = arrays(3, 2000)
    for price in prices_of(made, COMPUTED):
        [found] = path(made, COMPUTED, [price])
        best = loss(walk(made, found), COMPUTED, price)
        assert best <= loss(whole(made), COMPUTED, price) + 1e-9
        if found.start == 0:
            assert best <= loss(walk(made, found.prompt_only()), COMPUTED, price) + 0.01


def test_the_other_prompt_is_bought_by_a_judge_that_likes_the_first_place() -> None:
    plain = simulated(3, 3000)
    mean = []
    for general, spread in ((0.0, 0.0), (3.0, 0.0), (3.0, 3.0)):
        made = TraceArrays.of(liking(plain, general, spread, seed=1), LADDER)
        mean.append(walk(made, last(made, CHEAP)).orders.mean())
    assert mean[1] == pytest.approx(mean[0], abs=0.05)  # what all pairs have is taken off
    assert mean[2] > mean[0] + 0.2


def test_both_prompts_are_asked_for_together_where_nearly_all_need_them() -> None:
    made = TraceArrays.of(liking(simulated(3, 3000), 0.0, 3.0, seed=1), LADDER)
    found = last(made, TOKENS_ALONE)
    assert found.together
    assert (walk(made, found).orders == 2).all()
    assert not last(arrays(3, 3000), COMPUTED).together


def test_free_reading_reads_more_than_dear_reading() -> None:
    made = TraceArrays.of(liking(simulated(3, 3000), 0.0, 1.5, seed=1), LADDER)
    free, dear = walk(made, last(made, TOKENS_ALONE)), walk(made, last(made, COMPUTED))
    assert free.spent.probes.mean() > dear.spent.probes.mean()


def test_a_rung_that_tells_nothing_new_is_not_read() -> None:
    """The second rung repeats the prompt; the third tells all; then the chain goes on."""
    rng = random.Random(6)
    traces = []
    for _ in range(1000):
        size = rng.choice((6.0, 0.1))
        sign = rng.choice((1, -1))
        first = sign * (size if size > 1 or rng.random() < 0.6 else -size)
        lead = chain([first, first, 8.0 * sign, 9.0 * sign, 9.0 * sign])
        other = chain([first, 9.0 * sign])
        label: Literal["a", "b"] = "a" if sign > 0 else "b"
        traces.append(Trace(label=label, lead="ab", prompt_tokens=(1, 1), votes=((lead, other),)))
    made = TraceArrays.of(traces, (8, 16, 24))
    found = walk(made, last(made, CHEAP, 4))
    some = {key.depth for key, came in found.came.items() if came.any()}
    assert 1 not in some
    assert {0, 2} <= some


def test_what_no_thought_will_settle_is_a_tie_at_once() -> None:
    traces = hopeless(simulated(1, 3000), 0.3, seed=1)
    made = TraceArrays.of(traces, LADDER)
    lost = np.array([trace.group == "hopeless" for trace in traces])
    found = walk(made, last(made, TOKENS_ALONE, 11))
    assert (found.tied & ~lost).sum() < 0.1 * (~lost).sum()
    assert not found.right[found.tied].any()
    assert found.spent.thought[lost].mean() < 0.3 * whole(made).spent.thought[lost].mean()
    [free] = path(made, TOKENS_ALONE, [0.0])
    assert walk(made, free).tied.mean() < 0.01


def test_votes_are_taken_where_they_pay() -> None:
    """Whole chains are a coin flip with a narrow margin, or sure; votes tell the former."""
    rng = random.Random(3)
    traces = []
    for trace in simulated(4, 3000):
        sign = 1 if trace.label == "a" else -1
        open_ = rng.random() < 0.3
        size = 0.1 * rng.choice((1, -1)) if open_ else 8.0
        votes = [
            one.model_copy(update={"margins": (*one.margins[:-1], size * sign)})
            for one in trace.votes[0]
        ]
        more = [chain([0.0, 0.0, 0.0, 8.0 * sign]) for _ in range(2)]
        traces.append(
            trace.model_copy(update={"votes": ((votes[0], votes[1]), (more[0], more[1]))})
        )
    made = TraceArrays.of(traces, LADDER)
    cheap, dear = last(made, upto=1), last(made, upto=len(PATH))
    assert not cheap.both.stops(0.1, agree=True)
    found = walk(made, cheap)
    assert found.right.mean() > whole(made).right.mean() + 0.1
    assert 0.1 < found.stopped["votes"].mean() < 0.4
    assert walk(made, dear).spent.cost(COMPUTED).mean() < found.spent.cost(COMPUTED).mean() / 2


def test_the_price_is_chosen_on_folds_so_that_others_lose_no_more() -> None:
    made, fresh = arrays(3, 3000), arrays(4, 20_000)
    every = prices_of(made, TOKENS_ALONE)
    chosen = prices_within(made, TOKENS_ALONE, every, 0.02)
    assert chosen[:-1] == every[: len(chosen) - 1]
    *_, found = path(made, TOKENS_ALONE, chosen)
    assert 0.005 < walk(fresh, found).lost.mean() < 0.03
    assert prices_within(made, TOKENS_ALONE, every, -1.0) == ()


def test_unreadable_labels_buy_both_whole_chains() -> None:
    made = []
    for trace in simulated(3, 600):
        lead, other = trace.votes[0]
        blind = lead.model_copy(update={"masses": (0.1, *lead.masses[1:])})
        made.append(trace.model_copy(update={"votes": ((blind, other),)}))
    half = TraceArrays.of([*made, *simulated(4, 600)], LADDER)
    policy = last(half, TOKENS_ALONE, 6)
    assert policy.start == 0
    found = walk(half, policy)
    assert found.stopped["both"][:600].all()
    assert not found.stopped["both"][600:].all()


@given(
    st.lists(st.tuples(st.floats(0, 4), st.floats(-1, 1)), max_size=12),
)
@settings(max_examples=200)
def test_the_least_margin_gains_most(pairs: list[tuple[float, float]]) -> None:
    margins, gains = np.array([m for m, _ in pairs]), np.array([g for _, g in pairs])

    def sum_from(least: float) -> float:
        return float(gains[margins >= least].sum()) if len(pairs) else 0.0

    found = least_margin(margins, gains)
    best = max([sum_from(least) for least in (*margins, np.inf)], default=0.0)
    assert sum_from(found) == pytest.approx(best, abs=1e-9)


def test_replaying_nothing_is_both_whole_chains() -> None:
    made = arrays(1, 50)
    found = replay(made, None)
    assert (found.lost == 0).all()
    assert (found.orders == 2).all()
    assert (found.spent.probes == 2).all()


def test_who_reads_the_prompt_alone_may_be_replayed_where_judges_search() -> None:
    """A judge that thought does not help, on pairs that it looks things up for."""
    asking = TracedChain(
        tokens=(0, 3, 3, 8),
        margins=(1.0, 1.0, 2.0, 3.0),
        masses=(1.0,) * 4,
        closed=True,
        searches=(0, 0, 1, 1),
        asks=(1,),
        queries=("k",),
        evidence=(8,),
    )
    trace = Trace(label="a", lead="ab", prompt_tokens=(1, 1), votes=((asking, asking),))
    found = replay(TraceArrays.of([trace] * 4, LADDER), PROMPT_ONLY)
    assert found.right.all()
    assert found.spent.thought.sum() == 0
