"""What is shipped: a light core, a wheel that carries the weights, no stray file."""

import json
import os
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*words: str) -> str:
    command = [sys.executable, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_core_needs_neither_torch_nor_ray() -> None:
    heavy = {"torch", "transformers", "ray", "numpy", "fastapi", "scipy"}
    code = (
        "import sys, rrm, rrm.types, rrm.engines.base, rrm.decision.chains, rrm.calibration, judges"
    )
    code += ", judges.styles.registry, judges.pairwise, judges.nano, serving.cli"
    code += ", rrm.decision.driver, rrm.budget, rrm.calibration.artifact, serving.client"
    loaded = set(run("-c", f"{code}\nprint(*sys.modules)").split())
    assert not loaded & heavy


def built(folder: Path) -> Path:
    run("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    [wheel] = folder.glob("closecall-*.whl")
    return wheel


def test_the_wheel_holds_what_is_written_down(tmp_path: Path) -> None:
    """`tests/wheel.txt`: a new file fails here until somebody decided that it is shipped."""
    names = zipfile.ZipFile(built(tmp_path)).namelist()
    listed = (ROOT / "tests" / "wheel.txt").read_text().split()
    assert sorted(name for name in names if ".dist-info/" not in name) == listed


@pytest.mark.network
@pytest.mark.slow
def test_the_wheel_judges_a_pair_in_an_empty_environment(tmp_path: Path) -> None:
    if "CLOSECALL_CI" not in os.environ:
        pytest.skip("installs torch for a minute; continuous integration does")
    wheel = built(tmp_path)
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    here = tmp_path / "venv" / "bin"
    pins = ["--constraint", str(ROOT / "constraints.txt")]
    install = [str(here / "pip"), "install", "-qq", "--disable-pip-version-check", *pins]
    subprocess.run([*install, f"{wheel}[transformers]"], check=True, timeout=900)
    pair = ["--prompt", "What is 34 + 27 + 15?", "--a", "The answer is 76.", "--b", "It is 91."]
    for command, said in (
        (["--version"], f"closecall {version('closecall')}"),
        (["judge", *pair], "response a is better"),
    ):
        done = subprocess.run(
            [str(here / "closecall"), *command],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            cwd=tmp_path,
        )
        assert said in done.stdout, done.stderr


@pytest.mark.network
@pytest.mark.slow
def test_the_sglang_extra_resolves_with_its_own_pins(tmp_path: Path) -> None:
    """As on a GPU machine: no constraints of ours, SGLang's CUDA packages; only resolved."""
    if "CLOSECALL_CI" not in os.environ:
        pytest.skip("asks the package index for two minutes; continuous integration does")
    report = tmp_path / "report.json"
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "-qq"]
    command = [*pip, "--report", str(report), f"{ROOT}[serve,sglang]"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    found = {
        package["metadata"]["name"].lower(): package["metadata"]["version"]
        for package in json.loads(report.read_text())["install"]
    }
    assert {"closecall", "ray", "sglang", "sglang-kernel", "torch", "transformers"} <= set(found)
    assert not found["torch"].endswith("+cpu")
