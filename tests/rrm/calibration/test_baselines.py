"""Baselines do what they say, on readings made by hand."""

import numpy as np

from rrm.calibration import calibrated
from rrm.calibration.arrays import TraceArrays
from rrm.calibration.baselines import (
    VOTING,
    Operating,
    Route,
    compute_optimal,
    confident_exit,
    consensus_gate,
    cross_fitted,
    oracle,
    others,
    ours,
    random_gate,
    stable_exit,
    two_level_gate,
    uniform,
    uniform_votes,
)
from rrm.calibration.trace import TracedChain
from tests.helpers.traces import BOND, LADDER, chain, simulated

ROUTE = Route(
    margin=np.array([[3.0, 1.0, 2.0], [-0.5, 1.0, 2.0], [-2.0, -2.0, 4.0], [-1.0, -1.0, 0.0]]),
    tokens=np.array([[0.0, 10.0, 20.0]] * 4),
    agree=np.array([True, False, True, True]),
    each=2,
    prompts=np.full(4, 20.0),
)
"""positive is right"""


def right(point: Operating) -> list[float]:
    return list(point.right)


def test_a_uniform_budget_stops_everybody_at_one_place() -> None:
    points = uniform(ROUTE)
    assert [set(point.tokens) for point in points] == [{0}, {10}, {20}]
    assert right(points[0]) == [1, 0, 0, 0]
    assert right(points[2]) == [1, 1, 1, 0.5]  # a tie is half right


def test_uniform_votes_add_up_chains_and_margins() -> None:
    [trace] = simulated(1, 1)
    sign = 1 if trace.label == "a" else -1
    wrong = chain([0.0, -30.0 * sign])
    voted = trace.model_copy(update={"votes": (*trace.votes, (wrong, wrong))})
    points = uniform_votes([voted])
    assert [list(point.right) for point in points] == [[1], [0]]
    assert [list(point.tokens) for point in points] == [[32], [32 + 16]]


def test_a_consensus_gate_thinks_on_where_short_chains_differ() -> None:
    sign = 1 if simulated(1, 1)[0].label == "a" else -1
    [trace] = simulated(1, 1)

    def pair(*margins: float) -> tuple[TracedChain, TracedChain]:
        made = chain([sign * margin for margin in margins])
        return made, made

    same = trace.model_copy(update={"votes": (pair(0, 1, 9), pair(0, 2, -9))})
    split = trace.model_copy(update={"votes": (pair(0, 1, -9), pair(0, -2, 9))})
    [point] = consensus_gate([same, split], LADDER[:2])
    first, second = (same.votes[0][0].tokens[place] for place in (1, 2))
    assert list(point.right) == [1, 0]
    assert list(point.tokens) == [4 * first, 4 * first + 2 * (second - first)]
    assert list(point.probes) == [4, 6]
    assert set(VOTING) <= others([same], [same, split], LADDER[:2], seed=1).keys()


def test_votes_lie_behind_whole_chains_and_a_table_may_choose_them() -> None:
    traces, ladder = simulated(3, 400), (*LADDER, 24)  # to their ends
    voted = [trace.model_copy(update={"votes": trace.votes * 3}) for trace in traces]
    route, plain = Route.with_votes(voted, ladder), Route.in_step(traces, ladder)
    whole = plain.tokens[:, -1]
    assert route.margin.shape[1] == plain.margin.shape[1] + 2
    assert np.allclose(route.tokens[:, -2:], np.stack([2 * whole, 3 * whole]).T)
    assert np.allclose(route.margin[:, -2:], plain.margin[:, -1:])
    curve = cross_fitted(route)
    assert len(curve) == len(compute_optimal(route, route))
    assert curve[0].tokens.max() == 0
    # Votes that say the same are never worth their price.
    assert curve[-1].tokens.max() <= whole.max()
    assert curve[-1].right.mean() > 0.95


def test_a_gate_thinks_for_narrow_margins_only() -> None:
    points = two_level_gate(ROUTE)
    assert list(points[0].tokens) == [0, 0, 0, 0]
    assert list(points[-1].tokens) == [20, 20, 20, 20]
    wide = next(point for point in points if list(point.tokens) == [0, 20, 0, 20])
    assert right(wide) == [1, 1, 0, 0.5]
    assert list(wide.probes) == [2, 4, 2, 4]
    assert list(two_level_gate(ROUTE, whole=-2)[-1].tokens) == [10] * 4


def test_exits_stop_at_confidence_and_at_stability() -> None:
    sure = confident_exit(ROUTE)[2]  # a log-odds margin of 2.2
    assert list(sure.tokens) == [0, 20, 20, 20]
    stable = stable_exit(ROUTE)
    assert list(stable[0].tokens) == [10, 20, 10, 10]  # the same twice
    assert list(stable[1].tokens) == [20, 20, 20, 20]
    assert list(stable[0].probes) == [4, 6, 4, 4]
    coins = random_gate(ROUTE, seed=1)
    assert coins[0].tokens.sum() == 0
    assert coins[-1].tokens.sum() == 80


def test_the_table_gives_each_bin_of_difficulty_its_own_depth() -> None:
    """Wide margins are right at once; narrow ones only in the end."""
    rng = np.random.default_rng(0)
    wide = rng.random(1000) < 0.5
    first = np.where(wide, 5 + rng.random(1000), rng.random(1000) - 0.5)
    made = Route(
        margin=np.stack([first, first, np.full(1000, 9.0)], axis=1),
        tokens=np.tile([0.0, 10.0, 20.0], (1000, 1)),
        agree=np.ones(1000, dtype=bool),
        each=2,
        prompts=np.full(1000, 20.0),
    )
    curve = compute_optimal(made, made)
    spent = [float(point.tokens.mean()) for point in curve]
    assert spent == sorted(spent)
    assert spent[0] == 0
    # All is right as soon as the narrow half thinks, and more is bought by nobody.
    assert curve[-1].right.mean() == 1
    assert spent[-1] <= 20 * 0.65
    assert set(curve[-1].tokens) == {0.0, 20.0}


def test_the_oracle_pays_for_no_vain_thought() -> None:
    best = oracle(ROUTE)
    assert list(best.tokens) == [0, 10, 20, 0]
    assert right(best) == [1, 1, 1, 0]


def test_ours_begins_with_whole_chains_and_others_end_there() -> None:
    traces = simulated(3, 400)
    calibration = calibrated(traces, LADDER, "s", BOND)
    table = TraceArrays.of(traces, LADDER)
    curve = ours(table, calibration)
    assert len(curve) == len(calibration.policies) + 1
    whole = sum(trace.whole_tokens for trace in traces) / len(traces)
    assert curve[0].tokens.mean() == whole
    for curves in others(traces, traces, LADDER, seed=1).values():
        assert all(point.tokens.mean() <= whole for one in curves for point in one)
