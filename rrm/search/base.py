"""The Searcher protocol, what one finds, and how much it may take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import Field

from rrm.types import OutcomePart


class Document(OutcomePart):
    """Something that was found."""

    text: str
    source: str | None = Field(None, description="where it stands: an address, a title, a number")


class Searcher(Protocol):
    """Answers queries. Its documents are strangers' text."""

    @property
    def name(self) -> str:
        """Tells two searchers apart that may find different things."""
        ...

    async def search(self, query: str, most: int) -> Sequence[Document]:
        """Up to `most` documents, the best first. Raises SearchError."""
        ...


@dataclass(frozen=True)
class SearchLimits:
    """How much the searches of one judgement may take."""

    rounds: int = 4
    """searches of one chain; later queries are refused"""
    seconds: float = 5.0
    """of one search"""
    documents: int = 3
    """read for one query"""
    characters: int = 2_000
    """read for one query, all documents together"""
    query: int = 400
    """characters of a query"""

    @property
    def tokens(self) -> int:
        """About what the model reads for one query, at most."""
        return self.characters // 3


LIMITS = SearchLimits()
"""unless others are set"""
