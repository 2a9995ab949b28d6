"""`closecall sensitivity`: how much verdicts hang on the wording of the question."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from serving.cli.options import Columns, Load, columns_of
from serving.reports.console import console


def sensitivity(
    load: Load,
    data: Annotated[Path, typer.Option(help="Pairs, labelled (a or b) or not, JSONL or CSV.")],
    columns: Columns = None,
    wordings: Annotated[
        int | None, typer.Option(min=2, help="Of the style's own; none: all of them.")
    ] = None,
    wording: Annotated[
        list[Path] | None,
        typer.Option(help="Another instruction text, in their place; may be given again."),
    ] = None,
    traces: Annotated[
        Path | None, typer.Option(help="Whole chains of every pair; none: beside the data.")
    ] = None,
) -> None:
    """Ask the same pairs in other words, and tell what changes; and whether confidence tells it.

    Killed and started again with the same arguments, it goes on. Exits 2 on bad input.
    """
    from serving.datasets import read_dataset
    from serving.sensitivity import sensitivity as run

    settings = load()
    dataset = read_dataset(data, columns_of(columns))
    kept = traces or data.with_name(f"{data.name}.{settings.style or 'default'}.wordings.jsonl")
    run(console(), settings, dataset, kept, wordings, wording or [])
