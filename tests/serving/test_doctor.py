"""closecall doctor: what is here, what would run, and whether the style reads the model."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from judges.nano import WEIGHTS
from rrm.engines.base import Engine
from rrm.engines.sglang import SGLangEngine
from serving import doctor
from serving.cli import cli
from serving.doctor import Health, Probe


def run(*words: object) -> Result:
    return CliRunner().invoke(cli, ["doctor", *map(str, words)], env={"COLUMNS": "160"})


@pytest.mark.parametrize("style", ["rrm", "rm-r1", "grm", "thinkless"])
def test_nano_is_well(tmp_path: Path, style: str) -> None:
    found = run("--style", style, "--json", tmp_path / "doctor.json")
    assert found.exit_code == 0, found.output
    assert "transformers on cpu" in found.output
    said = " ".join(found.output.split())
    assert "is probed, takes token ids, repeats byte by byte on a CPU" in said
    assert f"{style} (asked for)" in found.output
    figures = json.loads((tmp_path / "doctor.json").read_text())
    assert figures["findings"] == []
    assert set(figures["installed"]) >= {"torch", "ray", "transformers", "trl"}
    health = figures["health"]
    assert (health["pairs"], health["ended"], health["parse_rate"]) == (10, 10, 1.0)
    assert min(health["mass_before"], health["mass_after"]) > 0.95
    assert health["accuracy"] >= 0.9
    assert health["flips_before"] > health["flips_after"]


def test_a_model_the_style_cannot_read_is_told(tmp_path: Path) -> None:
    config = tmp_path / "closecall.toml"
    config.write_text('engine = "faulty"\nmodel = "garbage"\n')
    found = run("--config", config)
    assert found.exit_code == 3
    assert "does not read this model" in found.output
    assert "without thresholds" in found.output


def test_your_own_pairs(tmp_path: Path) -> None:
    rows = [{"prompt": "What is 2 + 2?", "chosen": "It is 4.", "rejected": "It is 9."}] * 3
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = run("--data", tmp_path / "mine.jsonl", "--tokens", 4)
    assert found.exit_code == 0
    assert "probing 3 pairs" in found.output
    assert "no chain closed by itself" in found.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "nowhere"], "no model at 'nowhere'"),
        (["--style", "x"], "speaks rrm, rm-r1, grm, thinkless"),
        (["--device", "cuda"], "torch sees no GPU"),
    ],
)
def test_what_would_not_run_is_told_after_what_is_installed(words: list[str], said: str) -> None:
    found = run(*words)
    assert found.exit_code == 2
    assert said in found.output
    assert "installed" in found.output


def test_what_is_missing_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "serving.doctor.find_spec", lambda name: None if name == "ray" else find_spec(name)
    )
    here, missing = doctor.installed()
    assert "ray" not in here
    [said] = missing
    assert said.startswith("ray, for closecall serve: .venv/bin/pip install -e '.[serve]'")


def probed(mass: float = 1.0, agree: bool = True, ended: bool = True, parsed: int = 2) -> Probe:
    return Probe((mass, mass), (agree, agree), 10, ended, parsed, None)


def test_findings() -> None:
    assert Health.of([probed()] * 10).findings() == []
    assert "follows the position" in Health.of([probed(agree=False)] * 10).findings()[0]
    parsed_only = Health.of([probed(mass=0.1)] * 10)
    assert parsed_only.reads
    assert "thinks its whole chain" in parsed_only.findings()[0]
    late = Health.of([Probe((0.1, 0.9), (True, True), 10, True, 2, None)] * 10)
    assert "prompt alone" in late.findings()[0]
    assert not Health.of([probed(mass=0.1, ended=False, parsed=0)] * 10).reads


@pytest.mark.parametrize("probed", [True, False])
def test_an_endpoint_is_examined_by_what_it_can_do(
    sglang: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, probed: bool
) -> None:
    assert isinstance(sglang, SGLangEngine)
    monkeypatch.setenv("CLOSECALL_ENGINE_KEY", str(sglang.server.key))
    config = tmp_path / "closecall.toml"
    declared = "" if probed else "logprobs = false\nprefill = false\n"
    config.write_text(f'engine = "openai"\nbase_url = "{sglang.server.url}/v1"\n{declared}')
    words = ("--config", config, "--model", WEIGHTS, "--style", "grm", "--tokens", 256)
    found = run(*words)
    assert found.exit_code == 0, found.output
    assert ("no probes here" in found.output) != probed
    assert "written verdicts understood" in found.output
