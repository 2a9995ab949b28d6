"""ProbeBatcher: many callers' requests go to a batching server together, and not too often.

A server with continuous batching stops decoding for whatever arrives: a pass of its own for each
probe and each sequence taken up again, while every growing sequence waits. So what callers ask at
about the same moment is sent at the same moment, probes in one request. The next batch goes out
when that request is answered; while sequences grow, it waits as long again, which leaves them half
of the time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

GATHER = 0.002
"""seconds in which a turn gathers"""
LONGEST = 1.0
"""seconds for which an unanswered turn holds up the next: a long prompt, a server that restarts"""
REST = 0.25
"""seconds at most that are left to growing sequences"""
T = TypeVar("T")
A = TypeVar("A")


@dataclass(eq=False)
class _Waiter(Generic[T, A]):
    """Rows that one caller waits for."""

    rows: list[T]
    answers: asyncio.Future[list[A]]

    def resolve(self, answers: list[A]) -> None:
        if not self.answers.done():  # else the caller has left
            self.answers.set_result(answers)

    def fail(self, failure: Exception) -> None:
        if not self.answers.done():
            self.answers.set_exception(failure)


class ProbeBatcher(Generic[T, A]):
    """For one event loop. `probe` asks the server for the answers to rows, in their order."""

    def __init__(self, probe: Callable[[list[T]], Awaitable[list[A]]]) -> None:
        self._probe = probe
        self._waiting: list[_Waiter[T, A]] = []
        self._turns: set[asyncio.Task[None]] = set()
        self._closed: asyncio.Future[None] | None = None
        """done when the next turn may begin"""
        self._growing = 0

    async def read(self, rows: list[T]) -> list[A]:
        """The answers to `rows`, asked in one request with what others ask now.

        Raises whatever `probe` raises for these rows; others' rows spoil nothing.
        """
        waiter: _Waiter[T, A] = _Waiter(rows, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        if len(self._waiting) == 1:
            turn = asyncio.get_running_loop().create_task(self._turn())
            self._turns.add(turn)
            turn.add_done_callback(self._turns.discard)
        return await waiter.answers

    @asynccontextmanager
    async def growing(self) -> AsyncIterator[None]:
        """Wait for a turn; inside, a sequence grows."""
        await self._opening()
        self._growing += 1
        try:
            yield
        finally:
            self._growing -= 1

    async def _opening(self) -> None:
        while self._closed is not None:
            await asyncio.shield(self._closed)
        await asyncio.sleep(GATHER)

    async def _turn(self) -> None:
        await self._opening()
        together, self._waiting = self._waiting, []
        closed = self._closed = asyncio.get_running_loop().create_future()
        began = time.monotonic()
        sent = asyncio.ensure_future(self._send(together))
        await asyncio.wait({sent}, timeout=LONGEST)
        if self._growing:
            await asyncio.sleep(min(REST, time.monotonic() - began))
        self._closed = None
        closed.set_result(None)
        await sent

    async def _send(self, together: list[_Waiter[T, A]]) -> None:
        try:
            answers = await self._probe([row for waiter in together for row in waiter.rows])
        except Exception:  # one may have spoilt it for all
            await asyncio.gather(*map(self._alone, together))
            return
        for waiter in together:
            waiter.resolve(answers[: len(waiter.rows)])
            del answers[: len(waiter.rows)]

    async def _alone(self, waiter: _Waiter[T, A]) -> None:
        try:
            waiter.resolve(await self._probe(waiter.rows))
        except Exception as failure:
            waiter.fail(failure)
