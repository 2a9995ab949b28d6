"""`closecall score`: a score for each response."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from judges.options import JudgeOptions
from rrm.types import Candidates, Score, Unscored
from serving.cli.options import TRIES, UNSCORED_EXIT, EffortName, Load, Url, not_blank, options_of
from serving.client import Client
from serving.reports.console import console, print_score
from serving.settings import Settings


def score(
    load: Load,
    prompt: Annotated[str, typer.Option(help="What the responses answer.")],
    response: Annotated[list[str], typer.Option(help="One response; give it again for each.")],
    effort: EffortName = "adaptive",
    url: Url = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Score each of one or more responses, in a style that scores.

    Exits 0 with scores, 2 on bad input, 3 if the judge did not decide, 4 without an answer.
    """
    options = options_of(effort)
    candidates = Candidates(prompt=not_blank(prompt), responses=tuple(response))
    settings = load()
    if url is None:
        outcome = scored_here(settings, candidates, options)
    else:
        with Client(url, style=settings.style, tries=TRIES) as client:
            outcome = client.score(candidates, options)
    if as_json:
        typer.echo(outcome.model_dump_json(indent=2))
    else:
        print_score(console(), candidates.responses, outcome)
    if isinstance(outcome, Unscored):
        raise typer.Exit(UNSCORED_EXIT)


def scored_here(
    settings: Settings, candidates: Candidates, options: JudgeOptions
) -> Score | Unscored:
    """Open the model, score, close it."""
    from serving.model_host import ModelHost

    host = ModelHost(settings)
    try:
        return asyncio.run(host.pointwise(settings.style).score(candidates, options))
    finally:
        host.close()
