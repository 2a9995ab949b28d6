"""How much verdicts hang on the wording, and whether confidence tells: `closecall sensitivity`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from rrm.calibration.sensitivity import (
    Confidence,
    Sensitivity,
    blind,
    confidence_by_depth,
)
from serving.calibrate import Tracing, read_traces, trace_rows
from serving.datasets import Dataset
from serving.errors import SettingsError
from serving.model_host import ModelHost
from serving.reports.calibration import confidence_table, sensitivity_table
from serving.reports.html import sensitivity_page
from serving.settings import Settings


def sensitivity(
    console: Console,
    settings: Settings,
    dataset: Dataset,
    traces: Path,
    count: int | None,
    files: Sequence[Path],
) -> Sensitivity:
    """Trace every pair in each wording, tell what changes. Raises SettingsError.

    count: wordings; None: all that the style has. files: other instruction texts, in their place.
    Without labels, what the judge's own first wording says whole stands for them, and nothing can
    be told of its confidence.
    """
    own = not any(row.label in ("a", "b") for row in dataset.rows)
    host = ModelHost(settings)
    try:
        style = host.style(host.default)
        wordings = host.wordings(style, count, files)
        trace_rows(console, dataset, traces, Tracing(host, style, own, wordings=wordings))
        ladder, name = host.ladder, host.engine.card.name
    finally:
        host.close()
    found = read_traces(traces)
    if not found:
        raise SettingsError(f"no row of {dataset.path} could be traced; {traces} says why")
    report = Sensitivity.of(found)
    console.print(sensitivity_table(report))
    confidence: list[Confidence] = [] if own else confidence_by_depth(found, ladder)
    if confidence:
        console.print(confidence_table(confidence))
    if said := blind(confidence):
        console.print(said, style="yellow", soft_wrap=True)
    page = traces.with_name(f"{traces.name}.html")
    title = f"{name}, style {style.name}: wordings"
    page.write_text(sensitivity_page(report, confidence, found, title), encoding="utf-8")
    console.print(f"all of it: {page}", soft_wrap=True)
    return report
