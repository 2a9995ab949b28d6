"""The routes. Each is one line; the Door behind them does the work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Protocol

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, StreamingResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException as StarletteHTTPException

from rrm.types import Outcome, Score, ScoreOutcome, Unscored, Verdict
from serving.middleware import BodyLimit, Guard, Hangup, Record, Recorder, problem_response
from serving.settings import Settings
from serving.wire import (
    JudgeList,
    JudgeRequest,
    Problem,
    RewardAnswer,
    RewardOptions,
    RewardRequest,
    ScoreRequest,
    Status,
)


class ProblemError(Exception):
    """Becomes a problem+json answer."""

    def __init__(
        self, status: int, title: str, detail: str, retry_after: int | None = None
    ) -> None:
        super().__init__(detail)
        self.problem = Problem(status=status, title=title, detail=detail)
        self.retry_after = retry_after


class DoorProtocol(Recorder, Protocol):
    """What the routes need: the Door, or a stand-in of the same shape."""

    async def judge(self, request: JudgeRequest) -> Verdict | Unscored: ...
    async def stream(self, request: JudgeRequest) -> AsyncIterator[str]: ...
    async def score(self, request: ScoreRequest) -> Score | Unscored: ...
    async def reward(self, request: RewardRequest, options: RewardOptions) -> RewardAnswer: ...
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


def build_app(settings: Settings, door: DoorProtocol) -> FastAPI:
    """The HTTP application in front of `door`."""
    app = FastAPI(
        title="closecall",
        summary="Reasoning reward models that think longer on a close call",
        version="0.1.0",
        responses=PROBLEMS,
    )

    # The Guard decides; this only tells it in the OpenAPI document.
    key = [Depends(HTTPBearer(auto_error=False))] if settings.api_keys else []

    @app.post("/v1/judge", response_model=Outcome, responses=STREAM, dependencies=key)
    async def judge(request: JudgeRequest) -> Any:
        """Which of two responses is better, how sure the judge is, and what that cost."""
        if request.stream:
            return StreamingResponse(await door.stream(request), media_type="text/event-stream")
        return await door.judge(request)

    @app.post("/v1/score", response_model=ScoreOutcome, dependencies=key)
    async def score(request: ScoreRequest) -> Any:
        """How good each of one or more responses is, from 1 to 10 (style grm)."""
        return await door.score(request)

    @app.post("/get_reward", dependencies=key)
    async def get_reward(
        request: RewardRequest, options: Annotated[RewardOptions, Query()]
    ) -> RewardAnswer:
        """OpenRLHF's remote reward (`--reward.remote_url http://HOST:PORT/get_reward`): a score
        from 0 to 1 for each response, or, in a style that only compares, how probably it beats
        its label. `failed` is the stand-in where judging failed, which `extra_logs` tells."""
        return await door.reward(request, options)

    @app.get("/v1/judges", dependencies=key)
    async def judges() -> JudgeList:
        """The styles this service can be asked in, and the model behind them."""
        return await door.judges()

    @app.get("/live")
    async def live() -> Status:
        """The service answers."""
        return Status(status="live")

    @app.get("/ready")
    async def ready() -> Status:
        """A judge is loaded and answers."""
        return await door.ready()

    @app.get("/metrics", response_class=PlainTextResponse, dependencies=key)
    async def metrics() -> str:
        """Prometheus' text format: ours (`ray_closecall_`) and Ray Serve's (`ray_serve_`)."""
        return await door.metrics()

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
    app.add_middleware(Hangup)
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(Record, recorder=door)
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
