"""Wording and way to judge are chosen together, proved, and served."""

import asyncio
import json
from pathlib import Path

import pytest

from judges.nano.pairs import write_pairs
from judges.styles.registry import FAMILIES, family_style
from judges.styles.spec import read_spec
from rrm.calibration.artifact import Artifact
from rrm.decision.fixed import FixedPolicy
from rrm.types import Pair, StopReason, Verdict
from serving.model_host import ModelHost
from serving.settings import load_settings
from tests.helpers.commands import closecall


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with labelled pairs, traces in three wordings, and the calibration."""
    folder = tmp_path_factory.mktemp("tune")
    write_pairs(folder / "labelled.jsonl", 24, seed=1)
    done = closecall(*words(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "certified" in done.stdout
    assert "untuned" in done.stdout
    return folder


def words(folder: Path) -> list[str]:
    where = ["--data", f"{folder}/labelled.jsonl", "--out", f"{folder}/calibration.json"]
    sizes = ["--wordings", "3", "--votes", "2", "--epsilon", "0.4", "--completions", "2000"]
    return ["tune", *where, *sizes]


def test_the_calibration_says_one_way_for_all(tuned: Path) -> None:
    kept = json.loads((tuned / "calibration.json").read_text())
    [bound] = kept["styles"].values()
    assert bound["kind"] == "fixed"
    calibration = Artifact.read(tuned / "calibration.json").styles["rrm"].calibration
    policy = calibration.policy
    assert isinstance(policy, FixedPolicy)
    assert policy.wording < 3
    assert bound["prompt_hash"] == family_style("rrm", policy.wording).prompt_hash
    assert (tuned / "labelled.jsonl.rrm.tuned.html").read_text().count("<svg") == 1


def test_whole_traces_need_no_model(tuned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> ModelHost:
        raise AssertionError("a model was opened")

    monkeypatch.setattr("serving.tune.ModelHost", refuse)
    before = (tuned / "calibration.json").read_bytes()
    done = closecall(*words(tuned))
    assert done.returncode == 0, done.stderr
    assert (tuned / "calibration.json").read_bytes() == before


def test_traces_of_other_weights_are_not_taken_for_these(
    tuned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.tune.weights_digest", lambda model: "other")
    done = closecall(*words(tuned))
    assert done.returncode == 2
    assert "are not whole" in done.stderr


@pytest.mark.parametrize(
    ("depth", "votes", "aggregation"), [(None, 3, "majority"), (16, 1, "mean"), (0, 1, "mean")]
)
def test_a_service_judges_as_it_was_tuned(
    tuned: Path, tmp_path: Path, depth: int | None, votes: int, aggregation: str
) -> None:
    """Whatever the arm is: here it is set by hand."""
    kept = json.loads((tuned / "calibration.json").read_text())
    bound = kept["styles"]["rrm"]
    bound["calibration"]["policies"] = [
        {
            "price": 0.001,
            "wording": 2,
            "depth": depth,
            "votes": votes,
            "aggregation": aggregation,
        }
    ]
    bound["calibration"]["chosen"] = 0
    bound["prompt_hash"] = family_style("rrm", 2).prompt_hash
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps(kept))
    host = ModelHost(load_settings(calibration=file))
    try:
        judge = host.pairwise(None)
        assert judge.style.prompt_hash == family_style("rrm", 2).prompt_hash
        pair = Pair(prompt="What is 345 + 278?", response_a="623", response_b="626")
        found = asyncio.run(judge.judge(pair))
        assert isinstance(found, Verdict)
        assert found.reason is StopReason.PLANNED
        each = [order.thinking_tokens for order in found.orders]
        assert each == [depth, depth] if depth is not None else min(each) > 30
        assert found.usage.thinking_tokens >= votes * min(each)
        if votes > 1:
            assert found.path[-1].at == "votes"
            assert found.usage.thinking_tokens > 2 * sum(each)
    finally:
        host.close()


def test_a_style_of_ones_own_is_tuned_and_served(tmp_path: Path) -> None:
    """All its wordings, of which nobody says how many."""
    text = (FAMILIES / "rrm.toml").read_text()
    two = text[: text.index("  '''\nTwo assistants")] + text[text.index("]\n\n[[turns]]") :]
    style = tmp_path / "mine.toml"
    style.write_text(two.replace('name = "rrm"', 'name = "mine"'))
    write_pairs(tmp_path / "labelled.jsonl", 10, seed=1)
    out = tmp_path / "calibration.json"
    where = ["--data", f"{tmp_path}/labelled.jsonl", "--out", str(out)]
    sizes = ["--votes", "2", "--epsilon", "0.5", "--delta", "0.5", "--completions", "2000"]
    for _ in range(2):  # the second time without the model
        done = closecall("tune", *where, *sizes, "--prompt-file", str(style))
        assert done.returncode in (0, 3), done.stdout + done.stderr
    kept = json.loads(out.read_text())
    bound = kept["styles"]["mine"]
    bound["calibration"]["policies"] = [
        {"price": 0.001, "wording": 1, "depth": 8, "votes": 1, "aggregation": "mean"}
    ]
    bound["calibration"]["chosen"] = 0
    bound["prompt_hash"] = read_spec(style).style(1).prompt_hash
    out.write_text(json.dumps(kept))
    host = ModelHost(load_settings(calibration=out, prompt_file=style))
    try:
        judge = host.pairwise(None)
        assert judge.style.prompt_hash == bound["prompt_hash"]
        assert isinstance(judge.policy, FixedPolicy)
    finally:
        host.close()


def test_labels_are_needed(tmp_path: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    data.write_text(json.dumps({"prompt": "1 + 1 = ?", "response_a": "2", "response_b": "3"}))
    done = closecall("tune", "--data", str(data))
    assert (done.returncode, "needs a label" in done.stderr) == (2, True)
