"""Baselines do what they say, and the frontier compares at equal accuracy."""

import asyncio
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.frontier import (
    LEAST_SAVED,
    MEASURES,
    MOST_LOST,
    STYLES,
    TRACES,
    Set,
    by_way,
    cheapest,
    compare,
    drift,
    liking,
    missed,
    missed_by_published,
    plot,
    proofs,
    published,
    read,
    read_mini,
    read_sets,
    split,
)
from judges.nano.pairs import write_pairs
from rrm.calibration.arrays import TOKENS_ALONE, concatenated
from rrm.calibration.baselines import PUBLISHED, VOTING
from rrm.calibration.rivals import LINES, ONE_WHOLE
from rrm.calibration.trace import TracedChain, trace
from rrm.engines.base import Engine
from serving.datasets import read_dataset
from tests.helpers.styles import RRM
from tests.helpers.traces import LADDER, arrays, simulated


def test_equal_accuracy_is_reached_by_one_setting_or_a_mixture_of_two() -> None:
    tokens, accuracy = np.array([0.0, 50.0, 100.0]), np.array([0.8, 0.82, 1.0])
    assert cheapest(tokens, accuracy, 0.8) == 0
    assert cheapest(tokens, accuracy, 1.0) == 100
    assert cheapest(tokens, accuracy, 0.9) == pytest.approx(50)  # half of the pairs at 100
    assert cheapest(tokens, accuracy, 1.01) == math.inf


def test_ours_and_every_rival_are_compared_by_every_measure() -> None:
    fit, held = arrays(1, 1500), arrays(2, 1500)
    every = {measure: compare(fit, held, measure, seed=1) for measure in MEASURES}
    ways = by_way(every)
    assert ways.keys() == {"ours", ONE_WHOLE, *LINES}
    assert all(figures.keys() == {"lost", *MEASURES} for figures in ways.values())
    for said in every.values():
        mine = said["ours"]
        assert mine["saved"]["low"] - 1e-9 <= mine["saved"]["value"] <= mine["saved"]["high"] + 1e-9
        assert mine["lost"]["value"] <= 0.02
        assert said.keys() == {"ours", "orders", ONE_WHOLE, *LINES}
        for name in (ONE_WHOLE, *LINES):
            assert said[name]["saved"] < 1
    lost, saved = split(concatenated(fit, held), 1500, "saved", seed=1)
    assert lost < 0.02
    assert saved > 0.1


def test_certificates_are_tried_on_pairs_that_nothing_has_seen() -> None:
    found = proofs(arrays(1, 3000), 2000, seed=1)
    assert set(found) == {0.01, 0.02}
    for level, (lost, saved) in found.items():
        assert lost <= 2 * level
        assert 0 <= saved < 1


def test_a_liking_moves_both_orders_apart() -> None:
    made = liking(arrays(1, 400), 3.0, 1.5, seed=1)
    assert made.liked[:, 0].mean() == pytest.approx(3.0, abs=0.3)
    assert (made.whole == arrays(1, 400).whole).all()


def test_published_ways_are_compared_at_our_accuracy() -> None:
    made = Set("mixed", "rrm", simulated(1, 3000), simulated(2, 1500), LADDER)
    said, drawn = published(made, seed=1)
    assert said["lost"]["value"] <= 0.012
    assert 0 < said["of_oracle"]["value"] < 1
    assert {f"points over {name}" for name in PUBLISHED} <= said.keys()
    assert said["certificate"]["n"] == 1500
    assert set(drawn) == {"ours", "ours, certified", "oracle", *PUBLISHED}


def test_drift_is_told_from_a_quiet_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.frontier.DRIFTS", 5)
    monkeypatch.setattr("benchmarks.frontier.QUIET", 20)
    easy = Set("mixed", "rrm", simulated(1, 1500), simulated(2, 500), LADDER)
    flipped = [
        trace.model_copy(update={"votes": tuple((turned(a), turned(b)) for a, b in trace.votes)})
        for trace in simulated(3, 500)
    ]
    found = drift(easy, Set("close", "rrm", flipped, flipped, LADDER), 1, TOKENS_ALONE)
    assert found["found"] == 1
    assert found["median"] < 300
    assert found["false_alarms"] <= found["delta"]


