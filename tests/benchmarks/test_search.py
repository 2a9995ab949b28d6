"""The benchmark of search: how it counts, on a few pairs of the real judge."""

import numpy as np
import pytest

from benchmarks import search
from judges.nano import WEIGHTS
from rrm.calibration.replay import Walked
from rrm.calibration.trace import Trace, TracedChain
from rrm.engines.card import ModelCard


def chain(searched: bool) -> TracedChain:
    if not searched:
        return TracedChain(
            tokens=(0, 8, 20), margins=(0.5, 1.0, 4.0), masses=(1.0,) * 3, closed=True
        )
    return TracedChain(
        tokens=(0, 3, 3, 8, 20),
        margins=(0.1, 0.2, 1.0, 2.0, 4.0),
        masses=(1.0,) * 5,
        closed=True,
        searches=(0, 0, 1, 1, 1),
        asks=(1,),
        queries=("k",),
        evidence=(8,),
    )


def traced(searched: bool) -> Trace:
    one = chain(searched)
    return Trace(label="a", lead="ab", prompt_tokens=(9, 9), votes=((one, one),) * 2, group="0")


def test_half_of_the_pairs_must_be_looked_up_and_can_be() -> None:
    some = search.examples(40, 1)
    assert sum(bool(one.problem.lookups) for one in some) == 20
    assert any(one.problem.lookups for one in some[::2])
    assert any(not one.problem.lookups for one in some[::2])
    for one in some:
        told = search.texts(one)
        assert len({text[0] for text in told}) == len(told)
        for lookup in one.problem.lookups:
            assert lookup.answer in told


def test_without_working_a_chain_ends_once_it_has_read_the_last_result() -> None:
    cut = search.without_working(traced(True)).leading
    assert (cut.tokens, cut.margins, cut.queries) == ((0, 3, 3), (0.1, 0.2, 1.0), ("k",))
    plain = search.without_working(traced(False)).leading
    assert (plain.tokens, plain.queries) == ((0,), ())


def test_thought_is_counted_from_the_last_result_on() -> None:
    """Both orders share one search."""
    right, cost = search.judged(traced(True), 0, 1)
    assert (right, cost) == (True, 2 * 3 + 40.0)
    assert search.judged(traced(True), 5, 1) == (True, 2 * 8 + 40.0)
    assert search.judged(traced(False), 128, 2) == (True, 4 * 20.0)


def test_a_frontier_mixes_the_two_policies_beside_a_cost() -> None:
    class Fake:
        def __init__(self, right: list[bool]) -> None:
            self.right = np.array(right)

    walked: list[Walked] = [Fake([False, False]), Fake([True, True])]  # type: ignore[list-item]
    found = search.Frontier(walked, [0.0, 10.0])
    assert found.at(5.0).mean() == pytest.approx(0.5)
    assert found.at(50.0).mean() == 1.0
    assert search.Frontier(walked[::-1], [0.0, 10.0]).at(5.0).mean() == 1.0


def test_a_planted_law_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    found = search.planted(1)
    assert found["inside"] > 0.9
    assert found["regret"] <= search.REGRET
    assert "planted" in capsys.readouterr().out


@pytest.mark.slow
def test_a_few_pairs_of_the_real_judge(capsys: pytest.CaptureFixture[str]) -> None:
    by_limit = {limit: search.traced(search.examples(24, 2), limit) for limit in search.LIMITS}
    assert {len(some) for some in by_limit.values()} == {24}
    table = search.table(by_limit)
    assert table[2][-1] > table[0][-1]
    assert search.needless(by_limit)["searching"] == 0
    assert len(ModelCard.of(WEIGHTS).ladder) > 4
    assert "accuracy of both orders" in capsys.readouterr().out


def test_hostile_searchers_forge_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    found = search.hostile(3)
    assert found["forges a verdict"]["same"] == found["hangs"]["same"] == 1
    assert all(one["told"] == 1 for one in found.values())
    assert "returns 1 MB" in capsys.readouterr().out
