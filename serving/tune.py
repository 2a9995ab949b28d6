"""The wording and the way to judge, chosen together: `closecall tune`.

Every pair is thought through in every wording, several votes each, into one file a wording; a run
that was killed goes on, and where all files are whole no model is opened. On every other pair the
best way is found at rising prices; the rest certify the dearest of them that keeps the accuracy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from judges.styles.registry import families
from judges.styles.spec import StyleSpec
from rrm.calibration.artifact import ArtifactError
from rrm.calibration.calibration import Calibration
from rrm.calibration.learn import PATH
from rrm.calibration.trace import Trace
from rrm.calibration.tune import Arm, Sampled, psst, values, whole_arm
from rrm.calibration.tuned import tuned
from serving.batch import write_whole
from serving.calibrate import TraceLine, Tracing, kept_in, trace_rows
from serving.datasets import Dataset
from serving.errors import SettingsError
from serving.model_host import ModelHost
from serving.preflight import own_style
from serving.reports.html import tune_page
from serving.settings import Settings
from serving.weights import weights_digest

DEPTHS = 5
"""that are compared, whole chains among them"""


@dataclass(frozen=True)
class TuningOptions:
    """How much may be lost, and how hard the best way is looked for."""

    epsilon: float
    delta: float
    wordings: int | None = None
    votes: int = 8
    completions: int = 5_000
    """pairs of chains that the search draws from the traces"""


def tune(
    console: Console,
    settings: Settings,
    dataset: Dataset,
    folder: Path,
    out: Path,
    options: TuningOptions,
) -> Calibration:
    """Trace what is missing, choose, certify, write. Raises SettingsError, with what to do."""
    if not all(row.label in ("a", "b") for row in dataset.rows if row.pair is not None):
        raise SettingsError(f"every row of {dataset.path} needs a label, a or b, to tune by")
    known = whole_files(settings, folder, dataset, options)
    if known is None:
        known = trace_wordings(console, settings, dataset, folder, options)
    facts = known[0].facts
    traces = _same_rows(known)
    ladder = facts["ladder"]
    sampled = Sampled.of(traces, depths_of(ladder))
    half, held = sampled.part(slice(0, None, 2)), sampled.part(slice(1, None, 2))
    cost = float(values(half, [whole_arm(half)])[1][0])
    prices = [price / max(1.0, cost) for price in PATH]
    try:
        arms = psst(half, prices, options.completions, seed=0)
    except ValueError as refusal:
        raise SettingsError(str(refusal)) from None
    first = traces[0][::2]
    calibration = tuned(
        half,
        held,
        list(zip(prices, arms, strict=True)),
        first,
        ladder,
        source=f"{len(traces[0])} pairs of {dataset.path.name}, {len(traces)} wordings",
        bond={
            "data": dataset.sha256,
            "model": facts["weights"],
            "prompt_hash": facts["prompt_hash"],
        },
        epsilon=options.epsilon,
        delta=options.delta,
        temperature=facts["temperature"],
    )
    policy = calibration.policy
    chosen = known[getattr(policy, "wording", 0)].facts
    before = kept_in(out, facts["weights"])
    artifact = before.plus(facts["style"], chosen["prompt_hash"], calibration)
    try:
        write_whole(out, artifact.as_json())
    except ArtifactError as failure:
        raise SettingsError(str(failure)) from None
    console.print(arms_table(sampled.part(slice(1, None, 2)), prices, arms, calibration))
    page = folder / f"{dataset.path.name}.{facts['style']}.tuned.html"
    page.write_text(tune_page(held, prices, arms, facts["style"]), encoding="utf-8")
    told = "certified" if calibration.certificate else "none certified, so whole chains are thought"
    console.print(f"{told}; all of it: {page}", soft_wrap=True)
    return calibration


@dataclass(frozen=True)
class Traced:
    """One wording's file: what made it, and its traces by row."""

    facts: Mapping[str, Any]
    lines: Mapping[int, Trace]


