"""The lines of a long job over rows, in input order on disk; what is early waits in a file beside.

Nothing that was done is lost to a kill: a line is in OUT if all before it are, else in OUT.early,
which is gone once OUT is whole. A torn last line of either is cut.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Generic, Self, TypeVar

from pydantic import Field

from rrm.types import Frozen, Outcome, Side
from serving.settings import SettingsError


class Finished(Frozen):
    """One finished row, whatever was done with it."""

    index: int
    id: str | None
    key: str = Field(description="hash of the row's content and of the judge")


class Line(Finished):
    """One judged row."""

    label: Side | None
    outcome: Outcome


L = TypeVar("L", bound=Finished)


class Journal(Generic[L]):
    """`file`, opened for appending and reading, and its early lines. A context manager.

    kind: of the lines. keys: of every row. told: every line of OUT, those of earlier runs too, in
    order. known: every line of earlier runs, those that came early too. Raises SettingsError for a
    line that is not of this input and judge.
    """

    def __init__(
        self,
        file: IO[bytes],
        out: Path,
        kind: type[L],
        keys: Sequence[str],
        told: Callable[[L], None],
        known: Callable[[L], None] = lambda line: None,
    ) -> None:
        self.written = 0
        """lines of OUT"""
        self._file, self._out, self._keys, self._told = file, out, keys, told
        self._beside = out.with_name(f"{out.name}.early")
        self._waiting: dict[int, L] = {}
        for line in _whole_lines(file, kind):
            if self.written >= len(keys) or line.key != keys[self.written]:
                raise SettingsError(f"line {self.written + 1} of {out} is not of this run")
            self.written += 1
            known(line)
            told(line)
        self._early = self._beside.open("a+b")
        for line in _whole_lines(self._early, kind):
            ours = line.index < len(keys) and line.key == keys[line.index]
            if ours and not self.has(line.index):
                known(line)
                self._waiting[line.index] = line
        self._catch_up()

    def has(self, index: int) -> bool:
        """Whether this row is finished."""
        return index < self.written or index in self._waiting

    def add(self, line: L) -> None:
        """Keep a finished row, on disk when this returns."""
        self._waiting[line.index] = line
        if line.index != self.written:
            self._early.write(_raw(line))
            self._early.flush()
        self._catch_up()

    def _catch_up(self) -> None:
        while (line := self._waiting.pop(self.written, None)) is not None:
            self._file.write(_raw(line))
            self.written += 1
            self._told(line)
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._early.close()
        if self.written == len(self._keys):
            self._beside.unlink()


def _raw(line: Finished) -> bytes:
    return line.model_dump_json().encode() + b"\n"


def _whole_lines(file: IO[bytes], kind: type[L]) -> Iterator[L]:
    """The lines of a file up to the first torn one, which is cut off with all behind it."""
    file.seek(0)
    whole = 0
    for raw in file:
        try:
            line = kind.model_validate_json(raw) if raw.endswith(b"\n") else None
        except ValueError:
            line = None
        if line is None:
            break
        whole += len(raw)
        yield line
    file.truncate(whole)
    file.seek(0, os.SEEK_END)
