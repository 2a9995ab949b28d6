"""What every request reaches first: it holds no model and asks the Judge replicas.

It asks again when a replica died under a judgement (judging twice is harmless) and turns a full
queue into 429.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from ray.exceptions import RayActorError
from ray.serve.exceptions import (
    DeploymentUnavailableError,
    ReplicaUnavailableError,
)

from rrm.errors import EngineError
from rrm.types import Checkpoint, Score, Unscored, Verdict
from serving.app import ProblemError
from serving.middleware import note
from serving.observe import DoorMetrics, Judged, exposition, open_log
from serving.replica import StreamItem
from serving.rlhf.openrlhf import MOST_SECONDS, RewardDesk
from serving.settings import Settings
from serving.wire import (
    JudgeList,
    JudgeRequest,
    Problem,
    Refusal,
    RewardAnswer,
    RewardOptions,
    RewardRequest,
    ScoreRequest,
    Status,
    ThoughtEvent,
)

TRIES = 3
DRAIN = 30
"""seconds that accepted requests get to finish at the end"""
EVENTS: dict[type, str] = {ThoughtEvent: "thought", Checkpoint: "checkpoint", Problem: "problem"}


class Door:
    """FastAPI in front, Judge replicas behind. Implements `serving.app.DoorProtocol`.

    replicas: Serve's handle of the Judge deployment.
    """

    def __init__(self, settings: Settings, replicas: Any) -> None:
        self.settings = settings
        self._replicas = replicas.options(_by_reference=False)  # by gRPC
        self._metrics, self._log = DoorMetrics(), open_log(settings)
        self._judges: JudgeList | None = None
        slots = (settings.max_replicas or settings.replicas) * settings.max_ongoing
        self._places, self._taken = slots + settings.max_queued, 0
        self._draining, self._idle = False, asyncio.Event()

    # -- the routes -------------------------------------------------------------------------------

    async def judge(self, request: JudgeRequest) -> Verdict | Unscored:
        with self._place():
            answer = await self._ask(_asking(self._replicas.judge), request)
        outcome: Verdict | Unscored = _accepted(answer)
        return self._told(request, outcome)

    async def score(self, request: ScoreRequest) -> Score | Unscored:
        with self._place():
            answer = await self._ask(_asking(self._replicas.score), request)
        outcome: Score | Unscored = _accepted(answer)
        return self._told(request, outcome)

    async def stream(self, request: JudgeRequest) -> AsyncIterator[str]:
        """Server-sent events. What can be refused is refused before the first one."""
        events = self._events(request)
        first = await anext(events)

        async def all_of_them() -> AsyncIterator[str]:
            yield first
            async for event in events:
                yield event

        return all_of_them()

    async def _events(self, request: JudgeRequest) -> AsyncIterator[str]:
        items: Any = None

        async def first(*question: Any) -> StreamItem:
            nonlocal items
            items = self._replicas.stream.options(stream=True).remote(*question)
            opening: StreamItem = await _unless_left(items, anext(items))
            return opening

        with self._place():
            item: StreamItem | None = _accepted(await self._ask(first, request))
            until = asyncio.get_running_loop().time() + self._seconds(request)
            try:
                while item is not None:
                    if isinstance(item, Verdict | Unscored):
                        self._told(request, item)
                    yield _event(item)
                    # Not around the yield: who asks for the next event may be another task.
                    async with asyncio.timeout_at(until):
                        item = await anext(items, None)
            except (RayActorError, TimeoutError) as failure:
                detail = f"{type(failure).__name__} in the middle of the stream; ask again"
                yield _event(Problem(title="Cut off", status=503, detail=detail))
            finally:
                items.cancel()  # the caller left, or the time was up; nothing if it has ended

    async def reward(self, request: RewardRequest, options: RewardOptions) -> RewardAnswer:
        seconds = min(MOST_SECONDS, self.settings.request_timeout)
        return await RewardDesk(self, options, seconds).answer(request)

    async def judges(self) -> JudgeList:
        if self._judges is None:  # what is served does not change
            self._judges = await self._ask(_asking(self._replicas.judges))
        return self._judges

    async def ready(self) -> Status:
        try:
            await self._ask(_asking(self._replicas.check_health))
        except EngineError as failure:
            detail = f"{failure}; the replica is being replaced"
            raise ProblemError(503, "Not ready", detail, 5) from None
        return Status(status="ready")

    async def metrics(self) -> str:
        return await exposition()

    # -- what the middleware tells ----------------------------------------------------------------

    def began(self) -> None:
        self._metrics.began()

    def ended(self, route: str, status: int, seconds: float, facts: Mapping[str, Any]) -> None:
        self._metrics.ended(route, status, seconds)
        if self._draining and not self._metrics.open:
            self._idle.set()
        self._log.info("request", route=route, status=status, seconds=round(seconds, 4), **facts)

    # -- the end ----------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Refuse what comes from now on, and wait up to DRAIN seconds for what is under way."""
        self._draining = True
        if self._metrics.open:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), DRAIN)

    # -- asking a replica -------------------------------------------------------------------------

    @contextmanager
    def _place(self) -> Iterator[None]:
        """A slot or a place in the queue. Raises ProblemError (429) if there is none.

        Counted here, since Serve counts as waiting whatever it has not yet handed on, and so
        refuses a burst though there are slots for all.
        """
        if self._taken >= self._places:
            raise ProblemError(429, "Too many requests", "the queue is full; try again later", 1)
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    async def _ask(
        self,
        call: Callable[..., Awaitable[Any]],
        request: JudgeRequest | ScoreRequest | None = None,
    ) -> Any:
        """Ask a replica, a few times if it dies under us. Raises ProblemError."""
        if self._draining:
            raise ProblemError(503, "Shutting down", "this service is stopping; ask another", 5)
        seconds = self._seconds(request)
        question = () if request is None else (request, time.time() + seconds)
        try:
            async with asyncio.timeout(seconds):
                return await self._retrying(lambda: call(*question))
        except TimeoutError:
            detail = (
                f"no answer within {seconds:g} s; allow a longer timeout (the service's own is "
                f"{self.settings.request_timeout:g} s), or ask with effort none"
            )
            raise ProblemError(504, "Timed out", detail) from None

    async def _retrying(self, call: Callable[[], Awaitable[Any]]) -> Any:
        for attempt in range(TRIES):
            try:
                return await call()
            except (RayActorError, DeploymentUnavailableError, ReplicaUnavailableError):
                self._metrics.retried()
                await asyncio.sleep(0.2 * (attempt + 1))
        raise ProblemError(503, "No judge", "no replica could answer; they are being restarted", 5)

    def _seconds(self, request: JudgeRequest | ScoreRequest | None) -> float:
        asked = None if request is None else request.timeout
        return min(asked or math.inf, self.settings.request_timeout)

    def _told(self, request: JudgeRequest | ScoreRequest, outcome: Judged) -> Judged:
        """Put an outcome into the request's log line."""
        note(
            style=outcome.judge.style,
            kind=outcome.kind,
            reason=str(outcome.reason),
            thinking_tokens=outcome.usage.thinking_tokens,
        )
        if self.settings.log_text:
            note(text=request.model_dump(exclude_unset=True))
        return outcome


def _asking(method: Any) -> Callable[..., Awaitable[Any]]:
    """A replica's method as a coroutine function."""

    async def ask(*question: Any) -> Any:
        response = method.remote(*question)
        return await _unless_left(response, response)

    return ask


async def _unless_left(response: Any, answer: Awaitable[Any]) -> Any:
    """The answer; if nobody waits for it any more, its replica is told to stop."""
    try:
        return await answer
    except asyncio.CancelledError:
        response.cancel()
        raise


def _event(item: StreamItem | Problem) -> str:
    """One server-sent event."""
    name = EVENTS.get(type(item), "outcome")
    return f"event: {name}\ndata: {item.model_dump_json()}\n\n"


def _accepted(answer: Any) -> Any:
    if isinstance(answer, Refusal):
        raise ProblemError(answer.status, "Cannot be judged", answer.detail)
    return answer
