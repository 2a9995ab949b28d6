"""The command line: once as a person runs it, else within this process."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from rrm.types import Verdict
from tests.golden.store import HERE
from tests.helpers.commands import closecall

ASK = ("--prompt", "What is 345 + 278?", "--a", "The answer is 623.", "--b", "It comes to 626.")


def test_a_verdict_is_printed_with_its_thought_and_path() -> None:
    command = [sys.executable, "-m", "serving.cli", "judge", *ASK]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    for said in (
        "response a is better",
        "probability",
        "why it stopped",
        "345+278=623",
        "thinking tokens",
        "style rrm, effort adaptive",
    ):
        assert said in done.stdout


def test_json_is_a_whole_verdict() -> None:
    done = closecall("judge", *ASK, "--style", "rm-r1", "--effort", "full", "--json")
    found = Verdict.model_validate(json.loads(done.stdout))
    assert (found.preferred, found.judge.style, found.judge.effort) == ("a", "rm-r1", "full")
    assert found.orders[0].chain == (
        "345+278=623. Chatbot A: 623-623=000. Chatbot B: 626-623=003.</think>"
    )


def test_what_cannot_be_judged_is_said_with_exit_2() -> None:
    for words, said in (
        (("judge", "--prompt", "Why is the sky blue?", "--a", "1", "--b", "2"), "cannot read"),
        (("judge", *ASK, "--style", "nonsense"), "speaks rrm, rm-r1, grm"),
        (("judge", *ASK, "--effort", "much"), "none, adaptive or full"),
        (("judge", *ASK, "--model", "/nowhere"), "no model at"),
        (("judge", "--prompt", " ", "--a", "1", "--b", "2"), "--prompt is empty"),
    ):
        done = closecall(*words)
        assert done.returncode == 2, done.stdout
        assert said in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("flag", ["--calibration", "--stopper"])
def test_a_calibration_is_named_by_its_flag_or_the_old_one(flag: str, tmp_path: Path) -> None:
    """A file of version 1, as another place may still have it."""
    old = tmp_path / "stopper.json"
    old.write_bytes(gzip.decompress((HERE / "stopper.v1.json.gz").read_bytes()))
    done = closecall("judge", *ASK, flag, str(old), "--json")
    found = Verdict.model_validate(json.loads(done.stdout))
    assert found.judge.certificate is not None
    assert found.judge.stopper.startswith("8000 pairs")
