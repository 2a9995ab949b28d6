"""What a newcomer sees: the demo runs whole and its thought follows closeness."""

import re
import subprocess
import sys

import pytest

from serving.demo import OTHERS, pairs

pytestmark = pytest.mark.service


def test_the_demo_judges_over_rest_and_stops_its_service() -> None:
    command = [sys.executable, "-m", "serving.cli", "demo"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=wide()
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(
        r"^ +(?:The answer|It comes).* ([ab]) +(0\.\d+|1\.00) +(\d+) ", done.stdout, re.MULTILINE
    )
    assert len(rows) == len(OTHERS) >= 10
    assert [better for better, _, _ in rows] == ["a", "b"] * (len(OTHERS) // 2)
    thought = [int(tokens) for _, _, tokens in rows]
    assert thought[0] == 0
    assert thought[-1] > 0
    assert sum(thought[5:]) > sum(thought[:5])
    for said in ("A far pair in full", "A close pair in full", "34+27=061", "Stopping"):
        assert said in done.stdout.replace("034+027=061", "34+27=061")


def wide() -> dict[str, str]:
    import os

    return {**os.environ, "COLUMNS": "140"}


def test_the_right_response_changes_its_place() -> None:
    firsts = {pair.response_a.startswith("The answer") for pair in pairs()}
    assert firsts == {True, False}
