"""Datasets of pairs, JSONL or CSV, read into rows with a key of their content."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from rrm.types import Pair, Preference, Prompt
from serving.errors import SettingsError

NAMES: Mapping[str, tuple[str, ...]] = {
    "prompt": ("prompt", "question", "instruction", "query", "input", "messages"),
    "a": ("response_a", "answer_a", "completion_a", "a", "chosen", "response_1", "output_1"),
    "b": ("response_b", "answer_b", "completion_b", "b", "rejected", "response_2", "output_2"),
    "label": ("label", "winner", "preferred", "preference"),
    "id": ("id", "uid", "row_id"),
    "group": ("group", "subset", "domain", "category"),
    "evidence": ("evidence",),
}
"""column names that are recognised, likeliest first"""
NEEDED = ("prompt", "a", "b")
LABELS: Mapping[str, Preference] = {
    **dict.fromkeys(("a", "1", "first", "response_a", "model_a", "chosen"), "a"),
    **dict.fromkeys(("b", "2", "second", "response_b", "model_b", "rejected"), "b"),
    **dict.fromkeys(("tie", "both", "0.5", "0", "equal"), "tie"),
}
PROMPTS: TypeAdapter[Prompt] = TypeAdapter(Prompt)


@dataclass(frozen=True)
class Row:
    """One row of the input: a pair, or why there is none."""

    index: int
    id: str | None
    pair: Pair | None
    label: Preference | None
    fault: str | None = None
    group: str | None = None
    evidence: tuple[str, ...] | None = None
    """texts to search in"""

    def key(self, judge: str) -> str:
        """Hash of what the outcome depends on: the content and the judge's own hash."""
        pair = self.pair.model_dump() if self.pair else None
        content: list[Any] = [judge, pair, self.label, self.fault]
        content += [] if self.evidence is None else [self.evidence]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Dataset:
    """All rows of a file."""

    path: Path
    sha256: str
    columns: Mapping[str, str]
    rows: Sequence[Row] = field(repr=False)


def read_dataset(path: Path, given: Mapping[str, str] | None = None) -> Dataset:
    """Read `path`, JSONL or CSV by its suffix. given: columns by role, the others are guessed.

    A row that cannot be read keeps its place with the fault named. Raises SettingsError if the
    file or a needed column is not there.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as failure:
        raise SettingsError(f"cannot read {path}: {failure.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not UTF-8; convert it first") from None
    if path.suffix.lower() == ".csv":
        records: list[Any] = list(csv.DictReader(io.StringIO(text, newline="")))
    elif path.suffix.lower() in (".jsonl", ".ndjson"):
        records = [_json(line) for line in text.split("\n") if line.strip()]
    else:
        raise SettingsError(f"{path} is neither .jsonl nor .csv")
    if not records:
        raise SettingsError(f"{path} holds no rows")
    columns = choose_columns(next((r for r in records if isinstance(r, dict)), {}), given or {})
    rows = [_row(index, record, columns) for index, record in enumerate(records)]
    return Dataset(path, hashlib.sha256(content).hexdigest(), columns, rows)


def choose_columns(record: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    """Which column plays which role. Raises SettingsError, naming what there is."""
    there = ", ".join(map(repr, record)) or "none"
    for role, name in given.items():
        if role not in NAMES:
            raise SettingsError(f"no role {role!r}; give {', '.join(NAMES)}, such as a=chosen")
        if name not in record:
            raise SettingsError(f"no column {name!r} for {role}; there are {there}")
    chosen = dict(given)
    for role, names in NAMES.items():
        found = next((name for name in names if name in record), None)
        if role not in chosen and found is not None:
            chosen[role] = found
    missing = [role for role in NEEDED if role not in chosen]
    if missing:
        raise SettingsError(
            f"which column is {', '.join(missing)}? There are {there}; "
            f"pass --columns {','.join(f'{role}=NAME' for role in missing)}"
        )
    return chosen


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as failure:
        return str(failure)


def _row(index: int, record: Any, columns: Mapping[str, str]) -> Row:
    if not isinstance(record, dict):
        return Row(index, None, None, None, f"no JSON object: {record!s:.80}")
    name = record.get(columns.get("id", ""))
    identity = None if name is None else str(name)
    try:
        values = {role: record.get(column) for role, column in columns.items()}
        label = _label(values.get("label"))
        for role in ("a", "b"):
            if not isinstance(values[role], str):
                raise ValueError(f"{columns[role]} is no text")
        prompt = PROMPTS.validate_python(values["prompt"])
        if not prompt:
            raise ValueError(f"{columns['prompt']} is empty")
        pair = Pair(prompt=prompt, response_a=values["a"], response_b=values["b"])
        evidence = _texts(values.get("evidence"), columns.get("evidence", ""))
        json.dumps([pair.model_dump(), evidence], ensure_ascii=False).encode()
    except ValidationError:
        return Row(index, identity, None, None, f"{columns['prompt']} is neither text nor messages")
    except ValueError as failure:
        return Row(index, identity, None, None, str(failure))
    group = record.get(columns.get("group", ""))
    group = None if group is None else str(group)
    return Row(index, identity, pair, label, group=group, evidence=evidence)


def _texts(value: Any, column: str) -> tuple[str, ...] | None:
    """One text, or a list of them."""
    if value is None or value == "":
        return None
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{column} is neither a text nor a list of texts")
    return tuple(texts)


def _label(value: Any) -> Preference | None:
    if value is None or value == "":
        return None
    side = LABELS.get(str(value).strip().lower())
    if side is None:
        raise ValueError(f"label {value!r:.40} is none of A, B, tie")
    return side
