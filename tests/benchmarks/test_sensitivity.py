"""The benchmark of sensitivity: how it counts, on a few pairs of the real judge."""

import random

import pytest

from benchmarks import sensitivity
from judges.nano import data


def test_published_values_are_held(capsys: pytest.CaptureFixture[str]) -> None:
    found = sensitivity.golden()
    assert found == pytest.approx(sensitivity.GOLDEN)
    figures = {"golden": found}
    good = {"correlation_unthought": (-0.5, -0.6, -0.4)}
    assert sensitivity.missed({**figures, "rrm": good, "rm-r1": good}) == []
    bad = {"correlation_unthought": (-0.1, -0.3, 0.1)}
    assert len(sensitivity.missed({"golden": {**found, 1: 0.2}, "rrm": bad, "rm-r1": good})) == 2
    assert "published" in capsys.readouterr().out


@pytest.mark.slow
def test_a_few_pairs_of_the_real_judge(capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(5)
    some = [data.draw(rng) for _ in range(12)]
    wordings, samples = (sensitivity.traced("rrm", some, several) for several in (True, False))
    assert {len(one.votes) for one in wordings} == {8}
    assert {len(one.votes) for one in samples} == {2}
    found = sensitivity.report("rrm", wordings, samples)
    assert len(found["worth"]) == len(sensitivity.DEPTHS)
    assert "least sure" in capsys.readouterr().out
