"""Baselines do what they say, and the frontier compares at equal accuracy."""

import asyncio
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.frontier import (
    LEAST_SAVED,
    STYLES,
    TRACES,
    Set,
    drift,
    figures,
    measures,
    missed,
    plot,
    read,
    read_sets,
    tokens_for,
)
from judges import rrm
from judges.nano.pairs import write_pairs
from rrm.baselines import PUBLISHED, VOTING
from rrm.engine import Engine
from rrm.trace import TracedChain, trace
from serving.rows import read_dataset
from tests.helpers.traces import LADDER, simulated


def test_equal_accuracy_is_reached_by_one_setting_or_a_mixture_of_two() -> None:
    tokens, accuracy = np.array([0.0, 50.0, 100.0]), np.array([0.8, 0.82, 1.0])
    assert tokens_for(tokens, accuracy, 0.8) == 0
    assert tokens_for(tokens, accuracy, 1.0) == 100
    assert tokens_for(tokens, accuracy, 0.9) == pytest.approx(50)  # half of the pairs at 100
    assert tokens_for(tokens, accuracy, 1.01) == math.inf


def test_the_frontier_of_a_known_judge() -> None:
    made = Set("mixed", "rrm", simulated(1, 3000), simulated(2, 1500))
    said, drawn = figures(made, LADDER, seed=1)
    assert said["lost"]["value"] <= 0.012
    assert said["saved"]["low"] <= said["saved"]["value"] <= said["saved"]["high"]
    assert 0 < said["of_oracle"]["value"] < 1
    assert {f"points over {name}" for name in PUBLISHED} <= said.keys()
    assert said["certificate"]["n"] == 1500
    assert set(drawn) == {"ours", "ours, certified", "oracle", *PUBLISHED}


def test_drift_is_told_from_a_quiet_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.frontier.DRIFTS", 5)
    monkeypatch.setattr("benchmarks.frontier.QUIET", 20)
    easy = Set("mixed", "rrm", simulated(1, 1500), simulated(2, 500))
    flipped = [
        trace.model_copy(update={"votes": tuple((turned(a), turned(b)) for a, b in trace.votes)})
        for trace in simulated(3, 500)
    ]
    found = drift(easy, Set("close", "rrm", flipped, flipped), LADDER, seed=1)
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
        made = trace(nano, rrm.STYLE, row.pair, old.label, nano.card.ladder, group=row.group)
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
    said, drawn = figures(Set("voted", "rrm", simulated(1, 2000), voted), LADDER, seed=1)
    assert {f"points over {name}" for name in VOTING} <= said.keys()
    assert set(VOTING) <= set(drawn)
    # The same chains thrice tell nothing more and cost thrice as much.
    assert said["fewer than uniform votes"]["value"] >= said["saved"]["value"] - 1e-9


def test_what_is_missed_is_said(tmp_path: Path) -> None:
    good = {
        "lost": 0.005,
        "saved": 0.8,
        "fewer than uniform budget": 0.7,
        "of_oracle": 0.8,
        "replay_seconds": 1.0,
        **{f"points over {name}": 0.1 for name in PUBLISHED},
    }
    assert missed("mixed", {name: {"value": value} for name, value in good.items()}) == []
    bad = {
        "lost": 0.02,
        "saved": 0.4,
        "fewer than uniform budget": 0.5,
        "of_oracle": 0.7,
        "replay_seconds": 61.0,
        **{f"points over {name}": 0.0 for name in PUBLISHED},
    }
    said = {name: {"value": value} for name, value in bad.items()}
    assert len(missed("mixed", said)) == 5 + 1 + len(PUBLISHED)
    assert len(missed("close", said)) == 3
    votes = {f"points over {name}": {"value": -0.1} for name in VOTING}
    votes["replay_seconds"] = {"value": 1.0}
    assert len(missed("voted", votes)) == len(VOTING)
    assert set(LEAST_SAVED) == {"mixed", "close"}


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    made = Set("mixed", "rrm", simulated(1, 800), simulated(2, 300))
    _, drawn = figures(made, LADDER, seed=1)
    file = tmp_path / "frontier.png"
    key = ("mixed", "rrm")
    plot({key: drawn}, {key: measures(made)["FLOPs"]}, file, seed=1)
    assert file.stat().st_size > 10_000
