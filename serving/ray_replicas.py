"""The Judge replicas behind Ray Serve's handle, for the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Iterator
from contextlib import contextmanager
from typing import Any

from ray.exceptions import RayActorError
from ray.serve.exceptions import DeploymentUnavailableError, ReplicaUnavailableError

from judges.options import JudgeOptions
from rrm.types import Candidates, Pair
from serving.gateway import JudgeAnswer, ReplicaLost, ScoreAnswer, StreamItem
from serving.schemas import JudgeList


class RayReplicas:
    """Implements `serving.gateway.Replicas`. handle: of the Judge deployment."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle.options(_by_reference=False)  # by gRPC

    async def judge(
        self, pair: Pair, style: str | None, options: JudgeOptions, deadline: float
    ) -> JudgeAnswer:
        asked = self._handle.judge.remote(pair, style, options, deadline)
        answer: JudgeAnswer = await _answer(asked)
        return answer

    async def score(
        self, candidates: Candidates, style: str | None, options: JudgeOptions, deadline: float
    ) -> ScoreAnswer:
        asked = self._handle.score.remote(candidates, style, options, deadline)
        answer: ScoreAnswer = await _answer(asked)
        return answer

    async def stream(
        self, pair: Pair, style: str | None, options: JudgeOptions, deadline: float
    ) -> AsyncGenerator[StreamItem]:
        items = self._handle.stream.options(stream=True).remote(pair, style, options, deadline)
        try:
            while True:
                with _lost_replicas():
                    item = await anext(items, None)
                if item is None:
                    return
                yield item
        finally:
            items.cancel()  # nothing if it has ended

    async def judges(self) -> JudgeList:
        listed: JudgeList = await _answer(self._handle.judges.remote())
        return listed

    async def check_health(self) -> None:
        await _answer(self._handle.check_health.remote())


@contextmanager
def _lost_replicas() -> Iterator[None]:
    try:
        yield
    except (RayActorError, DeploymentUnavailableError, ReplicaUnavailableError) as failure:
        raise ReplicaLost(type(failure).__name__) from failure


async def _answer(response: Any) -> Any:
    """The answer; if nobody waits for it any more, its replica is told to stop."""
    waiting: Awaitable[Any] = response
    try:
        with _lost_replicas():
            return await waiting
    except asyncio.CancelledError:
        response.cancel()
        raise
