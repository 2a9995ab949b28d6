"""What commands share: options of a model, errors as messages, exit codes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Protocol, get_type_hints

import stamina
import typer

from judges.options import JudgeOptions
from rrm.engines.registry import DEFAULT, ENGINES
from rrm.errors import RefusedText, SearchError, StyleMismatch
from rrm.search.bm25 import read_documents
from rrm.types import Effort
from serving.errors import ServiceError, SettingsError
from serving.import_check import NameClash, check_imports
from serving.reports.console import console
from serving.settings import Settings, load_settings

UNSCORED_EXIT = 3
"""of a command whose judge did not decide"""
SERVICE_EXIT = 4
"""of a command whose service went away"""

TRIES = 3
"""of a call that somebody waits for"""
PANEL = "The model, where this process opens it"
EffortName = Annotated[str, typer.Option("--effort", help="none, adaptive or full.")]
ThinkingLimit = Annotated[int | None, typer.Option(min=0, help="For both orders together.")]
Url = Annotated[
    str | None,
    typer.Option(help="Of a running service, else this process; its key: CLOSECALL_API_KEY."),
]
EvidenceFile = Annotated[
    Path | None,
    typer.Option("--evidence", help="Texts to search in: .txt, .md, .jsonl, .csv, or a folder."),
]
Columns = Annotated[
    str | None, typer.Option(help="prompt=NAME,a=NAME,b=NAME,label=NAME,id=NAME,group=NAME")
]


class Load(Protocol):
    """What a command gets for the options of `of_the_model`: settings from them and `more`.

    Raises SettingsError.
    """

    def __call__(self, **more: Any) -> Settings: ...


def _model_option(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=PANEL)


def of_the_model(
    model: Annotated[
        str | None,
        _model_option("`nano` (bundled), a directory, or a hub id."),
    ] = None,
    engine: Annotated[
        str | None,
        _model_option(f"{', '.join(ENGINES)}; none: {DEFAULT}."),
    ] = None,
    base_url: Annotated[
        str | None,
        _model_option("Of the engine's server; its key: CLOSECALL_ENGINE_KEY."),
    ] = None,
    style: Annotated[
        str | None,
        _model_option("rrm, rm-r1, ...; none: the model's own."),
    ] = None,
    device: Annotated[
        str | None,
        _model_option("cpu, cuda, cuda:1; a GPU if there is one."),
    ] = None,
    prompt_file: Annotated[
        Path | None,
        _model_option("A style of your own (.toml), or another instruction text."),
    ] = None,
    searcher: Annotated[
        str | None,
        _model_option("To look up in: bm25:PATH, or an http(s) address."),
    ] = None,
    calibration: Annotated[
        Path | None,
        _model_option("From closecall calibrate.", "--calibration", "--stopper"),
    ] = None,
    config: Annotated[Path | None, _model_option("A TOML file of settings.")] = None,
) -> None:
    """The options of whatever opens a model."""


def command(work: Callable[..., None]) -> Callable[..., None]:
    """`work` as a command.

    Where it takes `load`, it gets the options of a model. What a user can mend becomes one message
    and exit 2; a bug keeps its traceback.
    """
    own = inspect.signature(work).parameters
    hints = get_type_hints(work, include_extras=True)
    shared: dict[str, inspect.Parameter] = {}
    if "load" in own:
        shared = dict(inspect.signature(of_the_model).parameters)
        hints |= get_type_hints(of_the_model, include_extras=True)

    @wraps(work)
    def wrapped(**given: Any) -> None:
        # Commands print what they found and why not; retries would be lines between.
        stamina.instrumentation.set_on_retry_hooks([])
        try:
            check_imports()
            if shared:
                options = {name: given.pop(name) for name in shared}
                config = options.pop("config")
                given["load"] = lambda **more: load_settings(config, **options, **more)
            work(**given)
        except (SettingsError, StyleMismatch, RefusedText, NameClash) as refusal:
            console(stderr=True).print(f"closecall: {refusal}", style="red", soft_wrap=True)
            raise typer.Exit(2) from None
        except ServiceError as failure:
            console(stderr=True).print(f"closecall: {failure}", style="red", soft_wrap=True)
            raise typer.Exit(SERVICE_EXIT) from None

    names = {name: one for name, one in {**own, **shared}.items() if name != "load"}
    parameters = [
        one.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, one in names.items()
    ]
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {name: hints[name] for name in names}
    del wrapped.__wrapped__  # else its own signature is read
    return wrapped


def options_of(
    effort: str,
    max_thinking_tokens: int | None = None,
    return_chain: bool = False,
    evidence: Path | None = None,
) -> JudgeOptions:
    """How a caller wants pairs judged. Raises SettingsError for anything but the three efforts."""
    efforts: tuple[Effort, ...] = ("none", "adaptive", "full")
    for one in efforts:
        if effort == one:
            texts = None if evidence is None else texts_in(evidence)
            return JudgeOptions(one, max_thinking_tokens, return_chain, evidence=texts)
    raise SettingsError(f"--effort is none, adaptive or full, not {effort!r}")


def texts_in(path: Path) -> tuple[str, ...]:
    """To search in. Raises SettingsError."""
    try:
        return tuple(document.text for document in read_documents(path))
    except SearchError as failure:
        raise SettingsError(str(failure)) from None


def not_blank(prompt: str) -> str:
    """Raises SettingsError if there is nothing in it."""
    if not prompt.strip():
        raise SettingsError("--prompt is empty; give the text that the responses answer")
    return prompt


def columns_of(text: str | None) -> dict[str, str]:
    """`a=chosen,b=rejected` as a mapping. Raises SettingsError."""
    pairs = [part.partition("=") for part in (text or "").split(",") if part.strip()]
    if any(not equals or not name.strip() for _, equals, name in pairs):
        raise SettingsError(f"--columns is ROLE=NAME,ROLE=NAME, not {text!r}")
    return {role.strip(): name.strip() for role, _, name in pairs}
