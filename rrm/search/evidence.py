"""Evidence: what one judgement searches in, and what it found. Its chains share it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from rrm.errors import SearchError
from rrm.search.base import LIMITS, Document, Searcher, SearchLimits
from rrm.types import SearchRecord


class Evidence:
    """The searches of one judgement. searcher: none refuses every query."""

    def __init__(self, searcher: Searcher | None = None, limits: SearchLimits = LIMITS) -> None:
        self.searcher, self.limits = searcher, limits
        self.unread: list[str] = []
        """why something that was found could not be read"""
        self._asked: dict[str, asyncio.Task[SearchRecord]] = {}

    @property
    def given(self) -> bool:
        """Whether there is anything to search in."""
        return self.searcher is not None

    def knows(self, query: str) -> bool:
        """Whether this query was asked before, so that it costs no search."""
        return query in self._asked

    @property
    def searches(self) -> int:
        """How many were made, failed ones too."""
        return len(self._asked)

    @property
    def records(self) -> tuple[SearchRecord, ...]:
        """What was asked and found, in order."""
        done = (task for task in self._asked.values() if task.done() and not task.cancelled())
        return tuple(task.result() for task in done)

    async def find(self, query: str) -> SearchRecord:
        """What there is about `query`; a failure is a record too. Asked once, shared by all."""
        if query not in self._asked:
            self._asked[query] = asyncio.ensure_future(self._find(query))
        try:
            return await asyncio.shield(self._asked[query])
        except asyncio.CancelledError:
            self._asked[query].cancel()  # the judgement's time is up
            raise

    async def _find(self, query: str) -> SearchRecord:
        began, limits = time.monotonic(), self.limits
        found: Sequence[Document] = ()
        failed = None
        try:
            async with asyncio.timeout(limits.seconds):
                if self.searcher is None:
                    raise SearchError("there is nothing to search in")
                if len(query) > limits.query:
                    raise SearchError(f"a query is at most {limits.query} characters")
                found = await self.searcher.search(query, limits.documents)
        except TimeoutError:
            failed = f"no answer within {limits.seconds:g} s"
        except SearchError as failure:
            failed = str(failure)
        except Exception as failure:  # a searcher of somebody else's
            failed = f"{type(failure).__name__}: {failure}"
        kept = list(found)[: limits.documents]
        text = "\n".join(one.text[: limits.characters] for one in kept)[: limits.characters]
        return SearchRecord(
            query=query[: limits.query],
            found=text if text.strip() else None,
            sources=tuple(one.source for one in kept if one.source is not None),
            failed=failed,
            seconds=time.monotonic() - began,
        )
