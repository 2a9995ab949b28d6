"""Two Ray Serve deployments: a Door that holds no model, and Judge replicas that do.

Only the Door is reachable. It asks again when a replica died under a judgement (judging twice is
harmless) and turns a full queue into 429.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import ray
from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    ReplicaUnavailableError,
)

from judges.pairwise import Asked
from rrm.engine import RefusedText
from rrm.style import StyleMismatch
from rrm.types import Score, Unscored, Verdict
from serving.app import ProblemError, build_app
from serving.origin import check_origin
from serving.registry import Registry
from serving.settings import Settings, SettingsError
from serving.wire import JudgeInfo, JudgeList, JudgeRequest, Refusal, ScoreRequest, Status

TRIES = 3
APP = "closecall"
DRAIN = 30
"""seconds that accepted requests get to finish at the end"""
Answer = TypeVar("Answer")


class Door:
    """FastAPI in front, Judge replicas behind. Implements `serving.app.DoorProtocol`."""

    def __init__(self, settings: Settings, replicas: Any) -> None:
        self.settings, self._replicas = settings, replicas

    def __serve_build_asgi_app__(self) -> FastAPI:
        return build_app(self.settings, self)

    async def judge(self, request: JudgeRequest) -> Verdict | Unscored:
        answer: Verdict | Unscored | Refusal
        answer = await self._ask(lambda: self._replicas.judge.remote(request))
        accepted: Verdict | Unscored = _accepted(answer)
        return accepted

    async def score(self, request: ScoreRequest) -> Score | Unscored:
        answer: Score | Unscored | Refusal
        answer = await self._ask(lambda: self._replicas.score.remote(request))
        accepted: Score | Unscored = _accepted(answer)
        return accepted

    async def judges(self) -> JudgeList:
        return await self._ask(lambda: self._replicas.judges.remote())

    async def ready(self) -> Status:
        await self._ask(lambda: self._replicas.check_health.remote())
        return Status(status="ready")

    async def _ask(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """Call a replica, a few times if it dies under us. Raises ProblemError."""
        for attempt in range(TRIES):
            try:
                async with asyncio.timeout(self.settings.request_timeout):
                    return await call()
            except BackPressureError:
                raise ProblemError(
                    429, "Too many requests", "the queue is full; try again later", 1
                ) from None
            except (RayActorError, DeploymentUnavailableError, ReplicaUnavailableError):
                await asyncio.sleep(0.2 * (attempt + 1))
            except TimeoutError:
                raise ProblemError(
                    503,
                    "Timed out",
                    f"no verdict within {self.settings.request_timeout:g} s; lower "
                    "max_thinking_tokens, or raise request_timeout in the service's config",
                    5,
                ) from None
        raise ProblemError(503, "No judge", "no replica could answer; they are being restarted", 5)


def _accepted(answer: Any) -> Any:
    if isinstance(answer, Refusal):
        raise ProblemError(answer.status, "Cannot be judged", answer.detail)
    return answer


class Judge:
    """A replica: one model, every style it speaks, many callers at once.

    Answers are values, refusals too; nothing but a bug raises.
    """

    def __init__(self, settings: Settings) -> None:
        self.registry = Registry(settings)

    async def judge(self, request: JudgeRequest) -> Verdict | Unscored | Refusal:
        try:
            judge = self.registry.pairwise(request.style)
            return await judge.judge(request.pair, _asked(request))
        except (RefusedText, StyleMismatch) as refusal:
            return Refusal(status=422, detail=str(refusal))

    async def score(self, request: ScoreRequest) -> Score | Unscored | Refusal:
        try:
            judge = self.registry.pointwise(request.style)
            return await judge.score(request.candidates, _asked(request))
        except (RefusedText, StyleMismatch) as refusal:
            return Refusal(status=422, detail=str(refusal))

    def judges(self) -> JudgeList:
        """What this replica serves."""
        card, settings = self.registry.engine.card, self.registry.settings
        infos = []
        for name in self.registry.names():
            judge = self.registry.pairwise(name)
            infos.append(
                JudgeInfo(
                    style=name,
                    model=card.name,
                    engine=settings.engine,
                    default=name == settings.style,
                    adaptive=judge.stopper is not None,
                    scores=1 in judge.style.sizes,
                    ladder=self.registry.ladder,
                    prompt_hash=judge.style.prompt_hash,
                    reads=card.reads.describe if card.reads else "any text",
                )
            )
        return JudgeList(judges=tuple(infos))

    async def check_health(self) -> None:
        """Ray replaces the replica when this raises."""
        await self.registry.engine.check()


def _asked(request: JudgeRequest | ScoreRequest) -> Asked:
    return Asked(request.effort, request.max_thinking_tokens, request.return_chain)


def application(settings: Settings) -> Any:
    """The Serve application: the Door in front, the Judge replicas behind."""
    gpus = settings.device.startswith("cuda")
    judge: Any = serve.deployment(
        Judge,
        name="Judge",
        num_replicas=settings.replicas,
        max_ongoing_requests=settings.max_ongoing,
        max_queued_requests=settings.max_queued,
        ray_actor_options={"num_cpus": 0, "num_gpus": 1 if gpus else 0},
        health_check_period_s=2,
        health_check_timeout_s=30,
        graceful_shutdown_timeout_s=DRAIN,
    )
    door: Any = serve.deployment(
        serve.ingress()(Door),
        name="Door",
        max_ongoing_requests=10_000,
        ray_actor_options={"num_cpus": 0},
        graceful_shutdown_timeout_s=DRAIN,
    )
    return door.bind(settings, judge.bind(settings))


def start(settings: Settings) -> None:
    """Start Ray and the service; returns once it answers. Raises what kept it from starting."""
    check_origin()
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    serve.start(http_options={"host": settings.host, "port": settings.port})
    try:
        serve.run(application(settings), name=APP, route_prefix="/")
    except RuntimeError as failure:  # a replica's constructor raised
        raise SettingsError(f"the judge did not start: {failure}") from failure


def stop() -> None:
    """Let what was accepted finish, then take everything down."""
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
