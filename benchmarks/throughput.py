"""Pairs and tokens a second on SGLang, nano, 32 callers: `python -m benchmarks.throughput`.

One SGLang server, and in turns on the same pairs, twice, each time from an empty cache:
(a) raw: every full chain handed to SGLang at once, which batches as it likes;
(b) closecall over REST, effort full; (c) the same, adaptive;
(d) what one would write without closecall: both orders' full chains through the server's chat
endpoint, the written verdicts parsed; (e) the same in one order alone, the one that is given.
Promised: (b) at least 85 % of the tokens a second of (a); (c) at least 2.2 times the pairs a second
of (d) and 1.25 times those of (e), at an accuracy no more than a point lower than (d)'s. A pair
without preference, or unscored, counts half. The server's own counters give the tokens.
"""

from __future__ import annotations

import asyncio
import random
import re
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.report import finish, interval, machine, parser
from benchmarks.sglang import sglang_on_cpu
from judges.nano import CALIBRATION, WEIGHTS, data
from judges.nano.pairs import pair_of
from judges.pairwise import PairwiseJudge
from judges.styles.registry import family_style
from rrm.calibration.artifact import load_calibration
from rrm.engines.sglang import SGLangEngine, TokenCount
from rrm.parse import Choice
from rrm.types import Pair, Verdict
from serving.testing.process import ServiceProcess
from serving.testing.sglang_cpu import CONFIG, OPTIONS

CALLERS = 32
ROUNDS = 2
STYLE = family_style("rrm")
LEAST_OF_RAW = 0.85
LEAST_SPEEDUP = 2.2
LEAST_OF_ONE_ORDER = 1.25
GOALS = (4.0, 2.0)
MOST_LOST = 0.01
REPLY = 32
"""tokens of a written verdict"""
LONGEST = 512
"""tokens of a chain"""
WAYS = ("raw", "full", "adaptive", "chat", "one order")
COUNTERS = ("prompt_tokens_total", "cached_tokens_total", "generation_tokens_total")


@dataclass(frozen=True)
class Lap:
    """One way's run over one round of pairs."""

    pairs: int
    seconds: float
    right: float
    """pairs; a pair without preference counts half"""
    prompt: float
    """tokens put in, cached ones included"""
    cached: float
    generated: float


Way = Callable[[Sequence[Pair]], Awaitable[list[str]]]
"""pairs to preferences: a, b or tie"""


class Ways:
    """The ways to one server."""

    def __init__(self, engine: SGLangEngine, service: ServiceProcess) -> None:
        self.engine, self.service = engine, service
        self.server = engine.server
        limits = httpx2.Limits(max_connections=None, keepalive_expiry=2)
        self.http = httpx2.AsyncClient(timeout=None, trust_env=False, limits=limits)
        self.headers = {"Authorization": f"Bearer {self.server.key}"}

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        url = f"{self.server.url}{path}"
        answer = await self.http.post(url, json=body, headers=self.headers)
        answer.raise_for_status()
        return answer.json()

    async def raw(self, pairs: Sequence[Pair]) -> list[str]:
        rendered = [
            STYLE.render(str(pair.prompt), one.responses, self.engine.control)
            for pair in pairs
            for one in (pair, pair.swapped())
        ]
        end = self.engine.tokenizer.one_token(STYLE.stop)  # as closecall asks, text costs time
        how = {"max_new_tokens": LONGEST, "temperature": 0, "stop_token_ids": [end]}
        ids = [self.engine.tokenizer.prompt(one) for one in rendered]
        await self._post("/generate", {"input_ids": ids, "sampling_params": how})
        return ["tie"] * len(pairs)  # it generates, and judges nothing

    async def full(self, pairs: Sequence[Pair]) -> list[str]:
        return await concurrently(pairs, lambda pair: self._judge(pair, "full"))

    async def adaptive(self, pairs: Sequence[Pair]) -> list[str]:
        return await concurrently(pairs, lambda pair: self._judge(pair, "adaptive"))

    async def _judge(self, pair: Pair, effort: str) -> str:
        body = {**pair.model_dump(mode="json"), "effort": effort}
        answer = await self.http.post(f"{self.service.url}/v1/judge", json=body)
        answer.raise_for_status()
        return str(answer.json().get("preferred", "tie"))  # unscored is no preference

    async def chat(self, pairs: Sequence[Pair]) -> list[str]:
        return await concurrently(pairs, self._ask)

    async def _ask(self, pair: Pair) -> str:
        first, second = await asyncio.gather(self._order(pair), self._order(pair.swapped()))
        if first is None or second is None or first == second:
            return "tie"
        return "ab"[first]

    async def one_order(self, pairs: Sequence[Pair]) -> list[str]:
        async def ask(pair: Pair) -> str:
            found = await self._order(pair)
            return "tie" if found is None else "ab"[found]

        return await concurrently(pairs, ask)

    async def _order(self, pair: Pair) -> int | None:
        rendered = STYLE.render(str(pair.prompt), pair.responses, self.engine.control)
        turns = [turn.model_dump() for turn in rendered.messages]
        body = {
            "model": "nano",
            "messages": [*turns, {"role": "assistant", "content": rendered.opening}],
            "continue_final_message": True,
            "temperature": 0,
            "max_tokens": LONGEST + REPLY,
            "skip_special_tokens": False,
        }
        [choice] = (await self._post("/v1/chat/completions", body))["choices"]
        reading = STYLE.parse(rendered.opening + choice["message"]["content"], 2)
        return reading.index if isinstance(reading, Choice) else None

    async def counters(self) -> dict[str, float]:
        """The server's own token counts since it started."""
        answer = await self.http.get(f"{self.server.url}/metrics", headers=self.headers)
        return {
            name: sum(map(float, re.findall(rf"^sglang:{name}{{.*}} (\S+)$", answer.text, re.M)))
            for name in COUNTERS
        }

    async def lap(self, name: str, pairs: Sequence[Pair], labels: Sequence[str]) -> Lap:
        await self.http.post(f"{self.server.url}/flush_cache", headers=self.headers)
        before = await self.counters()
        way: Way = getattr(self, name.replace(" ", "_"))
        began = time.perf_counter()
        preferred = await way(pairs)
        seconds = time.perf_counter() - began
        after = await self.counters()
        right = sum(
            0.5 if found == "tie" else found == label
            for found, label in zip(preferred, labels, strict=True)
        )
        prompt, cached, generated = (after[name] - before[name] for name in COUNTERS)
        return Lap(len(pairs), seconds, right, prompt, cached, generated)


