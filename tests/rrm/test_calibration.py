"""Fitting recovers a known judge, stops where it pays, and proves what it keeps."""

import itertools
import math
import random
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm.calibration import (
    FEWEST,
    best_policy,
    calibrated,
    certify,
    fit_curve,
    fit_policy,
    fit_stages,
    fit_stopper,
    probabilities,
    shortfall,
)
from rrm.replay import Table, play
from rrm.stopping import LOOK_TOKENS, Policy, Rule
from rrm.trace import Trace, TracedChain
from tests.helpers.traces import BOND, LADDER, chain, simulated


def table(seed: int, n: int) -> Table:
    return Table.of(simulated(seed, n), LADDER)


def test_a_calibrated_judge_gets_the_identity_curve() -> None:
    rng = random.Random(0)
    margins = np.array([rng.uniform(0, 4) for _ in range(20_000)])
    rights = np.array([rng.random() < 1 / (1 + math.exp(-margin)) for margin in margins])
    curve = fit_curve(margins, rights)
    assert curve.intercept == pytest.approx(0.0, abs=0.1)
    assert curve.slope == pytest.approx(1.0, abs=0.1)


def test_a_margin_that_tells_nothing_or_the_contrary_gets_a_flat_curve() -> None:
    rng = random.Random(0)
    margins = np.array([rng.uniform(0, 4) for _ in range(4000)])
    assert fit_curve(margins, margins < 2).slope == 0.0
    assert fit_curve(np.array([]), np.array([], dtype=bool))(5.0) == 0.5


def test_no_errors_still_give_a_finite_curve() -> None:
    curve = fit_curve(np.ones(50), np.ones(50, dtype=bool))
    assert curve(1.0) < 1.0
    assert math.isfinite(curve.slope)


def test_a_table_holds_what_the_traces_saw() -> None:
    traces = simulated(1, 3)
    made = Table.of(traces, LADDER)
    assert made.margin.shape == (3, 5)
    assert made.there.all()
    assert made.tokens.tolist() == [[0, 8, 16, 24, 32]] * 3
    for row, trace in enumerate(traces):
        route = trace.route(LADDER)
        assert made.margin[row].tolist() == [abs(point.margin) for point in route]
        assert made.right[row].tolist() == [trace.right(point.margin) for point in route]


def test_playing_stops_at_the_first_yes_and_at_the_end_at_last() -> None:
    made = table(4, 50)
    always, never = Rule(agree=0, differ=0), Rule()
    assert set(play(made, None).tokens) == {32}
    at_once = play(made, Policy(price=0, rules=(always, never, never), lead=never))
    assert set(at_once.tokens) == {0}
    assert set(at_once.looks) == {0}
    later = play(made, Policy(price=0, rules=(Rule(agree=99), always, never), lead=never))
    assert set(later.tokens) == {8}
    assert set(later.looks) == {1}  # it looked once in vain


def test_a_higher_price_buys_less_thought_and_no_more_accuracy() -> None:
    fitted = fit_stopper(table(3, 3000), "s")
    played = [play(table(3, 3000), policy) for policy in fitted.policies]
    costs = [float((one.tokens + LOOK_TOKENS * one.looks).mean()) for one in played]
    assert all(later <= earlier + 0.05 for earlier, later in itertools.pairwise(costs))
    assert costs[0] > 20 > costs[-1]
    assert [p.price for p in fitted.policies] == sorted(p.price for p in fitted.policies)
    assert played[0].right.mean() > 0.99 > played[-1].right.mean() + 0.02


def test_dearer_looks_are_fewer_and_the_stopper_says_what_they_cost() -> None:
    made = table(3, 2000)
    looked = []
    for look_tokens in (0.0, LOOK_TOKENS, 40.0):
        stopper = fit_stopper(made, "simulated", look_tokens=look_tokens)
        assert stopper.look_tokens == look_tokens
        looked.append(sum(play(made, policy).looks.sum() for policy in stopper.policies))
    assert looked[0] > looked[1] > looked[2]


