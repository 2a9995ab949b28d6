"""What every request reaches first: it holds no model and asks the Judge replicas.

It asks again when a replica died under a judgement (judging twice is harmless), turns a full queue
into 429, a lost replica into 503 and a deadline into 504. It knows no Ray: `serving.ray_replicas`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

from judges.options import JudgeOptions
from rrm.errors import EngineError
from rrm.types import Candidates, Checkpoint, Pair, Score, Unscored, Verdict
from serving.errors import ProblemError
from serving.middleware import note
from serving.schemas import (
    JudgeList,
    JudgeRequest,
    Problem,
    Refusal,
    ScoreRequest,
    Status,
    ThoughtEvent,
)
from serving.settings import Settings

TRIES = 3
PAUSE = 0.2
"""seconds before the second try; the third waits twice as long"""
DRAIN = 30
"""seconds that accepted requests get to finish at the end"""
JudgeAnswer = Verdict | Unscored | Refusal
ScoreAnswer = Score | Unscored | Refusal
StreamItem = ThoughtEvent | Checkpoint | Verdict | Unscored | Refusal
Judged = TypeVar("Judged", Verdict | Unscored, Score | Unscored)
EVENTS: dict[type, str] = {ThoughtEvent: "thought", Checkpoint: "checkpoint", Problem: "problem"}


class ReplicaLost(Exception):
    """The replica died or was not there; another may answer."""


class Replicas(Protocol):
    """The Judge replicas, whichever is free. Every call may raise ReplicaLost.

    A caller that leaves takes its work along. style: None for the service's own. deadline: in Unix
    time.
    """

    async def judge(
        self, pair: Pair, style: str | None, options: JudgeOptions, deadline: float
    ) -> JudgeAnswer: ...
    async def score(
        self, candidates: Candidates, style: str | None, options: JudgeOptions, deadline: float
    ) -> ScoreAnswer: ...
    def stream(
        self, pair: Pair, style: str | None, options: JudgeOptions, deadline: float
    ) -> AsyncGenerator[StreamItem]: ...
    async def judges(self) -> JudgeList: ...
    async def check_health(self) -> None:
        """Raises EngineError too."""
        ...


class Telemetry(Protocol):
    """Who is told what happens here."""

    @property
    def open(self) -> int:
        """Requests under way."""
        ...

    def began(self) -> None: ...
    def ended(self, route: str, status: int, seconds: float, facts: Mapping[str, Any]) -> None: ...
    def retried(self) -> None: ...
    async def exposition(self) -> str:
        """All metrics of the service, in Prometheus' text format."""
        ...


class Gateway:
    """FastAPI in front, Judge replicas behind. Implements `serving.routes.GatewayProtocol`."""

    def __init__(self, settings: Settings, replicas: Replicas, telemetry: Telemetry) -> None:
        self.settings, self._replicas, self._telemetry = settings, replicas, telemetry
        self._judges: JudgeList | None = None
        slots = (settings.max_replicas or settings.replicas) * settings.max_ongoing
        self._places, self._taken = slots + settings.max_queued, 0
        self._draining, self._idle = False, asyncio.Event()

    # -- the routes -------------------------------------------------------------------------------

    async def judge(self, request: JudgeRequest) -> Verdict | Unscored:
        with self._place():
            answer = await self._ask(self._replicas.judge, request)
        outcome: Verdict | Unscored = _accepted(answer)
        return self._noted(request, outcome)

    async def score(self, request: ScoreRequest) -> Score | Unscored:
        with self._place():
            answer = await self._ask(self._replicas.score, request)
        outcome: Score | Unscored = _accepted(answer)
        return self._noted(request, outcome)

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
        items: AsyncGenerator[StreamItem] | None = None

        async def first(*question: Any) -> StreamItem:
            nonlocal items
            items = self._replicas.stream(*question)
            return await anext(items)

        with self._place():
            item: StreamItem | None = _accepted(await self._ask(first, request))
            until = asyncio.get_running_loop().time() + _seconds(request, self.settings)
            try:
                while item is not None and items is not None:
                    if isinstance(item, Verdict | Unscored):
                        self._noted(request, item)
                    yield _event(item)
                    # Not around the yield: who asks for the next event may be another task.
                    async with asyncio.timeout_at(until):
                        item = await anext(items, None)
            except (ReplicaLost, TimeoutError) as failure:
                detail = f"{type(failure).__name__} in the middle of the stream; ask again"
                yield _event(Problem(title="Cut off", status=503, detail=detail))
            finally:
                if items is not None:  # the caller left, or the time was up
                    await items.aclose()

    async def judges(self) -> JudgeList:
        if self._judges is None:  # what is served does not change
            self._judges = await self._ask(self._replicas.judges)
        return self._judges

    async def ready(self) -> Status:
        try:
            await self._ask(self._replicas.check_health)
        except EngineError as failure:
            detail = f"{failure}; the replica is being replaced"
            raise ProblemError(503, "Not ready", detail, 5) from None
        return Status(status="ready")

    async def metrics(self) -> str:
        return await self._telemetry.exposition()

    # -- what the middleware tells ----------------------------------------------------------------

    def began(self) -> None:
        self._telemetry.began()

    def ended(self, route: str, status: int, seconds: float, facts: Mapping[str, Any]) -> None:
        self._telemetry.ended(route, status, seconds, facts)
        if self._draining and not self._telemetry.open:
            self._idle.set()

    # -- the end ----------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Refuse what comes from now on, and wait up to DRAIN seconds for what is under way."""
        self._draining = True
        if self._telemetry.open:
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
        seconds = _seconds(request, self.settings)
        question: tuple[Any, ...] = ()
        if request is not None:
            texts = request.pair if isinstance(request, JudgeRequest) else request.candidates
            question = (texts, request.style, request.options, time.time() + seconds)
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
            except ReplicaLost:
                self._telemetry.retried()
                await asyncio.sleep(PAUSE * (attempt + 1))
        raise ProblemError(503, "No judge", "no replica could answer; they are being restarted", 5)

    def _noted(self, request: JudgeRequest | ScoreRequest, outcome: Judged) -> Judged:
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


def _seconds(request: JudgeRequest | ScoreRequest | None, settings: Settings) -> float:
    """That a request may take."""
    wanted = None if request is None else request.timeout
    return min(wanted or math.inf, settings.request_timeout)


def _event(item: StreamItem | Problem) -> str:
    """One server-sent event."""
    name = EVENTS.get(type(item), "outcome")
    return f"event: {name}\ndata: {item.model_dump_json()}\n\n"


def _accepted(answer: Any) -> Any:
    if isinstance(answer, Refusal):
        raise ProblemError(answer.status, "Cannot be judged", answer.detail)
    return answer
