"""The benchmark's own arithmetic, and that it runs, prints its figures last and can fail."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.closeness import Row, best_uniform, missed
from benchmarks.report import interval


def rows(adaptive_right: int) -> list[Row]:
    made = []
    for index in range(10):
        right = {"adaptive": index < adaptive_right, "full": True}
        right |= {"uniform 0": index < 5, "uniform 8": index < 8, "uniform 16": True}
        spent = dict.fromkeys(right, index)
        made.append(Row(gap=index, right=right, tokens=spent, computed=spent))
    return made


def test_the_best_uniform_depth_is_the_shallowest_as_accurate() -> None:
    assert best_uniform(rows(5), (8, 16)) == "uniform 0"
    assert best_uniform(rows(8), (8, 16)) == "uniform 8"
    assert best_uniform(rows(9), (8, 16)) == "uniform 16"
    assert best_uniform(rows(9), (8,)) == "full"


def test_every_promise_can_be_missed() -> None:
    held: dict[str, Any] = {"lost": 0.012, "lost_95": [0.002, 0.024], "saved (computed)": 0.64}
    held |= {"of_full": 0.25, "of_uniform": 0.25, "correlation": 0.5}
    assert missed("s", held) == []
    broken: dict[str, Any] = {"lost": 0.02, "lost_95": [0.011, 0.03], "saved (computed)": 0.63}
    broken |= {"of_full": 0.26, "of_uniform": 0.26, "correlation": 0.49}
    assert len(missed("s", broken)) == 5


def test_the_bootstrap_interval_holds_the_mean() -> None:
    low, high = interval([0.0, 1.0] * 50, lambda sample: sum(sample) / len(sample), seed=1)
    assert 0.38 < low < 0.5 < high < 0.62


@pytest.mark.slow
def test_a_small_run_ends_with_machine_model_seed_and_n(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks.closeness", "--n", "40", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode in (0, 1), done.stderr
    assert "model: nano; seed 2026, n 40" in done.stdout
    figures = json.loads(file.read_text())
    assert set(figures) == {"rrm", "rm-r1"}
    assert figures["rrm"]["of_full"] < 0.8
