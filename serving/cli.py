"""The command `closecall`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec

import typer
from rich.console import Console

from judges.asked import Asked
from rrm.engines.registry import DEFAULT, ENGINES
from rrm.errors import RefusedText, StyleMismatch
from rrm.priced import PriceKind
from rrm.types import Effort, Pair, Unscored
from serving.client import ServiceError
from serving.origin import NameClash, check_origin
from serving.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from serving.batch import RowJudge, Sums
    from serving.journal import Line
    from serving.report import BatchProgress
    from serving.rows import Dataset

UNSCORED_EXIT = 3
SERVICE_EXIT = 4
P = ParamSpec("P")

cli = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Reasoning reward models that think longer on a close call.",
)


def says_why(command: Callable[P, None]) -> Callable[P, None]:
    """Print what a user can mend as one message and exit 2; a bug keeps its traceback."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            check_origin()
            command(*args, **kwargs)
        except (SettingsError, StyleMismatch, RefusedText, NameClash) as refusal:
            Console(stderr=True).print(f"closecall: {refusal}", style="red", highlight=False)
            raise typer.Exit(2) from None

        except ServiceError as failure:
            Console(stderr=True).print(f"closecall: {failure}", style="red", highlight=False)
            raise typer.Exit(SERVICE_EXIT) from None

    return wrapped


