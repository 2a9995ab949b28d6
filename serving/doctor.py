"""`closecall doctor`: what is here, what would run, and whether the style reads the model."""

from __future__ import annotations

import asyncio
import os
import platform
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from judges.nano import data
from judges.written import direction
from rrm.decision.chains import PairReadout, SwapPair
from rrm.decision.plan import REPLY_TOKENS
from rrm.decision.state import READABLE_MASS
from rrm.engines.registry import engine_entry
from rrm.errors import install_hint
from rrm.parse import Unread
from rrm.types import Pair, Preference
from serving.datasets import Row
from serving.errors import SettingsError
from serving.model_host import ModelHost
from serving.preflight import check_settings, device_of
from serving.settings import Settings
from serving.weights import model_directory

PAIRS = 10
EXTRAS = (
    ("transformers", ("torch", "transformers", "safetensors"), "judging on this machine"),
    ("sglang", ("sglang",), "the SGLang engine, on a GPU"),
    ("serve", ("ray", "fastapi", "structlog"), "closecall serve"),
    ("rlhf", ("trl",), "rewards for TRL"),
    ("calibrate", ("numpy", "scipy"), "fitting thresholds"),
    ("benchmarks", ("matplotlib", "psutil"), "the benchmarks"),
)
"""extras: what they bring, and what for"""
Labelled = tuple[Pair, Preference | None]


@dataclass(frozen=True)
class Probe:
    """One pair, read from the prompt alone and again after its whole chains."""

    mass: tuple[float, float]
    """probability that the verdict labels hold, before and after thought"""
    agree: tuple[bool, bool]
    """whether the two orders prefer the same response"""
    thinking_tokens: int
    ended: bool
    """both chains closed by themselves; only then is their written verdict looked at"""
    parsed: int
    """orders, of two, whose written verdict was understood"""
    right: bool | None
    """None without a label"""


@dataclass(frozen=True)
class Health:
    """Ten probes together. Shares are None where nothing was to be seen."""

    pairs: int
    mass_before: float
    mass_after: float
    ended: int
    parse_rate: float | None
    flips_before: int
    flips_after: int
    accuracy: float | None
    thinking_tokens: float

    @classmethod
    def of(cls, probes: Sequence[Probe]) -> Health:
        ended = sum(probe.ended for probe in probes)
        known = [probe.right for probe in probes if probe.right is not None]
        return cls(
            pairs=len(probes),
            mass_before=statistics.median(probe.mass[0] for probe in probes),
            mass_after=statistics.median(probe.mass[1] for probe in probes),
            ended=ended,
            parse_rate=sum(probe.parsed for probe in probes) / (2 * ended) if ended else None,
            flips_before=sum(not probe.agree[0] for probe in probes),
            flips_after=sum(not probe.agree[1] for probe in probes),
            accuracy=statistics.mean(known) if known else None,
            thinking_tokens=statistics.mean(probe.thinking_tokens for probe in probes),
        )

    @property
    def reads(self) -> bool:
        """Whether verdicts can be had at all: by probe, or from the finished text."""
        return self.mass_after >= READABLE_MASS or (self.parse_rate or 0.0) >= 0.5

    def findings(self) -> list[str]:
        """What is wrong, and what to do about it."""
        found = []
        if not self.reads:
            found.append(
                f"this style does not read this model: the verdict labels hold "
                f"{self.mass_after:.2f} of the probability after thought and the finished text is "
                "no verdict; take the style and the prompt (--prompt-file) it was trained with"
            )
        elif self.mass_after < READABLE_MASS:
            found.append("no probe can be read, so every pair thinks its whole chain")
        elif self.mass_before < READABLE_MASS:
            found.append("the prompt alone cannot be read: effort none will be unscored")
        if not self.ended:
            found.append("no chain closed by itself; allow more --tokens to see it finish")
        if self.reads and self.flips_after > 0.3 * self.pairs:
            found.append(
                f"the orders disagree on {self.flips_after} of {self.pairs} pairs even after "
                "thought: this judge follows the position"
            )
        return found


