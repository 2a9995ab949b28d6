"""What every request passes before its route: a log line, a key, a limit on its size."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Protocol

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.auth import Decision, decide
from serving.schemas import Problem
from serving.settings import Settings

NOTES: ContextVar[dict[str, Any]] = ContextVar("NOTES")
"""what the log line of the current request will say; whoever knows something adds it"""
LEFT = 499
"""status in logs and metrics of a request whose caller left"""


def note(**facts: Any) -> None:
    """Add to the log line of the current request."""
    NOTES.get({}).update(facts)


class Recorder(Protocol):
    """Told about every request."""

    def began(self) -> None: ...
    def ended(self, route: str, status: int, seconds: float, facts: Mapping[str, Any]) -> None: ...


def problem_response(problem: Problem, retry_after: int | None = None) -> JSONResponse:
    """As application/problem+json. retry_after: seconds."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(
        problem.model_dump(exclude_none=True),
        problem.status,
        headers,
        media_type="application/problem+json",
    )


class RequestLogMiddleware:
    """Tells `recorder` about every request. Its id is X-Request-ID, and is sent back."""

    def __init__(self, app: ASGIApp, recorder: Recorder) -> None:
        self.app, self.recorder = app, recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        name = given if re.fullmatch(r"[\w.-]{1,64}", given, re.ASCII) else uuid.uuid4().hex
        facts: dict[str, Any] = {"request_id": name}
        NOTES.set(facts)
        began, status = time.monotonic(), LEFT

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-ID"] = name
                status = message["status"]
            await send(message)

        self.recorder.began()
        try:
            await self.app(scope, receive, sent)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.recorder.ended(route, status, time.monotonic() - began, facts)


class CancelOnDisconnectMiddleware:
    """Cancels what a caller who has left was waiting for, so that its slot is free at once."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        messages: asyncio.Queue[Message] = asyncio.Queue()
        answered = left = False

        async def sent(message: Message) -> None:
            nonlocal answered
            answered = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        async def listen() -> None:
            nonlocal left
            message: Message = {"type": ""}
            while message["type"] != "http.disconnect":
                message = await receive()
                messages.put_nowait(message)
            if not answered:
                left = True
                answering.cancel()

        answering = asyncio.ensure_future(self.app(scope, messages.get, sent))
        listening = asyncio.ensure_future(listen())
        try:
            await answering
        except asyncio.CancelledError:
            if not left:
                answering.cancel()
                raise
        finally:
            listening.cancel()


class AuthMiddleware:
    """Lets nobody pass without a key, where keys are set."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.keys = [key.get_secret_value() for key in settings.api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = Headers(scope=scope).get("authorization")
            decision = decide(scope["path"], given, self.keys)
            if decision is not Decision.ALLOW:
                detail = f"{decision.value}: send the header 'Authorization: Bearer YOUR_KEY'"
                problem = Problem(title="Unauthorized", status=401, detail=detail)
                await problem_response(problem)(scope, receive, send)
                return
        await self.app(scope, receive, send)


class BodySizeLimitMiddleware:
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
        await problem_response(problem)(scope, receive, send)
