"""The command `closecall`: a module a command."""

from __future__ import annotations

from collections.abc import Callable

import typer

from rrm import __version__
from serving.cli import (
    batch,
    calibrate,
    demo,
    doctor,
    judge,
    rank,
    score,
    sensitivity,
    serve,
    tune,
)
from serving.cli.options import command

cli = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Reasoning reward models that think longer on a close call. Keys: CLOSECALL_API_KEY for "
    "a service that is called, CLOSECALL_API_KEYS for one that is started.",
)
COMMANDS: tuple[Callable[..., None], ...] = (
    *(judge.judge, score.score, rank.rank, serve.serve, batch.batch),
    *(calibrate.calibrate, sensitivity.sensitivity, tune.tune, doctor.doctor, demo.demo),
)
for each in COMMANDS:
    cli.command()(command(each))


@cli.callback(invoke_without_command=True)
def about(
    version: bool = typer.Option(False, "--version", help="Print the version."),
) -> None:
    """What there is to say without a command."""
    if version:
        typer.echo(f"closecall {__version__}")
        raise typer.Exit


def main() -> None:
    """The entry point."""
    cli()
