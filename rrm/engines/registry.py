"""The engines there are: one row each, and nothing outside this package knows one by its name.

A new engine is a module with `open_engine(model, options)` and a row here. One of another
distribution is an entry point of the group `closecall.engines`, whose value is an EngineEntry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from types import MappingProxyType

from rrm.engines.base import Capabilities, Engine, EngineOptions
from rrm.errors import install_hint

ENTRY_POINTS = "closecall.engines"
DEFAULT = "transformers"


@dataclass(frozen=True)
class EngineEntry:
    """One engine."""

    module: str
    """has `open_engine(model: str, options: EngineOptions) -> Engine`; imported when it is used"""
    model: str
    """what `model` is to it, in words"""
    capabilities: Capabilities
    options: tuple[str, ...] = ()
    """fields of EngineOptions that it takes, beside device, dtype and threads"""
    requires: tuple[str, ...] = ()
    """packages that it imports"""
    hosts_with: tuple[str, ...] = ()
    """packages that it needs too where no base_url names a server that runs already"""
    extra: str | None = None
    """of closecall, which brings those packages"""
    model_required: bool = True
    """the bundled judge's name is no model of it"""
    url_required: bool = False

    def lacking(self, base_url: str | None) -> str | None:
        """What is not installed here, and how it is; None if nothing lacks."""
        needed = self.requires if base_url else (*self.requires, *self.hosts_with)
        missing = [package for package in needed if find_spec(package) is None]
        if not missing:
            return None
        return f"{', '.join(missing)} not installed: {install_hint(self.extra)}"


LOCAL = Capabilities(local_weights=True, probes=True, token_ids=True)

ENGINES: Mapping[str, EngineEntry] = MappingProxyType(
    {
        "transformers": EngineEntry(
            module="rrm.engines.transformers",
            model="a directory",
            capabilities=replace(LOCAL, exact_dtype="float64"),
            requires=("torch", "transformers"),
            extra="transformers",
            model_required=False,
        ),
        "sglang": EngineEntry(
            module="rrm.engines.sglang",
            model="a directory",
            capabilities=replace(LOCAL, needs_gpu=True, prefix_cache=True),
            options=("base_url", "api_key", "tensor_parallel", "memory_share", "server_args"),
            requires=("torch", "transformers"),
            hosts_with=("sglang",),
            extra="sglang",
            model_required=False,
        ),
        "openai": EngineEntry(
            module="rrm.engines.openai",
            model="the name of a model that the endpoint serves",
            capabilities=Capabilities(local_weights=False),
            options=("base_url", "api_key", "logprobs", "prefill"),
            url_required=True,
        ),
        "scripted": EngineEntry(
            module="rrm.engines.scripted",
            model="delay=SECONDS, which each call takes",
            capabilities=Capabilities(local_weights=False, probes=True, token_ids=True),
            model_required=False,
        ),
    }
)


@cache
def engines() -> Mapping[str, EngineEntry]:
    """Ours, and those that other distributions bring."""
    points = [point for point in entry_points(group=ENTRY_POINTS) if point.name not in ENGINES]
    return {**ENGINES, **{point.name: point.load() for point in points}}


def engine_entry(name: str) -> EngineEntry:
    """Raises ValueError for a name that is not known, with those that are."""
    try:
        return engines()[name]
    except KeyError:
        raise ValueError(f"unknown engine {name!r}: give {', '.join(engines())}") from None


def open_engine(url: str, options: EngineOptions = EngineOptions()) -> Engine:
    """Open the engine that `url` names: such as `transformers:DIR` or `openai:MODEL`.

    Heavy libraries are imported here and no earlier. Raises ValueError for an unknown engine or
    option, FileNotFoundError for a missing model, EngineError for a server that does not answer.
    """
    name, _, model = url.partition(":")
    opened: Engine = import_module(engine_entry(name).module).open_engine(model, options)
    return opened
