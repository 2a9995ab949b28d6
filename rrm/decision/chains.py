"""SwapPair: the two chains of one pair, one an order; one of them leads and thinks first."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from rrm.engines.base import Engine, ExtendRequest, ProbeRequest, Sampling, TokenSequence
from rrm.errors import EngineError
from rrm.parse import ParsedVerdict, Unread
from rrm.prompt import Rendered
from rrm.style import Ask, LabelLogprobs, ProbeReadout, Style
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


class JudgeChain:
    """One chain with its style: asks, grows, and counts what it costs."""

    def __init__(
        self,
        engine: Engine,
        style: Style,
        prompt: str,
        responses: Sequence[str],
        temperature: float,
        whole: str | None = None,
        vote: int = 0,
    ) -> None:
        """Render the question and begin the chain.

        vote: which of several chains on the same question this is. whole: ask for one whole reply,
        with this behind the question; the assistant's turn is then not begun for it. Where it is
        not empty it asks for an answer without thought.
        """
        self.engine, self.style, self.size = engine, style, len(responses)
        if engine.card.reads is not None:
            engine.card.reads.refuse(engine.card.name, (prompt, *responses))
        rendered = style.render(prompt, responses, engine.control)
        if whole is not None:
            *before, last = rendered.messages
            last = last.model_copy(update={"content": last.content + whole})
            rendered = replace(rendered, messages=(*before, last), opening="")
        self.sanitized = rendered.sanitized
        self.opening = rendered.opening
        self.choosing = bool(style.short) and whole is None
        """it is a hybrid's, which may still begin to think, or not"""
        if self.choosing:
            rendered = replace(rendered, opening="")
        self.sequence: TokenSequence = engine.start(
            rendered, Sampling(temperature=temperature, seed=seed_of(rendered, vote))
        )
        self.probe_tokens = 0
        self.without_thought = bool(whole)
        self.opened = False
        """its prompt was paid for"""
        self.first_mass: float | None = None
        """probability that the labels held before any thought, if that was read"""
        self._read: tuple[tuple[int, bool], ProbeReadout] | None = None
        """the latest reading; its chain was that long and had, or had not, closed by itself"""

    @property
    def thinking_tokens(self) -> int:
        """None in an answer without thought: what it wrote is the price of a look."""
        return 0 if self.without_thought else len(self.sequence.ids)

    @property
    def forced(self) -> bool:
        """A verdict read now needs the chain closed for it."""
        return self.sequence.finish != "stop"

    @property
    def reading(self) -> ProbeReadout | None:
        """What was read of the chain where it stands."""
        where = len(self.sequence.ids), self.forced
        return self._read[1] if self._read is not None and self._read[0] == where else None

    async def read(self) -> ProbeReadout:
        """The verdict if the chain closed here. The chain is left as it was.

        A chain that has not grown since it was read is not asked again.
        """
        if (known := self.reading) is not None:
            return known
        where = len(self.sequence.ids), self.forced
        text = self.sequence.text
        if self.style.short and not self.choosing:
            text = self.opening + text
        suffix = self.style.suffix(text, ended=not self.forced)
        found = await self.style.read(self._ask(), suffix, self.size)
        self._read = where, found
        if not self.sequence.ids:
            self.first_mass = found.mass
        return found

    def _ask(self) -> Ask:
        async def ask(suffixes: Sequence[str], labels: Sequence[str]) -> list[LabelLogprobs]:
            probed = await self.engine.probe(
                [ProbeRequest(self.sequence, suffix, tuple(labels)) for suffix in suffixes]
            )
            self.probe_tokens += sum(answer.tokens for answer in probed)
            if any(math.isnan(v) for answer in probed for v in answer.labels.logprobs.values()):
                raise EngineError("the model gave NaN for a verdict label")
            return [answer.labels for answer in probed]

        return ask

    def growth(self, upto: int) -> ExtendRequest:
        """What grows it to `upto` tokens of thought; a hybrid is made to think."""
        if self.choosing and upto > 0:
            self.engine.begin(self.sequence, self.opening)
            self.choosing = False
        return ExtendRequest(self.sequence, max(0, upto - len(self.sequence.ids)), self.style.stop)

    async def finish(self, tokens: int) -> ParsedVerdict:
        """Let a chain that has ended write its verdict out, and read the text."""
        await self.engine.extend([ExtendRequest(self.sequence, tokens, None)])
        return self.style.parse(self.opening + self.sequence.text, self.size)

    async def reply(self, tokens: int) -> ParsedVerdict:
        """The whole reply of up to `tokens`, and its verdict."""
        await self.engine.extend([ExtendRequest(self.sequence, tokens, None)])
        if not self.sequence.ended:
            return Unread("truncated", f"the reply was cut off after {tokens} tokens")
        text = self.sequence.text
        if "<think>" not in text and "</think>" not in text:
            text = f"<think></think>{text}"  # a reply without thought is all verdict
        return self.style.parse(text, self.size)

    def usage(self) -> Usage:
        used = self.opened or self.probe_tokens or self.sequence.ids
        prompt, cached = len(self.sequence.prompt_ids), self.sequence.cached_tokens or 0
        if not used:
            prompt = cached = 0
        return Usage(
            prompt_tokens=prompt,
            cached_tokens=cached,
            read_tokens=prompt - cached + self.probe_tokens,
            generated_tokens=len(self.sequence.ids),
            thinking_tokens=self.thinking_tokens,
            probe_tokens=self.probe_tokens + len(self.sequence.ids) - self.thinking_tokens,
        )


