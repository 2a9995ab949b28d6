"""Responses in, a score for each out: for styles that score (GRM)."""

from __future__ import annotations

import asyncio
import time

from judges.options import LADDER, REPLY_AT_ONCE, JudgeOptions
from rrm.decision.chains import JudgeChain, prepared
from rrm.decision.plan import REPLY_TOKENS
from rrm.decision.state import READABLE_MASS
from rrm.engines.base import Engine
from rrm.errors import EngineError, StyleMismatch
from rrm.parse import ParsedVerdict, Scores, Unread
from rrm.style import Style
from rrm.types import (
    SCHEMA,
    Candidates,
    Provenance,
    Score,
    StopReason,
    Unscored,
    UnscoredReason,
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
    ) -> None:
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
        prompt = prompt_text(candidates.prompt)
        whole = None if self.engine.can_probe else REPLY_AT_ONCE if options.effort == "none" else ""
        chain = await prepared(
            len(prompt) + sum(map(len, candidates.responses)),
            lambda: JudgeChain(
                self.engine, self.style, prompt, candidates.responses, self.temperature, whole
            ),
        )
        try:
            async with asyncio.timeout(options.seconds):
                return await self._score(chain, options, began)
        except EngineError as failure:
            return self._unscored(chain, options, began, "engine_error", str(failure))
        except TimeoutError:
            why = f"no score within {options.seconds:g} s; allow more time"
            return self._unscored(chain, options, began, "deadline", why)

    async def _score(
        self, chain: JudgeChain, options: JudgeOptions, began: float
    ) -> Score | Unscored:
        limit = self.ladder[-1]
        if options.max_thinking_tokens is not None:
            limit = min(limit, options.max_thinking_tokens)
        reason = StopReason.NO_THOUGHT
        if not self.engine.can_probe:
            text = await chain.reply(REPLY_TOKENS if options.effort == "none" else limit)
            return self._parsed(chain, options, began, text)
        if options.effort != "none":
            await self.engine.extend([chain.growth(limit)])
            reason = StopReason.TOKEN_LIMIT if chain.forced else StopReason.ENDED
        reading = await chain.read()
        scores, spread = reading.scores or (), reading.spread
        if reading.mass < READABLE_MASS:
            if chain.forced or len(chain.sequence.ids) + REPLY_TOKENS > limit:
                why = f"the scores hold {reading.mass:.2f} of the probability; allow more thought"
                return self._unscored(chain, options, began, "unparseable", why)
            return self._parsed(chain, options, began, await chain.finish(REPLY_TOKENS))
        return self._scored(chain, options, began, scores, spread, reason)

    def _parsed(
        self, chain: JudgeChain, options: JudgeOptions, began: float, reading: ParsedVerdict
    ) -> Score | Unscored:
        """What the finished text says."""
        if not isinstance(reading, Scores):
            lost = reading if isinstance(reading, Unread) else Unread("off_menu", str(reading))
            return self._unscored(chain, options, began, lost.reason, lost.detail)
        scores = tuple(float(value) for value in reading.values)
        return self._scored(chain, options, began, scores, 0.0, StopReason.PARSED)

    def _scored(
        self,
        chain: JudgeChain,
        options: JudgeOptions,
        began: float,
        scores: tuple[float, ...],
        spread: float,
        reason: StopReason,
    ) -> Score:
        return Score(
            version=SCHEMA,
            scores=scores,
            spread=spread,
            reason=reason,
            thinking_tokens=chain.thinking_tokens,
            chain=chain.sequence.text if options.return_chain else None,
            usage=chain.usage().model_copy(update={"seconds": time.monotonic() - began}),
            judge=self._provenance(chain, options),
        )

    def _unscored(
        self,
        chain: JudgeChain,
        options: JudgeOptions,
        began: float,
        reason: UnscoredReason,
        detail: str,
    ) -> Unscored:
        return Unscored(
            version=SCHEMA,
            reason=reason,
            detail=detail,
            usage=chain.usage().model_copy(update={"seconds": time.monotonic() - began}),
            judge=self._provenance(chain, options),
        )

    def _provenance(self, chain: JudgeChain, options: JudgeOptions) -> Provenance:
        notes: tuple[str, ...] = ()
        if chain.sanitized:
            notes = (f"neutralised in the input: {', '.join(map(repr, chain.sanitized[:8]))}",)
        return Provenance(
            model=self.engine.card.name,
            style=self.style.name,
            prompt_hash=self.style.prompt_hash,
            effort=options.effort,
            stopper="none: scores think their whole chain",
            notes=notes,
        )
