"""What every benchmark prints and takes: machine, model, seed, n; `--n`, `--seed`, `--json`."""

from __future__ import annotations

import argparse
import json
import platform
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

RESAMPLES = 2000


def parser(doc: str | None, n: int, seed: int) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    made = argparse.ArgumentParser(description=doc)
    made.add_argument("--n", type=int, default=n)
    made.add_argument("--seed", type=int, default=seed)
    made.add_argument("--json", type=Path, help="write the figures to this file too")
    return made


def machine() -> str:
    """One line on what this ran on."""
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{platform.machine()}, {psutil.cpu_count()} cores, {memory:.0f} GiB, "
        f"Python {platform.python_version()}"
    )


def interval(
    rows: Sequence[Any], figure: Callable[[Sequence[Any]], float], seed: int
) -> tuple[float, float]:
    """95 % percentile bootstrap over `rows` (Efron 1979)."""
    rng = random.Random(seed)
    found = sorted(figure(rng.choices(rows, k=len(rows))) for _ in range(RESAMPLES))
    return found[round(0.025 * RESAMPLES)], found[round(0.975 * RESAMPLES) - 1]


def finish(figures: dict[str, Any], missed: Sequence[str], file: Path | None) -> int:
    """Write the figures; print what was missed. Returns the exit code."""
    if file:
        file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    for line in missed:
        print(f"MISSED: {line}")
    print("all figures held" if not missed else f"{len(missed)} figures missed")
    return 1 if missed else 0
