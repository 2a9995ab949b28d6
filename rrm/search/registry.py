"""Searchers by what names them: a path, an address, or an entry point; and those of one service."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path

from rrm.errors import SearchError, UnknownSearcher
from rrm.search.base import LIMITS, Document, Searcher, SearchLimits
from rrm.search.evidence import Evidence

ENTRY_POINTS = "closecall.searchers"
"""group of entry points whose value, called with what stands behind `NAME:`, gives a Searcher"""
KEPT = 4_096
"""answers that a service remembers"""

Given = str | tuple[str, ...] | None
"""evidence as a caller gives it: a searcher's name, texts, or nothing said"""


def open_searcher(spec: str) -> Searcher:
    """`bm25:PATH`, `http://…`, `https://…`, or `NAME:REST` of an entry point.

    Raises SearchError, with what to do.
    """
    kind, _, rest = spec.partition(":")
    if kind == "bm25":
        from rrm.search.bm25 import over_files

        return over_files(Path(rest))
    if kind in ("http", "https"):
        from rrm.search.http import HttpSearcher

        return HttpSearcher(spec)
    for point in entry_points(group=ENTRY_POINTS, name=kind):
        found: Searcher = point.load()(rest)
        return found
    named = ", ".join(sorted(entry_points(group=ENTRY_POINTS).names))
    raise SearchError(
        f"no searcher {spec!r}: give bm25:PATH, an http(s) address"
        + (f", or one of {named}" if named else "")
    )


def check_searcher(spec: str) -> None:
    """Raise SearchError for what `open_searcher` cannot open, as far as is seen without opening."""
    kind, _, rest = spec.partition(":")
    if kind == "bm25" and not Path(rest).exists():
        raise SearchError(f"cannot read {rest}: there is no such file or folder")
    if kind not in ("bm25", "http", "https", *entry_points(group=ENTRY_POINTS).names):
        open_searcher(spec)


class Remembering:
    """A searcher whose latest answers are kept; failures are not.

    characters: of each document.
    """

    def __init__(self, inner: Searcher, characters: int, kept: int = KEPT) -> None:
        self._inner, self._kept, self.name = inner, kept, inner.name
        self._characters = characters
        self._answers: OrderedDict[tuple[str, int], Sequence[Document]] = OrderedDict()

    async def search(self, query: str, most: int) -> Sequence[Document]:
        key = query, most
        if key not in self._answers:
            found = await self._inner.search(query, most)
            cut = (one.model_copy(update={"text": one.text[: self._characters]}) for one in found)
            self._answers[key] = tuple(cut)
        self._answers.move_to_end(key)
        while len(self._answers) > self._kept:
            self._answers.popitem(last=False)
        return self._answers[key]


class Searchers:
    """What one service can search in. default: for requests that bring nothing; none: nothing."""

    def __init__(
        self,
        named: Mapping[str, Searcher] | None = None,
        default: str | None = None,
        limits: SearchLimits = LIMITS,
    ) -> None:
        self.limits = limits
        self.named = {
            name: Remembering(one, limits.characters) for name, one in (named or {}).items()
        }
        self.default = default

    def facts(self) -> dict[str, str]:
        """What outcomes depend on where nobody brings evidence."""
        return {} if self.default is None else {"searcher": self.named[self.default].name}

    def evidence(self, given: Given, rounds: int | None = None) -> Evidence:
        """What one judgement may search. rounds: fewer of each chain. Raises UnknownSearcher."""
        limits = self.limits
        if rounds is not None:
            limits = replace(limits, rounds=min(limits.rounds, rounds))
        return Evidence(self.of(given), limits)

    def of(self, evidence: Given) -> Searcher | None:
        """The searcher for `evidence`; no texts at all: none. Raises UnknownSearcher."""
        if isinstance(evidence, tuple):
            from rrm.search.bm25 import over_texts

            return over_texts(evidence) if evidence else None
        name = self.default if evidence is None else evidence
        if name is None:
            return None
        if name not in self.named:
            there = ", ".join(sorted(self.named)) or "none"
            raise UnknownSearcher(
                f"no searcher called {name!r} here (there are: {there}); give texts, or start the "
                "service with it"
            )
        return self.named[name]


NO_SEARCHERS = Searchers()
"""texts alone"""
