"""Fitting recovers a known judge, and stops as early as the accuracy allows."""

import math
import random

import pytest

from rrm.calibration import (
    Trace,
    choose_stopper,
    fit_curve,
    fit_stopper,
    prune,
    replay,
    replay_stopper,
)
from rrm.types import At, Checkpoint

LADDER = (8, 16)


def point(tokens: int, margin: float, at: At) -> Checkpoint:
    return Checkpoint(
        at=at,
        thinking_tokens=tokens,
        margin=margin,
        margins=(margin, margin),
        probability=0.5,
        agree=True,
        mass=1.0,
    )


def simulated(seed: int, n: int) -> list[Trace]:
    """Margins whose log-odds of being right are exactly their size; the whole chain never errs."""
    rng = random.Random(seed)
    traces = []
    for _ in range(n):
        path = []
        for at, tokens, scale in ((0, 0, 2.0), (1, 16, 4.0)):
            size = rng.expovariate(1 / scale)
            right = rng.random() < 1 / (1 + math.exp(-size))
            path.append(point(tokens, size if right else -size, at))
        path.append(point(32, 9.0, "both"))
        traces.append(Trace(label="a", path=tuple(path)))
    return traces


def test_a_calibrated_judge_gets_the_identity_curve() -> None:
    rng = random.Random(0)
    margins = [rng.uniform(0, 4) for _ in range(20_000)]
    rights = [rng.random() < 1 / (1 + math.exp(-margin)) for margin in margins]
    curve = fit_curve(margins, rights)
    assert curve.intercept == pytest.approx(0.0, abs=0.1)
    assert curve.slope == pytest.approx(1.0, abs=0.1)


def test_a_margin_that_tells_nothing_or_the_contrary_gets_a_flat_curve() -> None:
    rng = random.Random(0)
    margins = [rng.uniform(0, 4) for _ in range(4000)]
    assert fit_curve(margins, [margin < 2 for margin in margins]).slope == 0.0
    assert fit_curve([], []).threshold(0.6) == math.inf


def test_no_errors_still_give_a_finite_curve() -> None:
    curve = fit_curve([1.0] * 50, [True] * 50)
    assert curve(1.0) < 1.0
    assert math.isfinite(curve.slope)


def test_the_stopper_keeps_the_accuracy_it_was_asked_to_keep() -> None:
    stopper = choose_stopper(simulated(1, 4000), LADDER, most_lost=0.02, source="simulated")
    fresh = [replay_stopper(trace, stopper) for trace in simulated(2, 4000)]
    assert sum(one.right for one in fresh) / len(fresh) > 0.97
    assert sum(one.thinking_tokens for one in fresh) / len(fresh) < 25
    strict = choose_stopper(simulated(1, 4000), LADDER, most_lost=0.002, source="simulated")
    assert strict.confidence > stopper.confidence


def test_more_confidence_never_costs_less_thought() -> None:
    traces = simulated(3, 1000)
    fitted = fit_stopper(traces, LADDER, 0.5, "s")
    stoppers = [fitted.at(confidence) for confidence in (0.6, 0.8, 0.9, 0.99)]
    spent = [sum(replay_stopper(t, s).thinking_tokens for t in traces) for s in stoppers]
    assert spent == sorted(spent)


def test_replay_stops_at_the_first_yes_and_at_the_end_at_last() -> None:
    trace = simulated(4, 1)[0]
    assert replay(trace, lambda *_: True).thinking_tokens == 0
    assert replay(trace, lambda *_: False).thinking_tokens == 32
    assert replay(trace, lambda index, _: index == 1).thinking_tokens == 16


def test_a_checkpoint_where_nobody_stops_is_passed_over() -> None:
    """The first checkpoint tells nothing new; the second tells all; the chain goes on for long."""

    def trace(size: float) -> Trace:
        path = (
            point(0, 0.1, 0),
            point(16, 0.1, 1),
            point(32, size, 2),
            point(400, size, "both"),
        )
        return Trace(label="a", path=path)

    rng = random.Random(6)
    traces = [trace(rng.choice((6.0, 0.1))) for _ in range(400)]
    stopper = fit_stopper(traces, (8, 16, 200), 0.5, "s").at(0.5)
    flat = stopper.stages[1].model_copy(update={"stop_agree": math.inf})
    stages = (flat, flat, stopper.stages[2].model_copy(update={"stop_agree": 1.0}), flat)
    pruned = prune(stopper.model_copy(update={"stages": stages}), traces)
    assert [index for index in range(4) if pruned.looks(index)] == [0, 2]
    assert [replay_stopper(t, pruned).looks for t in traces[:50]] == [
        1 if t.path[2].margin > 1 else 2 for t in traces[:50]
    ]
    assert not pruned.stop(1, 99.0, agree=True)


def test_pruning_never_makes_the_traces_dearer() -> None:
    traces = simulated(7, 600)
    for confidence in (0.6, 0.9, 0.99):
        fitted = fit_stopper(traces, LADDER, confidence, "s")
        before = sum(replay_stopper(trace, fitted).cost for trace in traces)
        after = sum(replay_stopper(trace, prune(fitted, traces)).cost for trace in traces)
        assert after <= before


def test_a_margin_of_nothing_is_not_right() -> None:
    path = (point(0, 0.0, 0), point(8, -1.0, "both"))
    trace = Trace(label="b", path=path)
    assert not trace.right(0)
    assert trace.right(1)


def test_too_few_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="give 200"):
        choose_stopper(simulated(1, 50), LADDER, 0.02, "s")
