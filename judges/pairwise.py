"""A pair in, a verdict out: the judge, and whether what it was calibrated for still holds."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Sequence

from judges.judging import Judging
from judges.options import LADDER, REPLY_AT_ONCE, JudgeOptions, Watch
from rrm.budget import Budget, PairAccount
from rrm.calibration.calibration import Calibration
from rrm.calibration.monitor import RiskMonitor
from rrm.decision.chains import SwapPair, prepared
from rrm.decision.fixed import Rules
from rrm.engines.base import Engine
from rrm.errors import RefusedText, StyleMismatch
from rrm.search.registry import NO_SEARCHERS, Searchers
from rrm.style import Style
from rrm.types import (
    SCHEMA,
    Certificate,
    Pair,
    Provenance,
    StopReason,
    Unscored,
    Usage,
    Verdict,
    prompt_text,
)


class PairwiseJudge:
    """One engine asked in one style. Safe for many tasks at once.

    Raises StyleMismatch if the engine's model is of another family than the style.
    """

    def __init__(
        self,
        engine: Engine,
        style: Style,
        calibration: Calibration | None = None,
        ladder: tuple[int, ...] = LADDER,
        temperature: float = 0.0,
        monitor: RiskMonitor | None = None,
        searchers: Searchers = NO_SEARCHERS,
        wordings: Sequence[Style] = (),
    ) -> None:
        """monitor: takes some pairs, which are thought through whole for it.

        searchers: what it may look up in. wordings: of the style, its own first, in which votes
        are asked in turn.
        """
        self.wordings = tuple(wordings)
        if engine.control:
            style.check(engine.control)
        if 2 not in style.sizes:
            raise StyleMismatch(f"style {style.name} scores one response and compares none")
        self.engine, self.style, self.calibration = engine, style, calibration
        self.ladder, self.temperature = ladder, temperature
        self.monitor, self.searchers = monitor, searchers

    async def judge(
        self,
        pair: Pair,
        options: JudgeOptions = JudgeOptions(),
        watch: Watch | None = None,
        budget: Budget | None = None,
    ) -> Verdict | Unscored:
        """Judge `pair`. Raises RefusedText for text that the model cannot take.

        watch: told every piece of thought and every checkpoint as it comes. budget: shared with
        other pairs; effort must then be adaptive, without a limit of its own.
        """
        began = time.monotonic()
        if pair.response_a == pair.response_b:
            if budget is not None:
                budget.skip()
            return self._identical(options, began)
        try:
            evidence = self.searchers.evidence(options.evidence, options.max_searches)
        except RefusedText:
            if budget is not None:
                budget.skip()
            raise
        length = len(prompt_text(pair.prompt)) + len(pair.response_a) + len(pair.response_b)

        def chains_at(
            temperature: float, whole: str | None = None, vote: int = 0
        ) -> Awaitable[SwapPair]:
            style = self.wordings[vote % len(self.wordings)] if self.wordings else self.style
            return prepared(
                length,
                lambda: SwapPair(
                    self.engine, style, pair, temperature, whole, vote, evidence.given
                ),
            )

        # An endpoint that cannot be probed is asked to reply at once first, unless whole chains
        # are wanted.
        whole = None if self.can_probe else REPLY_AT_ONCE if options.effort != "full" else ""
        try:
            chains = await chains_at(self.temperature, whole)
        except RefusedText:
            if budget is not None:
                budget.skip()
            raise
        account = None
        if budget is not None:
            known = None if self.revoked else self.calibration
            account = budget.begin(known, chains.digest, chains.prompt_tokens)
        deciding = account.calibration if account else self.calibration

        async def more(vote: int) -> SwapPair:
            """A vote, or the thought of an endpoint that replied without."""
            if not self.can_probe:
                return await chains_at(self.temperature, whole="")
            if deciding is None or vote < len(self.wordings):
                return await chains_at(self.temperature if deciding else 0.0, vote=vote)
            return await chains_at(deciding.vote_temperature, vote=vote)

        try:
            judging = Judging(self, options, chains, more, watch, account, began, evidence)
            return await judging.outcome()
        finally:
            if account is not None:
                account.end()

    @property
    def can_probe(self) -> bool:
        """Whether verdicts are read from log-probabilities, not from written text."""
        return self.engine.can_probe

    @property
    def chooses_mode(self) -> bool:
        """Whether adaptive effort leaves it to the model to think or not: a hybrid without rules.

        One whose certificate was revoked thinks whole chains, as any other judge.
        """
        return bool(self.style.short) and self.policy is None and not self.revoked

    @property
    def policy(self) -> Rules | None:
        """By which adaptive effort stops; none: it thinks whole chains."""
        return self.calibration.policy if self.calibration and not self.revoked else None

    @property
    def revoked(self) -> str | None:
        """Why the calibration is not followed any more."""
        return self.monitor.revoked if self.monitor else None

    def provenance(
        self,
        options: JudgeOptions,
        sanitized: tuple[str, ...] = (),
        account: PairAccount | None = None,
    ) -> Provenance:
        """account: of a budget, whose price of thought then is the one that decides."""
        following = account.calibration if account else self.calibration
        calibration = self.calibration
        notes = []
        if sanitized:
            notes.append(f"neutralised in the input: {', '.join(map(repr, sanitized[:8]))}")
        source = calibration.source if calibration else "none for this model and prompt"
        if not self.can_probe:
            notes.append(
                "this endpoint cannot be probed, so written verdicts were read; whether to think "
                "was decided once, by whether both orders agreed without thought"
            )
        elif self.revoked and options.effort == "adaptive":
            notes.append(f"certificate revoked, so it thought its whole chain: {self.revoked}")
        elif account is not None and account.most is not None:
            notes.append("no thresholds for this model, so each pair may spend an equal share")
        elif account is None and self.policy is None and options.effort == "adaptive":
            missing = "thresholds for this model" if self.calibration is None else "certificate"
            what = "the model chose its mode" if self.chooses_mode else "it thought its whole chain"
            notes.append(f"no {missing}, so {what}")
        if calibration is None:
            notes.append("the probability is the model's own, not calibrated")
        return Provenance(
            model=self.engine.card.name,
            style=self.style.name,
            prompt_hash=self.style.prompt_hash,
            effort=options.effort,
            stopper=source,
            certificate=self._certificate(options, following),
            notes=tuple(notes),
        )

    def _certificate(
        self, options: JudgeOptions, calibration: Calibration | None
    ) -> Certificate | None:
        """It holds for adaptive thought that nothing else cuts short."""
        held = calibration is not None and options.plain and not self.revoked
        return calibration.certificate if calibration is not None and held else None

    def _identical(self, options: JudgeOptions, began: float) -> Verdict:
        return Verdict(
            version=SCHEMA,
            preferred="tie",
            probability=0.5,
            margin=0.0,
            orders_read=0,
            agree=True,
            reason=StopReason.IDENTICAL,
            path=(),
            orders=(),
            usage=Usage(seconds=time.monotonic() - began),
            judge=self.provenance(options),
        )
