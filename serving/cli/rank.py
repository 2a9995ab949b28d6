"""`closecall rank`: the order of several responses, by comparing pairs of them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Annotated

import typer

from judges.options import JudgeOptions
from judges.ranking import Ranking
from judges.ranking import rank as ranked
from serving.cli.options import TRIES, UNSCORED_EXIT, EffortName, Load, Url, not_blank, options_of
from serving.client import AsyncClient
from serving.errors import SettingsError
from serving.reports.console import console, print_ranking
from serving.settings import Settings


def rank(
    load: Load,
    prompt: Annotated[str, typer.Option(help="What the responses answer.")],
    response: Annotated[list[str], typer.Option(help="One response; give it again for each.")],
    effort: EffortName = "adaptive",
    url: Url = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the ranking as JSON.")] = False,
) -> None:
    """Rank two or more responses by comparing pairs of them; close ones get the thought.

    Exits 0 with a rank for each, 2 on bad input, 3 if one could not be compared, 4 without an
    answer.
    """
    if len(response) < 2:
        raise SettingsError("give --response at least twice")
    ranking = asyncio.run(_ranking(load(), url, not_blank(prompt), response, options_of(effort)))
    if as_json:
        typer.echo(json.dumps(asdict(ranking), indent=2))
    else:
        print_ranking(console(), response, ranking)
    if any(strength is None for strength in ranking.strengths):
        raise typer.Exit(UNSCORED_EXIT)


async def _ranking(
    settings: Settings, url: str | None, prompt: str, responses: list[str], options: JudgeOptions
) -> Ranking:
    if url is not None:
        async with AsyncClient(url, style=settings.style, tries=TRIES) as client:
            return await ranked(client, prompt, responses, options)
    from serving.model_host import ModelHost

    host = ModelHost(settings)
    try:
        return await ranked(host.pairwise(None), prompt, responses, options)
    finally:
        host.close()
