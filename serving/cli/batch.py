"""`closecall batch`: a dataset of pairs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from judges.options import JudgeOptions
from serving.cli.options import (
    UNSCORED_EXIT,
    Columns,
    EffortName,
    Load,
    ThinkingLimit,
    Url,
    columns_of,
    options_of,
)
from serving.client import AsyncClient
from serving.errors import SettingsError
from serving.reports.console import console
from serving.settings import Settings

if TYPE_CHECKING:
    from serving.batch import BudgetOptions, RowJudge, Run
    from serving.datasets import Dataset
    from serving.journal import JudgedRow
    from serving.reports.batch import BatchProgress


def batch(
    load: Load,
    source: Annotated[Path, typer.Argument(metavar="IN", help="JSONL or CSV, one pair a row.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="One JSON line a row, in order.")],
    columns: Columns = None,
    url: Url = None,
    effort: EffortName = "adaptive",
    max_thinking_tokens: ThinkingLimit = None,
    return_chain: Annotated[bool, typer.Option(help="Write the chains too.")] = False,
    dtype: Annotated[
        str | None,
        typer.Option(help="float64 on a CPU, so that a rerun gives the same bytes; auto is fast."),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Rows judged at once.")] = 64,
    max_unscored: Annotated[float, typer.Option(help="Exit 3 above this fraction.")] = 0.05,
    budget_tokens: Annotated[
        int | None, typer.Option(min=0, help="Thinking tokens for all rows together.")
    ] = None,
    budget_flops: Annotated[
        float | None, typer.Option(min=0, help="Operations for all rows together, prompts too.")
    ] = None,
    budget_seconds: Annotated[
        float | None, typer.Option(min=0, help="Time for all rows together.")
    ] = None,
) -> None:
    """Judge a dataset. Killed and started again with the same arguments, it goes on.

    Exits 0 when it is whole, 2 on bad input, 3 with too many rows unscored, 4 if the service went
    away (start again to go on).
    """
    from serving.batch import BudgetOptions
    from serving.datasets import read_dataset
    from serving.reports.batch import BatchProgress, Tally, summary_table

    terminal = console()
    dataset = read_dataset(source, columns_of(columns))
    shown = ", ".join(f"{role} from {name!r}" for role, name in dataset.columns.items())
    terminal.print(f"{len(dataset.rows)} rows of {source}: {shown}", soft_wrap=True)
    options = options_of(effort, max_thinking_tokens, return_chain)
    settings = load(dtype=dtype)
    if "dtype" not in settings.model_fields_set and (exact := exact_dtype(settings)):
        settings = settings.model_copy(update={"dtype": exact})
    budgets = BudgetOptions(budget_tokens, budget_flops, budget_seconds)
    if budgets.given and (url is not None or not options.plain):
        raise SettingsError(
            "a budget for all rows is spent by adaptive effort in this process, so it goes with no "
            "--url, --effort or --max-thinking-tokens; a service has its tokens_per_pair"
        )
    tally = Tally()
    with BatchProgress(terminal, len(dataset.rows), tally) as progress:
        asyncio.run(run_batch(dataset, out, url, settings, options, concurrency, progress, budgets))
    terminal.print(summary_table(tally.summary()))
    terminal.print(f"outcomes: {out}; figures: {out}.summary.json", soft_wrap=True)
    if tally.unscored_share > max_unscored:
        raise typer.Exit(UNSCORED_EXIT)


async def run_batch(
    dataset: Dataset,
    out: Path,
    url: str | None,
    settings: Settings,
    options: JudgeOptions,
    concurrency: int,
    progress: BatchProgress,
    budgets: BudgetOptions,
) -> None:
    """Judge in this process or by the service at `url`, then write the summary."""
    from serving.batch import Judging, LocalJudge, RemoteJudge, Run, write_whole
    from serving.model_host import ModelHost

    def run_with(judge: RowJudge) -> Run[JudgedRow]:
        return Run(
            dataset,
            out,
            Judging(judge),
            concurrency,
            progress.advance,
            progress.resumed,
            on_unreadable=progress.warn_unreadable,
        )

    if url is not None:
        async with AsyncClient(url, style=settings.style) as client:
            run = run_with(RemoteJudge(client, options))
            await run.go()
    else:
        host = ModelHost(settings)
        try:
            budget = budgets.budget(host, dataset)
            run = run_with(LocalJudge(host, options, budget))
            if budget is not None:
                run.known = budgets.known(budget, dataset)
            await run.go()
            if budget is not None:
                progress.console.print(f"budget: {budget.spent:,.0f} spent of {budget.description}")
        finally:
            host.close()
    write_whole(run.summary, progress.tally.summary())


def exact_dtype(settings: Settings) -> str | None:
    """In which a rerun gives the same bytes on the CPU, if the engine has one."""
    from rrm.engines.registry import engine_entry
    from serving.preflight import device_of

    exact = engine_entry(settings.engine).capabilities.exact_dtype
    return exact if device_of(settings) == "cpu" else None
