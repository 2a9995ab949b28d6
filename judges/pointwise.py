"""Responses in, a score for each out: for styles that score (GRM)."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from judges.options import LADDER, REPLY_AT_ONCE, JudgeOptions
from judges.outcome import looked_up
from rrm.allocation.account import Unlimited
from rrm.decision.chain import JudgeChain
from rrm.decision.chains import prepared
from rrm.decision.plan import REPLY_TOKENS
from rrm.decision.search import answer
from rrm.decision.state import READABLE_MASS
from rrm.engines.base import Engine
from rrm.errors import EngineError, StyleMismatch
from rrm.parse import ParsedVerdict, Scores, Unread
from rrm.search.evidence import Evidence
from rrm.search.registry import NO_SEARCHERS, Searchers
from rrm.style import Style
from rrm.types import (
    SCHEMA,
    Candidates,
    Provenance,
    Score,
    StopReason,
    Unscored,
    UnscoredReason,
    Usage,
    prompt_text,
)


class PointwiseJudge:
    """One engine asked for scores. Raises StyleMismatch for a pairwise-only style."""

    def __init__(
        self,
        engine: Engine,
        style: Style,
        ladder: tuple[int, ...] = LADDER,
        temperature: float = 0.0,
        searchers: Searchers = NO_SEARCHERS,
    ) -> None:
        self.searchers = searchers
        if engine.control:
            style.check(engine.control)
        if 1 not in style.sizes:
            raise StyleMismatch(
                f"style {style.name} compares responses and cannot score one; use style grm"
            )
        self.engine, self.style, self.ladder, self.temperature = engine, style, ladder, temperature

    async def score(
        self, candidates: Candidates, options: JudgeOptions = JudgeOptions()
    ) -> Score | Unscored:
        """Score each response from 1 to 10, in one question and one order.

        There is no stopper for scores: every effort but `none` thinks the whole chain. Raises
        RefusedText for text the model cannot take, StyleMismatch for too many responses.
        """
        began = time.monotonic()
        if len(candidates.responses) not in self.style.sizes:
            raise StyleMismatch(
                f"style {self.style.name} scores up to {max(self.style.sizes)} responses at once, "
                f"not {len(candidates.responses)}; send several requests"
            )
        prompt, evidence = (
            prompt_text(candidates.prompt),
            self.searchers.evidence(options.evidence, options.max_searches),
        )
        whole = None if self.engine.can_probe else REPLY_AT_ONCE if options.effort == "none" else ""
        chain = await prepared(
            len(prompt) + sum(map(len, candidates.responses)),
            lambda: JudgeChain(
                self.engine,
                self.style,
                prompt,
                candidates.responses,
                self.temperature,
                whole,
                searching=evidence.given,
            ),
        )
        scoring = Scoring(chain, options, self.ladder[-1], evidence, began)
        try:
            async with asyncio.timeout(options.seconds):
                return await scoring.outcome()
        except EngineError as failure:
            return scoring.unscored("engine_error", str(failure))
        except TimeoutError:
            why = f"no score within {options.seconds:g} s; allow more time"
            return scoring.unscored("deadline", why)


@dataclass
class Scoring:
    """One question about some responses. longest: tokens of its chain; began: monotonic seconds."""

    chain: JudgeChain
    options: JudgeOptions
    longest: int
    evidence: Evidence
    began: float

    async def outcome(self) -> Score | Unscored:
        """Raises EngineError."""
        chain, limit = self.chain, self.longest
        if self.options.max_thinking_tokens is not None:
            limit = min(limit, self.options.max_thinking_tokens)
        reason = StopReason.NO_THOUGHT
        if not chain.engine.can_probe:
            most = REPLY_TOKENS if self.options.effort == "none" else limit
            return self._parsed(await chain.reply(most))
        if self.options.effort != "none":
            await self._think(limit)
            reason = StopReason.TOKEN_LIMIT if chain.forced else StopReason.ENDED
        reading = await chain.read()
        scores, spread = reading.scores or (), reading.spread
        if reading.mass < READABLE_MASS:
            if chain.forced or chain.sequence.generated + REPLY_TOKENS > limit:
                why = f"the scores hold {reading.mass:.2f} of the probability; allow more thought"
                return self.unscored("unparseable", why)
            return self._parsed(await chain.finish(REPLY_TOKENS))
        return self._scored(scores, spread, reason)

    async def _think(self, limit: int) -> None:
        """Grow the chain to `limit`, and search what it asks for on the way."""
        chain, evidence = self.chain, self.evidence
        while True:
            await chain.engine.extend([chain.growth(limit)])
            if not chain.sequence.paused or chain.sequence.generated >= limit:
                return
            await answer([chain.search], evidence, Unlimited(), 0.0)

    def _parsed(self, reading: ParsedVerdict) -> Score | Unscored:
        """What the finished text says."""
        if not isinstance(reading, Scores):
            lost = reading if isinstance(reading, Unread) else Unread("off_menu", str(reading))
            return self.unscored(lost.reason, lost.detail)
        return self._scored(tuple(float(value) for value in reading.values), 0.0, StopReason.PARSED)

    def _scored(self, scores: tuple[float, ...], spread: float, reason: StopReason) -> Score:
        return Score(
            version=SCHEMA,
            scores=scores,
            spread=spread,
            reason=reason,
            thinking_tokens=self.chain.thinking_tokens,
            chain=self.chain.sequence.text if self.options.return_chain else None,
            usage=self._usage,
            judge=self._provenance,
        )

    def unscored(self, reason: UnscoredReason, detail: str) -> Unscored:
        return Unscored(
            version=SCHEMA, reason=reason, detail=detail, usage=self._usage, judge=self._provenance
        )

    @property
    def _usage(self) -> Usage:
        spent = {"seconds": time.monotonic() - self.began, "searches": self.evidence.searches}
        return self.chain.usage().model_copy(update=spent)

    @property
    def _provenance(self) -> Provenance:
        chain = self.chain
        notes: tuple[str, ...] = ()
        if chain.sanitized:
            notes = (f"neutralised in the input: {', '.join(map(repr, chain.sanitized[:8]))}",)
        judge = Provenance(
            model=chain.engine.card.name,
            style=chain.style.name,
            prompt_hash=chain.style.prompt_hash,
            effort=self.options.effort,
            stopper="none: scores think their whole chain",
            notes=notes,
        )
        return looked_up(judge, self.evidence, self.options, chain.search.pause is not None)