def known_pairs() -> list[Labelled]:
    """Ten pairs with a known better one, of plain arithmetic, which every model can read."""
    rng = random.Random(PAIRS)
    drawn = [data.draw(rng) for _ in range(PAIRS)]
    return [
        (
            Pair(prompt=e.question, response_a=e.responses[0], response_b=e.responses[1]),
            "a" if e.better == 0 else "b",
        )
        for e in drawn
    ]


async def probe(
    host: ModelHost, pairs: Sequence[Labelled], tokens: int, on_done: Callable[[], None]
) -> list[Probe]:
    """Ask every pair in both orders, at once. `on_done` is called as each is done."""
    judge = host.pairwise(None)

    async def whole(pair: Pair, label: Preference | None) -> Probe:
        """Where nothing can be probed, the whole replies."""
        chains = SwapPair(judge.engine, judge.style, pair, judge.temperature, whole="")
        readings = await chains.reply(min(tokens, judge.ladder[-1]))
        sides = [direction(reading) for reading in readings]
        on_done()
        margin = sides[0] - sides[1]
        agree = sides[0] * sides[1] < 0
        side: Preference = "tie" if margin == 0 else "a" if margin > 0 else "b"
        return Probe(
            mass=(0.0, 0.0),
            agree=(agree, agree),
            thinking_tokens=chains.thinking_tokens,
            ended=chains.ended,
            parsed=sum(not isinstance(reading, Unread) for reading in readings),
            right=None if label is None else side == label,
        )

    async def one(pair: Pair, label: Preference | None) -> Probe:
        if not judge.engine.can_probe:
            return await whole(pair, label)
        chains = SwapPair(judge.engine, judge.style, pair, judge.temperature)
        before = await chains.read()
        await chains.grow(min(tokens, judge.ladder[-1]))
        after = await chains.read()
        spent, ended, parsed = chains.thinking_tokens, chains.closed, 0
        if ended:
            written = await chains.finish(REPLY_TOKENS)
            parsed = sum(not isinstance(reading, Unread) for reading in written)
        on_done()
        return Probe(
            mass=(before.mass, after.mass),
            agree=(bool(before.agree), bool(after.agree)),
            thinking_tokens=spent,
            ended=ended,
            parsed=parsed,
            right=None if label is None else _preferred(after) == label,
        )

    return await asyncio.gather(*(one(*pair) for pair in pairs))


def _preferred(reading: PairReadout) -> Preference:
    return "tie" if reading.margin == 0 else "a" if reading.margin > 0 else "b"


def installed() -> tuple[dict[str, str], list[str]]:
    """Versions of what is here, and what is missing with how to get it."""
    here: dict[str, str] = {}
    missing = []
    for extra, packages, purpose in EXTRAS:
        lacking = [package for package in packages if find_spec(package) is None]
        for package in packages:
            if package not in lacking:
                here[package] = _version(package)
        if lacking:
            names = ", ".join(lacking)
            missing.append(f"{names}, for {purpose}: {install_hint(extra)}")
    return here, missing


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # on the path, but not installed as such
        return "?"


def machine() -> str:
    """Python, processor, cores and GPUs."""
    gpus = "no torch to ask about GPUs"
    if find_spec("torch") is not None:
        import torch

        count = torch.cuda.device_count()
        names = {torch.cuda.get_device_name(index) for index in range(count)}
        gpus = f"{count} GPU: {', '.join(sorted(names))}" if count else "no GPU"
    return (
        f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, {gpus}"
    )


