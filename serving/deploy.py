"""Two Ray Serve deployments: a Door that holds no model, and Judge replicas that do.

Only the Door is reachable. It asks again when a replica died under a judgement (judging twice is
harmless) and turns a full queue into 429.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    ReplicaUnavailableError,
)

from rrm.engine import EngineError
from rrm.types import Checkpoint, Score, Unscored, Verdict
from serving.app import ProblemError, build_app
from serving.middleware import note
from serving.observe import DoorMetrics, Judged, exposition, open_log
from serving.origin import check_origin
from serving.replica import Judge, StreamItem
from serving.rlhf.openrlhf import MOST_SECONDS, RewardDesk
from serving.settings import Settings, SettingsError
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
EVENTS: dict[type, str] = {ThoughtEvent: "thought", Checkpoint: "checkpoint", Problem: "problem"}
APP = "closecall"
DRAIN = 30
"""seconds that accepted requests get to finish at the end"""


class Door:
    """FastAPI in front, Judge replicas behind. Implements `serving.app.DoorProtocol`."""

    def __init__(self, settings: Settings, replicas: Any) -> None:
        self.settings = settings
        self._replicas = replicas.options(_by_reference=False)  # by gRPC
        self._metrics, self._log = DoorMetrics(), open_log(settings)
        self._judges: JudgeList | None = None
        self._draining, self._idle = False, asyncio.Event()

    def __serve_build_asgi_app__(self) -> FastAPI:
        return build_app(self.settings, self)

    # -- the routes -------------------------------------------------------------------------------

    async def judge(self, request: JudgeRequest) -> Verdict | Unscored:
        answer: Verdict | Unscored | Refusal = await self._ask(self._replicas.judge, request)
        outcome: Verdict | Unscored = _accepted(answer)
        return self._told(request, outcome)

    async def score(self, request: ScoreRequest) -> Score | Unscored:
        answer: Score | Unscored | Refusal = await self._ask(self._replicas.score, request)
        outcome: Score | Unscored = _accepted(answer)
        return self._told(request, outcome)

    async def stream(self, request: JudgeRequest) -> AsyncIterator[str]:
        """Server-sent events. What can be refused is refused before the first one."""
        events: Any = None

        async def first(*question: Any) -> StreamItem:
            nonlocal events
            events = self._replicas.stream.options(stream=True).remote(*question)
            item: StreamItem = await anext(events)
            return item

        opening = _accepted(await self._ask(first, request))
        return self._events(request, opening, events)

    async def _events(
        self, request: JudgeRequest, opening: StreamItem, rest: AsyncIterator[StreamItem]
    ) -> AsyncIterator[str]:
        item: StreamItem | None = opening
        try:
            async with asyncio.timeout(self._seconds(request)):
                while item is not None:
                    if isinstance(item, Verdict | Unscored):
                        self._told(request, item)
                    yield _event(item)
                    item = await anext(rest, None)
        except (RayActorError, TimeoutError) as failure:
            detail = f"{type(failure).__name__} in the middle of the stream; ask again"
            yield _event(Problem(title="Cut off", status=503, detail=detail))

    async def reward(self, request: RewardRequest, options: RewardOptions) -> RewardAnswer:
        seconds = min(MOST_SECONDS, self.settings.request_timeout)
        return await RewardDesk(self, options, seconds).answer(request)

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

    async def drain(self) -> int:
        """Refuse what comes from now on; return how many are still open after DRAIN seconds."""
        self._draining = True
        if self._metrics.open:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), DRAIN)
        return self._metrics.open

    # -- asking a replica -------------------------------------------------------------------------

    async def _ask(
        self,
        method: Any,
        request: JudgeRequest | ScoreRequest | None = None,
    ) -> Any:
        """Call a replica's method, a few times if it dies under us. Raises ProblemError."""
        if self._draining:
            raise ProblemError(503, "Shutting down", "this service is stopping; ask another", 5)
        seconds = self._seconds(request)
        call = method.remote if hasattr(method, "remote") else method
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
            except BackPressureError:
                raise ProblemError(
                    429, "Too many requests", "the queue is full; try again later", 1
                ) from None
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


def _event(item: StreamItem | Problem) -> str:
    """One server-sent event."""
    name = EVENTS.get(type(item), "outcome")
    return f"event: {name}\ndata: {item.model_dump_json()}\n\n"


def _accepted(answer: Any) -> Any:
    if isinstance(answer, Refusal):
        raise ProblemError(answer.status, "Cannot be judged", answer.detail)
    return answer


RAY = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_metrics_report_interval_ms": "1000",
    # gRPC between proxy, Door and Judge, and fewer threads: a third off every call. Not HAProxy in
    # front, which this would bring too.
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
}
"""how Ray is started; what is set already stays"""
QUIET = {"enable_access_log": False}
"""the Door writes a line of its own for every request"""


def application(settings: Settings) -> Any:
    """The Serve application: the Door in front, the Judge replicas behind."""
    gpus = settings.device.startswith("cuda")
    replicas: dict[str, Any] = {"num_replicas": settings.replicas}
    if settings.max_replicas is not None:
        replicas = {
            "autoscaling_config": {
                "min_replicas": settings.replicas,
                "max_replicas": settings.max_replicas,
                "target_ongoing_requests": max(1, settings.max_ongoing // 2),
            }
        }
    judge: Any = serve.deployment(
        Judge,
        name="Judge",
        **replicas,
        max_ongoing_requests=settings.max_ongoing,
        max_queued_requests=settings.max_queued,
        ray_actor_options={"num_cpus": 0, "num_gpus": 1 if gpus else 0},
        logging_config=QUIET,
        health_check_period_s=2,
        health_check_timeout_s=30,
        graceful_shutdown_timeout_s=DRAIN,
    )
    door: Any = serve.deployment(
        serve.ingress()(Door),
        name="Door",
        max_ongoing_requests=10_000,
        ray_actor_options={"num_cpus": 0},
        logging_config=QUIET,
        graceful_shutdown_timeout_s=DRAIN,
    )
    return door.bind(settings, judge.bind(settings))


def start(settings: Settings) -> None:
    """Start Ray and the service; returns once it answers. Raises what kept it from starting."""
    check_origin()
    for name, value in RAY.items():
        os.environ.setdefault(name, value)
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    serve.start(http_options={"host": settings.host, "port": settings.port})
    try:
        serve.run(application(settings), name=APP, route_prefix="/")
    except RuntimeError as failure:  # a replica's constructor raised
        raise SettingsError(f"the judge did not start: {failure}") from failure


def stop() -> None:
    """Let what was accepted finish, then take everything down."""
    try:
        serve.get_app_handle(APP).drain.remote().result(timeout_s=DRAIN + 5)
    except Exception as failure:  # nothing to drain, or no longer
        logging.getLogger(__name__).info("not drained: %s", failure)
    serve.shutdown()  # type: ignore[no-untyped-call]
    ray.shutdown()


def run(settings: Settings, started: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM; `started` is called once it answers."""
    done = threading.Event()
    try:
        start(settings)
        # Only now: Ray installs a handler of its own that aborts on SIGTERM.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: done.set())
        started()
        done.wait()
    finally:
        stop()
