"""A Judge replica: one model, every style it speaks, many callers at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

from judges.options import Event, JudgeOptions
from rrm.allocation.meter import Tokens
from rrm.budget import Budget
from rrm.decision.chains import ChainText
from rrm.errors import RefusedText, StyleMismatch
from rrm.types import Candidates, Pair
from serving.gateway import JudgeAnswer, ScoreAnswer, StreamItem
from serving.metrics import Metrics
from serving.model_host import ModelHost
from serving.schemas import JudgeInfo, JudgeList, Refusal, ThoughtEvent
from serving.settings import Settings

ANSWERING = 0.3
"""seconds before the deadline at which a replica stops, so that its answer arrives in time"""


class Judge:
    """Answers are values, refusals too; nothing but a bug raises.

    Every call takes its deadline as Unix time, so that waiting in a queue counts.
    """

    def __init__(self, settings: Settings) -> None:
        self.host = ModelHost(settings, audits=True)
        # Now, not in a request: large weights are hashed, and a calibration may be refused.
        self.host.calibration(self.host.style(self.host.default))
        self.metrics = Metrics()
        self._judged = False
        mean = settings.tokens_per_pair
        meter = Tokens(search_tokens=settings.search_tokens)
        self.budget = None if mean is None else Budget(meter=meter, per_pair=mean)

    async def judge(
        self, pair: Pair, style: str | None, options: JudgeOptions, deadline: float
    ) -> JudgeAnswer:
        try:
            judge = self.host.pairwise(style)
            timed = _until(deadline, options)
            outcome = await judge.judge(pair, timed, budget=self._budget(options))
        except (RefusedText, StyleMismatch) as refusal:
            return Refusal(status=422, detail=str(refusal))
        return self.metrics.judged(outcome)

    async def score(
        self, candidates: Candidates, style: str | None, options: JudgeOptions, deadline: float
    ) -> ScoreAnswer:
        try:
            judge = self.host.pointwise(style)
            outcome = await judge.score(candidates, _until(deadline, options))
        except (RefusedText, StyleMismatch) as refusal:
            return Refusal(status=422, detail=str(refusal))
        return self.metrics.judged(outcome)

    async def stream(
        self, pair: Pair, style: str | None, options: JudgeOptions, deadline: float
    ) -> AsyncIterator[StreamItem]:
        """Thought and checkpoints as they come, then the outcome; or one Refusal alone."""
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        try:
            judge = self.host.pairwise(style)
        except StyleMismatch as refusal:
            yield Refusal(status=422, detail=str(refusal))
            return
        timed = _until(deadline, options)
        judging = judge.judge(pair, timed, events.put_nowait, self._budget(options))
        task = asyncio.ensure_future(judging)
        task.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                if isinstance(event, ChainText):
                    yield ThoughtEvent(order=event.order, text=event.text, vote=event.vote)
                else:
                    yield event
            yield self.metrics.judged(await task)
        except (RefusedText, StyleMismatch) as refusal:
            yield Refusal(status=422, detail=str(refusal))
        finally:
            task.cancel()  # the caller left

    def _budget(self, options: JudgeOptions) -> Budget | None:
        """What the pairs of this replica share, if they do; a caller's own limit stands outside."""
        return self.budget if options.plain else None

    def judges(self) -> JudgeList:
        """What this replica serves."""
        card, settings = self.host.engine.card, self.host.settings
        infos = []
        for name in self.host.names():
            style = self.host.style(name)
            infos.append(
                JudgeInfo(
                    style=name,
                    model=card.name,
                    engine=settings.engine,
                    default=name == self.host.default,
                    adaptive=self.host.calibration(style) is not None,
                    scores=1 in style.sizes,
                    searches=style.search is not None,
                    ladder=self.host.ladder,
                    prompt_hash=style.prompt_hash,
                    reads=card.reads.describe if card.reads else "any text",
                )
            )
        return JudgeList(judges=tuple(infos))

    async def check_health(self) -> None:
        """Ray replaces the replica when this raises, and takes none for ready before it passed.

        The first time, one pair is judged.
        """
        await self.host.engine.check()
        if not self._judged:
            await self.host.judge_once()
            self._judged = True


def _until(deadline: float, options: JudgeOptions) -> JudgeOptions:
    """The same with the seconds that are left, so that the answer arrives in time."""
    return replace(options, seconds=max(0.0, deadline - time.time() - ANSWERING))
