"""What a service must do with what a calibration found."""

import json
from pathlib import Path

import pytest

from benchmarks.productive import by_votes, missed, sample
from judges.options import JudgeOptions
from rrm.calibration.calibration import Calibration
from rrm.calibration.gain import Gain, ThinkingGain
from rrm.decision.thresholds import PROMPT_ONLY
from rrm.types import Unscored, Verdict
from tests.helpers.judging import LONG, at, prefers_good, scripted, unreadable, verdict
from tests.helpers.judging import judged as judged_by


def unproductive() -> Calibration:
    nothing = Gain.of(tokens=40, gained=0, lost=0, n=2000)
    report = ThinkingGain(
        n=2000, before=0.6, whole=nothing, by_checkpoint=(), groups={}, flips=0.0, detectable=0.001
    )
    made = at(1.5).model_copy(update={"policies": (PROMPT_ONLY,), "productivity": report})
    assert not made.thinks
    return made


def judged(calibration: Calibration | None, options: JudgeOptions = JudgeOptions()) -> Verdict:
    return verdict(scripted(prefers_good(0.1), [LONG], calibration), options=options)


def test_no_thought_where_thought_does_not_help() -> None:
    calibration = unproductive()
    assert missed(calibration, [judged(calibration)]) == []
    assert "does not help" in missed(calibration, [judged(None)])[0]


def test_whole_chains_where_nothing_was_proved() -> None:
    calibration = at(1.5).model_copy(update={"chosen": None})
    assert missed(calibration, [judged(calibration)]) == []
    assert "stopped early" in missed(calibration, [judged(at(1.5))])[0]


def test_an_unscored_pair_is_told() -> None:
    lost = judged_by(scripted(unreadable, ["hm"]))
    assert isinstance(lost, Unscored)
    assert "pair 0 is unscored" in missed(at(1.5), [lost])[0]


def test_thought_is_compared_by_the_annotators_votes() -> None:
    rows = [{"votes": ["A", "A", "B"]}, {"votes": ["B", "A", "C"]}, {"votes": ["A"] * 3}, {}]
    thought = by_votes(rows, [10, 30, 5, 7], seed=1)
    assert (thought["split"]["n"], thought["split"]["mean"]) == (2, 20)
    assert (thought["unanimous"]["n"], thought["unanimous"]["mean"]) == (1, 5)
    assert by_votes([{}], [9], seed=1) == {}


@pytest.mark.parametrize("n", [3, 99])
def test_a_sample_is_drawn_by_its_seed(tmp_path: Path, n: int) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"id": i}) + "\n" for i in range(9)))
    out = tmp_path / "out.jsonl"
    rows = sample(data, n, 1, out)
    assert len(rows) == min(n, 9)
    assert [json.loads(line) for line in out.read_text().splitlines()] == rows
    assert sample(data, n, 1, out) == rows