@given(st.integers(0, 10_000), st.floats(1e-4, 0.02))
@settings(max_examples=25, deadline=None)
def test_a_policy_is_worth_what_it_says_and_more_than_any_that_looks_once(
    seed: int, price: float
) -> None:
    """Two checkpoints, the prompt and the end of the leading chain; every threshold tried."""
    made = Table.of(simulated(seed, 12), ())
    chance = probabilities(made, fit_stages(made))

    def worth(policy: Policy) -> float:
        total = 0.0
        for row in range(len(made)):
            looked = 0
            for place, rule in enumerate((*policy.rules, policy.lead, Rule(agree=0, differ=0))):
                margin, agree = made.margin[row, place], bool(made.agree[row, place])
                if rule.stops(margin, agree):
                    paid = made.tokens[row, place] + LOOK_TOKENS * looked
                    total += chance[row, place] - price * paid
                    break
                if rule.ties(margin, agree):
                    total += 0.5 - price * (made.tokens[row, place] + LOOK_TOKENS * looked)
                    break
                looked += rule.looks
        return total / len(made)

    found = fit_policy(made, chance, price)
    best = worth(found)
    assert best == pytest.approx(best_policy(made, chance, price, looks_of(found))[1], abs=1e-9)
    for place in (0, 1):
        least = [0.0, *made.margin[:, place], math.inf]
        for agree, differ in itertools.product(least, least):
            rules = [Rule(), Rule()]
            rules[place] = Rule(agree=agree, differ=differ)
            once = Policy(price=price, rules=(rules[0],), lead=rules[1])
            assert worth(once) <= best + 1e-9


def looks_of(policy: Policy) -> list[int]:
    return [place for place, rule in enumerate((*policy.rules, policy.lead)) if rule.looks]


def test_a_checkpoint_that_tells_nothing_new_is_passed_over() -> None:
    """The second checkpoint repeats the first; the third tells all; then the chain goes on."""
    rng = random.Random(6)
    traces = []
    for _ in range(1000):
        size = rng.choice((6.0, 0.1))
        first = size if size > 1 or rng.random() < 0.6 else -size
        lead = chain([first, first, 8.0, 9.0])
        other = chain([first, 9.0])
        traces.append(Trace(label="a", lead="ab", prompt_tokens=(1, 1), votes=((lead, other),)))
    made = Table.of(traces, LADDER)
    policy = fit_policy(made, probabilities(made, fit_stages(made)), price=1e-3)
    assert [rule.looks for rule in policy.rules] == [True, False, True]
    assert policy.rules[0].stops(6.0, True)
    assert not policy.rules[0].stops(0.1, True)


def test_the_certified_stopper_keeps_what_it_promises() -> None:
    found = calibrated(simulated(1, 4000), LADDER, "simulated", BOND, epsilon=0.02, delta=0.1)
    assert found.certificate is not None
    assert found.certificate.price == found.policies[found.chosen or 0].price
    assert found.certificate.n == 2000
    fresh = table(2, 20_000)
    played = play(fresh, found.policy)
    assert played.right.mean() >= play(fresh, None).right.mean() - 0.02
    assert played.tokens.mean() < 20
    strict = calibrated(simulated(1, 4000), LADDER, "simulated", BOND, epsilon=0.005, delta=0.1)
    assert strict.chosen is not None
    assert found.chosen is not None
    assert strict.chosen < found.chosen


@pytest.mark.slow
def test_certificates_are_broken_no_more_often_than_they_say() -> None:
    """200 resamplings; the truth is what the policy loses on very many pairs."""
    rng = np.random.default_rng(0)
    pool = table(9, 40_000)
    stopper = fit_stopper(table(8, 1000), "s")
    whole = play(pool, None).right
    lost = [float(whole.mean() - play(pool, policy).right.mean()) for policy in stopper.policies]
    broken = given_out = 0
    for _ in range(200):
        part = pool.part(rng.choice(len(pool), 1000, replace=False))
        chosen = certify(stopper, part, 0.02, 0.1, BOND).chosen
        if chosen is not None:
            given_out += 1
            broken += lost[chosen] > 0.02
    assert given_out > 150
    assert broken <= 0.1 * 200


def test_few_labels_prove_nothing_and_whole_chains_are_thought() -> None:
    found = calibrated(simulated(1, 300), LADDER, "s", BOND, epsilon=0.01, delta=0.1)
    assert (found.chosen, found.certificate, found.policy) == (None, None, None)
    assert "598 are needed" in shortfall(300, 0.01, 0.1)
    assert "give more" in shortfall(4000, 0.01, 0.1)


def test_without_labels_agreement_with_itself_is_certified() -> None:
    own = [trace.model_copy(update={"own": True}) for trace in simulated(1, 1200)]
    found = calibrated(own, LADDER, "s", BOND, epsilon=0.05)
    assert found.certificate is not None
    assert found.certificate.promises == "self-agreement"
    assert found.productivity is None