def file_of(folder: Path, dataset: Dataset, wording: int) -> Path:
    """Where one wording's traces lie."""
    return folder / f"{dataset.path.name}.w{wording}.traces.jsonl"


def whole_files(
    settings: Settings, folder: Path, dataset: Dataset, options: TuningOptions
) -> list[Traced] | None:
    """The files of all wordings, if they are whole and of this data and weights; else None."""
    found: list[Traced] = []
    wanted, weights = options.wordings, weights_digest(settings.model)
    while wanted is None or len(found) < wanted:
        path = file_of(folder, dataset, len(found))
        manifest = path.with_name(f"{path.name}.run.json")
        if not path.is_file() or not manifest.is_file():
            return None
        kept = json.loads(manifest.read_text(encoding="utf-8"))
        facts = kept["judge"]
        whole = path.read_bytes().count(b"\n") == len(dataset.rows)
        ours = (kept["sha256"], facts["weights"]) == (dataset.sha256, weights)
        if not (whole and ours and facts.get("votes", 1) == options.votes):
            return None
        if wanted is None:
            spec = own_style(settings) or families().get(facts["style"])
            wanted = spec.wordings_count if isinstance(spec, StyleSpec) else 1
        found.append(Traced(facts, read_lines(path)))
    return found


def trace_wordings(
    console: Console,
    settings: Settings,
    dataset: Dataset,
    folder: Path,
    options: TuningOptions,
) -> list[Traced]:
    """Think through what is missing, a file a wording."""
    host = ModelHost(settings)
    try:
        style = host.style(host.default)
        for number, worded in enumerate(host.wordings(style, options.wordings)):
            console.print(f"wording {number}", soft_wrap=True)
            path = file_of(folder, dataset, number)
            trace_rows(console, dataset, path, Tracing(host, worded, votes=options.votes))
    finally:
        host.close()
    found = whole_files(settings, folder, dataset, options)
    if found is None:
        raise SettingsError(f"the traces in {folder} are not whole; start again")
    return found


def read_lines(path: Path) -> dict[int, Trace]:
    """Traces by their row."""
    with path.open(encoding="utf-8") as file:
        lines = [TraceLine.model_validate_json(line) for line in file]
    return {line.index: line.trace for line in lines if line.trace is not None}


def _same_rows(known: Sequence[Traced]) -> list[list[Trace]]:
    """The traces of rows that every wording has."""
    rows = sorted(set.intersection(*(set(one.lines) for one in known)))
    if len(rows) < 4:
        raise SettingsError(
            "fewer than 4 pairs could be traced in every wording; the files say why"
        )
    return [[one.lines[row] for row in rows] for one in known]


def depths_of(ladder: Sequence[int]) -> list[int]:
    """No thought, some rungs, whole chains."""
    step = max(1, (len(ladder) - 1) // (DEPTHS - 2))
    return [0, *ladder[:-1][step - 1 :: step][: DEPTHS - 2], ladder[-1]]


def arms_table(
    held: Sampled, prices: Sequence[float], arms: Sequence[Arm], calibration: Calibration
) -> RichTable:
    """What was chosen at each price, on pairs that nothing was chosen by."""
    table = RichTable(box=None, pad_edge=False)
    for head in ("price of a token", "wording", "thought", "votes", "right", "tokens", ""):
        table.add_column(head, justify="right")
    plain = whole_arm(held)
    accuracy, tokens = values(held, [plain, *arms])
    rows = [(None, plain), *zip(prices, arms, strict=True)]
    for (price, arm), right, spent in zip(rows, accuracy, tokens, strict=True):
        depth = "whole" if arm.depth == len(held.depths) - 1 else f"{held.depths[arm.depth]}"
        votes = "1" if arm.votes == 1 else f"{arm.votes}, {arm.aggregation}"
        chosen = calibration.policy is not None and price == calibration.policy.price
        table.add_row(
            "untuned" if price is None else f"{price:.2g}",
            str(arm.wording),
            depth,
            votes,
            f"{right:.4f}",
            f"{spent:.1f}",
            "certified" if chosen else "",
        )
    return table
