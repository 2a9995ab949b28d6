"""Labelled pairs in, a calibration out: `closecall calibrate`.

Every pair is thought through once (`rrm.calibration.trace`), which takes long: TRACES grows line by
line in input order, and a run that was killed goes on. From the traces the calibration is fitted,
certified and written for one model, style and prompt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from rrm.calibration import calibrated
from rrm.calibration.artifact import CALIBRATION_FILE, Artifact, ArtifactError
from rrm.calibration.calibration import Calibration
from rrm.calibration.trace import Trace, trace
from rrm.decision.priced import PriceKind
from rrm.engines.registry import engine_entry
from rrm.errors import EngineError, RefusedText
from rrm.style import Style
from serving.batch import Run, write_whole
from serving.datasets import Dataset, Row
from serving.errors import SettingsError
from serving.journal import Finished
from serving.model_host import ModelHost
from serving.prices import token_prices
from serving.reports.calibration import tell
from serving.reports.html import page
from serving.reports.progress import RowProgress
from serving.settings import Settings
from serving.weights import model_directory, weights_digest

CONCURRENCY = 64
"""pairs thought through at once"""


@dataclass(frozen=True)
class CalibrationOptions:
    """How much may be lost, with what probability the proof may be wrong, and of what."""

    epsilon: float
    delta: float
    own: bool = False
    """of agreement with the judge's own whole chains, not of accuracy: no labels are needed"""
    votes: int = 1
    """pairs of chains in all that a verdict may take"""
    wordings: int = 1
    """of the instruction, in which votes are asked in turn"""
    price: PriceKind = "flops"
    """what a token costs: operations, seconds on this engine, or generated tokens alone"""
    look_tokens: float = 0.0
    """what a probe costs beside its own tokens, in generated ones"""


class TraceLine(Finished):
    """One row with its trace, or why there is none."""

    trace: Trace | None
    fault: str | None = None


class Tracing:
    """Rows are thought through to the end."""

    kind = TraceLine

    def __init__(
        self,
        host: ModelHost,
        style: Style,
        own: bool = False,
        votes: int = 1,
        wordings: Sequence[Style] = (),
    ) -> None:
        """own: labels are the judge's own. votes: pairs of chains, asked in `wordings` in turn."""
        self.host, self.style, self.own, self.wordings = host, style, own, wordings
        self.votes = max(votes, len(wordings))

    async def identify(self) -> dict[str, Any]:
        host = self.host
        return {
            "model": host.engine.card.name,
            "weights": weights_digest(host.settings.model),
            "style": self.style.name,
            "prompt_hash": self.style.prompt_hash,
            "ladder": list(host.ladder),
            "temperature": host.temperature(self.style),
            "engine": host.settings.engine,
            "dtype": host.settings.dtype,
            **({"labels": "its own"} if self.own else {}),
            **host.searchers.facts(),
            **({"votes": self.votes} if self.votes > 1 else {}),
            **({"wordings": [one.prompt_hash for one in self.wordings]} if self.wordings else {}),
        }

    async def line(self, row: Row, key: str) -> TraceLine:
        """Raises SettingsError if the engine fails: traces that lack the hardest pairs mislead."""
        fault, found = row.fault, None
        label: Literal["a", "b"] | None = None
        if not self.own and (row.label == "a" or row.label == "b"):
            label = row.label
        if row.pair is not None and label is None and not self.own:
            fault = "no label: give a or b"
        elif row.pair is not None:
            host = self.host
            try:
                found = await trace(
                    host.engine,
                    self.style,
                    row.pair,
                    label,
                    host.ladder,
                    host.temperature(self.style),
                    row.group,
                    self.votes,
                    wordings=self.wordings,
                    evidence=host.searchers.evidence(row.evidence),
                )
            except RefusedText as refusal:
                fault = str(refusal)
            except EngineError as failure:
                raise SettingsError(f"row {row.index + 1}: {failure}; start again") from None
        return TraceLine(index=row.index, id=row.id, key=key, trace=found, fault=fault)


