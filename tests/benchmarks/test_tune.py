"""The benchmark of tuning: how it counts."""

import pytest

from benchmarks import tune
from rrm.calibration.tune import Sampled


def test_in_the_trap_choosing_apart_loses(capsys: pytest.CaptureFixture[str]) -> None:
    found = tune.compare("the trap", tune.trap(0), (0.0, 0.1), 2_000, 20, 0)
    assert set(found) == {"PSST", "uniform", "uniform, reused", "UCB .1", "apart"}
    assert found["PSST"]["regret"][0] < found["apart"]["regret"][0]
    assert "error" in capsys.readouterr().out
    worse = {**found, "PSST": {"error": 1.0, "regret": (0.5, 0.4, 0.6)}}
    assert tune.missed({"compared": {"the trap": found}}) == []
    assert len(tune.missed({"compared": {"the trap": worse}})) == 3


def test_what_is_chosen_is_told_beside_the_untuned(capsys: pytest.CaptureFixture[str]) -> None:
    every = tune.trap(0)
    # Kinds of question alternate, so halves of every other one would have one kind each.
    half, held = every.part(slice(0, 200)), every.part(slice(200, None))
    assert isinstance(half, Sampled)
    rows = tune.chosen_by(half, held, (0.0, 0.1), 0)
    assert [row["price"] for row in rows] == ["untuned", "0.0000", "0.1000"]
    assert rows[1]["right"] > rows[0]["right"]
    assert "untuned" in capsys.readouterr().out
