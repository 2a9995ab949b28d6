"""Certificates hold as often as they say, and refuse what too few labels cannot prove."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm.calibration.certify import certified, labels_needed, p_value


@pytest.mark.parametrize(
    ("p_lost", "p_gained"), [(0.01, 0.0), (0.02, 0.01), (0.06, 0.05)], ids=["a", "b", "c"]
)
@pytest.mark.parametrize("n", [500, 2000])
def test_a_policy_that_loses_too_much_rarely_passes(p_lost: float, p_gained: float, n: int) -> None:
    rng = random.Random(n)
    passed = 0
    for _ in range(200):
        selects = [rng.random() for _ in range(n)]
        lost = sum(draw < p_lost for draw in selects)
        gained = sum(p_lost <= draw < p_lost + p_gained for draw in selects)
        passed += p_value(lost, gained, n, epsilon=0.01) <= 0.1
    assert passed <= 0.1 * 200


def test_a_policy_that_loses_little_passes() -> None:
    assert p_value(lost=8, gained=2, n=2000, epsilon=0.01) < 0.05
    assert p_value(lost=100, gained=100, n=2000, epsilon=0.02) < 0.05  # it only disagrees
    assert p_value(lost=100, gained=60, n=2000, epsilon=0.01) > 0.5


@given(st.integers(0, 30), st.integers(0, 30), st.floats(0.005, 0.2))
def test_what_is_lost_speaks_against_and_what_is_gained_for(
    lost: int, gained: int, epsilon: float
) -> None:
    found = p_value(lost, gained, 400, epsilon)
    assert 0 < found <= 1
    assert p_value(lost + 1, gained, 400, epsilon) >= found
    assert p_value(lost, gained, 400, epsilon * 1.1) <= found + 1e-9


@pytest.mark.parametrize(("epsilon", "delta"), [(0.01, 0.1), (0.02, 0.05), (0.1, 0.01)])
def test_the_labels_needed_are_just_enough(epsilon: float, delta: float) -> None:
    needed = labels_needed(epsilon, delta)
    assert p_value(0, 0, needed, epsilon) <= delta < p_value(0, 0, needed - 1, epsilon)


def test_testing_ends_at_the_first_failure() -> None:
    fine, bad = (0, 0), (90, 0)
    assert certified([fine, fine, bad, fine], 1000, 0.01, 0.1) == 1
    assert certified([bad, fine], 1000, 0.01, 0.1) is None
    assert certified([fine] * 3, 150, 0.01, 0.1) is None
    assert certified([], 1000, 0.01, 0.1) is None
