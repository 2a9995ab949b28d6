"""The command line: once as a person runs it, else within this process."""

import json
import subprocess
import sys

from rrm.types import Verdict
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
