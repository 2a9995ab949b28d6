"""`closecall judge`: one pair."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from judges.options import JudgeOptions
from rrm.types import Pair, Unscored, Verdict
from serving.cli.options import (
    TRIES,
    UNSCORED_EXIT,
    EffortName,
    EvidenceFile,
    Load,
    ThinkingLimit,
    Url,
    not_blank,
    options_of,
)
from serving.client import Client
from serving.reports.console import console, print_outcome
from serving.settings import Settings


def judge(
    load: Load,
    prompt: Annotated[str, typer.Option(help="What the responses answer.")],
    a: Annotated[str, typer.Option("--a", help="The first response.")],
    b: Annotated[str, typer.Option("--b", help="The second response.")],
    effort: EffortName = "adaptive",
    max_thinking_tokens: ThinkingLimit = None,
    evidence: EvidenceFile = None,
    url: Url = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Judge one pair and print the verdict with its thought.

    Exits 0 with a verdict, 2 on bad input, 3 if the judge did not decide, 4 without an answer.
    """
    options = options_of(effort, max_thinking_tokens, return_chain=True, evidence=evidence)
    pair = Pair(prompt=not_blank(prompt), response_a=a, response_b=b)
    settings = load()
    if url is None:
        outcome = judged_here(settings, pair, options)
    else:
        with Client(url, style=settings.style, tries=TRIES) as client:
            outcome = client.judge(pair, options)
    if as_json:
        typer.echo(outcome.model_dump_json(indent=2))
    else:
        print_outcome(console(), outcome)
    if isinstance(outcome, Unscored):
        raise typer.Exit(UNSCORED_EXIT)


def judged_here(settings: Settings, pair: Pair, options: JudgeOptions) -> Verdict | Unscored:
    """Open the model, judge, close it."""
    from serving.model_host import ModelHost

    host = ModelHost(settings)
    try:
        return asyncio.run(host.pairwise(None).judge(pair, options))
    finally:
        host.close()