async def concurrently(pairs: Sequence[Pair], one: Callable[[Pair], Awaitable[str]]) -> list[str]:
    """CALLERS at once, each taking the next pair when it is done with one."""
    found = [""] * len(pairs)
    left = iter(range(len(pairs)))

    async def caller() -> None:
        for index in left:
            found[index] = await one(pairs[index])

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return found


async def measure(ways: Ways, n: int, seed: int) -> dict[str, list[Lap]]:
    rng = random.Random(f"throughput {seed}")
    laps: dict[str, list[Lap]] = {name: [] for name in WAYS}
    warm, judged = ([data.draw(rng) for _ in range(many)] for many in (CALLERS, n))
    for number in range(ROUNDS + 1):
        examples = judged if number else warm
        pairs = [pair_of(example) for example in examples]
        labels = ["ab"[example.better] for example in examples]
        for turn in range(len(WAYS)):
            name = WAYS[(turn + number) % len(WAYS)]  # whoever goes first may have it cooler
            lap = await ways.lap(name, pairs, labels)
            if number:  # round 0 warms up
                laps[name].append(lap)
            if sys.stderr.isatty():
                print(f"round {number}: {name} took {lap.seconds:.1f} s", file=sys.stderr)
    await ways.http.aclose()
    return laps


async def probe_share(engine: SGLangEngine, n: int, seed: int) -> float:
    """Tokens that adaptive judging computes for probes, as a share of all it computes.

    By SGLang's own counters, on pairs not seen before. Raises RuntimeError for a pair that stays
    unscored.
    """
    rng = random.Random(f"throughput {seed} probes")
    calibration = load_calibration(CALIBRATION, STYLE.name, STYLE.prompt_hash)
    judge = PairwiseJudge(engine, STYLE, calibration, engine.card.ladder)

    async def preferred(pair: Pair) -> str:
        outcome = await judge.judge(pair)
        if not isinstance(outcome, Verdict):
            if outcome.reason == "order_conflict":
                return "tie"
            raise RuntimeError(f"{pair.prompt}: {outcome.reason}, {outcome.detail}")
        return outcome.preferred

    engine.count = TokenCount()
    await concurrently([pair_of(data.draw(rng)) for _ in range(n)], preferred)
    return engine.count.probe_share


def rate(laps: Sequence[Lap], what: str) -> float:
    """Pairs or generated tokens a second."""
    return float(sum(getattr(lap, what) for lap in laps) / sum(lap.seconds for lap in laps))


def accuracy(laps: Sequence[Lap]) -> float:
    return sum(lap.right for lap in laps) / sum(lap.pairs for lap in laps)


