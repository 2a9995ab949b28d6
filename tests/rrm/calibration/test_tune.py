"""Wording and way to judge, chosen together."""

import math
from itertools import product

import numpy as np
import pytest

from rrm.calibration.trace import Trace, TracedChain
from rrm.calibration.tune import (
    Arm,
    Sampled,
    apart,
    arm_margins,
    psst,
    uniform,
    uniform_reused,
    upper_bounds,
    values,
    verdicts,
    whole_arm,
)


def majority_of(n: int, share: float) -> float:
    """Probability that more than half of n are right, half of it where they are even."""
    chances = [math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(n + 1)]
    return sum(p for k, p in enumerate(chances) if 2 * k > n) + 0.5 * (
        chances[n // 2] if n % 2 == 0 else 0.0
    )


def test_the_trap_of_two_prompts() -> None:
    """IAPO's example: the prompt that is best for one chain is not the best for ten."""
    first, second = (0.4, 0.9), (0.62, 0.62)
    assert sum(first) / 2 == pytest.approx(0.65)
    assert sum(second) / 2 == pytest.approx(0.62)
    assert sum(majority_of(10, p) for p in first) / 2 == pytest.approx(0.63, abs=0.01)
    assert sum(majority_of(10, p) for p in second) / 2 == pytest.approx(0.77, abs=0.01)
    found = trap(seed=0)
    one, ten = Arm(0, 1, "mean", 1), Arm(1, 1, "majority", 8)
    dear, cheap = psst(found, (0.5, 0.0), 40_000, seed=1)
    assert dear._replace(aggregation="mean", depth=1) == one
    assert (cheap.wording, cheap.votes, cheap.aggregation) == (1, 8, "majority")
    accuracy, _ = values(found, [one, one._replace(wording=1), ten._replace(wording=0), ten])
    assert accuracy[0] > accuracy[1]
    assert accuracy[3] > accuracy[2]
    [picked] = apart(found, (0.0,), 40_000, seed=1)
    assert picked.wording == 0  # chosen by one chain alone, it is trapped


def trap(seed: int, pairs: int = 400) -> Sampled:
    """Eight votes of the two prompts of the trap; the second depth is whole, the first is none."""
    rng = np.random.default_rng(seed)
    shares = np.array([[0.4, 0.9] * (pairs // 2), [0.62] * pairs])[:, :, None]
    right = rng.random((2, pairs, 8)) < shares
    # A vote that is right is not surer than one that is wrong, so the mean knows no more.
    whole = np.where(right, 1.0, -1.0) * rng.exponential(1.0, right.shape) ** 3
    margins = np.stack([np.full_like(whole, -1.0), whole], axis=-1)
    tokens = np.stack([np.zeros_like(whole), np.ones_like(whole)], axis=-1)
    return Sampled((0, 1), margins, tokens)


def table(seed: int, wordings: int = 4, pairs: int = 200) -> Sampled:
    """Deeper is surer and dearer; wordings differ a little."""
    rng = np.random.default_rng(seed)
    quality = rng.uniform(0.0, 0.6, wordings)[:, None, None, None]
    hardness = rng.normal(0.0, 1.0, pairs)[None, :, None, None]
    depth = np.array([0.2, 0.8, 1.5])[None, None, None, :]
    noise = rng.normal(0.0, 1.0, (wordings, pairs, 8, 3))
    margins = quality + depth - hardness + noise
    tokens = np.broadcast_to(np.array([0.0, 20.0, 60.0]), margins.shape).copy()
    return Sampled((0, 10, 30), margins, tokens)


def test_more_completions_find_the_best_arm_more_often() -> None:
    sampled, prices = table(1), (0.0, 0.001, 0.01)
    arms = sampled.arms()
    accuracy, tokens = values(sampled, arms)

    def regret(completions: int) -> float:
        lost = []
        for seed in range(20):
            for price, arm in zip(prices, psst(sampled, prices, completions, seed), strict=True):
                worth = accuracy - price * tokens
                lost.append(float(worth.max() - worth[arms.index(arm)]))
        return sum(lost) / len(lost)

    few, many = regret(500), regret(20_000)
    assert many < few
    assert many < 0.01


def test_it_errs_less_than_others_with_the_same_completions() -> None:
    prices = (0.0, 0.0005, 0.002)

    def regret(method, sampled: Sampled) -> float:  # type: ignore[no-untyped-def]
        arms, lost = sampled.arms(), []
        accuracy, tokens = values(sampled, arms)
        for seed in range(30):
            for price, arm in zip(prices, method(sampled, prices, 3_000, seed), strict=True):
                worth = accuracy - price * tokens
                lost.append(float(worth.max() - worth[arms.index(arm)]))
        return sum(lost) / len(lost)

    graded = table(2)
    assert regret(psst, graded) < min(regret(uniform, graded), regret(upper_bounds, graded))
    many = table(2, wordings=8)
    assert regret(psst, many) < regret(uniform_reused, many)
    trapped = trap(seed=0)
    assert regret(psst, trapped) < regret(apart, trapped)


def test_few_completions_are_refused() -> None:
    with pytest.raises(ValueError, match="give at least"):
        psst(table(1), (0.0,), 50, seed=0)


def test_votes_are_counted() -> None:
    margins = np.array([[1.0, 1.0, -5.0], [2.0, -1.0, -1.5], [0.0, 0.0, 0.0], [1.0, -1.0, 0.0]])
    assert verdicts(margins, "mean").tolist() == [0.0, 0.0, 0.5, 0.5]
    assert verdicts(margins, "majority").tolist() == [1.0, 0.0, 0.5, 0.5]


def test_fewer_votes_are_parts_of_more() -> None:
    """All choices of votes together are what a random one is on average."""
    sampled = table(3, wordings=1, pairs=5)
    arm = Arm(0, 1, "majority", 4)
    rights, tokens = sampled.rights(arm)
    rng = np.random.default_rng(0)
    drawn = [
        verdicts(sampled.margins[0][:, rng.permutation(8)[:4], 1], "majority") for _ in range(4000)
    ]
    assert np.mean(drawn, axis=0) == pytest.approx(rights, abs=0.03)
    assert tokens == pytest.approx(80.0)


def traces(labels: str, margin: float, votes: int = 2) -> list[Trace]:
    def chain(sign: float) -> TracedChain:
        return TracedChain(
            tokens=(0, 8), margins=(0.1 * sign, margin * sign), masses=(1.0, 1.0), closed=True
        )

    return [
        Trace(
            label=label,
            lead="ab",
            prompt_tokens=(1, 1),
            votes=tuple((chain(sign), chain(sign)) for _ in range(votes)),
        )
        for label, sign in ((one, 1.0 if one == "a" else -1.0) for one in labels)
    ]


def test_traces_of_several_wordings_are_put_side_by_side() -> None:
    found = Sampled.of([traces("abab", 2.0), traces("abab", -1.0)], (0, 16))
    assert found.margins.shape == (2, 4, 2, 2)
    assert set(found.margins[0, :, :, 1].ravel()) == {2.0}
    assert set(found.margins[1, :, :, 1].ravel()) == {-1.0}
    assert set(found.tokens[:, :, :, 1].ravel()) == {16.0}
    assert arm_margins(found, Arm(1, 1, "majority", 2)) == pytest.approx([-math.log(5)] * 4)
    assert whole_arm(found) == Arm(0, 1, "mean", 1)
    with pytest.raises(ValueError, match="same pairs"):
        Sampled.of([traces("abab", 2.0), traces("abba", 2.0)], (0, 16))
    scales = {(arm.depth, arm.votes) for arm in found.arms()}
    assert scales == {(0, 1), *product((1,), (1, 2))}
