"""SwapPair: the two chains of one pair, one an order; one of them leads and thinks first."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from rrm.decision.chain import JudgeChain
from rrm.decision.search import ChainSearch
from rrm.engines.base import Engine
from rrm.parse import ParsedVerdict
from rrm.search.evidence import Evidence
from rrm.style import Style
from rrm.types import Pair, Usage, prompt_text

Order = Literal["ab", "ba"]
ORDERS: tuple[Order, Order] = ("ab", "ba")
Watch = Callable[["ChainText"], None]


LONG_TEXT = 4_000
"""characters from which on a question is prepared beside the event loop"""
T = TypeVar("T")


async def prepared(characters: int, make: Callable[[], T]) -> T:
    """`make()`, which reads so many: in a thread where others would wait for it."""
    if characters < LONG_TEXT:
        return make()
    return await asyncio.to_thread(make)


@dataclass(frozen=True)
class ChainText:
    """A piece of thought, as it grows."""

    order: Order
    text: str
    vote: int = 0
    """which of several chains on the same question it belongs to"""


@dataclass(frozen=True)
class PairReadout:
    """A verdict as both orders give it, seen from response a."""

    margins: tuple[float | None, float | None]
    """from the order a, b and from the order b, a; positive prefers a; None: it was not read"""
    masses: tuple[float | None, float | None]
    """probability that the labels hold together, in each order"""
    scores: tuple[float, float] | None
    thinks: tuple[float | None, float | None] = (None, None)
    """probability with which a hybrid begins to think, in each order"""

    @property
    def think(self) -> float | None:
        """The mean of the orders in which that was read."""
        known = [think for think in self.thinks if think is not None]
        return sum(known) / len(known) if known else None

    @property
    def mass(self) -> float:
        """The lowest of the orders that were read."""
        return min(mass for mass in self.masses if mass is not None)

    @property
    def margin(self) -> float:
        """The mean of the orders that were read."""
        known = [margin for margin in self.margins if margin is not None]
        return sum(known) / len(known)

    @property
    def agree(self) -> bool | None:
        """Whether both orders prefer the same response; None where one was not read."""
        first, second = self.margins
        return None if first is None or second is None else first * second > 0

    @property
    def both(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Margins and masses of both orders. Raises ValueError where one was not read."""
        (first, second), (one, two) = self.margins, self.masses
        if first is None or second is None or one is None or two is None:
            raise ValueError("one order was not read")
        return (first, second), (one, two)


