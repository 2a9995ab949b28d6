"""Outcomes kept as data, and how a new one is held against them."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rrm.types import Unscored, Verdict

HERE = Path(__file__).parent
DIGITS = 8
"""to which numbers are kept"""
TOLERANCE = 1e-6


def as_kept(outcome: Verdict | Unscored) -> dict[str, Any]:
    """The outcome as schema 1 has it, without its time."""
    found: dict[str, Any] = outcome.model_dump(mode="json")
    for name in ("version", "orders_read"):
        found.pop(name, None)
    for name in ("seconds", "read_tokens", "generated_tokens"):
        found["usage"].pop(name)
    return found


def as_told(outcome: Verdict | Unscored) -> dict[str, Any]:
    """All of the outcome but its time."""
    found: dict[str, Any] = outcome.model_dump(mode="json")
    found["usage"].pop("seconds")
    return found


def rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list) else value


def write(name: str, outcomes: Sequence[dict[str, Any]]) -> None:
    lines = [json.dumps(rounded(one), separators=(",", ":")) for one in outcomes]
    path = HERE / f"{name}.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))


def read(name: str) -> list[dict[str, Any]]:
    text = gzip.decompress((HERE / f"{name}.jsonl.gz").read_bytes()).decode()
    return [json.loads(line) for line in text.split("\n")]


def differences(kept: Any, found: Any, where: str = "") -> list[str]:
    """What is not the same, each with its place; numbers may differ by TOLERANCE."""
    if isinstance(kept, float | int) and isinstance(found, float | int):
        same = math.isclose(kept, found, rel_tol=0, abs_tol=TOLERANCE)
        return [] if same else [f"{where}: {kept} was kept, {found} found"]
    if isinstance(kept, Mapping) and isinstance(found, Mapping):
        # What a later version tells says nothing new where there is nothing to tell.
        names = [key for key in {**kept, **found} if key in kept or found[key] not in (None, 0, [])]
        return [
            one
            for key in names
            for one in differences(kept.get(key), found.get(key), f"{where}.{key}")
        ]
    if isinstance(kept, list) and isinstance(found, list) and len(kept) == len(found):
        pairs = enumerate(zip(kept, found, strict=True))
        return [one for n, (a, b) in pairs for one in differences(a, b, f"{where}[{n}]")]
    return [] if kept == found else [f"{where}: {kept!r} was kept, {found!r} found"]
