"""The lines of a long job over rows, in input order on disk; what is early waits in a file beside.

Nothing that was done is lost to a kill: a line is in OUT if all before it are, else in OUT.early,
which is gone once OUT is whole. A torn last line of either is cut; one that cannot be read is set
aside in OUT.unreadable.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Generic, Self, TypeVar

from pydantic import Field

from rrm.types import Outcome, OutcomePart, Preference
from serving.errors import SettingsError


class Finished(OutcomePart):
    """One finished row, whatever was done with it."""

    index: int
    id: str | None
    key: str = Field(description="hash of the row's content and of the judge")


class JudgedRow(Finished):
    """One judged row."""

    label: Preference | None
    outcome: Outcome


L = TypeVar("L", bound=Finished)


class Journal(Generic[L]):
    """`file`, opened for appending and reading, and its early lines. A context manager.

    A line that cannot be read (one corrupt byte, another program's) is copied to OUT.unreadable
    and its row is done again; OUT keeps the line until every row is there, and is then replaced
    whole. So OUT never shrinks.

    kind: of the lines. keys: of every row. on_line: gets every line of OUT, those of earlier runs
    too, in order. known: gets every line of earlier runs, those that came early too. Raises
    SettingsError for a line that is of another input or judge.
    """

    def __init__(
        self,
        file: IO[bytes],
        out: Path,
        kind: type[L],
        keys: Sequence[str],
        on_line: Callable[[L], None],
        known: Callable[[L], None] = lambda line: None,
    ) -> None:
        self.written = 0
        """lines of OUT, unreadable ones too"""
        self.unreadable: set[int] = set()
        """rows whose line in OUT cannot be read, and is to be replaced"""
        self.aside = out.with_name(f"{out.name}.unreadable")
        self._file, self._out, self._keys, self._tell = file, out, keys, on_line
        self._beside = out.with_name(f"{out.name}.early")
        self._waiting: dict[int, L] = {}
        """finished rows that are not in OUT"""
        self._untold: dict[int, L] = {}
        """finished rows behind one that is not"""
        self._told = 0
        torn: list[bytes] = []
        for number, raw in enumerate(_whole_lines(file)):
            line = _read(kind, raw)
            if number >= len(keys) or (line is not None and line.key != keys[number]):
                raise SettingsError(f"line {number + 1} of {out} is not of this run")
            if line is None:
                self.unreadable.add(number)
                torn.append(raw)
            else:
                self._untold[number] = line
                known(line)
            self.written += 1
        self._early = self._beside.open("a+b")
        for raw in _whole_lines(self._early):
            line = _read(kind, raw)
            if line is None:
                torn.append(raw)
            elif self._misses(line):
                known(line)
                self._waiting[line.index] = self._untold[line.index] = line
        self._put_aside(torn)
        self._catch_up()

    @property
    def replaced(self) -> int:
        """Unreadable lines whose row has been done again."""
        return sum(number in self._waiting for number in self.unreadable)

    def has(self, index: int) -> bool:
        """Whether this row is finished."""
        if index in self._waiting:
            return True
        return index < self.written and index not in self.unreadable

    def _misses(self, line: L) -> bool:
        """Whether this is a row of ours that is not finished."""
        ours = line.index < len(self._keys) and line.key == self._keys[line.index]
        return ours and not self.has(line.index)

    def add(self, line: L) -> None:
        """Keep a finished row, on disk when this returns."""
        self._waiting[line.index] = self._untold[line.index] = line
        if line.index != self.written:
            self._early.write(_raw(line))
            self._early.flush()
        self._catch_up()

    def _catch_up(self) -> None:
        while (line := self._waiting.pop(self.written, None)) is not None:
            self._file.write(_raw(line))
            self.written += 1
        self._file.flush()
        while (line := self._untold.pop(self._told, None)) is not None:
            self._told += 1
            self._tell(line)

    def _put_aside(self, torn: Sequence[bytes]) -> None:
        """Keep unreadable lines, each once."""
        if not torn:
            return
        with self.aside.open("a+b") as file:
            file.seek(0)
            known = set(file)
            file.writelines(raw for raw in torn if raw not in known)

    def _repair(self) -> None:
        """Replace OUT by itself with every unreadable line done again."""
        self._file.seek(0)
        part = self._out.with_name(f"{self._out.name}.part")
        with part.open("wb") as whole:
            for number, raw in enumerate(self._file):
                again = self._waiting.get(number)
                whole.write(raw if again is None else _raw(again))
        part.replace(self._out)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._early.close()
        if not all(map(self.has, range(len(self._keys)))):
            return
        if self.unreadable:
            self._repair()
        self._beside.unlink()


def _raw(line: Finished) -> bytes:
    return line.model_dump_json().encode() + b"\n"


def _read(kind: type[L], raw: bytes) -> L | None:
    try:
        return kind.model_validate_json(raw)
    except ValueError:
        return None


def _whole_lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file; a last one without its end, torn by a kill, is cut off."""
    file.seek(0)
    whole = 0
    for raw in file:
        if not raw.endswith(b"\n"):
            break
        whole += len(raw)
        yield raw
    file.truncate(whole)
    file.seek(0, os.SEEK_END)