def turned(chain: TracedChain) -> TracedChain:
    """It takes back in the end what it said before."""
    *before, last = chain.margins
    return chain.model_copy(update={"margins": (*before, -last)})


@pytest.mark.parametrize(("name", "seed", "closest"), [("mixed", 12345, 999), ("close", 12346, 20)])
def test_the_kept_traces_are_nanos_own(
    nano: Engine, tmp_path: Path, name: str, seed: int, closest: int
) -> None:
    """As `benchmarks/traces/README.md` says they were made."""
    write_pairs(tmp_path / "pairs.jsonl", 3, seed, closest)
    kept = read(TRACES, name, "held", "rrm", 3)
    for row, old in zip(read_dataset(tmp_path / "pairs.jsonl").rows, kept, strict=True):
        assert row.pair is not None
        made = trace(nano, RRM, row.pair, old.label, nano.card.ladder, group=row.group)
        new = asyncio.run(made)
        assert (new.label, new.lead, new.group) == (row.label, old.lead, old.group)
        for one, other in zip(new.votes[0], old.votes[0], strict=True):
            assert (one.tokens, one.closed) == (other.tokens, other.closed)
            assert one.margins == pytest.approx(other.margins, abs=1e-3)


def test_what_takes_votes_has_traces_with_votes() -> None:
    for style in STYLES:
        voted = read_sets(TRACES, style, 20)["voted"].held
        assert {len(trace.votes) for trace in voted} == {5}
        ends = {chain.margins[-1] for trace in voted for pair in trace.votes for chain in pair}
        assert len(ends) > 2 * 20  # votes have thought for themselves


def test_a_set_with_votes_is_compared_with_what_takes_votes() -> None:
    voted = [trace.model_copy(update={"votes": trace.votes * 3}) for trace in simulated(2, 400)]
    made = Set("voted", "rrm", simulated(1, 2000), voted, LADDER)
    said, drawn = published(made, seed=1)
    assert {f"points over {name}" for name in VOTING} <= said.keys()
    assert set(VOTING) <= set(drawn)
    # The same chains thrice tell nothing more and cost thrice as much.
    assert said["fewer than uniform votes"]["value"] >= said["saved"]["value"] - 1e-9


def test_what_is_missed_is_said() -> None:
    def told(lost: float, saved: float) -> dict[str, dict[str, object]]:
        ours = {"ours": {"lost": {"value": lost}, "saved": {"value": saved}}}
        return {f"{name} rrm": {measure: ours} for name, measure in LEAST_SAVED}

    assert missed(told(0.0, 1.0)) == []
    assert len(missed(told(0.0, 0.0))) == len({name for name, _ in LEAST_SAVED})
    assert len(missed(told(2 * MOST_LOST, 1.0))) == len({name for name, _ in LEAST_SAVED})
    behind = {f"points over {name}": {"value": 0.0} for name in (*PUBLISHED, *VOTING)}
    assert len(missed_by_published("mixed", behind)) == len(PUBLISHED)
    assert len(missed_by_published("voted", behind)) == len(VOTING)
    assert missed_by_published("close", behind) == []


def test_mini_is_cut_in_two() -> None:
    made = read_mini(TRACES, 50)
    assert (len(made.fitted), len(made.held)) == (50, 50)
    assert {trace.label for trace in made.held} == {"a", "b"}
    assert read_mini(TRACES, 50, "first").name == "mini first"


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    made = Set("mixed", "rrm", simulated(1, 800), simulated(2, 300), LADDER)
    _, drawn = published(made, seed=1)
    file = tmp_path / "frontier.png"
    plot({("mixed", "rrm"): drawn}, file, seed=1)
    assert file.stat().st_size > 10_000
