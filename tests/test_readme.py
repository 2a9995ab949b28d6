"""What the README and docs say is so: names import, commands run and print what is shown."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from judges.nano.pairs import write_pairs
from judges.styles.prompt_file import read_prompt_file
from rrm.types import Verdict
from serving.cli import cli
from serving.preflight import gpus_of
from serving.settings import load_settings
from serving.testing.process import ServiceProcess

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = {file.stem: file.read_text(encoding="utf-8") for file in (ROOT / "docs").glob("*.md")}
EVERYWHERE = README + "".join(DOCS.values())
LONGEST = 900
"""characters of a paragraph that fits a screen"""


OPTIONS = {
    option
    for command in typer.main.get_command(cli).commands.values()  # type: ignore[attr-defined]
    for parameter in command.params
    for option in parameter.opts
}


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def command_of(page: str, word: str) -> str:
    """The one block of bash on a page of docs that holds `word`."""
    [command] = [block for block in blocks("bash", DOCS[page]) if word in block]
    return command


def run(command: str, **env: str) -> str:
    """In bash, with this interpreter's commands in place of `.venv/bin`."""
    here = str(Path(sys.executable).parent)
    done = subprocess.run(
        ["bash", "-euc", command.replace(".venv/bin", here)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PATH": f"{here}{os.pathsep}{os.environ['PATH']}", **env},
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_name_in_a_requests_life_imports() -> None:
    text = DOCS["architecture"]
    table = text[text.index("## The life of a request") : text.index("## The way of a text")]
    names = re.findall(r"^\| `([\w.]+)`", table, re.MULTILINE)
    assert len(names) == 11
    names += re.findall(r"\(`([\w.]+)`\)", table)
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute)


@pytest.mark.slow
def test_the_verdict_is_printed_as_shown() -> None:
    [session] = blocks("console")
    command, _, shown = session.partition("\n")
    printed = run(command.removeprefix("$ "), COLUMNS="80")

    def plain(text: str) -> list[str]:
        lines = [re.sub(r"\d\.\d\d", "#", line.rstrip()) for line in text.splitlines()]
        return [line for line in lines if line]

    assert plain(printed) == plain(shown)


def test_the_two_commands_are_targets_that_make_knows() -> None:
    for command in re.findall(r"^make (\w+)", blocks("bash")[0], re.MULTILINE):
        assert re.search(rf"^{command}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_the_service_starts_as_shown_and_curl_and_python_reach_it(service: ServiceProcess) -> None:
    _, serve, curl, *_ = blocks("bash")
    assert serve.strip().endswith("closecall serve --port 8000")
    here = service.url.removeprefix("http://")
    far = Verdict.model_validate_json(run(curl.replace("127.0.0.1:8000", here)))
    assert (far.preferred, far.usage.thinking_tokens) == ("a", 0)
    assert command_of("operations", "serve") == serve
    client, *_ = blocks("python")
    script = client.replace("127.0.0.1:8000", here)
    *watched, last = run(f"python - <<'END'\n{script}\nEND").splitlines()
    assert watched
    assert last.split()[0] == "a"


def test_trainers_reach_the_service_as_shown(service: ServiceProcess) -> None:
    here = service.url.removeprefix("http://")
    curl = command_of("trainers", "get_reward")
    found = json.loads(run(curl.replace("127.0.0.1:8000", here)))
    assert found["rewards"][0] > 0.9
    [script] = blocks("python", DOCS["trainers"])
    assert script in README
    call = "prompts=['What is 7 * 8?'] * 2, completions=['It is 56.', 'It is 50.']"
    script += f"\nimport asyncio\nprint(asyncio.run(reward({call})))"
    good, bad = json.loads(run(f"python - <<'END'\n{script.replace('127.0.0.1:8000', here)}\nEND"))
    assert good > 0 > bad


def test_evidence_is_searched_as_shown(tmp_path: Path) -> None:
    printed = run(command_of("evidence", "--evidence"))
    assert "response a is better" in printed
    settings, style = blocks("toml", DOCS["evidence"])
    (tmp_path / "settings.toml").write_text(settings)
    assert load_settings(tmp_path / "settings.toml").searchers["web"].startswith("https://")
    (tmp_path / "style.toml").write_text(style)
    searching = read_prompt_file(tmp_path / "style.toml").style()
    assert searching.search is not None
    assert "<search>" in searching.search.invitation


@pytest.mark.slow
def test_a_dataset_is_judged_as_shown(tmp_path: Path) -> None:
    [command] = [block for block in blocks("bash") if "batch" in block]
    assert command_of("batch", "batch") == command
    printed = run(command.replace("outcomes.jsonl", f"{tmp_path}/outcomes.jsonl"))
    assert "accuracy" in printed
    assert (tmp_path / "outcomes.jsonl").read_text().count("\n") == 12
    assert (tmp_path / "outcomes.jsonl.summary.json").is_file()


@pytest.mark.slow
def test_wordings_are_compared_and_tuned_as_shown(tmp_path: Path) -> None:
    write_pairs(tmp_path / "labelled.jsonl", 64, seed=1)
    told = run(f"cd {tmp_path}\n{command_of('calibration', 'sensitivity')}")
    assert "3 wordings in both orders, 64 pairs" in told
    tuned = run(f"cd {tmp_path}\n{command_of('calibration', 'closecall tune')}")
    assert "certified" in tuned
    assert (tmp_path / "tuned.json").is_file()


@pytest.mark.slow
def test_thresholds_are_fitted_as_shown(tmp_path: Path) -> None:
    command = command_of("calibration", "closecall calibrate")
    write_pairs(tmp_path / "labelled.jsonl", 200, seed=1)
    printed = run(f"cd {tmp_path}\n{command}")
    assert "certified" in printed
    made = tmp_path / "calibration.json"
    assert load_settings(calibration=made).thresholds == made
    assert "certified" in run(
        "closecall judge --prompt '1 + 1 = ?' --a 2 --b 3", CLOSECALL_CALIBRATION=str(made)
    )


@pytest.mark.slow
def test_the_doctor_examines_as_shown() -> None:
    command = command_of("judges", "doctor")
    printed = run(command)
    for said in ("label mass", "written verdicts understood", "orders disagree"):
        assert said in printed


def test_the_settings_file_is_one(tmp_path: Path) -> None:
    [block] = blocks("toml", DOCS["operations"])
    (tmp_path / "closecall.toml").write_text(block)
    settings = load_settings(tmp_path / "closecall.toml")
    assert (settings.engine, settings.tensor_parallel, settings.max_replicas) == ("sglang", 2, 4)
    assert gpus_of(settings) == 2


def test_a_real_judge_that_cannot_be_had_is_named() -> None:
    """No hub and no GPU here: the command gets as far as saying so."""
    found = re.findall(r"^\.venv/bin/closecall serve --model .*", EVERYWHERE, re.MULTILINE)
    command, *others = found
    assert set(others) == {command}
    words = command.split()[1:]
    serve = [sys.executable, "-m", "serving.cli", *words]
    done = subprocess.run(serve, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stdout
    assert "gaotang/RM-R1" in " ".join(done.stderr.split())


def test_every_paragraph_fits_a_screen() -> None:
    for name, text in {"README": README, **DOCS}.items():
        plain = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
        for paragraph in plain.split("\n\n"):
            rows = [row for row in paragraph.splitlines() if not row.startswith("|")]
            assert max(map(len, rows), default=0) <= LONGEST, (name, paragraph[:60])


def test_every_link_leads_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("*/**/README.md")]
    for page in pages:
        if ".venv" in page.parts or "golden" in page.parts:
            continue
        for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), (page, link)


@pytest.mark.parametrize(
    "option", sorted(set(re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", EVERYWHERE)))
)
def test_every_option_exists(option: str) -> None:
    if option in ("--reward", "--context-length"):
        return  # OpenRLHF's --reward.remote_url, and a word for SGLang's launcher
    assert option in OPTIONS
