"""Progress in a pipe: plain lines with an estimate."""

import io

import pytest
from rich.console import Console

from serving.reports.progress import RowProgress


def test_a_pipe_gets_lines_with_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("serving.reports.progress.time.monotonic", lambda: now)
    out = io.StringIO()
    with RowProgress(Console(file=out, width=200), "judging", 40) as rows:
        rows.show(10)
        rows.resume(20)
        for done in range(21, 41):
            now += 1.0
            rows.show(done, f"{done} seen")
    lines = out.getvalue().splitlines()
    assert lines[0] == "20 of 40 rows were done before; going on"
    assert lines[1:] == [
        f"judging {done}/40 rows, {done} seen, {40 - done} s left" for done in (25, 30, 35, 40)
    ]


def test_a_terminal_gets_no_lines() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80)
    with RowProgress(console, "judging", 3) as rows:
        rows.show(3)
    assert "s left" not in out.getvalue()