Model = Annotated[str | None, typer.Option(help="`nano` (bundled), a directory, or a hub id.")]
StyleName = Annotated[str | None, typer.Option(help="rrm, rm-r1, ...; none: the model's own.")]
Engine = Annotated[str | None, typer.Option(help=f"{', '.join(ENGINES)}; none: {DEFAULT}.")]
BaseUrl = Annotated[
    str | None, typer.Option(help="Of a running server; its key: CLOSECALL_ENGINE_KEY.")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; a GPU if there is one.")]
Calibration = Annotated[
    Path | None,
    typer.Option("--calibration", "--stopper", help="Thresholds from closecall calibrate."),
]
PromptFile = Annotated[
    Path | None, typer.Option(help="A style of your own (.toml), or another instruction text.")
]


@cli.command()
@says_why
def judge(
    prompt: Annotated[str, typer.Option(help="What the responses answer.")],
    a: Annotated[str, typer.Option("--a", help="The first response.")],
    b: Annotated[str, typer.Option("--b", help="The second response.")],
    model: Model = None,
    engine: Engine = None,
    base_url: BaseUrl = None,
    style: StyleName = None,
    effort: Annotated[str, typer.Option(help="none, adaptive or full.")] = "adaptive",
    max_thinking_tokens: Annotated[
        int | None, typer.Option(min=0, help="For both orders together.")
    ] = None,
    device: Device = None,
    prompt_file: PromptFile = None,
    calibration: Calibration = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Judge one pair in this process and print the verdict with its thought.

    Exits 0 with a verdict, 2 on bad input, 3 if the judge did not decide.
    """
    from serving.registry import Registry
    from serving.show import print_outcome

    settings = load_settings(
        model=model,
        engine=engine,
        base_url=base_url,
        style=style,
        device=device,
        prompt_file=prompt_file,
        calibration=calibration,
    )
    if not prompt.strip():
        raise SettingsError("--prompt is empty; give the text that the responses answer")
    asked = Asked(as_effort(effort), max_thinking_tokens, return_chain=True)
    registry = Registry(settings)
    try:
        pair = Pair(prompt=prompt, response_a=a, response_b=b)
        outcome = asyncio.run(registry.pairwise(None).judge(pair, asked))
    finally:
        registry.close()
    if as_json:
        typer.echo(outcome.model_dump_json(indent=2))
    else:
        print_outcome(Console(), outcome)
    if isinstance(outcome, Unscored):
        raise typer.Exit(UNSCORED_EXIT)


@cli.command()
@says_why
def serve(
    model: Model = None,
    engine: Engine = None,
    base_url: BaseUrl = None,
    style: StyleName = None,
    device: Device = None,
    replicas: Annotated[int | None, typer.Option(help="Copies of the model.")] = None,
    host: Annotated[str | None, typer.Option(help="Loopback unless told otherwise.")] = None,
    port: Annotated[int | None, typer.Option(help="8000 unless told otherwise.")] = None,
    prompt_file: PromptFile = None,
    calibration: Calibration = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file of settings.")] = None,
) -> None:
    """Serve the judge over REST until interrupted."""
    settings = load_settings(
        config,
        model=model,
        engine=engine,
        base_url=base_url,
        style=style,
        device=device,
        replicas=replicas,
        host=host,
        port=port,
        prompt_file=prompt_file,
        calibration=calibration,
    )
    check_can_serve(settings)
    from serving import deploy

    console = Console(highlight=False)
    console.print(f"loading {settings.model} on {settings.replicas} replica(s) ...")
    address = f"http://{settings.host}:{settings.port}"
    deploy.run(
        settings,
        lambda: console.print(f"ready: {address} (try {address}/docs; Ctrl-C stops it)"),
    )


@cli.command()
@says_why
def batch(
    source: Annotated[Path, typer.Argument(metavar="IN", help="JSONL or CSV, one pair a row.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="One JSON line a row, in order.")],
    columns: Annotated[
        str | None, typer.Option(help="prompt=NAME,a=NAME,b=NAME,label=NAME,id=NAME")
    ] = None,
    url: Annotated[str | None, typer.Option(help="A running service; else this process.")] = None,
    model: Model = None,
    engine: Engine = None,
    base_url: BaseUrl = None,
    style: StyleName = None,
    effort: Annotated[str, typer.Option(help="none, adaptive or full.")] = "adaptive",
    max_thinking_tokens: Annotated[
        int | None, typer.Option(min=0, help="For both orders together.")
    ] = None,
    return_chain: Annotated[bool, typer.Option(help="Write the chains too.")] = False,
    device: Device = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="float64 on a CPU, so that a rerun gives the same bytes; auto is fast."),
    ] = None,
    prompt_file: PromptFile = None,
    calibration: Calibration = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file of settings.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Rows judged at once.")] = 64,
    max_unscored: Annotated[float, typer.Option(help="Exit 3 above this share.")] = 0.05,
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
    """Judge a dataset. Killed and started again with the same words, it goes on.

    Exits 0 when it is whole, 2 on bad input, 3 with too many rows unscored, 4 if the service went
    away (start again to go on).
    """
    from serving.batch import Sums
    from serving.report import BatchProgress, Tally, summary_table
    from serving.rows import read_dataset

    console = Console(highlight=False)
    dataset = read_dataset(source, as_columns(columns))
    shown = ", ".join(f"{role} from {name!r}" for role, name in dataset.columns.items())
    console.print(f"{len(dataset.rows)} rows of {source}: {shown}", soft_wrap=True)
    asked = Asked(as_effort(effort), max_thinking_tokens, return_chain=return_chain)
    given = load_settings(
        config,
        model=model,
        engine=engine,
        base_url=base_url,
        style=style,
        device=device,
        dtype=dtype,
        prompt_file=prompt_file,
        calibration=calibration,
    )
    if "dtype" not in given.model_fields_set and (exact := exact_dtype(given)):
        given = given.model_copy(update={"dtype": exact})
    sums = Sums(budget_tokens, budget_flops, budget_seconds)
    if sums.given and (url is not None or not asked.plain):
        raise SettingsError(
            "a budget for all rows is spent by adaptive effort in this process, so it goes with no "
            "--url, --effort or --max-thinking-tokens; a service has its tokens_per_pair"
        )
    tally = Tally()
    with BatchProgress(console, len(dataset.rows), tally) as progress:
        asyncio.run(run_batch(dataset, out, url, given, asked, concurrency, progress, sums))
    console.print(summary_table(tally.summary()))
    console.print(f"outcomes: {out}; figures: {out}.summary.json")
    if tally.unscored_share > max_unscored:
        raise typer.Exit(UNSCORED_EXIT)


@cli.command()
@says_why
def doctor(
    model: Model = None,
    engine: Engine = None,
    base_url: BaseUrl = None,
    style: StyleName = None,
    device: Device = None,
    prompt_file: PromptFile = None,
    calibration: Calibration = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file of settings.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Your own pairs, JSONL or CSV; else plain arithmetic.")
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="The most a chain may think here.")] = 512,
    as_json: Annotated[Path | None, typer.Option("--json", help="Write the figures.")] = None,
) -> None:
    """Say what is installed and what would run, and probe ten pairs.

    Exits 0 if the style reads the model, 2 if nothing would run, 3 if the style does not read it.
    """
    import json

    from serving.doctor import examine, known_pairs, pairs_of
    from serving.rows import read_dataset

    settings = load_settings(
        config,
        model=model,
        engine=engine,
        base_url=base_url,
        style=style,
        device=device,
        prompt_file=prompt_file,
        calibration=calibration,
    )
    pairs = known_pairs() if data is None else pairs_of(read_dataset(data).rows)
    figures, reads = examine(Console(highlight=False), settings, pairs, tokens)
    if as_json is not None:
        as_json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if not reads:
        raise typer.Exit(UNSCORED_EXIT)


@cli.command()
@says_why
def calibrate(
    data: Annotated[Path, typer.Option(help="Labelled pairs (a or b), JSONL or CSV.")],
    columns: Annotated[
        str | None, typer.Option(help="prompt=NAME,a=NAME,b=NAME,label=NAME,group=NAME")
    ] = None,
    model: Model = None,
    engine: Engine = None,
    base_url: BaseUrl = None,
    style: StyleName = None,
    device: Device = None,
    prompt_file: PromptFile = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file of settings.")] = None,
    traces: Annotated[
        Path | None, typer.Option(help="Whole chains of every pair; none: beside the data.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The thresholds; none: beside the weights.")
    ] = None,
    epsilon: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="Accuracy that may be lost, as a share.")
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

    Killed and started again with the same words, it goes on. Exits 0 with a certificate, 2 on bad
    input, 3 without one: then whole chains are thought.
    """
    from serving.calibrate import Asked as Proof
    from serving.calibrate import calibrate as run
    from serving.calibrate import default_out
    from serving.rows import read_dataset

    settings = load_settings(
        config,
        model=model,
        engine=engine,
        base_url=base_url,
        style=style,
        device=device,
        prompt_file=prompt_file,
    )
    console = Console(highlight=False)
    dataset = read_dataset(data, as_columns(columns))
    kept = traces or data.with_name(f"{data.name}.{settings.style or 'default'}.traces.jsonl")
    made = out or settings.thresholds or default_out(settings)
    proof = Proof(epsilon, delta, self_agreement, votes, price, look_tokens)
    stopper = run(console, settings, dataset, kept, made, proof)
    console.print(f"traces: {kept}; thresholds: {made}", soft_wrap=True)
    if stopper.certificate is None:
        raise typer.Exit(UNSCORED_EXIT)


@cli.command()
@says_why
def demo() -> None:
    """Start the service on the bundled judge, judge ten pairs over REST, stop it."""
    from serving.demo import run

    run(Console(highlight=False))


async def run_batch(
    dataset: Dataset,
    out: Path,
    url: str | None,
    settings: Settings,
    asked: Asked,
    concurrency: int,
    progress: BatchProgress,
    sums: Sums,
) -> None:
    """Judge in this process or by the service at `url`, then write the summary."""
    from serving.batch import Judging, LocalJudge, RemoteJudge, Run, write_whole
    from serving.client import AsyncClient
    from serving.registry import Registry

    def run(judge: RowJudge) -> Run[Line]:
        return Run(
            dataset,
            out,
            Judging(judge),
            concurrency,
            progress.told,
            progress.resumed,
            set_aside=progress.set_aside,
        )

    if url is not None:
        async with AsyncClient(url, style=settings.style) as client:
            made = run(RemoteJudge(client, asked))
            await made.go()
    else:
        registry = Registry(settings)
        try:
            budget = sums.budget(registry, dataset)
            made = run(LocalJudge(registry, asked, budget))
            if budget is not None:
                made.known = sums.known(budget, dataset)
            await made.go()
            if budget is not None:
                progress.console.print(f"budget: {budget.spent:,.0f} spent of {budget.says}")
        finally:
            registry.close()
    write_whole(made.summary, progress.tally.summary())


def exact_dtype(settings: Settings) -> str | None:
    """In which a rerun gives the same bytes on the CPU, if the engine has one."""
    from rrm.engines.registry import engine_entry
    from serving.registry import device_of

    exact = engine_entry(settings.engine).capabilities.exact_dtype
    return exact if device_of(settings) == "cpu" else None


def as_columns(text: str | None) -> dict[str, str]:
    """`a=chosen,b=rejected` as a mapping. Raises SettingsError."""
    pairs = [part.partition("=") for part in (text or "").split(",") if part.strip()]
    if any(not equals or not name.strip() for _, equals, name in pairs):
        raise SettingsError(f"--columns is ROLE=NAME,ROLE=NAME, not {text!r}")
    return {role.strip(): name.strip() for role, _, name in pairs}


def check_can_serve(settings: Settings) -> None:
    """Raise SettingsError for what would only fail after a slow start: Ray, port, model, style."""
    import socket
    from importlib.util import find_spec

    from serving.registry import check_settings

    if find_spec("ray") is None:
        raise SettingsError("serving needs Ray: pip install 'closecall[serve,transformers]'")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as failure:
            raise SettingsError(
                f"cannot listen on {settings.host}:{settings.port} ({failure.strerror}); "
                "pass another --port"
            ) from None
    check_settings(settings)


def as_effort(text: str) -> Effort:
    """Raises SettingsError for anything but the three efforts."""
    efforts: tuple[Effort, ...] = ("none", "adaptive", "full")
    for effort in efforts:
        if text == effort:
            return effort
    raise SettingsError(f"--effort is none, adaptive or full, not {text!r}")


def main() -> None:
    cli()


if __name__ == "__main__":
    main()
