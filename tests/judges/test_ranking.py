"""Groups: the published fit, equal texts equal, failures None, and nano ranks its arithmetic."""

import asyncio
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from judges.nano import CALIBRATION
from judges.options import JudgeOptions
from judges.pairwise import PairwiseJudge
from judges.ranking import PRIOR, bradley_terry, rank, ring_and_chords
from rrm.calibration.artifact import load_calibration
from rrm.engines.base import Engine
from rrm.engines.scripted import ScriptedEngine
from rrm.errors import EngineError
from tests.helpers.styles import RRM


@given(st.integers(2, 40))
def test_the_ring_connects_all_and_no_pair_comes_twice(n: int) -> None:
    edges = ring_and_chords(n)
    assert len(set(edges)) == len(edges)
    assert all(i < j for i, j in edges)
    reached = {0}
    for _ in range(n):
        reached |= {k for edge in edges if set(edge) & reached for k in edge}
    assert reached == set(range(n))
    assert len(edges) <= 2 * n


@given(st.lists(st.floats(0.01, 0.99), min_size=10, max_size=10))
def test_strengths_are_the_maximum_of_the_likelihood(probabilities: list[float]) -> None:
    edges = [(i, j) for i in range(5) for j in range(i + 1, 5)]
    wins = dict(zip(edges, probabilities, strict=True))
    found = bradley_terry(5, wins)

    def loss(s: Any, /) -> float:
        total = sum(PRIOR / 2 * (math.log1p(math.exp(-x)) + math.log1p(math.exp(x))) for x in s)
        for (i, j), p in wins.items():
            d = s[i] - s[j]
            total += p * math.log1p(math.exp(-d)) + (1 - p) * math.log1p(math.exp(d))
        return total

    best = minimize(loss, [0.0] * 5, tol=1e-12).x
    shift = sum(best) / 5  # strengths are centred after the fit
    assert loss([s + shift for s in found]) <= loss(best) + 1e-4
    assert sum(found) == pytest.approx(0, abs=1e-9)


def nano_judge(nano: Engine) -> PairwiseJudge:
    calibration = load_calibration(CALIBRATION, "rrm", RRM.prompt_hash)
    return PairwiseJudge(nano, RRM, calibration, nano.card.ladder)


def test_nano_ranks_a_group_by_closeness_to_the_truth(nano: Engine) -> None:
    values = [623, 622, 619, 640, 601, 560, 700, 300]
    random.Random(3).shuffle(values)
    responses = [f"It is {value}." for value in values] + ["It is 623."]
    ranking = asyncio.run(rank(nano_judge(nano), "What is 345 + 278?", responses))
    strengths = dict(zip(values, ranking.strengths, strict=False))
    assert ranking.strengths[-1] == strengths[623]
    assert sum(s for s in ranking.strengths if s is not None) == pytest.approx(0, abs=1e-9)
    order = sorted(values, key=lambda value: -(strengths[value] or 0))
    truth = sorted(values, key=lambda value: abs(value - 623))
    assert order[:3] == truth[:3]
    assert order[-1] == 300
    quick = asyncio.run(
        rank(nano_judge(nano), "What is 345 + 278?", responses, JudgeOptions("none"))
    )
    assert quick.thinking_tokens == 0 < ranking.thinking_tokens
    assert all(s is not None for s in quick.strengths)


def test_what_cannot_be_judged_is_none_and_the_others_are_ranked(nano: Engine) -> None:
    responses = ["It is 623.", "Bananas.", "It is 500.", "It is 610."]
    ranking = asyncio.run(rank(nano_judge(nano), "What is 345 + 278?", responses))
    best, lost, worst, middle = ranking.strengths
    assert lost is None
    assert best is not None
    assert middle is not None
    assert worst is not None
    assert best > middle > worst
    assert any("Bananas" in failure for failure in ranking.failures)


def test_a_group_of_one_text_needs_no_judge_and_a_broken_judge_ranks_nothing() -> None:
    broken = PairwiseJudge(ScriptedEngine(fault=EngineError("gone")), RRM)
    assert asyncio.run(rank(broken, "?", ["x", "x"])).strengths == (0.0, 0.0)
    ranking = asyncio.run(rank(broken, "?", ["x", "y", "z"]))
    assert ranking.strengths == (None, None, None)
    assert all(failure.startswith("engine_error") for failure in ranking.failures)
