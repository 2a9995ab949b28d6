"""The benchmarks of the service: each promise can be missed, small runs come out."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import faults, grpo, overhead

OK = (200, 0.1, False)
LATER = (429, 0.1, True)
DRAINED = ([200] * faults.CALLERS, 503, 0)
HELD: dict[str, Any] = {
    "n": 2,
    "killed": [OK, OK],
    "quiet": [OK],
    "loaded": [OK, LATER],
    "drained": DRAINED,
}


def run(name: str, *options: object) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """A benchmark in a process of its own, and its figures."""
    *words, file = map(str, options)
    command = [sys.executable, "-m", f"benchmarks.{name}", *words, "--json", file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done, json.loads(Path(file).read_text())


def test_kept_promises_of_faults_are_no_miss() -> None:
    assert faults.missed(**HELD) == []


@pytest.mark.parametrize(
    "broken",
    [
        {"killed": [OK]},
        {"killed": [OK, (0, 1.0, False)]},
        {"quiet": [LATER]},
        {"loaded": [OK, LATER, (503, 0.1, True)]},
        {"loaded": [OK, (429, 0.1, False)]},
        {"loaded": [OK]},
        {"drained": ([200] * (faults.CALLERS - 1) + [0], 503, 0)},
        {"drained": (DRAINED[0], 200, 0)},
        {"drained": (DRAINED[0], 503, -9)},
    ],
)
def test_every_promise_of_faults_can_be_missed(broken: dict[str, Any]) -> None:
    assert len(faults.missed(**{**HELD, **broken})) == 1


def test_every_promise_of_overhead_can_be_missed() -> None:
    assert overhead.missed(5.0, 4.0) == []
    assert len(overhead.missed(5.1, 3.9)) == 2


@pytest.mark.service
@pytest.mark.slow
def test_a_small_run_of_overhead(tmp_path: Path) -> None:
    done, figures = run("overhead", "--n", 64, tmp_path / "figures.json")
    assert "a no-op that asks a no-op takes" in done.stdout
    assert figures["interval"][0] <= figures["more_ms"] <= figures["interval"][1]
    assert set(figures["pairs_per_second"]) == {"1", "64"}


@pytest.mark.slow
def test_a_small_run_of_resume_has_the_same_bytes(tmp_path: Path) -> None:
    done, figures = run("resume", "--n", 40, "--kills", 1, tmp_path / "figures.json")
    assert figures["same"]
    assert "rows judged twice" in done.stdout


def test_the_distance_from_the_truth() -> None:
    step = [("What is 11 + 22?", text, None) for text in ("It is 33.", "It is 30.", "no")]
    assert grpo.distances(step) == [0, 3, 100]
