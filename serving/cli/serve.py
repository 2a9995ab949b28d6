"""`closecall serve`: the service."""

from __future__ import annotations

from typing import Annotated

import typer

from serving.cli.options import Load
from serving.reports.console import console


def serve(
    load: Load,
    replicas: Annotated[int | None, typer.Option(help="Copies of the model.")] = None,
    host: Annotated[
        str | None,
        typer.Option(help="127.0.0.1 unless told otherwise; others need CLOSECALL_API_KEYS."),
    ] = None,
    port: Annotated[int | None, typer.Option(help="8000 unless told otherwise.")] = None,
) -> None:
    """Serve the judge over REST until interrupted."""
    from serving.preflight import check_can_serve

    settings = load(replicas=replicas, host=host, port=port)
    check_can_serve(settings)
    from serving import deploy

    out = console()
    out.print(f"loading {settings.model} on {settings.replicas} replica(s) ...")
    address = f"http://{settings.host}:{settings.port}"
    deploy.run(
        settings,
        lambda: out.print(f"ready: {address} (try {address}/docs; Ctrl-C stops it)"),
    )
