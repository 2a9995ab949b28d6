"""`closecall calibrate`: when more thought is worth its price."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rrm.decision.priced import PriceKind
from serving.cli.options import UNSCORED_EXIT, Columns, Load, columns_of
from serving.reports.console import console


def calibrate(
    load: Load,
    data: Annotated[Path, typer.Option(help="Labelled pairs (a or b), JSONL or CSV.")],
    columns: Columns = None,
    traces: Annotated[
        Path | None, typer.Option(help="Whole chains of every pair; none: beside the data.")
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
    self_agreement: Annotated[
        bool, typer.Option(help="Prove agreement with its own whole chains: needs no labels.")
    ] = False,
    votes: Annotated[
        int, typer.Option(min=1, max=16, help="Pairs of chains that a verdict may take in all.")
    ] = 1,
    wordings: Annotated[
        int, typer.Option(min=1, help="Of the instruction, in which votes are asked in turn.")
    ] = 1,
    price: Annotated[
        PriceKind,
        typer.Option(
            help="What a token costs: operations, seconds measured on this engine, or generated "
            "ones alone."
        ),
    ] = "flops",
    look_tokens: Annotated[
        float,
        typer.Option(min=0.0, help="Generated tokens that a probe costs beside its own tokens."),
    ] = 0.0,
) -> None:
    """Find out when thinking on is worth it, and prove what stopping early costs.

    Killed and started again with the same arguments, it goes on. Exits 0 with a certificate, 2 on
    bad input, 3 without one: then whole chains are thought.
    """
    from serving.calibrate import CalibrationOptions, default_out
    from serving.calibrate import calibrate as run
    from serving.datasets import read_dataset

    settings = load()
    terminal = console()
    dataset = read_dataset(data, columns_of(columns))
    kept = traces or data.with_name(f"{data.name}.{settings.style or 'default'}.traces.jsonl")
    written = out or settings.thresholds or default_out(settings)
    options = CalibrationOptions(
        epsilon, delta, self_agreement, votes, wordings, price, look_tokens
    )
    calibration = run(terminal, settings, dataset, kept, written, options)
    terminal.print(f"traces: {kept}; calibration: {written}", soft_wrap=True)
    if calibration.certificate is None:
        raise typer.Exit(UNSCORED_EXIT)
