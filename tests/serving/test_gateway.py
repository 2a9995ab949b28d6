"""What the gateway makes of replicas that die, hang or refuse, with stand-ins and no Ray."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

import pytest

from judges.options import JudgeOptions
from rrm.errors import EngineError
from rrm.types import Candidates, Pair, Provenance, Unscored, Usage
from serving import gateway as module
from serving.errors import ProblemError
from serving.gateway import Gateway, JudgeAnswer, ReplicaLost, ScoreAnswer, StreamItem
from serving.schemas import JudgeList, JudgeRequest, Refusal, ThoughtEvent
from serving.settings import load_settings

JUDGE = Provenance(model="m", style="s", prompt_hash="", effort="none", stopper="")
OUTCOME = Unscored(reason="deadline", detail="", usage=Usage(), judge=JUDGE)
ASK = JudgeRequest(prompt="?", response_a="x", response_b="y")
Step = Callable[[], Awaitable[Any]] | Exception | Any


class StandIn:
    """Answers as its steps say, one a call: a value, an exception, or a coroutine function."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.closed = False
        self.deadlines: list[float] = []

    async def _next(self) -> Any:
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return await step() if callable(step) else step

    async def judge(
        self, pair: Pair, style: str | None, options: JudgeOptions, deadline: float
    ) -> JudgeAnswer:
        assert (pair, style, options) == (ASK.pair, None, JudgeOptions())
        self.deadlines.append(deadline)
        answer: JudgeAnswer = await self._next()
        return answer

    async def score(
        self, candidates: Candidates, style: str | None, options: JudgeOptions, deadline: float
    ) -> ScoreAnswer:
        answer: ScoreAnswer = await self._next()
        return answer

    async def stream(
        self, pair: Pair, style: str | None, options: JudgeOptions, deadline: float
    ) -> AsyncGenerator[StreamItem]:
        try:
            while self.steps:
                yield await self._next()
        finally:
            self.closed = True

    async def judges(self) -> JudgeList:
        listed: JudgeList = await self._next()
        return listed

    async def check_health(self) -> None:
        await self._next()


class Counted:
    """Telemetry that only counts."""

    def __init__(self) -> None:
        self.open = self.retries = 0

    def began(self) -> None:
        self.open += 1

    def ended(self, route: str, status: int, seconds: float, facts: Mapping[str, Any]) -> None:
        self.open -= 1

    def retried(self) -> None:
        self.retries += 1

    async def exposition(self) -> str:
        return f"open {self.open}\n"


async def forever() -> None:
    await asyncio.Event().wait()


def made(*steps: Step, **settings: Any) -> tuple[Gateway, StandIn, Counted]:
    replicas, counted = StandIn(*steps), Counted()
    return Gateway(load_settings(**settings), replicas, counted), replicas, counted


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.0)


def problem(work: Awaitable[Any]) -> tuple[int, int | None, str]:
    async def caught() -> tuple[int, int | None, str]:
        with pytest.raises(ProblemError) as told:
            await work
        return told.value.problem.status, told.value.retry_after, told.value.problem.detail

    return asyncio.run(caught())


def test_it_asks_again_where_a_replica_died() -> None:
    gateway, _, counted = made(ReplicaLost(), ReplicaLost(), OUTCOME)
    assert asyncio.run(gateway.judge(ASK)) == OUTCOME
    assert counted.retries == 2


def test_three_dead_replicas_are_503() -> None:
    gateway, _, counted = made(*[ReplicaLost()] * 3)
    assert problem(gateway.judge(ASK))[:2] == (503, 5)
    assert counted.retries == 3


def test_no_answer_in_time_is_504_and_says_whose_time() -> None:
    gateway, _, _ = made(forever, request_timeout=0.05)
    status, retry_after, detail = problem(gateway.judge(ASK))
    assert (status, retry_after) == (504, None)
    assert "within 0.05 s" in detail


