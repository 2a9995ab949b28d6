"""What can be known to be wrong before anything is loaded."""

from __future__ import annotations

import socket
from importlib.util import find_spec

from judges.styles.prompt_file import Rewording, read_prompt_file
from judges.styles.registry import open_style, styles_of
from judges.styles.spec import StyleSpec
from judges.styles.toml_file import FileError
from rrm.engines.card import ModelCard
from rrm.engines.registry import DEFAULT, engine_entry
from rrm.errors import SearchError, StyleMismatch, install_hint
from rrm.search.registry import check_searcher
from rrm.style import Style
from serving.errors import SettingsError
from serving.settings import NANO, Settings
from serving.weights import model_directory


def check_can_serve(settings: Settings) -> None:
    """Raise SettingsError for what would only fail after a slow start: Ray, port, model, style."""
    if find_spec("ray") is None:
        raise SettingsError(f"serving needs Ray: {install_hint('serve')}")
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


def check_settings(settings: Settings) -> None:
    """Find what is wrong without loading anything.

    Raises SettingsError or StyleMismatch, with what to do.
    """
    entry = engine_entry(settings.engine)
    if entry.model_required and settings.model == NANO:
        raise SettingsError(f"engine {settings.engine} needs --model: {entry.model}")
    if lacking := entry.lacking(settings.base_url):
        raise SettingsError(lacking)
    if not entry.capabilities.local_weights:
        style_name(settings, ModelCard(name=settings.model))
        return
    directory = model_directory(settings.model)
    if not (directory / "config.json").is_file():
        raise SettingsError(f"{directory} holds no model: there is no config.json in it")
    check_searchers(settings)
    if settings.prompt_file is not None and not settings.prompt_file.is_file():
        raise SettingsError(f"no prompt file {settings.prompt_file}")
    if settings.thresholds is not None and not settings.thresholds.is_file():
        raise SettingsError(
            f"no thresholds at {settings.thresholds}: closecall calibrate makes them"
        )
    card = ModelCard.of(directory)
    name = style_name(settings, card)
    if own_style(settings) is None:
        check_style(card, name)
    device = device_of(settings)
    if settings.base_url is None and device != "cpu":
        import torch

        if not torch.cuda.is_available():
            raise SettingsError(
                f"engine {settings.engine} would compute on {device}, and torch sees no GPU: use "
                f"--engine {DEFAULT}, or --device cpu if what is installed here was built for that"
            )


def check_searchers(settings: Settings) -> None:
    """Raise SettingsError for a searcher that cannot be opened."""
    own = [] if settings.searcher in (None, *settings.searchers) else [settings.searcher]
    for spec in (*own, *settings.searchers.values()):
        try:
            check_searcher(str(spec))
        except SearchError as failure:
            raise SettingsError(str(failure)) from None


def device_of(settings: Settings) -> str:
    """What `auto` means: a GPU where the engine needs one, else a GPU if torch sees one."""
    capabilities = engine_entry(settings.engine).capabilities
    if settings.device != "auto" or not capabilities.local_weights:
        return settings.device
    if capabilities.needs_gpu:
        return "cuda"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def gpus_of(settings: Settings) -> int:
    """GPUs that each replica holds."""
    if settings.base_url is not None or not device_of(settings).startswith("cuda"):
        return 0
    return settings.tensor_parallel


def own_style(settings: Settings) -> StyleSpec | Rewording | None:
    """What a TOML prompt file describes. Raises SettingsError."""
    file = settings.prompt_file
    if file is None or file.suffix != ".toml":
        return None
    try:
        return read_prompt_file(file)
    except FileError as failure:
        raise SettingsError(str(failure)) from None


def style_name(settings: Settings, card: ModelCard) -> str:
    """The style of requests that name none.

    What was asked for, the prompt file's, the card's first, that of the model's family, or rrm.
    Raises StyleMismatch where the style asked for is not that of the model's family.
    """
    own = own_style(settings)
    if own is not None:
        if settings.style not in (None, "prompt-file", own.name):
            raise StyleMismatch(
                f"{settings.prompt_file} holds the style {own.name}, not {settings.style}; "
                "leave --style away"
            )
        return own.name
    family = styles_of(settings.model)
    if settings.style is None:
        return next(iter((*card.styles, *family)), "rrm")
    if family and settings.style not in family:
        raise StyleMismatch(
            f"{settings.model} is a model of style {' or '.join(family)}, not {settings.style}: "
            "leave --style away, or describe what you want in a TOML --prompt-file"
        )
    return settings.style


def check_style(card: ModelCard, name: str) -> Style:
    """The style called `name`. Raises StyleMismatch if it is unknown or not this model's."""
    if card.styles and name not in card.styles:
        raise StyleMismatch(f"model {card.name} speaks {', '.join(card.styles)}, not {name!r}")
    return open_style(name)