def would_run(host: ModelHost) -> list[tuple[str, str]]:
    """What a service with these settings would be, row by row."""
    settings, engine = host.settings, host.engine
    where = f" at {model_directory(settings.model)}" if host.local_weights else ""
    styles = [
        f"{name}{' (asked for)' if name == host.default else ''}"
        f"{'' if host.calibration(host.style(name)) else ', without thresholds'}"
        for name in host.names()
    ]
    adaptive = host.pairwise(None).calibration is not None
    thought = f"adaptive over the checkpoints {host.ladder}"
    if not adaptive:
        thought = f"whole chains up to {host.ladder[-1]} tokens: no thresholds are fitted"
    if not engine.can_probe:
        thought = "whole replies, thought through where the orders disagree: no probes here"
    return [
        ("engine", f"{settings.engine} {computes(settings)}; {abilities(host)}"),
        ("model", f"{engine.card.name}{where}"),
        ("reads", engine.card.reads.describe if engine.card.reads else "any text"),
        ("styles", "; ".join(styles)),
        ("thought", thought),
    ]


def abilities(host: ModelHost) -> str:
    """What the engine can do, as far as it matters here."""
    capabilities = engine_entry(host.settings.engine).capabilities
    can = {
        "is probed": host.engine.can_probe,
        "takes token ids": capabilities.token_ids,
        "keeps a prefix cache": capabilities.prefix_cache,
        "repeats byte by byte on a CPU": capabilities.exact_dtype is not None,
    }
    return ", ".join(name for name, able in can.items() if able) or "writes whole replies"


def computes(settings: Settings) -> str:
    """Where and in what the engine computes."""
    if settings.base_url is not None:
        return f"at {settings.base_url}"
    return f"on {device_of(settings)}, computing in {settings.dtype}"


def examine(
    console: Console, settings: Settings, pairs: Sequence[Labelled], tokens: int
) -> tuple[dict[str, Any], bool]:
    """Print everything; the figures, and whether the style reads the model.

    Raises SettingsError or StyleMismatch where nothing would run.
    """
    here, missing = installed()
    closecall = _version("closecall")
    console.print(
        facts(
            ("closecall", f"{closecall}; {machine()}"),
            ("installed", ", ".join(f"{name} {number}" for name, number in here.items())),
            *(("missing", line) for line in missing or ["nothing"]),
        )
    )
    check_settings(settings)
    host = ModelHost(settings)
    try:
        console.print(facts(*would_run(host)))
        console.print(f"\nprobing {len(pairs)} pairs in both orders ", end="")
        probes = asyncio.run(probe(host, pairs, tokens, lambda: console.print(".", end="")))
        console.print()
    finally:
        host.close()
    health = Health.of(probes)
    console.print(health_table(health))
    for finding in health.findings() or ["nothing to complain about"]:
        console.print(f"- {finding}", soft_wrap=True)
    figures = {
        "closecall": closecall,
        "installed": here,
        "missing": missing,
        "model": host.engine.card.name,
        "style": host.default,
        "health": asdict(health),
        "findings": health.findings(),
    }
    return figures, health.reads


def facts(*rows: tuple[str, str]) -> Table:
    """Names and values in two columns."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", min_width=9)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(value))
    return table


def health_table(health: Health) -> Table:
    """The figures for people."""
    table = Table(box=None, pad_edge=False)
    table.add_column()
    table.add_column("prompt alone", justify="right")
    table.add_column("after thought", justify="right")
    table.add_row("label mass, median", f"{health.mass_before:.3f}", f"{health.mass_after:.3f}")
    table.add_row(
        "orders disagree",
        f"{health.flips_before} of {health.pairs}",
        f"{health.flips_after} of {health.pairs}",
    )
    table.add_row("chains closed by themselves", "", f"{health.ended} of {health.pairs}")
    rate = "-" if health.parse_rate is None else f"{health.parse_rate:.0%}"
    table.add_row("written verdicts understood", "", rate)
    right = "-" if health.accuracy is None else f"{health.accuracy:.0%}"
    table.add_row("right", "", right)
    table.add_row("thinking tokens, mean", "", f"{health.thinking_tokens:.0f}")
    return table


def pairs_of(rows: Sequence[Row]) -> list[Labelled]:
    """The first ten readable rows of a dataset. Raises SettingsError if there are none."""
    pairs = [(row.pair, row.label) for row in rows if row.pair is not None][:PAIRS]
    if not pairs:
        raise SettingsError("--data holds no pair")
    return pairs
