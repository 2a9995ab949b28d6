"""TOML files that people write: what is wrong with one is told with its line."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError


class FileError(ValueError):
    """A file cannot be used; the message names the file and the line, a fault a line."""


def read_toml(file: Path) -> tuple[str, dict[str, Any]]:
    """The text of `file` and what it says. Raises FileError."""
    try:
        text = file.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as failure:
        raise FileError(f"{file}: cannot be read: {failure}") from None
    except tomllib.TOMLDecodeError as failure:
        raise FileError(f"{file}: {failure}") from None


def faults(file: Path, text: str, failure: ValidationError) -> FileError:
    """What a model refused in `text`, each fault with its place."""
    lines = [
        f"{file}, line {line_of(text, error['loc'])}: "
        f"{'.'.join(map(str, error['loc'])) or 'the file'}: {error['msg']}"
        for error in failure.errors()
    ]
    return FileError("\n".join(lines))


def line_of(text: str, place: tuple[int | str, ...]) -> int:
    """The line, from 1, where the value at `place` stands, or its table, or the first line."""
    keys = [key for key in place if isinstance(key, str)]
    numbers = [key for key in place if isinstance(key, int)]
    table: list[str] = []
    found, seen = 1, -1
    for number, line in enumerate(text.splitlines(), start=1):
        if head := re.match(r"\s*\[+\s*([\w.\"-]+)\s*\]+", line):
            table = head[1].replace('"', "").split(".")
            seen += line.lstrip().startswith("[[") and table == keys[: len(table)]
            wanted = not numbers or not line.lstrip().startswith("[[") or seen == numbers[0]
            if table == keys[: len(table)] and wanted:
                found = number
        elif key := re.match(r"\s*\"?([\w-]+)\"?\s*=", line):
            here = [*table, key[1]]
            if here == keys[: len(here)] and (not numbers or seen < 0 or seen == numbers[0]):
                found = number
                if len(here) == len(keys):
                    return found
    return found
