"""What a batch came to: progress while it runs, figures and a table at its end."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from rrm.types import Unscored, Verdict
from serving.journal import JudgedRow
from serving.reports.progress import RowProgress

Z = 1.959964
"""of a 95 % interval"""


def wilson(successes: float, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = successes / n, Z * Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


class Tally:
    """Counts the lines of a batch. Unscored rows are in no share but their own."""

    def __init__(self) -> None:
        self.rows = 0
        self.unscored: Counter[str] = Counter()
        self.stages: Counter[int] = Counter()
        self.thought: Counter[int] = Counter()
        """thinking tokens by stage"""
        self.preferred: Counter[str] = Counter()
        self.disagreed = self.compared = 0
        self.right = self.labelled = 0
        self.tokens = self.orders = 0

    def add(self, line: JudgedRow) -> None:
        self.rows += 1
        self.tokens += line.outcome.usage.thinking_tokens
        if isinstance(line.outcome, Unscored):
            self.unscored[line.outcome.reason] += 1
            return
        self._verdict(line, line.outcome)

    def _verdict(self, line: JudgedRow, verdict: Verdict) -> None:
        # 0: no thought; two readouts as deep (the other order's prompt, read late) are one stage.
        stage = len({point.thinking_tokens for point in verdict.path} - {0})
        self.stages[stage] += 1
        self.thought[stage] += verdict.usage.thinking_tokens
        self.preferred[verdict.preferred] += 1
        self.orders += verdict.orders_read if verdict.orders else 0
        if verdict.orders and verdict.consistent is not None:
            self.compared += 1
            self.disagreed += not verdict.consistent
        if line.label in ("a", "b"):
            self.labelled += 1
            self.right += verdict.preferred == line.label

    @property
    def verdicts(self) -> int:
        return sum(self.preferred.values())

    @property
    def unscored_share(self) -> float:
        return sum(self.unscored.values()) / self.rows if self.rows else 0.0

    def summary(self) -> dict[str, Any]:
        """The figures; nothing in it depends on time."""
        wins = self.preferred["a"] + self.preferred["tie"] / 2
        figures: dict[str, Any] = {
            "rows": self.rows,
            "verdicts": self.verdicts,
            "unscored": dict(sorted(self.unscored.items())),
            "unscored_share": self.unscored_share,
            "preferred": {side: self.preferred[side] for side in ("a", "b", "tie")},
            "win_rate_of_a": _fraction(wins, self.verdicts),
            "accuracy": _fraction(self.right, self.labelled),
            "order_flips": _fraction(self.disagreed, self.compared),
            "orders_read": self.orders / self.verdicts if self.verdicts else None,
            "thinking_tokens": self.tokens,
            "stages": [
                {"stage": stage, "rows": count, "mean_thinking_tokens": self.thought[stage] / count}
                for stage, count in sorted(self.stages.items())
            ],
        }
        return figures


def _fraction(successes: float, n: int) -> dict[str, Any] | None:
    if n == 0:
        return None
    low, high = wilson(successes, n)
    return {"share": successes / n, "low": low, "high": high, "n": n}


def summary_table(figures: dict[str, Any]) -> Table:
    """The figures for people."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    unscored = ", ".join(f"{why} {count}" for why, count in figures["unscored"].items())
    table.add_row("rows", f"{figures['rows']}: {figures['verdicts']} verdicts")
    table.add_row("unscored", f"{figures['unscored_share']:.1%} ({unscored or 'none'})")
    for name, label in (
        ("win_rate_of_a", "win rate of a"),
        ("accuracy", "accuracy"),
        ("order_flips", "orders disagree"),
    ):
        found = figures[name]
        if found is not None:
            shown = f"{found['share']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
            table.add_row(label, f"{shown} of {found['n']}")
    if figures["orders_read"] is not None:
        table.add_row("orders read", f"{figures['orders_read']:.2f} of 2 a verdict")
    table.add_row("thinking tokens", f"{figures['thinking_tokens']:,}")
    for stage in figures["stages"]:
        name = "stopped at once" if stage["stage"] == 0 else f"after checkpoint {stage['stage']}"
        mean = stage["mean_thinking_tokens"]
        table.add_row(f"  {name}", f"{stage['rows']} rows, {mean:.0f} thinking tokens each")
    return table


class BatchProgress(RowProgress):
    """Of a batch, with what it came to so far."""

    def __init__(self, console: Console, rows: int, tally: Tally) -> None:
        super().__init__(console, "judging", rows)
        self.tally = tally

    def warn_unreadable(self, lines: int, where: Path) -> None:
        """Say that lines of earlier runs could not be read."""
        self.console.print(
            f"{lines} line(s) of earlier runs cannot be read; they are kept in {where}, and their "
            "rows are done again",
            style="yellow",
            soft_wrap=True,
        )

    def resumed(self) -> None:
        """What came so far is of earlier runs."""
        self.resume(self.tally.rows)

    def advance(self, line: JudgedRow) -> None:
        """One more row."""
        self.tally.add(line)
        self.show(self.tally.rows, self.facts())

    def facts(self) -> str:
        """What is worth knowing meanwhile."""
        tally = self.tally
        stages = " ".join(f"{stage}:{count}" for stage, count in sorted(tally.stages.items()))
        return (
            f"{self.speed(tally.rows):.1f} pairs/s, {tally.tokens:,} tokens, stopped at "
            f"{stages or '-'}, {sum(tally.unscored.values())} unscored"
        )