class SwapPair:
    """Both orders of one pair. Raises RefusedText for text that the model cannot take.

    The order that leads hangs on the texts alone, not on which of them is called a: a pair and its
    swapped twin are thought about in the same words.
    """

    def __init__(
        self,
        engine: Engine,
        style: Style,
        pair: Pair,
        temperature: float = 0.0,
        whole: str | None = None,
        vote: int = 0,
        searching: bool = False,
    ) -> None:
        prompt, a, b = prompt_text(pair.prompt), pair.response_a, pair.response_b
        self.engine, self.vote, self.without_thought = engine, vote, bool(whole)
        first, second = (hashlib.sha256(text.encode()).digest() for text in (a, b))
        self.lead: Order = "ab" if first < second else "ba"
        self.digest = hashlib.sha256(repr((prompt, *sorted((a, b)))).encode()).hexdigest()
        """of the texts; the swapped pair has the same"""
        self._told: dict[Order, int] = dict.fromkeys(ORDERS, 0)
        """characters that a watch was told"""
        self.by_order: dict[Order, JudgeChain] = {
            "ab": JudgeChain(engine, style, prompt, (a, b), temperature, whole, vote, searching),
            "ba": JudgeChain(engine, style, prompt, (b, a), temperature, whole, vote, searching),
        }

    @property
    def ended(self) -> bool:
        return all(chain.sequence.ended for chain in self.by_order.values())

    def asking(self, orders: Sequence[Order], evidence: Evidence, limit: int) -> list[ChainSearch]:
        """Those of `orders` that wait for a search that can be made, and may grow after it."""
        chains = [self.by_order[order] for order in orders]
        growing = [one.search for one in chains if one.sequence.generated < limit]
        return [one for one in growing if one.asks(evidence)]

    @property
    def closed(self) -> bool:
        """Both chains closed by themselves, so no verdict has to be forced."""
        return not any(chain.forced for chain in self.by_order.values())

    @property
    def thinking_tokens(self) -> int:
        return sum(chain.thinking_tokens for chain in self.by_order.values())

    @property
    def prompt_tokens(self) -> tuple[int, int]:
        """Of each order's rendered prompt."""
        ab, ba = (len(self.by_order[order].sequence.prompt_ids) for order in ORDERS)
        return ab, ba

    @property
    def length(self) -> int:
        """Tokens of the longer chain."""
        return max(chain.sequence.generated for chain in self.by_order.values())

    async def read(self, orders: Sequence[Order] = ORDERS) -> PairReadout:
        """Probe `orders` at once; where nothing has grown, what was read before is said again."""
        found = await asyncio.gather(*(self.by_order[order].read() for order in orders))
        by_order = dict(zip(orders, found, strict=True))
        first, second = by_order.get("ab"), by_order.get("ba")
        scores = None
        if first and second and first.scores is not None and second.scores is not None:
            scores = (
                (first.scores[0] + second.scores[1]) / 2,
                (first.scores[1] + second.scores[0]) / 2,
            )
        margins = first.z if first else None, -second.z if second else None
        return PairReadout(
            margins,
            (first.mass if first else None, second.mass if second else None),
            scores,
            (first.think if first else None, second.think if second else None),
        )

    async def grow(
        self,
        upto: int,
        watch: Watch | None = None,
        orders: Sequence[Order] = ORDERS,
        slice_tokens: int = 8,
    ) -> None:
        """Extend the chains of `orders` to `upto` tokens each; tell `watch` each piece as it comes.

        A chain that has ended, waits for a search, or is that long, stays as it is.
        """
        growing = {order: self.by_order[order] for order in orders}
        shortest = min(chain.sequence.generated for chain in growing.values())
        steps = range(shortest, upto, slice_tokens) if watch else range(upto, upto + 1)
        for step in steps:
            goal = min(upto, step + slice_tokens) if watch else upto
            await self.engine.extend([chain.growth(goal) for chain in growing.values()])
            if watch:
                self.tell(watch, orders)
            if all(chain.sequence.ended or chain.sequence.paused for chain in growing.values()):
                return

    def tell(self, watch: Watch, orders: Sequence[Order] = ORDERS) -> None:
        """Tell `watch` what the chains of `orders` say that it was not told yet."""
        for order in orders:
            text = self.by_order[order].sequence.text
            if len(text) > self._told[order]:
                watch(ChainText(order, text[self._told[order] :], self.vote))
                self._told[order] = len(text)

    async def finish(self, tokens: int) -> tuple[ParsedVerdict, ParsedVerdict]:
        """Both chains' written verdicts."""
        first, second = await asyncio.gather(
            *(chain.finish(tokens) for chain in self.by_order.values())
        )
        return first, second

    async def reply(self, tokens: int) -> tuple[ParsedVerdict, ParsedVerdict]:
        """Both orders' whole replies, of up to `tokens` each."""
        first, second = await asyncio.gather(
            *(chain.reply(tokens) for chain in self.by_order.values())
        )
        return first, second

    def usage(self) -> Usage:
        ab, ba = (chain.usage() for chain in self.by_order.values())
        return ab.plus(ba)

    @property
    def sanitized(self) -> tuple[str, ...]:
        ab, ba = (self.by_order[order].sanitized for order in ORDERS)
        return tuple(dict.fromkeys(ab if len(ab) >= len(ba) else ba))
