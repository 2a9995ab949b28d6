"""A stopper's curves, thresholds, and its bond to the prompt it was fitted with."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm.stopping import STOPPER_FILE, Curve, Stage, Stopper, Stoppers, load_stopper, uncalibrated

SLOPES = st.floats(0.0, 20.0)
INTERCEPTS = st.floats(-5.0, 5.0)


def stage(tokens: int, slope: float, confidence: float = 0.9) -> Stage:
    curve = Curve(intercept=0.0, slope=slope)
    return Stage(
        thinking_tokens=tokens,
        agree=curve,
        differ=Curve(intercept=0.0, slope=0.0),
        stop_agree=curve.threshold(confidence),
        stop_differ=math.inf,
    )


def stopper() -> Stopper:
    return Stopper(
        source="test",
        confidence=0.9,
        stages=(stage(0, 0.5), stage(8, 1.0)),
        lead=stage(8, 4.0),
        final=stage(8, 9.0),
    )


@given(INTERCEPTS, SLOPES, st.floats(0, 30), st.floats(0, 30))
def test_a_wider_margin_is_never_less_sure(
    intercept: float, slope: float, one: float, other: float
) -> None:
    curve = Curve(intercept=intercept, slope=slope)
    assert curve(min(one, other)) <= curve(max(one, other))
    assert curve(one) == curve(-one)


@given(INTERCEPTS, st.floats(0.01, 20.0), st.floats(0.51, 0.99))
def test_the_threshold_is_where_the_curve_reaches_the_confidence(
    intercept: float, slope: float, confidence: float
) -> None:
    curve = Curve(intercept=intercept, slope=slope)
    least = curve.threshold(confidence)
    assert curve(least) >= confidence - 1e-9
    if least > 0:
        assert curve(least) == pytest.approx(confidence)


def test_a_flat_curve_never_stops() -> None:
    assert Curve(intercept=0.0, slope=0.0).threshold(0.9) == math.inf
    assert not stopper().stop(1, 100.0, agree=False)


def test_each_checkpoint_has_its_own_threshold() -> None:
    margin = math.log(9) + 0.01
    assert not stopper().stop(0, margin, agree=True)
    assert stopper().stop(1, -margin, agree=True)
    assert stopper().stop(7, margin, agree=True)  # beyond the ladder: the last one


def test_probability_is_of_the_side_preferred() -> None:
    assert stopper().probability(0, 0.0, agree=False) == 0.5
    assert stopper().probability(1, -3.0, agree=True) == stopper().probability(1, 3.0, agree=True)
    assert stopper().probability("both", 1.0, agree=True) > 0.99
    assert 0.9 < stopper().probability("lead", 1.0, agree=True) < 0.99
    assert uncalibrated(-2.0) == uncalibrated(2.0) > 0.5


def test_infinite_thresholds_survive_the_file_and_another_prompt_gets_none(tmp_path: Path) -> None:
    kept = Stoppers(stoppers={"rrm": stopper()}, prompt_hashes={"rrm": "h"})
    (tmp_path / STOPPER_FILE).write_text(kept.model_dump_json())
    assert load_stopper(tmp_path, "rrm", "h") == stopper()
    assert load_stopper(tmp_path, "rrm", "changed") is None
    assert load_stopper(tmp_path, "grm", "h") is None
    assert load_stopper(tmp_path / "elsewhere", "rrm", "h") is None
