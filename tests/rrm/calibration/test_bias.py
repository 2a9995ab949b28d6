"""A liking for the first place is measured without labels, and what it explains decides nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm.calibration.arrays import TraceArrays
from rrm.calibration.bias import fit_conflict, position_bias
from rrm.calibration.calibration import CONFLICT, contradict
from rrm.calibration.trace import Trace
from tests.helpers.traces import LADDER, chain, liking, simulated


def test_the_liking_that_was_added_is_found_at_every_depth() -> None:
    traces = liking(simulated(1, 4000), 3.0, 1.5, seed=2)
    before = position_bias(simulated(1, 4000), LADDER)
    for fair, unfair in zip(before, position_bias(traces, LADDER), strict=True):
        assert unfair.mean - fair.mean == pytest.approx(3.0, abs=0.1)
    assert position_bias(traces, LADDER)[0].otherwise > before[0].otherwise + 0.2
    assert [one.thinking_tokens for one in before] == [0, 8, 16, None]
    assert before[-1].spread == pytest.approx(0.0)


def test_a_judge_that_only_likes_the_first_place_says_nothing() -> None:
    """Its mean margin is noise: every contradiction is one of order alone."""
    traces = []
    for index, trace in enumerate(simulated(1, 400)):
        noise = 0.9 if index % 2 else -0.9
        ends = chain([5.0, 5.0, 5.0, 3.0 + noise]), chain([-5.0, -3.0 + noise])
        traces.append(trace.model_copy(update={"votes": (ends,)}))
    assert fit_conflict(TraceArrays.of(traces, LADDER)) == 1.0
    assert fit_conflict(TraceArrays.of(traces[:20], LADDER)) == CONFLICT


def test_a_judge_that_is_right_where_its_orders_differ_keeps_those_verdicts() -> None:
    traces: list[Trace] = []
    for trace in simulated(1, 400):
        sign = 1 if trace.label == "a" else -1
        ends = chain([5.0, 5.0, 5.0, 3.0 + 0.9 * sign]), chain([-5.0, -3.0 + 0.9 * sign])
        traces.append(trace.model_copy(update={"votes": (ends,)}))
    assert fit_conflict(TraceArrays.of(traces, LADDER)) < 0.3


@given(st.floats(-9, 9), st.floats(-9, 9), st.floats(0, 1))
def test_who_agrees_contradicts_nothing_and_swapping_changes_nothing(
    first: float, second: float, conflict: float
) -> None:
    found = contradict((first, second), conflict)
    assert found == contradict((second, first), conflict)
    assert found == contradict((-first, -second), conflict)
    if first * second >= 0:
        assert not found
    elif first == -second:
        assert found
    assert not contradict((first, None), conflict)
