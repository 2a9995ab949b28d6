"""The routes. Each is one line; the Door behind them does the work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rrm.types import Outcome, Score, ScoreOutcome, Unscored, Verdict
from serving.auth import Decision, decide
from serving.settings import Settings
from serving.wire import JudgeList, JudgeRequest, Problem, ScoreRequest, Status


class ProblemError(Exception):
    """Becomes a problem+json answer."""

    def __init__(
        self, status: int, title: str, detail: str, retry_after: int | None = None
    ) -> None:
        super().__init__(detail)
        self.problem = Problem(status=status, title=title, detail=detail)
        self.retry_after = retry_after


class DoorProtocol(Protocol):
    """What the routes need: the Door deployment, or a stand-in of the same shape."""

    async def judge(self, request: JudgeRequest) -> Verdict | Unscored: ...
    async def score(self, request: ScoreRequest) -> Score | Unscored: ...
    async def judges(self) -> JudgeList: ...
    async def ready(self) -> Status: ...


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text, "content": {"application/problem+json": {}}}
    for status, text in {
        400: "The body is no JSON.",
        401: "No API key, or a wrong one.",
        413: "The body is too large.",
        422: "A field is missing, misspelt or wrong, or the model cannot read the text.",
        429: "Too many requests wait; Retry-After says when to come back.",
        503: "No replica could answer; Retry-After says when to come back.",
    }.items()
}


def build_app(settings: Settings, door: DoorProtocol) -> FastAPI:
    """The HTTP application in front of `door`."""
    app = FastAPI(
        title="closecall",
        summary="Reasoning reward models that think longer on a close call",
        version="0.1.0",
        responses=PROBLEMS,
    )

    @app.post("/v1/judge", response_model=Outcome)
    async def judge(request: JudgeRequest) -> Any:
        """Which of two responses is better, how sure the judge is, and what that cost."""
        return await door.judge(request)

    @app.post("/v1/score", response_model=ScoreOutcome)
    async def score(request: ScoreRequest) -> Any:
        """How good each of one or more responses is, from 1 to 10 (style grm)."""
        return await door.score(request)

    @app.get("/v1/judges")
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

    def answer(problem: Problem, retry_after: int | None = None) -> JSONResponse:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        if problem.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(
            problem.model_dump(exclude_none=True),
            problem.status,
            headers,
            media_type="application/problem+json",
        )

    @app.exception_handler(ProblemError)
    async def on_problem(_: Request, failure: ProblemError) -> JSONResponse:
        return answer(failure.problem, failure.retry_after)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_: Request, failure: RequestValidationError) -> JSONResponse:
        return answer(explain(failure))

    @app.exception_handler(StarletteHTTPException)
    async def on_http(_: Request, failure: StarletteHTTPException) -> JSONResponse:
        detail = f"{failure.detail}; GET /openapi.json lists the routes"
        return answer(Problem(title=str(failure.detail), status=failure.status_code, detail=detail))

    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)

    @app.middleware("http")
    async def guard(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        keys = [key.get_secret_value() for key in settings.api_keys]
        decision = decide(request.url.path, request.headers.get("authorization"), keys)
        if decision is not Decision.ALLOW:
            detail = f"{decision.value}: send the header 'Authorization: Bearer YOUR_KEY'"
            return answer(Problem(title="Unauthorized", status=401, detail=detail))
        return await call_next(request)

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


class BodyLimit:
    """Refuses a body over `limit` bytes before anything parses it (413)."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app, self.limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self.limit:
            await self._refuse(scope, receive, send)
            return
        seen = 0
        body: list[Message] = []
        while True:  # requests are small, so they are read whole before the routes see them
            message = await receive()
            body.append(message)
            seen += len(message.get("body", b""))
            if seen > self.limit:
                await self._refuse(scope, receive, send)
                return
            if message["type"] != "http.request" or not message.get("more_body"):
                break

        async def replay() -> Message:
            return body.pop(0) if body else await receive()

        await self.app(scope, replay, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = Problem(
            title="Body too large",
            status=413,
            detail=f"the body is over {self.limit} bytes; shorten the texts, or raise "
            "max_body_bytes in the service's config",
        )
        response = JSONResponse(
            problem.model_dump(exclude_none=True), 413, media_type="application/problem+json"
        )
        await response(scope, receive, send)
