"""The HTTP side of the SGLang engine: batches that are asked again, and callers that leave."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import httpx2

from rrm.engines.http import LoopThread
from rrm.engines.sglang_server import Server
from rrm.errors import EngineError

TRIES = 4
"""calls of one request, where the server was lost or busy in between"""
BUSY = frozenset({429, 502, 503, 504})
KEEP = 2.0
"""seconds an idle connection is kept: well under the five after which SGLang hangs up"""
STUCK = 120.0
"""seconds without any answer, while some are awaited, after which the server is asked itself"""
ALIVE = 20.0
"""seconds in which it must then say that it works"""
Answer = Mapping[str, Any]


class SGLangClient:
    """Calls of one server, in an event loop of its own."""

    def __init__(self, server: Server) -> None:
        self.server, self.loop = server, LoopThread("sglang")
        self._awaited = 0
        """requests under way"""
        self._heard = time.monotonic()
        """when the server last answered, or was first asked after a rest"""
        self._http = self.loop.wait(self._open())

    async def _open(self) -> httpx2.AsyncClient:
        # Callers have deadlines of their own; proxies have no business here.
        limits = httpx2.Limits(max_connections=None, keepalive_expiry=KEEP)
        return httpx2.AsyncClient(timeout=None, trust_env=False, limits=limits)

    async def check(self) -> None:
        """Raise EngineError if the server is gone or hangs."""
        self.server.check()
        silent = self._awaited and time.monotonic() - self._heard > STUCK
        if silent and not await self.loop.run(self._lives()):
            raise EngineError(f"the SGLang server hangs: no answer for over {STUCK:g} s")

    def close(self) -> None:
        self.server.stop()
        with suppress(Exception):
            self.loop.wait(self._http.aclose(), timeout=5)
        self.loop.close()

    # -- in the loop ------------------------------------------------------------------------------

    async def generate(self, body: dict[str, Any], n: int) -> list[Answer]:
        """Answers to a batch of n. A caller that leaves takes its requests along."""
        rids = [uuid.uuid4().hex for _ in range(n)]
        try:
            answers: list[Answer] = await self.post("/generate", {**body, "rid": rids})
        except asyncio.CancelledError:
            leaving = asyncio.gather(
                *(self._send("/abort_request", {"rid": rid}) for rid in rids),
                return_exceptions=True,
            )
            with suppress(asyncio.CancelledError):
                await asyncio.shield(leaving)
            raise
        return answers

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        why = ""
        for attempt in range(TRIES):
            await self.server.ready()
            try:
                response = await self._send(path, body)
            except httpx2.TransportError as failure:
                why = f"{type(failure).__name__}: {failure}"
            else:
                if response.status_code == 200:
                    return response.json()
                why = f"{response.status_code} {response.text[:300]}"
                if response.status_code not in BUSY:
                    break
            await asyncio.sleep(0.2 * 2**attempt)
        raise EngineError(f"SGLang at {self.server.url}{path}: {why}")

    async def _lives(self) -> bool:
        """One long sequence may be all that is under way: ask the server whether it still works."""
        with suppress(httpx2.HTTPError):
            answer = await self._http.get(f"{self.server.url}/health", timeout=ALIVE)
            if answer.status_code == 200:
                self._heard = time.monotonic()
                return True
        return False

    async def _send(self, path: str, body: dict[str, Any]) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self.server.key}"} if self.server.key else {}
        if not self._awaited:
            self._heard = time.monotonic()
        self._awaited += 1
        try:
            return await self._http.post(f"{self.server.url}{path}", json=body, headers=headers)
        finally:
            self._awaited -= 1
            self._heard = time.monotonic()
