"""What is shipped: a light core, a wheel that carries the weights, no stray file."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run(*words: str) -> str:
    command = [sys.executable, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_core_needs_neither_torch_nor_ray() -> None:
    heavy = {"torch", "transformers", "ray", "numpy", "fastapi", "scipy"}
    code = "import sys, rrm, rrm.types, rrm.engine, rrm.chain, rrm.calibration, judges"
    code += ", judges.rrm, judges.rm_r1, judges.grm, judges.pairwise, judges.nano, serving.cli"
    loaded = set(run("-c", f"{code}\nprint(*sys.modules)").split())
    assert not loaded & heavy


def test_the_wheel_carries_the_model_and_nothing_strange(tmp_path: Path) -> None:
    run("-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    [wheel] = tmp_path.glob("closecall-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "judges/nano/weights/model.safetensors",
        "judges/nano/weights/tokenizer.json",
        "judges/nano/weights/closecall.json",
        "judges/nano/weights/stopper.json",
        "judges/nano/README.md",
        "judges/prompts/rrm.user.txt",
        "judges/contracts/think-rm.toml",
        "rrm/py.typed",
        "judges/py.typed",
        "serving/py.typed",
    ):
        assert name in names
    tops = {name.split("/")[0] for name in names}
    assert tops == {"rrm", "judges", "serving", f"{wheel.name.split('-py3')[0]}.dist-info"}