def test_a_replica_is_told_when_its_time_is_up() -> None:
    gateway, replicas, _ = made(OUTCOME)
    before = time.time()
    asyncio.run(gateway.judge(ASK.model_copy(update={"timeout": 2.0})))
    assert before + 2 <= replicas.deadlines[0] <= time.time() + 2


def test_a_refusal_has_its_status() -> None:
    gateway, _, _ = made(Refusal(status=422, detail="the model cannot read 'sky'"))
    assert problem(gateway.judge(ASK)) == (422, None, "the model cannot read 'sky'")


def test_more_than_the_places_are_429_and_a_place_comes_back() -> None:
    async def run() -> list[int]:
        go = asyncio.Event()

        async def waits() -> Unscored:
            await go.wait()
            return OUTCOME

        gateway, _, _ = made(*[waits] * 3, OUTCOME, max_ongoing=2, max_queued=1)
        first = [asyncio.ensure_future(gateway.judge(ASK)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(ProblemError) as told:
            await gateway.judge(ASK)
        go.set()
        await asyncio.gather(*first)
        await gateway.judge(ASK)
        return [told.value.problem.status, told.value.retry_after or 0]

    assert asyncio.run(run()) == [429, 1]


def test_a_caller_who_leaves_gives_the_place_back() -> None:
    async def run() -> None:
        gateway, _, _ = made(forever, OUTCOME, max_ongoing=1, max_queued=0)
        leaving = asyncio.ensure_future(gateway.judge(ASK))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert await gateway.judge(ASK) == OUTCOME

    asyncio.run(run())


async def events(gateway: Gateway) -> list[str]:
    found = [event async for event in await gateway.stream(ASK)]
    return [event.partition("\n")[0].removeprefix("event: ") for event in found]


def test_a_stream_ends_with_its_outcome() -> None:
    gateway, replicas, _ = made(ThoughtEvent(order="ab", text="hm"), OUTCOME)
    assert asyncio.run(events(gateway)) == ["thought", "outcome"]
    assert replicas.closed


@pytest.mark.parametrize("ending", [ReplicaLost("gone"), forever])
def test_a_stream_that_is_cut_ends_with_a_problem(ending: Step) -> None:
    gateway, replicas, _ = made(ThoughtEvent(order="ab", text="hm"), ending, request_timeout=0.05)
    assert asyncio.run(events(gateway)) == ["thought", "problem"]
    assert replicas.closed


def test_a_stream_that_is_refused_is_no_stream() -> None:
    gateway, _, _ = made(Refusal(status=422, detail="no"))
    assert problem(gateway.stream(ASK))[0] == 422


def test_not_ready_says_what_the_engine_said() -> None:
    gateway, _, _ = made(EngineError("out of memory"), None)
    status, retry_after, detail = problem(gateway.ready())
    assert (status, retry_after) == (503, 5)
    assert "out of memory" in detail
    assert asyncio.run(gateway.ready()).status == "ready"


def test_what_is_served_is_asked_once() -> None:
    gateway, replicas, _ = made(JudgeList(judges=()))
    assert asyncio.run(gateway.judges()) == asyncio.run(gateway.judges())
    assert not replicas.steps


def test_draining_refuses_the_new_and_waits_for_the_old() -> None:
    async def run() -> int:
        gateway, _, _ = made(OUTCOME)
        gateway.began()
        draining = asyncio.ensure_future(gateway.drain())
        await asyncio.sleep(0)
        with pytest.raises(ProblemError) as told:
            await gateway.judge(ASK)
        assert not draining.done()
        gateway.ended("/v1/judge", 200, 0.1, {})
        await asyncio.wait_for(draining, 5)
        return told.value.problem.status

    assert asyncio.run(run()) == 503


def test_it_needs_no_ray_and_the_core_knows_no_trainer() -> None:
    code = "import sys, serving.gateway, serving.routes\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert not {"ray", "serving.rlhf"} & set(done.stdout.split())
