"""Labelled pairs in, a calibration out: `closecall calibrate`.

Every pair is thought through once (`rrm.calibration.trace`), which takes long: TRACES grows line by
line in input order, and a run that was killed goes on. From the traces the calibration is fitted,
certified and written for one model, style and prompt.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from rich.console import Console
from rich.table import Table as RichTable

from rrm.calibration import FEWEST, calibrated, shortfall
from rrm.calibration.arrays import TraceArrays
from rrm.calibration.artifact import CALIBRATION_FILE, Artifact, ArtifactError
from rrm.calibration.calibration import Calibration, PositionBias, contradict
from rrm.calibration.gain import ThinkingGain
from rrm.calibration.replay import Walked, replay, whole
from rrm.calibration.trace import Trace, trace
from rrm.decision.priced import Depth, PricedPolicy, PriceKind, TokenPrices
from rrm.engines.registry import engine_entry
from rrm.errors import EngineError, RefusedText
from rrm.style import Style
from serving.batch import Run, write_whole
from serving.datasets import Dataset, Row
from serving.errors import SettingsError
from serving.journal import Finished
from serving.model_host import ModelHost
from serving.prices import token_prices
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

    def __init__(self, host: ModelHost, style: Style, options: CalibrationOptions) -> None:
        self.host, self.style, self.options = host, style, options

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
            **({"labels": "its own"} if self.options.own else {}),
            **host.searchers.facts(),
            **({"votes": self.options.votes} if self.options.votes > 1 else {}),
        }

    async def line(self, row: Row, key: str) -> TraceLine:
        """Raises SettingsError if the engine fails: traces that lack the hardest pairs mislead."""
        fault, found = row.fault, None
        label: Literal["a", "b"] | None = None
        if not self.options.own and (row.label == "a" or row.label == "b"):
            label = row.label
        if row.pair is not None and label is None and not self.options.own:
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
                    self.options.votes,
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
        with RowProgress(console, "thinking through", len(dataset.rows)) as progress:
            done = 0

            def advance(line: TraceLine) -> None:
                nonlocal done
                done += 1
                progress.show(done)

            run = Run(
                dataset,
                traces,
                Tracing(host, style, options),
                CONCURRENCY,
                advance,
                lambda: progress.resume(done),
            )
            asyncio.run(run.go())
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
        tokens=tokens.model_copy(update={"look": options.look_tokens}),
    )
    keep(out, before, style, calibration)
    tell(console, found, ladder, calibration, options)
    shown = traces.with_name(f"{traces.name}.html")
    title = f"{name}, style {style.name}"
    shown.write_text(page(calibration, found, ladder, title), encoding="utf-8")
    console.print(f"all of it: {shown}", soft_wrap=True)
    return calibration


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


def tell(
    console: Console,
    traces: Sequence[Trace],
    ladder: Sequence[int],
    calibration: Calibration,
    options: CalibrationOptions,
) -> None:
    """Whether thought helps, and what the half that certified the calibration says of it."""
    if calibration.productivity is not None:
        console.print(productivity_table(calibration.productivity))
        console.print(calibration.productivity.finding, soft_wrap=True)
    console.print(bias_table(calibration.position_bias))
    if len(traces) < FEWEST:
        why = shortfall(len(traces), options.epsilon, options.delta)
        console.print(f"too few for thresholds: {why}", style="yellow", soft_wrap=True)
        return
    held = TraceArrays.of(traces[1::2], ladder)
    full, found = whole(held), replay(held, calibration.policy)
    tokens, all_tokens = found.spent.thought, full.spent.thought
    console.print(
        f"{len(held)} pairs that it was not fitted on: right {found.right.mean():.4f} "
        f"(whole chains {full.right.mean():.4f}), {tokens.mean():.1f} thinking tokens a "
        f"pair of {all_tokens.mean():.1f} ({tokens.sum() / max(1, all_tokens.sum()):.1%}); "
        f"{found.orders.mean():.2f} orders read of 2"
    )
    split = contradicting(held, calibration.conflict)
    console.print(
        f"whole chains contradict each other within what order alone explains in {split:.1%} of "
        "the pairs; those are unscored (order_conflict)",
        soft_wrap=True,
    )
    certificate, policy = calibration.certificate, calibration.policy
    if certificate is None or policy is None:
        why = shortfall(len(traces), options.epsilon, options.delta)
        console.print(f"no certificate, so whole chains are thought: {why}", style="yellow")
        return
    where = f"; it reads {where_read(found)}" if isinstance(policy, PricedPolicy) else ""
    console.print(
        f"certified: at most {certificate.epsilon:g} of {certificate.promises} lost, with "
        f"probability {1 - certificate.delta:g} (lost {certificate.lost}, gained "
        f"{certificate.gained} of {certificate.n}); {price_of(calibration.token_prices)}{where}",
        soft_wrap=True,
    )


def contradicting(arrays: TraceArrays, conflict: float) -> float:
    """Share of the traces whose whole chains contradict each other and say nothing."""
    ends = zip(arrays.lead[:, -1].tolist(), arrays.other_end.tolist(), strict=True)
    return fmean(contradict(one, conflict) for one in ends)


def where_read(found: Walked) -> str:
    """The depths at which a policy reads one pair of a hundred or more."""
    came: Counter[Depth] = Counter()
    for key, some in found.came.items():
        came[key.depth] += int(some.sum())
    often = [depth for depth, n in came.items() if n >= 0.01 * len(found.arrays)]
    rungs = sorted(depth for depth in often if isinstance(depth, int))
    ladder = (0, *found.arrays.ladder)
    depths = ["the prompt" if rung == 0 else f"{ladder[rung]} tokens" for rung in rungs]
    asks = ["where it asks for a search"] if "query" in often else []
    return ", ".join([*depths, *asks, "the end of the leading chain"])


def price_of(prices: TokenPrices | None) -> str:
    """What a token was taken to cost, in words."""
    if prices is None:
        return "no price of a token is known"
    return (
        f"priced by {prices.kind}: a token read costs {prices.read:.2g} of a generated one, "
        f"from a cache {prices.cached:.2g}; a cache holds {prices.known:.0%} of the first prompt "
        f"and {prices.shared:.0%} of the other"
    )


def bias_table(biases: Sequence[PositionBias]) -> RichTable:
    """What the order of the responses alone does, by depth of both chains."""
    table = RichTable(box=None, pad_edge=False)
    heads = ("each chain", "liking for the first place", "spread", "one order decides otherwise")
    for head in heads:
        table.add_column(head, justify="left" if head == "each chain" else "right")
    for bias in biases:
        depth = "whole" if bias.thinking_tokens is None else f"{bias.thinking_tokens} tokens"
        table.add_row(depth, f"{bias.mean:+.2f}", f"{bias.spread:.2f}", f"{bias.otherwise:.1%}")
    return table


def productivity_table(report: ThinkingGain) -> RichTable:
    """What thought brought at each checkpoint, and in each group."""
    table = RichTable(box=None, pad_edge=False)
    for head in ("chains", "thinking tokens", "gain in accuracy", "95 % interval"):
        table.add_column(head, justify="left" if head == "chains" else "right")
    rows = [("cut at a checkpoint", gain) for gain in report.by_checkpoint]
    rows += [("whole", report.whole)]
    rows += [(f"whole, {name}", gain) for name, gain in report.groups.items()]
    for name, gain in rows:
        interval = f"{gain.low:+.3f} to {gain.high:+.3f}"
        table.add_row(name, f"{gain.thinking_tokens:.0f}", f"{gain.value:+.3f}", interval)
    return table


def default_out(settings: Settings) -> Path:
    """Where a service looks for the thresholds of this model."""
    return model_directory(settings.model) / CALIBRATION_FILE
