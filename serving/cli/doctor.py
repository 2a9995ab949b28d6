"""`closecall doctor`: whether a judge can be trusted to be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from serving.cli.options import UNSCORED_EXIT, Load
from serving.reports.console import console


def doctor(
    load: Load,
    data: Annotated[
        Path | None, typer.Option(help="Your own pairs, JSONL or CSV; else plain arithmetic.")
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="The most a chain may think here.")] = 512,
    as_json: Annotated[Path | None, typer.Option("--json", help="Write the figures.")] = None,
) -> None:
    """Say what is installed and what would run, and probe ten pairs.

    Exits 0 if the style reads the model, 2 if nothing would run, 3 if the style does not read it.
    """
    from serving.datasets import read_dataset
    from serving.doctor import examine, known_pairs, pairs_of

    settings = load()
    pairs = known_pairs() if data is None else pairs_of(read_dataset(data).rows)
    figures, reads = examine(console(), settings, pairs, tokens)
    if as_json is not None:
        as_json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if not reads:
        raise typer.Exit(UNSCORED_EXIT)
