"""The examples run as they stand, and what is public is what they import."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from serving.testing.process import ServiceProcess

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, *arguments: str) -> list[str]:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_pairs_are_judged() -> None:
    lines = run("judge_pairs.py")
    assert len(lines) == 12
    assert all(line[0] in "ab" for line in lines)


@pytest.mark.slow
def test_responses_are_ranked() -> None:
    best, *_ = run("rank_responses.py")
    assert best.endswith("  It is 623.")


def test_a_service_is_asked(service: ServiceProcess) -> None:
    none, adaptive, full = run("ask_service.py", service.url)
    assert none.endswith(", 0 thinking tokens")
    assert adaptive.startswith("adaptive  a")
    assert full.startswith("full      a")


@pytest.mark.parametrize("package", ["rrm", "judges", "serving"])
def test_every_public_name_is_there(package: str) -> None:
    module = importlib.import_module(package)
    assert all(hasattr(module, name) for name in module.__all__)
    assert all(name in (module.__doc__ or "") for name in module.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = module.Nothing
