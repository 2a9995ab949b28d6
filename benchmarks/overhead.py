"""What the service itself costs: `python -m benchmarks.overhead`.

Side by side, call by call: our route on a scripted engine that takes no time, a Ray Serve
deployment that does nothing, and one that asks another that does nothing.
Then, on nano, pairs a second of 64 callers against one; and `/get_reward` with 256 posts of one
sample at once against one after the other.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2
import ray
from ray import serve

from benchmarks.report import finish, interval, machine, parser
from judges.nano import data
from judges.nano.pairs import pair_of
from serving import deploy
from serving.ray_security import require_token
from serving.testing.process import ServiceProcess, free_port

SAME: dict[str, Any] = {"prompt": "?", "response_a": "x", "response_b": "y", "effort": "none"}
MOST_OVERHEAD = 5.0
"""milliseconds at the median"""
LEAST_SPEEDUP = 4.0
CALLERS = 64
POSTS = 256


class NoOp:
    async def __call__(self, request: Any) -> str:
        await request.json()
        return "{}"


class Front:
    def __init__(self, behind: Any) -> None:
        self.behind = behind

    async def __call__(self, request: Any) -> str:
        await request.json()
        answer: str = await self.behind.nothing.remote()
        return answer


class Behind:
    async def nothing(self) -> str:
        return "{}"


ROUTES = ("/v1/judge", "/noop", "/two")


def side_by_side(n: int, folder: Path) -> dict[str, list[float]]:
    """Milliseconds of `n` calls of each of ROUTES, in turn: the first is ours."""
    config = folder / "scripted.toml"
    config.write_text('engine = "scripted"\n')
    port = free_port()
    for name, value in deploy.RAY.items():  # Ray alike for both
        os.environ.setdefault(name, value)
    require_token()
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        serve.start(http_options={"port": port})
        light = {"num_cpus": 0}
        noop: Any = serve.deployment(NoOp, ray_actor_options=light)
        front: Any = serve.deployment(Front, ray_actor_options=light)
        behind: Any = serve.deployment(Behind, ray_actor_options=light)
        serve.run(noop.bind(), name="noop", route_prefix="/noop")
        serve.run(front.bind(behind.bind()), name="two", route_prefix="/two")
        with ServiceProcess(folder / "scripted.log", "--config", str(config)) as service:
            return alternating(n, service.url, f"http://127.0.0.1:{port}")
    finally:
        deploy.shut_down()


def alternating(n: int, ours: str, theirs: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {path: [] for path in ROUTES}
    with httpx2.Client(timeout=60) as http:
        for index in range(n + 50):
            for path in ROUTES:
                url = (ours if path == ROUTES[0] else theirs) + path
                began = time.perf_counter()
                http.post(url, json=SAME).raise_for_status()
                if index >= 50:  # the first ones warm up
                    found[path].append((time.perf_counter() - began) * 1000)
    return found


async def rate(url: str, path: str, bodies: list[dict[str, Any]], callers: int) -> float:
    """Answers a second with so many callers at once. Raises if one is no 200."""
    left = iter(bodies)
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=url, timeout=300, limits=limits) as http:

        async def caller() -> None:
            for body in left:
                (await http.post(path, json=body)).raise_for_status()

        began = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(callers)))
        return len(bodies) / (time.perf_counter() - began)


def samples(n: int, seed: int) -> list[dict[str, Any]]:
    """Posts as OpenRLHF sends them, one sample each."""
    rng = random.Random(seed)
    drawn = [data.draw(rng, n=1) for _ in range(n)]
    return [
        {"query": [f"{e.question} {e.responses[0]}"], "prompts": [e.question], "labels": [None]}
        for e in drawn
    ]


def missed(extra: float, speedup: float) -> list[str]:
    """Every promise that was not kept; `extra` in milliseconds."""
    found = []
    if extra > MOST_OVERHEAD:
        found.append(f"{extra:.1f} ms more than a no-op, at most {MOST_OVERHEAD:g}")
    if speedup < LEAST_SPEEDUP:
        found.append(f"{CALLERS} callers only {speedup:.1f} times one, at least {LEAST_SPEEDUP:g}")
    return found


def main() -> int:
    args = parser(__doc__, n=400, seed=9).parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        found = side_by_side(args.n, Path(folder))
    ours, theirs, two = (found[path] for path in ROUTES)
    pairs = [pair_of(data.draw(rng)).model_dump() for _ in range(args.n)]
    posts = samples(min(POSTS, args.n), args.seed)
    with tempfile.TemporaryDirectory() as folder, ServiceProcess(Path(folder) / "log") as service:
        asyncio.run(rate(service.url, "/v1/judge", pairs[:CALLERS], CALLERS))
        one = asyncio.run(rate(service.url, "/v1/judge", pairs[: args.n // 8], 1))
        many = asyncio.run(rate(service.url, "/v1/judge", pairs, CALLERS))
        single = asyncio.run(rate(service.url, "/get_reward", posts[: len(posts) // 4], 1))
        flood = asyncio.run(rate(service.url, "/get_reward", posts, len(posts)))
    both = list(zip(ours, theirs, strict=True))

    def more(rows: Any) -> float:
        return float(statistics.median(o for o, _ in rows) - statistics.median(t for _, t in rows))

    low, high = interval(both, more, args.seed)
    extra = more(both)
    p99 = statistics.quantiles(ours, n=100)[98] - statistics.quantiles(theirs, n=100)[98]
    print(f"machine: {machine()}; model: scripted, then nano; seed {args.seed}, n {args.n}")
    print(
        f"median: ours {statistics.median(ours):.1f} ms, no-op {statistics.median(theirs):.1f} ms; "
        f"more {extra:.1f} [{low:.1f}, {high:.1f}] ms; p99 more {p99:.1f} ms"
    )
    second = statistics.median(two) - statistics.median(theirs)
    print(f"a no-op that asks a no-op takes {second:.1f} ms more")
    print(f"nano: 1 caller {one:.1f}, {CALLERS} {many:.1f} pairs/s: {many / one:.1f} times")
    print(
        f"/get_reward: one by one {single:.1f}, {len(posts)} at once {flood:.1f} a second: "
        f"{flood / single:.1f} times"
    )
    figures = {
        "more_ms": extra,
        "interval": [low, high],
        "second_no_op_ms": second,
        "pairs_per_second": {"1": one, str(CALLERS): many},
        "rewards_per_second": {"1": single, str(len(posts)): flood},
        "n": args.n,
    }
    return finish(figures, missed(extra, many / one), args.json)


if __name__ == "__main__":
    sys.exit(main())
