"""What the service counts, through Ray's own metrics."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import httpx2
import ray
from ray.serve import metrics

from serving.gateway import Judged

TOKENS: list[float] = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192]
SECONDS: list[float] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120]
OURS = (
    "ray_closecall_",
    "ray_serve_deployment_",
    "ray_serve_replica_",
    "ray_serve_num_",
)
PAUSE = 0.5
"""seconds that what was counted waits; Ray itself exports once a second"""


def _keys(*names: str) -> Any:
    """Ray declares tag keys as a tuple of one; it takes any number."""
    return names


class Batched:
    """Ray's metrics, told once in PAUSE seconds: each record costs a tenth of a millisecond."""

    def __init__(self) -> None:
        self._counts: dict[tuple[Any, tuple[tuple[str, str], ...]], float] = defaultdict(float)
        self._values: list[Callable[[], None]] = []
        self._flushing: asyncio.TimerHandle | None = None

    def count(self, counter: Any, value: float = 1, **tags: str) -> None:
        if value:  # Ray counts nothing but what is more than nothing
            self._counts[counter, tuple(tags.items())] += value
            self._soon()

    def observe(self, histogram: Any, value: float, **tags: str) -> None:
        self._values.append(lambda: histogram.observe(value, tags))
        self._soon()

    def _soon(self) -> None:
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_later(PAUSE, self._flush)

    def _flush(self) -> None:
        self._flushing = None
        for (counter, tags), value in self._counts.items():
            counter.inc(value, dict(tags))
        for observe in self._values:
            observe()
        self._counts.clear()
        self._values.clear()


class Metrics(Batched):
    """What one replica counts."""

    def __init__(self) -> None:
        super().__init__()
        self._outcomes = metrics.Counter(
            "closecall_outcomes",
            "Judgements by style, kind (verdict, score, unscored) and why they ended",
            _keys("style", "kind", "reason"),
        )
        self._thought = metrics.Histogram(
            "closecall_thinking_tokens", "Thinking tokens of a judgement", TOKENS, _keys("style")
        )
        # Ray keeps a histogram's sum only by its buckets' middles, so tokens are counted too.
        self._spent = metrics.Counter(
            "closecall_thinking_tokens_spent", "Thinking tokens, all together", _keys("style")
        )
        self._searches = metrics.Counter(
            "closecall_searches",
            "Searches by style and whether they failed",
            _keys("style", "failed"),
        )
        self._seconds = metrics.Histogram(
            "closecall_seconds", "Seconds of a judgement in its replica", SECONDS, _keys("style")
        )

    def judged(self, outcome: Judged) -> Judged:
        """Count one judgement and hand it on."""
        style, usage = outcome.judge.style, outcome.usage
        self.count(self._outcomes, style=style, kind=outcome.kind, reason=str(outcome.reason))
        self.count(self._spent, usage.thinking_tokens, style=style)
        self.observe(self._thought, usage.thinking_tokens, style=style)
        for one in outcome.judge.searches:
            self.count(self._searches, style=style, failed=str(one.failed is not None).lower())
        self.observe(self._seconds, usage.seconds, style=style)
        return outcome


class GatewayTelemetry(Batched):
    """Counts what the gateway sees and no replica does, and writes the log. log: structlog's."""

    def __init__(self, log: Any) -> None:
        super().__init__()
        self._log = log
        self._answers = metrics.Counter(
            "closecall_answers", "Answers by route and status", _keys("route", "status")
        )
        self._latency = metrics.Histogram(
            "closecall_latency_seconds", "Seconds from question to answer", SECONDS, _keys("route")
        )
        self._retries = metrics.Counter("closecall_retries", "Second tries after a dead replica")
        self._gauge = metrics.Gauge("closecall_open_requests", "Requests under way, queue included")
        self.open = 0
        """requests under way"""

    def began(self) -> None:
        self.open += 1
        self._soon()

    def ended(self, route: str, status: int, seconds: float, facts: Mapping[str, Any]) -> None:
        self.open -= 1
        self.count(self._answers, route=route, status=str(status))
        self.observe(self._latency, seconds, route=route)
        self._log.info("request", route=route, status=status, seconds=round(seconds, 4), **facts)

    def retried(self) -> None:
        self.count(self._retries)

    def _flush(self) -> None:
        self._gauge.set(self.open)
        super()._flush()

    async def exposition(self) -> str:
        return await exposition()


async def exposition() -> str:
    """Our metrics and Serve's, from every node of the cluster, in Prometheus' text format.

    Ray exports them on a port of each node, a second or two late. A node that does not answer is
    left out.
    """
    nodes = [node for node in await asyncio.to_thread(ray.nodes) if node["Alive"]]
    urls = [f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/" for node in nodes]
    async with httpx2.AsyncClient(timeout=5) as http:
        answers = await asyncio.gather(*map(http.get, urls), return_exceptions=True)
    texts = [answer.text for answer in answers if isinstance(answer, httpx2.Response)]
    return select("\n".join(texts))


def select(text: str) -> str:
    """The lines of `text` about our metrics and Serve's; families of many nodes put together."""
    families: dict[str, list[str]] = {}
    heads: dict[str, list[str]] = {}
    family = ""
    for line in text.splitlines():
        if line.startswith("# "):
            _, kind, family, *_ = line.split(" ", 3)
            known = heads.setdefault(family, [])
            if family.startswith(OURS) and not any(f"# {kind} " in head for head in known):
                known.append(line)
        elif line.startswith(OURS):
            families.setdefault(family, []).append(line)
    lines = [line for name, rows in families.items() for line in (*heads[name], *rows)]
    return "\n".join(lines) + "\n"