def test_votes_are_taken_where_they_pay() -> None:
    """Whole chains are a coin flip with a narrow margin, or sure; votes tell the former."""
    rng = random.Random(3)
    traces = []
    for trace in simulated(4, 3000):
        sign = 1 if trace.label == "a" else -1
        open_ = rng.random() < 0.3
        size = 0.1 * rng.choice((1, -1)) if open_ else 8.0
        last = [
            one.model_copy(update={"margins": (*one.margins[:-1], size * sign)})
            for one in trace.votes[0]
        ]
        more = [chain([0.0, 0.0, 0.0, 8.0 * sign]) for _ in range(2)]
        traces.append(trace.model_copy(update={"votes": ((last[0], last[1]), (more[0], more[1]))}))
    made = Table.of(traces, LADDER)
    assert (made.both, made.last) == (4, 5)
    policy = fit_policy(made, probabilities(made, fit_stages(made)), price=1e-4)
    assert not policy.both.stops(0.1, agree=True)
    found = play(made, policy)
    assert found.right.mean() > play(made, None).right.mean() + 0.1
    assert 0.2 < (found.place == made.last).mean() < 0.4
    assert set(play(made, None).tokens) == set(made.tokens[:, made.both])
    dear = fit_policy(made, probabilities(made, fit_stages(made)), price=0.9)
    assert dear.rules[0].stops(0.0, agree=True)


def test_fewer_labels_tell_only_whether_thought_helps() -> None:
    found = calibrated(simulated(1, FEWEST - 1), LADDER, "s", BOND)
    assert (found.policies, found.policy) == ((), None)
    assert found.productivity is not None
    assert found.productivity.verdict == "productive"
    assert found.thinks
    assert found.probability(0, 3.0, agree=True) > 0.7


@pytest.mark.parametrize("n", [FEWEST - 50, 2000])
def test_a_judge_that_thought_does_not_help_gets_none(n: int) -> None:
    harmed = [
        trace.model_copy(update={"votes": ((worse(one), worse(two)),)})
        for trace in simulated(5, n)
        for one, two in trace.votes
    ]
    found = calibrated(harmed, LADDER, "s", BOND)
    assert not found.thinks
    assert found.policy is not None
    assert found.policy.rule(0).stops(0.0, agree=False)
    assert (found.certificate is not None) is (n == 2000)


def worse(chain: TracedChain) -> TracedChain:
    """The end says the contrary of what was said before any thought, half of the time."""
    *before, _ = chain.margins
    flipped = before[0] if int(abs(before[0]) * 1000) % 2 else -before[0]
    return chain.model_copy(update={"margins": (*before, 3 * flipped)})


def hopeless(traces: list[Trace], share: float, seed: int) -> list[Trace]:
    """Some of the pairs are too close for any thought: coin flips from first to last."""
    rng = random.Random(seed)
    made = []
    for trace in traces:
        if rng.random() < share:
            label: Literal["a", "b"] = "a" if rng.random() < 0.5 else "b"
            small = [[rng.uniform(-0.05, 0.05) for _ in (0, *LADDER)] for _ in "ab"]
            chains = tuple(chain(margins) for margins in small)
            trace = trace.model_copy(
                update={"label": label, "votes": (chains,), "group": "hopeless"}
            )
        made.append(trace)
    return made


def test_what_no_thought_will_settle_is_a_tie_at_once() -> None:
    traces = hopeless(simulated(1, 3000), 0.3, seed=1)
    made = Table.of(traces, LADDER)
    lost = np.array([trace.group == "hopeless" for trace in traces])
    policy = fit_policy(made, probabilities(made, fit_stages(made)), price=5e-3)
    found = play(made, policy)
    assert (found.tied & lost).sum() > 0.4 * lost.sum()  # the others go with what they lean to
    assert (found.tied & ~lost).sum() < 0.1 * (~lost).sum()
    assert not found.right[found.tied].any()
    assert found.tokens[lost].mean() < 0.2 * made.tokens[lost, made.both].mean()
    cheap = fit_policy(made, probabilities(made, fit_stages(made)), price=0.0)
    assert play(made, cheap).tied.sum() == 0


def test_a_tie_counts_against_the_certificate_and_the_audit() -> None:
    traces = hopeless(simulated(1, 3000), 0.3, seed=1)
    found = calibrated(traces, LADDER, "s", BOND, epsilon=0.3)
    assert found.certificate is not None
    held = Table.of(traces, LADDER).part(slice(1, None, 2))
    game = play(held, found.policy)
    whole = held.right[:, held.both]
    assert game.tied.any()
    assert found.certificate.lost == (whole & ~game.right).sum()
    assert found.expected is not None
    assert found.expected.apart > (whole != game.right).mean()
