"""Fitting recovers a known judge, stops where it pays, and proves what it keeps."""

import math
import random

import numpy as np
import pytest

from rrm.calibration import FEWEST, calibrated, shortfall
from rrm.calibration.arrays import TOKENS_ALONE, TraceArrays
from rrm.calibration.fit import certify, fit_calibration, fit_curve
from rrm.calibration.replay import replay, whole
from rrm.calibration.trace import TracedChain
from rrm.decision.thresholds import PROMPT_ONLY
from tests.helpers.traces import BOND, LADDER, arrays, hopeless, simulated


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


def test_the_certified_stopper_keeps_what_it_promises() -> None:
    found = calibrated(
        simulated(1, 4000), LADDER, "simulated", BOND, epsilon=0.02, tokens=TOKENS_ALONE
    )
    assert found.certificate is not None
    assert found.certificate.price == found.policies[found.chosen or 0].price
    assert found.certificate.n == 2000
    fresh = arrays(2, 20_000)
    walked = replay(fresh, found.policy)
    assert walked.lost.mean() <= 0.02
    assert walked.spent.thought.mean() < 0.7 * whole(fresh).spent.thought.mean()
    strict = calibrated(
        simulated(1, 4000), LADDER, "simulated", BOND, epsilon=0.005, tokens=TOKENS_ALONE
    )
    assert strict.chosen is not None
    assert found.chosen is not None
    assert strict.chosen < found.chosen


@pytest.mark.slow
def test_certificates_are_broken_no_more_often_than_they_say() -> None:
    """200 resamplings; the truth is what the policy loses on very many pairs."""
    rng = np.random.default_rng(0)
    pool = arrays(9, 40_000)
    calibration = fit_calibration(arrays(8, 1000), "s", TOKENS_ALONE)
    lost = [float(replay(pool, policy).lost.mean()) for policy in calibration.policies]
    broken = given_out = 0
    for _ in range(200):
        part = pool.part(rng.choice(len(pool), 1000, replace=False))
        chosen = certify(calibration, part, 0.02, 0.1, BOND).chosen
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


def test_fewer_labels_tell_only_whether_thought_helps() -> None:
    found = calibrated(simulated(1, FEWEST - 1), LADDER, "s", BOND)
    assert (found.policies, found.policy) == ((), None)
    assert found.productivity is not None
    assert found.productivity.conclusion == "productive"
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
    assert found.policy == PROMPT_ONLY
    assert (found.certificate is not None) is (n == 2000)


def worse(chain: TracedChain) -> TracedChain:
    """The end says the contrary of what was said before any thought, half of the time."""
    *before, _ = chain.margins
    flipped = before[0] if int(abs(before[0]) * 1000) % 2 else -before[0]
    return chain.model_copy(update={"margins": (*before, 3 * flipped)})


def test_a_tie_counts_against_the_certificate_and_the_audit() -> None:
    made = TraceArrays.of(hopeless(simulated(1, 3000), 0.3, seed=1), LADDER)
    fitted, held = made.part(slice(0, None, 2)), made.part(slice(1, None, 2))
    calibration = fit_calibration(fitted, "s", TOKENS_ALONE)
    tying = tuple(one for one in calibration.policies if replay(held, one).tied.any())
    found = certify(calibration.model_copy(update={"policies": tying[:1]}), held, 0.4, 0.1, BOND)
    walked = replay(held, found.policy)
    assert found.certificate is not None
    assert found.certificate.lost == (held.whole_right & ~walked.right).sum()
    assert found.expected is not None
    assert found.expected.apart > (held.whole_right != walked.right).mean()
