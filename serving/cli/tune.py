"""`closecall tune`: the wording and the way to judge, chosen together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from serving.cli.options import UNSCORED_EXIT, Columns, Load, columns_of
from serving.reports.console import console


def tune(
    load: Load,
    data: Annotated[Path, typer.Option(help="Labelled pairs (a or b), JSONL or CSV.")],
    columns: Columns = None,
    wordings: Annotated[
        int | None, typer.Option(min=2, help="Of the style's own; none: all of them.")
    ] = None,
    votes: Annotated[int, typer.Option(min=2, max=16, help="Traced of each wording.")] = 8,
    traces: Annotated[
        Path | None, typer.Option(help="A folder, one file a wording; none: beside the data.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The calibration; none: beside the weights.")
    ] = None,
    epsilon: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="Accuracy that may be lost, as a fraction.")
    ] = 0.01,
    delta: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="Probability that the proof may be wrong.")
    ] = 0.1,
    completions: Annotated[
        int, typer.Option(min=1, help="Pairs of chains that the search draws from the traces.")
    ] = 5_000,
) -> None:
    """Choose wording, depth and votes together, the same for every pair, and prove the choice.

    Where all traces are there, no model is opened. Exits 0 with a certificate, 2 on bad input, 3
    without one.
    """
    from serving.calibrate import default_out
    from serving.datasets import read_dataset
    from serving.tune import TuningOptions
    from serving.tune import tune as run

    settings = load()
    dataset = read_dataset(data, columns_of(columns))
    folder = traces or data.parent
    folder.mkdir(parents=True, exist_ok=True)
    written = out or settings.thresholds or default_out(settings)
    options = TuningOptions(epsilon, delta, wordings, votes, completions)
    terminal = console()
    calibration = run(terminal, settings, dataset, folder, written, options)
    terminal.print(f"calibration: {written}", soft_wrap=True)
    if calibration.certificate is None:
        raise typer.Exit(UNSCORED_EXIT)
