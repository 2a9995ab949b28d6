"""Whether thought helps is told from noise, and not told where it cannot be."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm.calibration.gain import Gain, thinking_gain
from rrm.calibration.trace import Trace, TracedChain


def judged(before: bool, after: bool, group: str | None = None) -> Trace:
    margins = (1.0 if before else -1.0, 2.0 if after else -2.0)
    chain = TracedChain(tokens=(0, 8), margins=margins, masses=(1.0, 1.0), closed=True)
    return Trace(label="a", lead="ab", group=group, prompt_tokens=(1, 1), votes=((chain, chain),))


def simulated(seed: int, n: int, gain: float, flips: float) -> list[Trace]:
    """Right before thought in 7 of 10; a share `flips` changes, `gain` more to the good."""
    rng = random.Random(seed)
    made = []
    for _ in range(n):
        draw = rng.random()
        if draw < (flips + gain) / 2:
            made.append(judged(before=False, after=True))
        elif draw < flips:
            made.append(judged(before=True, after=False))
        else:
            same = rng.random() < 0.7
            made.append(judged(before=same, after=same))
    return made


def answers(n: int, gain: float, flips: float, runs: int = 200) -> list[str]:
    return [
        thinking_gain(simulated(seed, n, gain, flips), (4, 8)).conclusion for seed in range(runs)
    ]


def test_a_judge_that_gets_worse_by_thinking_is_found() -> None:
    found = answers(n=500, gain=-0.05, flips=0.1)
    assert found.count("unproductive") > 180
    assert found.count("productive") == 0


def test_a_judge_that_gains_is_hardly_ever_called_unproductive() -> None:
    found = answers(n=500, gain=0.05, flips=0.12)
    assert found.count("unproductive") <= 0.05 * 200
    assert found.count("productive") > 150


def test_few_labels_leave_it_open() -> None:
    found = answers(n=40, gain=0.0, flips=0.3)
    assert found.count("inconclusive") >= 0.9 * 200


def test_the_interval_covers_the_truth() -> None:
    runs = [thinking_gain(simulated(seed, 200, 0.04, 0.2), (8,)).whole for seed in range(300)]
    assert sum(run.low <= 0.04 <= run.high for run in runs) >= 0.93 * 300


def test_the_detectable_gain_is_found_four_times_in_five() -> None:
    at = thinking_gain(simulated(1, 500, 0.06, 0.2), (8,)).detectable
    found = answers(n=500, gain=at, flips=0.2)
    assert 0.7 * 200 <= found.count("productive") <= 0.9 * 200


def test_gains_are_told_by_checkpoint_and_group() -> None:
    good = [judged(before=False, after=True, group="maths")] * 30
    bad = [judged(before=True, after=False, group="chat")] * 30
    found = thinking_gain([*good, *bad], (4, 8))
    assert [gain.thinking_tokens for gain in found.by_checkpoint] == [16, 16]
    assert found.groups["maths"].conclusion == "productive"
    assert found.groups["chat"].conclusion == "unproductive"
    assert found.conclusion == "inconclusive"
    assert (found.before, found.flips, found.whole.value) == (0.5, 1.0, 0.0)
    with pytest.raises(ValueError, match="no traces"):
        thinking_gain([], (8,))


@given(st.integers(0, 50), st.integers(0, 50), st.integers(100, 1000))
def test_the_interval_holds_its_value_and_mirrors(gained: int, lost: int, n: int) -> None:
    found, mirror = Gain.of(1.0, gained, lost, n), Gain.of(1.0, lost, gained, n)
    assert found.low <= found.value <= found.high
    assert found.low == pytest.approx(-mirror.high)
    assert found.low < found.high
