"""`closecall demo`: the service on the bundled judge, ten pairs from far apart to nearly equal."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from rrm.types import Outcome, Pair, Unscored, Verdict
from serving.settings import SettingsError
from serving.show import WHY, print_outcome

QUESTION = "What is 34 + 27 + 15?"
RIGHT = "The answer is 76."
OTHERS = (366, 256, 166, 116, 91, 88, 84, 80, 78, 77)
"""what the other response says, from far from 76 to next to it"""
START_SECONDS = 180
OUTCOMES: TypeAdapter[Verdict | Unscored] = TypeAdapter(Outcome)


def pairs() -> list[Pair]:
    """The right response stands first in every second pair, so that order tells nothing."""
    made = []
    for index, number in enumerate(OTHERS):
        pair = Pair(prompt=QUESTION, response_a=RIGHT, response_b=f"It comes to {number}.")
        made.append(pair if index % 2 == 0 else pair.swapped())
    return made


@contextmanager
def service(console: Console) -> Iterator[str]:
    """Run `closecall serve` on a free port. Raises SettingsError if it does not come up."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "serving.cli", "serve", "--port", str(port)]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out)  # noqa: S603 our own
        try:
            with console.status("Starting Ray and loading the bundled judge (about 15 s) ..."):
                until = time.monotonic() + START_SECONDS
                while "ready:" not in log.read_text():
                    if process.poll() is not None or time.monotonic() > until:
                        raise SettingsError(f"the service did not start:\n{log.read_text()}")
                    time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def run(console: Console) -> None:
    """Judge the pairs over REST and print what came back."""
    console.print("Starting the service on the bundled judge, nano ...")
    with service(console) as url, httpx2.Client(base_url=url, timeout=60) as http:
        console.print(f"It answers at {url}. Judging {len(OTHERS)} pairs: {QUESTION}\n")
        verdicts = [_ask(http, pair) for pair in pairs()]
        console.print(_table(verdicts))
        for title, index in (("A far pair in full", 0), ("A close pair in full", -1)):
            pair = pairs()[index]
            console.print(f"\n[bold underline]{title}[/]: {pair.response_a!r}, {pair.response_b!r}")
            print_outcome(console, verdicts[index])
        console.print("\nStopping the service ...")
    console.print("Done. Start your own: .venv/bin/closecall serve")


def _ask(http: httpx2.Client, pair: Pair) -> Verdict:
    body = {**pair.model_dump(), "return_chain": True}
    answer = http.post("/v1/judge", json=body)
    answer.raise_for_status()
    outcome = OUTCOMES.validate_python(answer.json())
    if isinstance(outcome, Unscored):
        raise SettingsError(f"nano did not decide: {outcome.reason}, {outcome.detail}")
    return outcome


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