def seed_of(rendered: Rendered, vote: int) -> int:
    """Of one chain's sampling: by its question and its number, so that a rerun draws the same.

    The text that is hashed is as version 0.1 wrote it, whatever the fields are called now.
    """
    asked = f"messages={rendered.messages!r}, opening={rendered.opening!r}"
    text = f"Rendered({asked}, defanged={rendered.sanitized!r})"
    text = text if vote == 0 else f"({text}, {vote})"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


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
    ) -> None:
        prompt, a, b = prompt_text(pair.prompt), pair.response_a, pair.response_b
        self.engine, self.vote, self.without_thought = engine, vote, bool(whole)
        first, second = (hashlib.sha256(text.encode()).digest() for text in (a, b))
        self.lead: Order = "ab" if first < second else "ba"
        self.digest = hashlib.sha256(repr((prompt, *sorted((a, b)))).encode()).hexdigest()
        """of the texts; the swapped pair has the same"""
        self.by_order: dict[Order, JudgeChain] = {
            "ab": JudgeChain(engine, style, prompt, (a, b), temperature, whole, vote),
            "ba": JudgeChain(engine, style, prompt, (b, a), temperature, whole, vote),
        }

    @property
    def ended(self) -> bool:
        return all(chain.sequence.ended for chain in self.by_order.values())

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
        return max(len(chain.sequence.ids) for chain in self.by_order.values())

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

        A chain that has ended, or is that long, stays as it is.
        """
        growing = {order: self.by_order[order] for order in orders}
        shortest = min(len(chain.sequence.ids) for chain in growing.values())
        steps = range(shortest, upto, slice_tokens) if watch else range(upto, upto + 1)
        for step in steps:
            goal = min(upto, step + slice_tokens) if watch else upto
            before = {order: len(chain.sequence.text) for order, chain in growing.items()}
            await self.engine.extend([chain.growth(goal) for chain in growing.values()])
            for order, chain in growing.items():
                if watch and len(chain.sequence.text) > before[order]:
                    watch(ChainText(order, chain.sequence.text[before[order] :], self.vote))
            if all(chain.sequence.ended for chain in growing.values()):
                return

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
        return tuple(dict.fromkeys(self.by_order["ab"].sanitized))
