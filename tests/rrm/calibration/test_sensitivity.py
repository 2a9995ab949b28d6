"""Sensitivity to wording, and whether confidence tells right from wrong."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm.calibration.sensitivity import (
    UNKNOWING,
    Sensitivity,
    auroc,
    blind,
    confidence_by_depth,
    instance_sensitivity,
    rank_correlation,
)
from tests.helpers.traces import LADDER, simulated


@pytest.mark.parametrize(("failures", "score"), [(1, 11 / 66), (3, 27 / 66), (0, 0.0)])
def test_the_published_values(failures: int, score: float) -> None:
    """12 prompts, of which so many fail (ProSA, equation 1)."""
    values = np.array([[0.0] * failures + [1.0] * (12 - failures)])
    assert instance_sensitivity(values)[0] == pytest.approx(score)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12))
def test_it_is_the_mean_difference_of_two_prompts(values: list[float]) -> None:
    pairs = list(itertools.combinations(values, 2))
    expected = sum(abs(a - b) for a, b in pairs) / len(pairs)
    assert instance_sensitivity(np.array([values]))[0] == pytest.approx(expected, abs=1e-9)


def test_one_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="two or more"):
        instance_sensitivity(np.ones((3, 1)))


def test_auroc_is_the_share_of_pairs_in_order() -> None:
    rng = random.Random(3)
    sizes = [rng.choice((0.0, 1.0, 2.0, 3.0)) for _ in range(60)]
    rights = [float(rng.random() < 0.3 + 0.2 * size) for size in sizes]
    found = auroc(np.array(sizes), np.array(rights))
    assert found is not None
    wins = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a, good in zip(sizes, rights, strict=True)
        for b, other in zip(sizes, rights, strict=True)
        if good and not other
    ]
    assert found.value == pytest.approx(sum(wins) / len(wins))
    assert found.low < found.value < found.high
    assert auroc(np.array([1.0, 2.0]), np.array([1.0, 1.0])) is None


def test_correlation_has_its_interval() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        drawn = rng.multivariate_normal([0, 0], [[1, 0.45], [0.45, 1]], size=100)
        x, y = np.array(drawn[:, 0], dtype=np.float64), np.array(drawn[:, 1], dtype=np.float64)
        found = rank_correlation(x, y)
        assert found is not None
        inside += found.low <= 0.433 <= found.high  # Spearman's rho of Pearson's .45
    assert inside > 180
    assert rank_correlation(np.ones(10), np.linspace(0, 1, 10)) is None


def test_traces_in_several_wordings_tell_it() -> None:
    """A judge that is as unsure as its margins say, asked in four wordings."""
    wordings = [simulated(seed, 400) for seed in range(4)]
    made = []
    for several in zip(*wordings, strict=True):
        first = several[0]
        turned = [
            [
                chain.model_copy(
                    update={
                        "margins": tuple(
                            margin if one.label == first.label else -margin
                            for margin in chain.margins
                        )
                    }
                )
                for chain in one.votes[0]
            ]
            for one in several
        ]
        made.append(first.model_copy(update={"votes": tuple(map(tuple, turned))}))
    found = Sensitivity.of(made)
    assert (found.wordings, found.pairs) == (4, 400)
    assert found.whole[0] == 0  # whole chains never err
    assert 0.2 < found.unthought[0] < 0.5
    assert found.correlation is None
    assert found.correlation_unthought is not None
    assert found.correlation_unthought[2] < 0


def test_confidence_is_told_by_depth_and_blindness_in_words() -> None:
    traces = simulated(0, 500)
    found = confidence_by_depth(traces, LADDER)
    assert [one.thinking_tokens for one in found] == [0, 8, 16, None]
    assert found[-1].auroc is None
    assert all(one.auroc is None or one.auroc[0] > 0.65 for one in found)
    assert blind(found) is None
    rng = random.Random(1)
    shuffled = [
        one.model_copy(update={"label": "a" if rng.random() < 0.5 else "b"}) for one in traces
    ]
    said = blind(confidence_by_depth(shuffled, LADDER))
    assert said is not None
    assert said.startswith(UNKNOWING)
    assert "whole chains" in said
