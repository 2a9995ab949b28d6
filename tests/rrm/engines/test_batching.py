"""Turns: who is sent together, who waits, and who is spared another's fault."""

import asyncio
import time

import pytest

from rrm.engines.batching import GATHER, REST, ProbeBatcher


class Server:
    """Answers each row with its double; notes what it was sent, and when."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.sent: list[list[int]] = []
        self.times: list[float] = []

    async def probe(self, rows: list[int]) -> list[int]:
        self.sent.append(rows)
        self.times.append(time.monotonic())
        await asyncio.sleep(self.seconds)
        if -1 in rows:
            raise ValueError("no such row")
        return [2 * row for row in rows]


def test_what_is_asked_together_is_sent_together() -> None:
    async def ask() -> list[list[int]]:
        turnstile = ProbeBatcher(server.probe)
        return await asyncio.gather(*(turnstile.read([n, n + 100]) for n in range(20)))

    server = Server()
    assert asyncio.run(ask()) == [[2 * n, 2 * n + 200] for n in range(20)]
    assert len(server.sent) == 1


def test_the_next_turn_comes_when_the_last_is_answered() -> None:
    async def ask() -> None:
        turnstile = ProbeBatcher(server.probe)
        first = asyncio.ensure_future(turnstile.read([1]))
        await asyncio.sleep(5 * GATHER)
        await asyncio.gather(first, *(turnstile.read([n]) for n in range(2, 9)))

    server = Server(seconds=0.2)
    asyncio.run(ask())
    assert server.sent == [[1], [2, 3, 4, 5, 6, 7, 8]]
    assert server.times[1] - server.times[0] >= server.seconds


def test_growing_chains_get_as_long_as_the_probes_took() -> None:
    async def ask() -> None:
        turnstile = ProbeBatcher(server.probe)
        async with turnstile.growing():
            await turnstile.read([1])
            await turnstile.read([2])
        began = time.monotonic()
        await asyncio.sleep(2 * server.seconds)
        async with turnstile.growing():  # open again
            assert time.monotonic() - began < 3 * server.seconds

    server = Server(seconds=REST / 2)
    asyncio.run(ask())
    assert server.times[1] - server.times[0] >= 2 * server.seconds


def test_a_chain_waits_for_its_turn() -> None:
    async def ask() -> float:
        turnstile = ProbeBatcher(server.probe)
        reading = asyncio.ensure_future(turnstile.read([1]))
        await asyncio.sleep(5 * GATHER)
        async with turnstile.growing():
            began = time.monotonic()
        await reading
        return began

    server = Server(seconds=0.2)
    assert asyncio.run(ask()) - server.times[0] >= server.seconds


def test_a_row_that_fails_spoils_nothing_for_others() -> None:
    async def ask() -> list[list[int] | BaseException]:
        turnstile = ProbeBatcher(server.probe)
        options = (turnstile.read([n]) for n in (1, -1, 2))
        return await asyncio.gather(*options, return_exceptions=True)

    server = Server()
    first, failed, last = asyncio.run(ask())
    assert (first, last) == ([2], [4])
    with pytest.raises(ValueError, match="no such row"):
        raise failed  # type: ignore[misc]


def test_a_caller_who_leaves_takes_nobody_along() -> None:
    async def ask() -> list[int]:
        turnstile = ProbeBatcher(server.probe)
        leaving = asyncio.ensure_future(turnstile.read([1]))
        staying = asyncio.ensure_future(turnstile.read([2]))
        await asyncio.sleep(0)
        leaving.cancel()
        return await staying

    server = Server()
    assert asyncio.run(ask()) == [4]