def calibrate(
    console: Console,
    settings: Settings,
    dataset: Dataset,
    traces: Path,
    out: Path,
    options: CalibrationOptions,
) -> Calibration:
    """Trace what is missing, fit, certify, write. Raises SettingsError, with what to do."""
    if not engine_entry(settings.engine).capabilities.local_weights:
        raise SettingsError(f"the {settings.engine} engine has no thresholds to fit")
    labelled = sum(row.label in ("a", "b") for row in dataset.rows)
    if not labelled and not options.own:
        raise SettingsError(
            f"no row of {dataset.path} has a label; give a or b to each, or calibrate against the "
            "judge's own whole chains with --self-agreement"
        )
    weights = weights_digest(settings.model)
    before = kept_in(out, weights)
    host = ModelHost(settings)
    try:
        style = host.style(host.default)
        ladder, name = host.ladder, host.engine.card.name
        temperature = host.temperature(style)
        pairs = [row.pair for row in dataset.rows if row.pair is not None]
        tokens = token_prices(options.price, host, style, pairs)
        wordings = host.wordings(style, options.wordings) if options.wordings > 1 else ()
        tracing = Tracing(host, style, options.own, options.votes, wordings)
        trace_rows(console, dataset, traces, tracing)
    finally:
        host.close()
    found = read_traces(traces)
    if not found:
        raise SettingsError(f"no row of {dataset.path} could be traced; {traces} says why")
    bond = {"data": dataset.sha256, "model": weights, "prompt_hash": style.prompt_hash}
    source = f"{len(found)} pairs of {dataset.path.name}, {name}"
    calibration = calibrated(
        found,
        ladder,
        source,
        bond,
        options.epsilon,
        options.delta,
        temperature=temperature,
        tokens=tokens.model_copy(
            update={"look": options.look_tokens, "search": settings.search_tokens}
        ),
    ).model_copy(update={"wordings": max(1, len(wordings))})
    keep(out, before, style, calibration)
    tell(console, found, ladder, calibration, options.epsilon, options.delta)
    shown = traces.with_name(f"{traces.name}.html")
    title = f"{name}, style {style.name}"
    shown.write_text(page(calibration, found, ladder, title), encoding="utf-8")
    console.print(f"all of it: {shown}", soft_wrap=True)
    return calibration


def trace_rows(console: Console, dataset: Dataset, traces: Path, tracing: Tracing) -> None:
    """Think through what `traces` lacks. Raises SettingsError."""
    with RowProgress(console, "thinking through", len(dataset.rows)) as progress:
        done = 0

        def advance(line: TraceLine) -> None:
            nonlocal done
            done += 1
            progress.show(done)

        def resume() -> None:
            progress.resume(done)

        asyncio.run(Run(dataset, traces, tracing, CONCURRENCY, advance, resume).go())


def read_traces(path: Path) -> list[Trace]:
    """The traces of a finished file, in order, without the rows that have none."""
    with path.open(encoding="utf-8") as file:
        lines = [TraceLine.model_validate_json(line) for line in file]
    return [line.trace for line in lines if line.trace is not None]


def kept_in(out: Path, weights: str) -> Artifact:
    """What `out` holds of these weights already. Raises SettingsError for another kind of file."""
    fresh = Artifact.empty(weights)
    if not out.is_file():
        return fresh
    try:
        there = Artifact.read(out)
    except ArtifactError:
        raise SettingsError(f"{out} is no calibration file; name another --out") from None
    return there if there.model_digest == weights else fresh


def keep(out: Path, before: Artifact, style: Style, calibration: Calibration) -> None:
    """Write `calibration` into `out`, beside those of other styles."""
    write_whole(out, before.plus(style.name, style.prompt_hash, calibration).as_json())


def default_out(settings: Settings) -> Path:
    """Where a service looks for the thresholds of this model."""
    return model_directory(settings.model) / CALIBRATION_FILE