def report(laps: dict[str, list[Lap]], seed: int) -> dict[str, Any]:
    """Print the table; returns the figures."""
    figures: dict[str, Any] = {}
    for letter, name in zip("abcde", WAYS, strict=True):
        of = laps[name]
        cached = sum(lap.cached for lap in of) / sum(lap.prompt for lap in of)
        figures[name] = {
            "pairs_per_second": rate(of, "pairs"),
            "tokens_per_second": rate(of, "generated"),
            "tokens_per_pair": sum(lap.generated for lap in of) / sum(lap.pairs for lap in of),
            "cached_share": cached,
            "accuracy": None if name == "raw" else accuracy(of),
        }
        judged = "" if name == "raw" else f", accuracy {accuracy(of):.3f}"
        print(
            f"({letter}) {name:<9} {rate(of, 'pairs'):6.1f} pairs/s, "
            f"{rate(of, 'generated'):7.1f} tokens/s, "
            f"{figures[name]['tokens_per_pair']:5.1f} tokens a pair, "
            f"{cached:.0%} of the input cached{judged}"
        )
    rounds = list(zip(*(laps[name] for name in WAYS), strict=True))
    ratios: dict[str, Callable[[Sequence[Any]], float]] = {
        "full_of_raw": lambda sample: (
            rate([lap[1] for lap in sample], "generated")
            / rate([lap[0] for lap in sample], "generated")
        ),
        "adaptive_of_chat": lambda sample: (
            rate([lap[2] for lap in sample], "pairs") / rate([lap[3] for lap in sample], "pairs")
        ),
        "adaptive_of_one_order": lambda sample: (
            rate([lap[2] for lap in sample], "pairs") / rate([lap[4] for lap in sample], "pairs")
        ),
        "lost": lambda sample: (
            accuracy([lap[3] for lap in sample]) - accuracy([lap[2] for lap in sample])
        ),
    }
    for name, figure in ratios.items():
        figures[name] = figure(rounds)
        figures[f"{name}_95"] = interval(rounds, figure, seed)
    print(f"goals: {GOALS[0]:g} times chat in both orders, {GOALS[1]:g} times one order")
    return figures


def missed(figures: dict[str, Any]) -> list[str]:
    lines = []
    if figures["full_of_raw"] < LEAST_OF_RAW:
        lines.append(f"full has {figures['full_of_raw']:.2f} of raw tokens/s, not {LEAST_OF_RAW}")
    if figures["adaptive_of_chat"] < LEAST_SPEEDUP:
        lines.append(f"adaptive is {figures['adaptive_of_chat']:.2f} times chat, {LEAST_SPEEDUP}")
    if figures["adaptive_of_one_order"] < LEAST_OF_ONE_ORDER:
        ratio = figures["adaptive_of_one_order"]
        lines.append(f"adaptive is {ratio:.2f} times one order, {LEAST_OF_ONE_ORDER}")
    if figures["lost"] > MOST_LOST:
        lines.append(f"adaptive loses {figures['lost']:.3f} accuracy, more than {MOST_LOST}")
    return lines


def main() -> int:
    args = parser(__doc__, n=400, seed=14).parse_args()
    began = time.monotonic()
    words = ("--max-running-requests", str(2 * CALLERS))
    options = replace(OPTIONS, server_args=(*OPTIONS.server_args, *words))
    engine = sglang_on_cpu(WEIGHTS, options)
    try:
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "closecall.toml"
            config.write_text(f'{CONFIG}base_url = "{engine.server.url}"\n')
            env = {"CLOSECALL_ENGINE_KEY": engine.server.key or ""}
            with ServiceProcess(Path(folder) / "log", "--config", str(config), env=env) as service:
                laps = asyncio.run(measure(Ways(engine, service), args.n, args.seed))
            probes = asyncio.run(probe_share(engine, args.n // 4, args.seed))
    finally:
        engine.close()
    figures = {**report(laps, args.seed), "probe_share": probes}
    print(f"probes are {probes:.1%} of the tokens that adaptive judging computes")
    print(f"machine: {machine()}; model: nano on SGLang; seed {args.seed}, n {args.n}, ", end="")
    print(f"{CALLERS} callers, {ROUNDS} rounds; took {time.monotonic() - began:.0f} s")
    for name in ("full_of_raw", "adaptive_of_chat", "adaptive_of_one_order", "lost"):
        low, high = figures[f"{name}_95"]
        print(f"{name}: {figures[name]:.3f} [{low:.3f}, {high:.3f}]")
    return finish({**figures, "n": args.n}, missed(figures), args.json)


if __name__ == "__main__":
    sys.exit(main())
