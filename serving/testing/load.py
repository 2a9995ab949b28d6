"""Callers of a running service, its replicas, and services on a script."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import httpx2
import psutil

from serving.testing.process import ServiceProcess

SAME: dict[str, Any] = {"prompt": "?", "response_a": "x", "response_b": "y", "effort": "none"}


Answers = list[tuple[int, float, bool]]
"""status (0: none came), seconds, and whether Retry-After was there"""


def replicas(service: ServiceProcess) -> list[psutil.Process]:
    """The processes of the Judge replicas."""
    family = psutil.Process(service.process.pid).children(recursive=True)
    return [process for process in family if "closecall:Judge" in " ".join(process.cmdline())]


async def callers(
    url: str, bodies: list[dict[str, Any]], many: int, until: float | None = None
) -> Answers:
    """Status, seconds, and whether Retry-After was there, of each answer.

    With `until` (monotonic seconds) the bodies are sent again and again. 0: no answer came.
    """
    answers: Answers = []
    left = iter(bodies)

    async def caller(http: httpx2.AsyncClient) -> None:
        while True:
            body = next(left, None) if until is None else bodies[0]
            if body is None or (until is not None and time.monotonic() > until):
                return
            began = time.monotonic()
            try:
                answer = await http.post("/v1/judge", json=body)
                status, retry = answer.status_code, "retry-after" in answer.headers
            except httpx2.TransportError:
                status, retry = 0, False
            answers.append((status, time.monotonic() - began, retry))

    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=url, timeout=120, limits=limits) as http:
        await asyncio.gather(*(caller(http) for _ in range(many)))
    return answers


async def drain(service: ServiceProcess, many: int) -> tuple[list[int], int, int]:
    """SIGTERM while `many` requests are under way; their statuses, `/ready`'s, the exit code."""
    body = {**SAME, "effort": "full"}
    asking = asyncio.create_task(callers(service.url, [body] * many, many))
    async with httpx2.AsyncClient(base_url=service.url) as http:
        under_way = 0.0
        while under_way < many:
            if asking.done():
                raise RuntimeError(f"ended before the metrics told of all: {await asking}")
            await asyncio.sleep(0.1)
            under_way = sum(
                float(line.rsplit(" ", 1)[1])
                for line in (await http.get("/metrics")).text.splitlines()
                if line.startswith("ray_closecall_open_requests{")
            )
        service.process.send_signal(signal.SIGTERM)
        ready = 200
        while ready == 200 and not asking.done():
            ready = (await http.get("/ready")).status_code
    statuses = [status for status, _, _ in await asking]
    return statuses, ready, await asyncio.to_thread(service.process.wait, 60)


def scripted(folder: Path, name: str, delay: float, slots: int, queue: int) -> ServiceProcess:
    """A service on the scripted engine, whose calls take `delay` seconds."""
    config = folder / f"{name}.toml"
    config.write_text(
        f'engine = "scripted"\nmodel = "delay={delay}"\n'
        f"max_ongoing = {slots}\nmax_queued = {queue}\n"
    )
    return ServiceProcess(folder / f"{name}.log", "--config", str(config))
