"""JudgeChain: one chain of thought about one question, with its style; read, grown, counted."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace

from rrm.decision.search import ChainSearch
from rrm.engines.base import Engine, ExtendRequest, ProbeRequest, Sampling, TokenSequence
from rrm.errors import EngineError
from rrm.parse import ParsedVerdict, Unread
from rrm.prompt import Rendered
from rrm.style import Ask, LabelLogprobs, ProbeReadout, Style
from rrm.types import Usage


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
        searching: bool = False,
    ) -> None:
        """Render the question and begin the chain.

        vote: which of several chains on the same question this is. whole: ask for one whole reply,
        with this behind the question; the assistant's turn is then not begun for it. Where it is
        not empty it asks for an answer without thought. searching: there is something to search in.
        """
        self.engine, self.style, self.size = engine, style, len(responses)
        if engine.card.reads is not None:
            engine.card.reads.refuse(engine.card.name, (prompt, *responses), searching)
        rendered = style.render(prompt, responses, engine.control)
        looks = whole is None and (searching or engine.card.searches)
        markers = style.search if looks else None
        if markers is not None and searching:
            rendered = _with(rendered, markers.invitation)
        if whole is not None:
            rendered = replace(_with(rendered, whole), opening="")
        self._rendered = rendered
        self.choosing = bool(style.short) and whole is None
        """it is a hybrid's, which may still begin to think, or not"""
        if self.choosing:
            rendered = replace(rendered, opening="")
        self.sequence: TokenSequence = engine.start(
            rendered, Sampling(temperature=temperature, seed=seed_of(rendered, vote))
        )
        self.search = ChainSearch(engine, style, self.sequence, markers)
        self.probe_tokens = 0
        self.without_thought = bool(whole)
        self.opened = False
        """its prompt was paid for"""
        self.first_mass: float | None = None
        """probability that the labels held before any thought, if that was read"""
        self._read: tuple[tuple[int, int, bool], ProbeReadout] | None = None
        """the latest reading; its chain was that long and had, or had not, closed by itself"""

    @property
    def opening(self) -> str:
        """Begins the assistant's turn."""
        return self._rendered.opening

    @property
    def sanitized(self) -> tuple[str, ...]:
        """What was made harmless in what it was shown."""
        return self._rendered.sanitized + self.search.sanitized

    @property
    def thinking_tokens(self) -> int:
        """None in an answer without thought: what it wrote is the price of a look."""
        return 0 if self.without_thought else self.sequence.generated

    @property
    def forced(self) -> bool:
        """A verdict read now needs the chain closed for it."""
        return self.sequence.finish != "stop"

    @property
    def _where(self) -> tuple[int, int, bool]:
        return len(self.sequence.ids), len(self.sequence.text), self.forced

    @property
    def reading(self) -> ProbeReadout | None:
        """What was read of the chain where it stands."""
        return self._read[1] if self._read is not None and self._read[0] == self._where else None

    async def read(self) -> ProbeReadout:
        """The verdict if the chain closed here. The chain is left as it was.

        A chain that has not grown since it was read is not asked again.
        """
        if (known := self.reading) is not None:
            return known
        where, text = self._where, self.sequence.text
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
        tokens = max(0, upto - self.sequence.generated)
        return ExtendRequest(self.sequence, tokens, self.style.stop, self.search.pause)

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
        sequence, thought = self.sequence, self.thinking_tokens
        used = self.opened or self.probe_tokens or sequence.ids
        prompt, cached = len(sequence.prompt_ids), sequence.cached_tokens or 0
        if not used:
            prompt = cached = 0
        return Usage(
            prompt_tokens=prompt,
            cached_tokens=cached,
            read_tokens=prompt - cached + self.probe_tokens + sequence.appended,
            generated_tokens=sequence.generated,
            thinking_tokens=thought,
            probe_tokens=self.probe_tokens + sequence.generated - thought,
        )


def _with(rendered: Rendered, text: str) -> Rendered:
    """The question with `text` behind it."""
    *before, last = rendered.messages
    last = last.model_copy(update={"content": last.content + text})
    return replace(rendered, messages=(*before, last))


def seed_of(rendered: Rendered, vote: int) -> int:
    """Of one chain's sampling: by its question and its number, so that a rerun draws the same.

    The text that is hashed is as version 0.1 wrote it, whatever the fields are called now.
    """
    asked = f"messages={rendered.messages!r}, opening={rendered.opening!r}"
    text = f"Rendered({asked}, defanged={rendered.sanitized!r})"
    text = text if vote == 0 else f"({text}, {vote})"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
