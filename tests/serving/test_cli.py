"""The command line: once as a person runs it, else within this process."""

import gzip
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from rrm.types import Score, Verdict
from serving.testing.process import ServiceProcess
from serving.weights import weights_digest
from tests.golden.store import HERE
from tests.helpers.commands import closecall

SUM = ("--prompt", "What is 345 + 278?")
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
        (("judge", *ASK, "--style", "nonsense"), "speaks rrm, rm-r1, grm, thinkless"),
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
    known = json.loads(gzip.decompress((HERE / "stopper.v1.json.gz").read_bytes()))
    known["model_digest"] = weights_digest("nano")  # it was of the first edition
    old.write_text(json.dumps(known))
    done = closecall("judge", *ASK, flag, str(old), "--json")
    found = Verdict.model_validate(json.loads(done.stdout))
    assert found.judge.certificate is not None
    assert found.judge.stopper.startswith("8000 pairs")


LOOKUP = ("--prompt", "What is 15 + k?", "--a", "It is 52.", "--b", "It is 61.")


def test_what_it_looked_up_is_printed(tmp_path: Path) -> None:
    told = tmp_path / "told.csv"
    told.write_text("text,source\nm is 112,page 1\nk is 037,page 2\n")
    done = closecall("judge", *LOOKUP, "--effort", "full", "--evidence", str(told))
    assert done.returncode == 0, done.stderr
    assert "response a is better" in done.stdout
    assert "looked up        k: k is 037 (2)" in done.stdout
    own = closecall("judge", *LOOKUP, "--effort", "full", "--searcher", f"bm25:{told}", "--json")
    [record] = Verdict.model_validate(json.loads(own.stdout)).judge.searches
    assert (record.found, record.sources) == ("k is 037", ("page 2",))
    for wrong, said in (
        (("--evidence", str(tmp_path / "none.txt")), "cannot read"),
        (("--searcher", "wiki"), "give bm25:PATH, an http(s) address"),
        ((), "give evidence"),
    ):
        done = closecall("judge", *LOOKUP, *wrong)
        assert (done.returncode, said in " ".join(done.stderr.split())) == (2, True)


def test_a_running_service_judges_scores_and_ranks(service: ServiceProcess) -> None:
    at = ("--url", service.url)
    judged = closecall("judge", *ASK, *at)
    assert "response a is better" in judged.stdout
    assert "345+278=623" in judged.stdout
    scored = closecall("score", *SUM, "--response", "It is 623.", "--response", "It is 20.", *at)
    assert scored.returncode == 0, scored.stderr
    ranked = closecall("rank", *SUM, "--response", "It is 20.", "--response", "It is 623.", *at)
    first = ranked.stdout.splitlines()[1]
    assert (first.split()[0], first.endswith("It is 623.")) == ("1", True)


def test_responses_are_scored_and_ranked_in_this_process() -> None:
    responses = ("--response", "It is 20.", "--response", "It is 623.")
    scored = closecall("score", *SUM, *responses, "--json")
    low, high = Score.model_validate_json(scored.stdout).scores
    assert low < high
    ranked = json.loads(closecall("rank", *SUM, *responses, "--json").stdout)
    assert ranked["strengths"][1] > ranked["strengths"][0]
    alone = closecall("rank", *SUM, "--response", "It is 20.")
    assert (alone.returncode, "at least twice" in alone.stderr) == (2, True)


def test_a_service_that_is_not_there_is_exit_4() -> None:
    done = closecall("judge", *ASK, "--url", "http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("closecall: ")


@pytest.mark.parametrize("text", ["[/INST]", "[sglang]", "[bold]what", "\\["])
def test_brackets_of_strangers_are_no_markup(text: str) -> None:
    done = closecall("judge", "--prompt", f"{text} is?", "--a", "1", "--b", "2")
    assert done.returncode == 2
    assert done.stderr.startswith("closecall: the model 'nano' cannot read '")
    assert "'['" in done.stderr
    missing = closecall("judge", *ASK, "--model", f"/nowhere/{text}")
    assert text in "".join(missing.stderr.split())


def test_the_version_is_the_packages_own() -> None:
    assert closecall("--version").stdout == f"closecall {version('closecall')}\n"
