"""Searches: what a chain asks for, what it is told, and who pays for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rrm.allocation.account import Account
from rrm.allocation.meter import Work
from rrm.engines.base import Engine, Pause, TokenSequence
from rrm.errors import PromptTooLong, RefusedText
from rrm.prompt import SearchMarkers
from rrm.search.evidence import Evidence
from rrm.style import Style


class ChainSearch:
    """The searches of one chain. markers: none: what it writes is not looked at for queries."""

    def __init__(
        self,
        engine: Engine,
        style: Style,
        sequence: TokenSequence,
        markers: SearchMarkers | None,
    ) -> None:
        self._engine, self._style, self._sequence = engine, style, sequence
        self.markers = markers
        self.answered = 0
        """queries that were searched for it"""
        self.sanitized: tuple[str, ...] = ()
        """what was made harmless in what was found"""

    @property
    def pause(self) -> Pause | None:
        """What makes it wait."""
        return None if self.markers is None else Pause(self.markers.opening, self.markers.close)

    @property
    def query(self) -> str:
        """What it waits to be told; "": nothing."""
        if self.markers is None or not self._sequence.paused:
            return ""
        return self.markers.query(self._sequence.text)

    @property
    def length(self) -> int:
        """Tokens of its prompt and of all that stands behind it."""
        return len(self._sequence.prompt_ids) + len(self._sequence.ids)

    def asks(self, evidence: Evidence) -> bool:
        """Whether it waits for a search that can be made."""
        return evidence.given and self.answered < evidence.limits.rounds and bool(self.query)

    async def look_up(self, evidence: Evidence) -> None:
        """Search what it asks for, and let it read that.

        What was found is a stranger's text, and made harmless first.
        """
        record = await evidence.find(self.query)
        self.answered += 1
        if record.failed is not None or self.markers is None:
            self.decline()
            return
        try:
            found = record.found
            self._tell(self.markers.nothing if found is None else self._harmless(found))
        except RefusedText as refusal:
            evidence.unread.append(str(refusal))
            self.decline()

    def _harmless(self, found: str) -> str:
        """Raises UnreadableText."""
        text, changed = self._style.clean(found, self._engine.control)
        self.sanitized += changed
        card = self._engine.card
        if card.reads is not None:
            card.reads.refuse(card.name, (text,), searching=True)
        return text

    def decline(self) -> None:
        """Let it go on without a search."""
        if self.markers is not None and self.query:
            try:
                self._tell(self.markers.refused)
            except PromptTooLong:
                self._engine.append(self._sequence, "")
        else:  # it closed a query that it had not opened
            self._engine.append(self._sequence, "")

    def _tell(self, result: str) -> None:
        """Raises PromptTooLong."""
        if self.markers is not None:
            self._engine.append(self._sequence, self.markers.result(result))


async def answer(
    searches: Sequence[ChainSearch], evidence: Evidence, account: Account, priority: float
) -> bool:
    """Answer chains that wait, those that cannot be searched for by a refusal.

    A query that was asked before costs nothing. False if the account refused a search.
    """
    asking = [one for one in searches if one.asks(evidence)]
    for one in searches:
        if one.pause is not None and not one.asks(evidence):
            one.decline()
    if not asking:
        return True
    fresh = {one.query: one for one in asking if not evidence.knows(one.query)}
    made = [Work("search", 1, one.length) for one in fresh.values()]
    reading = [Work("prompt", evidence.limits.tokens, one.length) for one in asking]
    if not await account.reserve([*made, *reading], priority):
        return False
    before = [one.length for one in asking]
    await asyncio.gather(*(one.look_up(evidence) for one in asking))
    account.pay(made)
    account.pay(
        Work("prompt", one.length - length, length)
        for one, length in zip(asking, before, strict=True)
    )
    return True
