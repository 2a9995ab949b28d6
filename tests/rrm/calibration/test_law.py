"""The law of evidence, thought and votes: planted numbers come back, and it chooses well."""

import random
from itertools import product

import numpy as np
import pytest

from rrm.calibration.law import AXES, Law, Measured, Theta, alone, as_policy, choose, fit_law
from rrm.decision.fixed import FixedPolicy

PLANTED = Law(a=(0.12, 0.3, 0.25), b=(0.5, 0.2, -0.1), c=1.1, errors=(0.0,) * 7, r2=1.0)
GRID = [Theta(*one) for one in product((0, 1, 2), (0, 8, 32, 128), (1, 3))]
BRINGS = {0: (0.3, 0.1, 0.05), 1: (0.1, 0.3, 0.02), 2: (0.02, 0.05, 0.1), 3: (0.2, 0.2, 0.0)}


def cost(theta: Theta) -> float:
    return theta.votes * (2.0 * theta.tokens + 40.0 * theta.searches)


def drawn(seed: int, n: int) -> list[Measured]:
    """Strata judged in every way, by the planted law."""
    rng = np.random.default_rng(seed)
    return [
        Measured(
            stratum, theta, int(rng.binomial(n, PLANTED.accuracy(theta, brings))), n, cost(theta)
        )
        for stratum, brings in BRINGS.items()
        for theta in GRID
    ]


def test_planted_numbers_are_recovered_within_their_intervals() -> None:
    inside = np.zeros(7)
    for seed in range(40):
        found = fit_law(drawn(seed, 2_000), BRINGS)
        inside += [
            low <= true <= high
            for true, (low, high) in zip(PLANTED.numbers, found.intervals, strict=True)
        ]
        assert found.r2 > 0.9
    assert len(AXES) == len(found.a)
    assert inside.min() >= 34  # of 40 at 95 %; 34 has probability .004


def test_its_choice_is_nearly_the_best_there_is() -> None:
    def truth(chosen: dict[int, Theta]) -> float:
        return float(np.mean([PLANTED.accuracy(t, BRINGS[s]) for s, t in chosen.items()]))

    for seed, budget in product(range(5), (20.0, 100.0, 400.0)):
        points = drawn(seed, 1_000)
        chosen = choose(fit_law(points, BRINGS), points, BRINGS, budget)
        assert np.mean([cost(theta) for theta in chosen.values()]) <= budget + 1e-9
        best = choose(PLANTED, points, BRINGS, budget)
        assert truth(chosen) >= truth(best) - 0.04


def test_what_an_axis_brings_alone_is_measured() -> None:
    rights = {Theta(0, 0, 1): 60, Theta(1, 0, 1): 75, Theta(0, 128, 1): 80, Theta(0, 128, 3): 82}
    points = [Measured(0, theta, right, 100, 1.0) for theta, right in rights.items()]
    [found] = alone(points, 128).values()
    assert found == pytest.approx((15 / 101, 20 / 101, 2 / 101))
    with pytest.raises(KeyError):
        alone(points[:3], 128)


def test_its_choice_is_a_policy() -> None:
    chosen = {0: Theta(2, 128, 3), 1: Theta(0, 8, 1), 2: Theta(0, 0, 1)}
    policy = as_policy(chosen, (0.5, 2.0), price=0.001)
    assert policy.stratum(-0.3).searches == 2
    assert policy.stratum(0.3).votes == 3
    assert policy.stratum(-1.9).depth == 8
    assert policy.stratum(40.0).depth == 0
    kept = FixedPolicy.model_validate_json(policy.model_dump_json())
    assert kept == policy
    with pytest.raises(ValueError, match="all the others"):
        as_policy({0: Theta(0, 0, 1)}, (0.5,), price=0.001).stratum(3.0)


def test_too_little_is_refused() -> None:
    points = drawn(0, 100)
    with pytest.raises(ValueError, match="8 or more"):
        fit_law(random.Random(0).sample(points, 7), BRINGS)
    with pytest.raises(ValueError, match="costs"):
        choose(PLANTED, [one for one in points if one.cost > 0], BRINGS, 0.0)
