"""Labelled pairs in, thresholds out, by the command; killed, it goes on."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from judges.nano import WEIGHTS
from judges.nano.pairs import write_pairs
from rrm.calibration import FEWEST
from rrm.calibration.artifact import Artifact
from serving.calibrate import TraceLine, read_traces
from serving.model_host import ModelHost
from serving.settings import load_settings
from serving.weights import weights_digest
from tests.helpers.commands import closecall

N = 80


@pytest.mark.slow
def test_killed_and_started_again_it_ends_with_a_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (
        "rrm.calibration.fit",
        "serving.reports.calibration",
    ):  # so that it takes seconds
        monkeypatch.setattr(f"{module}.FEWEST", N)
    data, out = tmp_path / "labelled.jsonl", tmp_path / "stopper.json"
    write_pairs(data, N, seed=1)
    with data.open("a") as file:
        for row in (
            {"prompt": "What is 1 + 1?", "response_a": "2", "response_b": "3", "label": "tie"},
            {"prompt": "Why?", "response_a": "2", "response_b": "3", "label": "a"},
        ):
            file.write(json.dumps(row) + "\n")
    words = (
        "calibrate",
        "--data",
        str(data),
        "--out",
        str(out),
        "--look-tokens",
        "8",
        "--epsilon",
        "0.2",
    )
    traces = tmp_path / "labelled.jsonl.default.traces.jsonl"
    with subprocess.Popen([sys.executable, "-m", "serving.cli", *words]) as process:
        while not traces.is_file() or traces.read_bytes().count(b"\n") < 10:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    kept = traces.read_bytes().splitlines()[:10]
    done = closecall(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "certified: at most 0.2 of accuracy lost" in " ".join(done.stdout.split())
    assert traces.read_bytes().splitlines()[:10] == kept
    lines = [TraceLine.model_validate_json(line) for line in traces.read_bytes().splitlines()]
    assert [line.index for line in lines] == list(range(N + 2))
    assert lines[-2].fault == "no label: give a or b"
    assert "cannot read 'Why'" in str(lines[-1].fault)
    assert len(read_traces(traces)) == N
    assert {line.trace.group for line in lines if line.trace} >= {"1-3", "4-20"}

    made = Artifact.read(out)
    assert made.model_digest == weights_digest(str(WEIGHTS))
    tokens = made.styles["rrm"].calibration.token_prices
    assert tokens is not None
    assert (tokens.kind, tokens.look) == ("flops", 8)
    shown = Path(f"{traces}.html").read_text()
    assert shown.count("<svg") == 2
    assert "Certified: stopping early loses at most 0.2" in shown
    certificate = made.styles["rrm"].calibration.certificate
    assert certificate is not None
    assert (certificate.epsilon, certificate.n) == (0.2, N // 2)

    host = ModelHost(load_settings(stopper=out))
    try:
        assert host.pairwise("rrm").calibration == made.styles["rrm"].calibration
        assert host.pairwise("rm-r1").calibration is None
    finally:
        host.close()

    # The traces are there already; a smaller loss cannot be proved on so few.
    strict = closecall(*words[:-1], "0.01")
    assert strict.returncode == 3
    assert "598 are needed" in " ".join(strict.stdout.split())
    assert Artifact.read(out).styles["rrm"].calibration.chosen is None


@pytest.mark.slow
def test_few_labels_tell_whether_thought_helps_and_none_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "few.jsonl"
    write_pairs(data, 16, seed=1)
    out = tmp_path / "out"
    done = closecall("calibrate", "--data", str(data), "--out", str(out))
    assert done.returncode == 3, done.stderr
    said = " ".join(done.stdout.split())
    assert "right 0." in said
    assert "too few for thresholds: 16 labels cannot prove a loss of at most 0.01" in said
    found = Artifact.read(out).styles["rrm"].calibration
    assert (found.policy, found.certificate) == (None, None)
    assert found.productivity is not None
    assert found.productivity.n == 16
    bare = tmp_path / "bare.jsonl"
    bare.write_text(data.read_text().replace('"label"', '"sticker"'))
    done = closecall("calibrate", "--data", str(bare), "--out", str(out))
    assert done.returncode == 2
    assert "has a label; give a or b" in " ".join(done.stderr.split())
    own = closecall("calibrate", "--data", str(bare), "--out", str(out), "--self-agreement")
    assert own.returncode == 3, own.stderr
    [first, *_] = read_traces(bare.with_name("bare.jsonl.default.traces.jsonl"))
    assert first.own


def test_another_file_is_not_overwritten(tmp_path: Path) -> None:
    data, out = tmp_path / "labelled.jsonl", tmp_path / "notes.json"
    write_pairs(data, FEWEST, seed=1)
    out.write_text("mine")
    traces = tmp_path / "traces"
    done = closecall("calibrate", "--data", str(data), "--out", str(out), "--traces", str(traces))
    assert done.returncode == 2
    assert "is no calibration file" in " ".join(done.stderr.split())
    assert out.read_text() == "mine"
    assert not traces.exists()


@pytest.mark.parametrize("changed", [{"ladder": (4, 8)}, {"temperature": 0.5}])
def test_thresholds_need_the_ladder_and_decoding_they_were_fitted_on(
    changed: dict[str, object],
) -> None:
    host = ModelHost(load_settings(**changed))  # type: ignore[arg-type]
    try:
        assert host.pairwise(None).calibration is None
    finally:
        host.close()


def test_a_calibration_in_several_wordings_is_followed_in_them(tmp_path: Path) -> None:
    data, out = tmp_path / "labelled.jsonl", tmp_path / "calibration.json"
    write_pairs(data, 10, seed=1)
    done = closecall("calibrate", "--data", str(data), "--out", str(out), "--wordings", "3")
    assert done.returncode == 3, done.stderr  # too few for a certificate
    assert "3 wordings in both orders, 10 pairs" in done.stdout
    assert "AUROC of |margin|" in done.stdout
    page = (tmp_path / "labelled.jsonl.default.traces.jsonl.html").read_text()
    assert "How much hangs on the wording?" in page
    assert "Does its confidence know?" in page
    traces = read_traces(tmp_path / "labelled.jsonl.default.traces.jsonl")
    assert {len(one.votes) for one in traces} == {3}
    host = ModelHost(load_settings(calibration=out))
    try:
        judge = host.pairwise(None)
        hashes = [style.prompt_hash for style in judge.wordings]
        assert len(set(hashes)) == 3
        assert hashes[0] == judge.style.prompt_hash
    finally:
        host.close()


def test_what_has_fewer_wordings_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "labelled.jsonl"
    write_pairs(data, 4, seed=1)
    done = closecall("sensitivity", "--data", str(data), "--wordings", "9")
    assert (done.returncode, "has 8 wordings here" in done.stderr) == (2, True), done.stderr
    own = tmp_path / "own.txt"
    own.write_text("Which? {prompt}")
    done = closecall("sensitivity", "--data", str(data), "--wording", str(own))
    assert done.returncode == 2
    assert "a wording cannot be read" in done.stderr


def test_sensitivity_is_told_with_labels_and_without(tmp_path: Path) -> None:
    data = tmp_path / "labelled.jsonl"
    write_pairs(data, 8, seed=1)
    done = closecall("sensitivity", "--data", str(data), "--wordings", "2")
    assert done.returncode == 0, done.stderr
    assert "2 wordings in both orders, 8 pairs" in done.stdout
    assert "AUROC of |margin|" in done.stdout
    page = (tmp_path / "labelled.jsonl.default.wordings.jsonl.html").read_text()
    assert "sensitivity to the wording" in page
    bare = tmp_path / "bare.jsonl"
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    bare.write_text("\n".join(json.dumps({**row, "label": None}) for row in rows))
    file = tmp_path / "own.txt"
    file.write_text("Query: {prompt}\nFirst: {response_1}\nSecond: {response_2}\nAnswer in a box.")
    done = closecall("sensitivity", "--data", str(bare), "--wording", str(file))
    assert done.returncode == 0, done.stderr
    assert "2 wordings in both orders, 8 pairs" in done.stdout
    assert "AUROC" not in done.stdout
