"""The routes. Each is one line; the Gateway behind them does the work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any, Protocol

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, StreamingResponse
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException as StarletteHTTPException

from rrm import __version__
from rrm.types import Outcome, Score, ScoreOutcome, Unscored, Verdict
from serving.auth import OPEN_FOLDER
from serving.errors import ProblemError
from serving.middleware import (
    AuthMiddleware,
    BodySizeLimitMiddleware,
    CancelOnDisconnectMiddleware,
    Recorder,
    RequestLogMiddleware,
    problem_response,
)
from serving.schemas import (
    JudgeList,
    JudgeRequest,
    Problem,
    ScoreRequest,
    Status,
)
from serving.settings import Settings


class GatewayProtocol(Recorder, Protocol):
    """What the routes need: the Gateway, or a stand-in of the same shape."""

    async def judge(self, request: JudgeRequest) -> Verdict | Unscored: ...
    async def stream(self, request: JudgeRequest) -> AsyncIterator[str]: ...
    async def score(self, request: ScoreRequest) -> Score | Unscored: ...
    async def judges(self) -> JudgeList: ...
    async def ready(self) -> Status: ...
    async def metrics(self) -> str: ...


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": text,
        "content": {"application/problem+json": {"schema": Problem.model_json_schema()}},
    }
    for status, text in {
        400: "The body is no JSON.",
        401: "No API key, or a wrong one.",
        413: "The body is too large.",
        422: "A field is missing, misspelt or wrong, or the model cannot read the text.",
        429: "Too many requests wait; Retry-After says when to come back.",
        503: "No replica could answer; Retry-After says when to come back.",
        504: "The time was up and not even one checkpoint was read.",
    }.items()
}


STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The outcome; with `stream`, server-sent events that end with it.",
        "content": {
            "text/event-stream": {
                "schema": {
                    "type": "object",
                    "required": ["event", "data"],
                    "properties": {
                        "event": {"enum": ["thought", "checkpoint", "outcome", "problem"]},
                        "data": {"type": "string", "contentMediaType": "application/json"},
                    },
                }
            }
        },
    }
}


def build_app(
    settings: Settings, gateway: GatewayProtocol, routers: Iterable[APIRouter] = ()
) -> FastAPI:
    """The HTTP application in front of `gateway`. routers: of trainers, behind the same key."""
    app = FastAPIOffline(  # its pages load nothing from elsewhere
        title="closecall",
        summary="Reasoning reward models that think longer on a close call",
        version=__version__,
        responses=PROBLEMS,
        static_url=OPEN_FOLDER,
    )

    # The AuthMiddleware decides; this only tells it in the OpenAPI document.
    key = [Depends(HTTPBearer(auto_error=False))] if settings.api_keys else []

    @app.post("/v1/judge", response_model=Outcome, responses=STREAM, dependencies=key)
    async def judge(request: JudgeRequest) -> Any:
        """Which of two responses is better, how sure the judge is, and what that cost."""
        if request.stream:
            return StreamingResponse(await gateway.stream(request), media_type="text/event-stream")
        return await gateway.judge(request)

    @app.post("/v1/score", response_model=ScoreOutcome, dependencies=key)
    async def score(request: ScoreRequest) -> Any:
        """How good each of one or more responses is, from 1 to 10 (style grm)."""
        return await gateway.score(request)

    @app.get("/v1/judges", dependencies=key)
    async def judges() -> JudgeList:
        """The styles this service can be asked in, and the model behind them."""
        return await gateway.judges()

    @app.get("/live")
    async def live() -> Status:
        """The service answers."""
        return Status(status="live")

    @app.get("/ready")
    async def ready() -> Status:
        """A judge is loaded and answers."""
        return await gateway.ready()

    @app.get("/metrics", response_class=PlainTextResponse, dependencies=key)
    async def metrics() -> str:
        """Prometheus' text format: ours (`ray_closecall_`) and Ray Serve's (`ray_serve_`)."""
        return await gateway.metrics()

    for router in routers:
        app.include_router(router, dependencies=key)

    @app.exception_handler(ProblemError)
    async def on_problem(_: Request, failure: ProblemError) -> Response:
        return problem_response(failure.problem, failure.retry_after)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_: Request, failure: RequestValidationError) -> Response:
        return problem_response(explain(failure))

    @app.exception_handler(StarletteHTTPException)
    async def on_http(_: Request, failure: StarletteHTTPException) -> Response:
        detail = f"{failure.detail}; GET /openapi.json lists the routes"
        problem = Problem(title=str(failure.detail), status=failure.status_code, detail=detail)
        answer = problem_response(problem)
        answer.headers.update(failure.headers or {})
        return answer

    # The last one added is the first that a request meets.
    app.add_middleware(CancelOnDisconnectMiddleware)
    app.add_middleware(BodySizeLimitMiddleware, limit=settings.max_body_bytes)
    app.add_middleware(AuthMiddleware, settings=settings)
    app.add_middleware(RequestLogMiddleware, recorder=gateway)
    return app


def explain(failure: RequestValidationError) -> Problem:
    """What is wrong with a body, field by field, without echoing it."""
    errors = failure.errors()
    if any(error["type"] == "json_invalid" for error in errors):
        return Problem(
            title="Not JSON",
            status=400,
            detail="the body is not valid JSON; send an object with Content-Type application/json",
        )
    lines = [
        {
            "field": ".".join(str(part) for part in error["loc"] if part != "body") or "body",
            "problem": error["msg"],
        }
        for error in errors
    ]
    detail = "; ".join(f"{line['field']}: {line['problem']}" for line in lines[:5])
    return Problem(title="Invalid request", status=422, detail=detail, errors=lines[:20])
