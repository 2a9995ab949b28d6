"""Progress of long work: live in a terminal, a plain line now and then in a pipe."""

from __future__ import annotations

import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

EVERY = 5.0
"""seconds between two plain lines"""


class RowProgress:
    """So many of `rows` are done. A context manager."""

    def __init__(self, console: Console, doing: str, rows: int) -> None:
        self.console, self.doing, self.rows = console, doing, rows
        self._began = self._last_line = time.monotonic()
        self._before = 0
        """rows of earlier runs"""
        self._bar = Progress(
            TextColumn(doing),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=rows, facts="")

    def resume(self, done: int) -> None:
        """So many were done by earlier runs."""
        self._before, self._began = done, time.monotonic()
        if done:
            self.console.print(f"{done} of {self.rows} rows were done before; going on")

    def speed(self, done: int) -> float:
        """Rows a second in this run."""
        return (done - self._before) / max(1e-9, time.monotonic() - self._began)

    def show(self, done: int, facts: str = "") -> None:
        """Say that so many are done, and what else there is to say."""
        self._bar.update(self._task, completed=done, facts=facts)
        now = time.monotonic()
        if self.console.is_terminal or (now - self._last_line < EVERY and done < self.rows):
            return
        self._last_line = now
        left = (self.rows - done) / max(1e-9, self.speed(done))
        parts = [f"{self.doing} {done}/{self.rows} rows", *([facts] if facts else [])]
        self.console.print(", ".join([*parts, f"{left:.0f} s left"]), soft_wrap=True)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
