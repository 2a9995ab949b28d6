"""Greedy allocation is as good as trying everything, and never spends too much."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm.allocation.hulls import allocate


def concave(seed: int, items: int, depths: int) -> np.ndarray:
    """Values with falling gains, one unit of cost a depth."""
    gains = -np.sort(-np.random.default_rng(seed).random((items, depths)), axis=1)
    return np.concatenate([np.zeros((items, 1)), np.cumsum(gains, axis=1)], axis=1)


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 3), st.integers(0, 18))
def test_it_equals_brute_force(seed: int, items: int, depths: int, budget: int) -> None:
    values = concave(seed, items, depths)
    costs = np.broadcast_to(np.arange(depths + 1.0), values.shape)
    found = allocate(values, costs, budget)
    best = max(
        sum(values[i, d] for i, d in enumerate(choice))
        for choice in itertools.product(range(depths + 1), repeat=items)
        if sum(choice) <= budget
    )
    assert values[np.arange(items), found.depth].sum() == pytest.approx(best)


@given(st.integers(0, 10_000), st.floats(0, 60))
def test_any_shape_and_cost_stays_within_budget_and_near_the_best(seed: int, budget: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.random((5, 4))
    costs = np.cumsum(rng.random((5, 4)) * 5, axis=1)
    costs -= costs[:, :1]
    found = allocate(values, costs, budget)
    rows = np.arange(5)
    assert costs[rows, found.depth].sum() == pytest.approx(found.spent)
    assert found.spent <= budget + 1e-6
    best = max(
        sum(values[i, d] for i, d in enumerate(choice))
        for choice in itertools.product(range(4), repeat=5)
        if sum(costs[i, d] for i, d in enumerate(choice)) <= budget
    )
    # What is missed is less than one step, since only the last does not fit.
    assert values[rows, found.depth].sum() >= best - 1.0


@given(st.integers(0, 10_000), st.floats(0, 12))
def test_the_order_of_items_does_not_matter(seed: int, budget: float) -> None:
    values = concave(seed, 6, 3)
    costs = np.broadcast_to(np.arange(4.0), values.shape)
    order = np.random.default_rng(seed + 1).permutation(6)
    straight = allocate(values, costs, budget).depth
    assert (allocate(values[order], costs, budget).depth == straight[order]).all()


def test_what_pays_only_together_is_taken_together() -> None:
    values = np.array([[0.0, 0.0, 1.0], [0.0, 0.4, 0.4]])
    costs = np.array([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
    assert list(allocate(values, costs, 2.0).depth) == [2, 0]
    assert list(allocate(values, costs, 3.0).depth) == [2, 1]
    assert allocate(values, costs, 3.0).price == pytest.approx(0.4)


def test_no_budget_for_the_first_depth_is_told() -> None:
    with pytest.raises(ValueError, match="costs 3 already, more than 2"):
        allocate(np.ones((3, 2)), np.array([[1.0, 2.0]] * 3), 2.0)
    assert allocate(np.ones((3, 2)), np.array([[1.0, 2.0]] * 3), 9.0).price == np.inf


def test_100_batches_stay_within_their_budgets() -> None:
    rng = np.random.default_rng(0)
    shares = []
    for seed in range(100):
        items = int(rng.integers(50, 500))
        values = concave(seed, items, 8)
        costs = np.cumsum(rng.integers(1, 40, size=(items, 9)), axis=1).astype(float)
        costs -= costs[:, :1]
        budget = float(rng.uniform(0.05, 0.9) * costs[:, -1].sum())
        found = allocate(values, costs, budget)
        assert found.spent <= budget
        shares.append(found.spent / budget)
    assert np.mean(shares) > 0.95


def test_100_000_items() -> None:
    values = concave(1, 100_000, 12)
    costs = np.broadcast_to(np.arange(13.0), values.shape)
    found = allocate(values, costs, 300_000)
    assert found.spent == 300_000
