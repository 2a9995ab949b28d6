"""`closecall demo`: the service on the bundled judge, ten pairs from far apart to nearly equal."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from judges.options import JudgeOptions
from rrm.types import Pair, Verdict
from serving.client import Client
from serving.errors import SettingsError
from serving.reports.console import WHY, print_outcome
from serving.testing.process import ServiceProcess

QUESTION = "What is 34 + 27 + 15?"
RIGHT = "The answer is 76."
OTHERS = (366, 256, 166, 116, 91, 88, 84, 80, 78, 77)
"""what the other response says, from far from 76 to next to it"""


def pairs() -> list[Pair]:
    """The right response stands first in every second pair, so that order tells nothing."""
    made = []
    for index, number in enumerate(OTHERS):
        pair = Pair(prompt=QUESTION, response_a=RIGHT, response_b=f"It comes to {number}.")
        made.append(pair if index % 2 == 0 else pair.swapped())
    return made


def run(console: Console) -> None:
    """Judge the pairs over REST and print what came back."""
    console.print("Starting Ray Serve and the bundled judge, nano (about 15 s) ...")
    with (
        tempfile.TemporaryDirectory() as folder,
        ServiceProcess(Path(folder) / "log") as service,
    ):
        console.print(f"It answers at {service.url}. Judging {len(OTHERS)} pairs: {QUESTION}\n")
        with Client(service.url) as client:
            outcomes = [client.judge(pair, JudgeOptions(return_chain=True)) for pair in pairs()]
        verdicts = [outcome for outcome in outcomes if isinstance(outcome, Verdict)]
        if len(verdicts) < len(outcomes):
            raise SettingsError("nano did not decide every pair")
        console.print(_table(verdicts))
        for title, index in (("A far pair in full", 0), ("A close pair in full", -1)):
            pair = pairs()[index]
            head = Text(f"\n{title}", style="bold underline")
            console.print(head.append(f": {pair.response_a!r}, {pair.response_b!r}", style="none"))
            print_outcome(console, verdicts[index])
        console.print("\nStopping the service ...")
    console.print("Done. Start your own: .venv/bin/closecall serve")


def _table(verdicts: list[Verdict]) -> Table:
    table = Table(title="Thought follows closeness", box=None, title_justify="left")
    for head, side in (
        ("response a", "left"),
        ("response b", "left"),
        ("better", "left"),
        ("probability", "right"),
        ("thinking tokens", "right"),
        ("why it stopped", "left"),
    ):
        table.add_column(head, justify="right" if side == "right" else "left")
    for pair, verdict in zip(pairs(), verdicts, strict=True):
        table.add_row(
            pair.response_a,
            pair.response_b,
            verdict.preferred,
            f"{verdict.probability:.2f}",
            str(verdict.usage.thinking_tokens),
            WHY[verdict.reason],
        )
    return table
