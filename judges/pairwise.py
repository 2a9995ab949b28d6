"""A pair in, a verdict out: the judge, and whether what it was calibrated for still holds."""

from __future__ import annotations

import asyncio
import time

from judges.asked import AT_ONCE, LADDER, Asked, Watch
from judges.judgement import Judgement
from rrm.audit import Auditor
from rrm.budget import Budget, Share
from rrm.chain import ChainPair
from rrm.engine import Engine, EngineError, RefusedText
from rrm.stopping import Policy, Stopper
from rrm.style import Style, StyleMismatch
from rrm.types import Certificate, Pair, Provenance, StopReason, Unscored, Usage, Verdict


class PairwiseJudge:
    """One engine asked in one style. Safe for many tasks at once.

    Raises StyleMismatch if the engine's model is of another family than the style.
    """

    def __init__(
        self,
        engine: Engine,
        style: Style,
        stopper: Stopper | None = None,
        ladder: tuple[int, ...] = LADDER,
        temperature: float = 0.0,
        auditor: Auditor | None = None,
    ) -> None:
        """auditor: takes some pairs, which are thought through whole for it."""
        if engine.control:
            style.check(engine.control)
        if 2 not in style.sizes:
            raise StyleMismatch(f"style {style.name} scores one response and compares none")
        self.engine, self.style, self.stopper = engine, style, stopper
        self.ladder, self.temperature = ladder, temperature
        self.auditor = auditor

    async def judge(
        self,
        pair: Pair,
        asked: Asked = Asked(),
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
            return self._identical(asked, began)
        whole = None if self.engine.can_probe else AT_ONCE if asked.effort != "full" else ""
        try:
            chains = ChainPair(self.engine, self.style, pair, self.temperature, whole)
        except RefusedText:
            if budget is not None:
                budget.skip()
            raise
        share = None
        if budget is not None:
            known = None if self.revoked else self.stopper
            share = budget.begin(known, pair.digest, chains.prompt_tokens)
        call = Judgement(self, pair, asked, chains, watch, began, share)
        try:
            async with asyncio.timeout(call.seconds):
                return await (call.run() if whole is None else call.run_whole())
        except EngineError as failure:
            return call.unscored("engine_error", str(failure))
        except TimeoutError:
            return call.out_of_time()
        finally:
            if share is not None:
                share.end()

    @property
    def policy(self) -> Policy | None:
        """By which adaptive effort stops; none: it thinks whole chains."""
        return self.stopper.policy if self.stopper is not None and not self.revoked else None

    @property
    def revoked(self) -> str | None:
        """Why the stopper is not followed any more."""
        return self.auditor.revoked if self.auditor else None

    def audits(self, pair: Pair, asked: Asked) -> bool:
        """Whether this pair is thought through whole for the auditor."""
        if self.auditor is None or self.policy is None or not asked.plain:
            return False
        return self.auditor.draws(pair.digest)

    def provenance(
        self, asked: Asked, defanged: tuple[str, ...] = (), share: Share | None = None
    ) -> Provenance:
        """share: of a budget, whose price of thought then is the one that decides."""
        stopper = share.stopper if share else self.stopper
        notes = []
        if defanged:
            notes.append(f"neutralised in the input: {', '.join(map(repr, defanged[:8]))}")
        source = stopper.source if stopper else "none for this model and prompt"
        if not self.engine.can_probe:
            notes.append(
                "this endpoint cannot be probed, so written verdicts were read; whether to think "
                "was decided once, by whether both orders agreed without thought"
            )
        elif self.revoked and asked.effort == "adaptive":
            notes.append(f"certificate revoked, so it thought its whole chain: {self.revoked}")
        elif share is not None and share.most is not None:
            notes.append("no thresholds for this model, so each pair may spend an equal share")
        elif share is None and self.policy is None and asked.effort == "adaptive":
            missing = "thresholds for this model" if self.stopper is None else "certificate"
            notes.append(f"no {missing}, so it thought its whole chain")
        if stopper is None:
            notes.append("the probability is the model's own, not calibrated")
        return Provenance(
            model=self.engine.card.name,
            style=self.style.name,
            prompt_hash=self.style.prompt_hash,
            effort=asked.effort,
            stopper=source,
            certificate=self._certificate(asked, stopper),
            notes=tuple(notes),
        )

    def _certificate(self, asked: Asked, stopper: Stopper | None) -> Certificate | None:
        """It holds for adaptive thought that nothing else cuts short."""
        held = stopper is not None and asked.plain and not self.revoked
        return stopper.certificate if stopper is not None and held else None

    def _identical(self, asked: Asked, began: float) -> Verdict:
        return Verdict(
            preferred="tie",
            probability=0.5,
            margin=0.0,
            agree=True,
            reason=StopReason.IDENTICAL,
            path=(),
            orders=(),
            usage=Usage(seconds=time.monotonic() - began),
            judge=self.provenance(asked),
        )
