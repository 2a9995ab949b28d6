"""What callers get when an engine fails, breaks, or has to stop: never a made-up score."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from judges.options import JudgeOptions
from judges.pairwise import PairwiseJudge
from judges.pointwise import PointwiseJudge
from rrm.engines import open_engine
from rrm.types import Candidates, Effort, Pair, Unscored
from serving.testing.load import SAME, callers, drain, replicas, scripted
from serving.testing.process import ServiceProcess
from tests.helpers.styles import GRM, RRM

EFFORTS: tuple[Effort, ...] = ("none", "adaptive", "full")
PAIR = Pair(prompt="?", response_a="x", response_b="y")


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize(
    ("fault", "reasons"),
    [
        ("error", {"engine_error"}),
        ("nan", {"engine_error"}),
        ("garbage", {"unparseable", "truncated"}),
    ],
)
def test_a_failing_engine_is_never_a_score(fault: str, reasons: set[str], effort: Effort) -> None:
    engine = open_engine(f"faulty:{fault}")
    pairwise, pointwise = PairwiseJudge(engine, RRM), PointwiseJudge(engine, GRM)
    candidates = Candidates(prompt="?", responses=("x", "y"))
    for found in (
        asyncio.run(pairwise.judge(PAIR, JudgeOptions(effort))),
        asyncio.run(pointwise.score(candidates, JudgeOptions(effort))),
    ):
        assert isinstance(found, Unscored)
        assert found.reason in reasons
        assert found.detail


def test_a_flaky_engine_costs_only_the_calls_it_fails() -> None:
    judge = PairwiseJudge(open_engine("faulty:flaky"), RRM)

    async def many() -> set[str]:
        found = await asyncio.gather(*(judge.judge(PAIR) for _ in range(200)))
        return {str(outcome.reason) for outcome in found}

    assert asyncio.run(many()) == {"engine_error", "chains_ended"}


@pytest.fixture
def breaking(tmp_path: Path) -> Iterator[ServiceProcess]:
    """An engine that works for a while, in one replica."""
    config = tmp_path / "closecall.toml"
    config.write_text('engine = "faulty"\nmodel = "breaks"\n')
    with ServiceProcess(tmp_path / "log", "--config", str(config)) as running:
        yield running


@pytest.mark.service
def test_a_broken_engine_is_told_and_replaced(breaking: ServiceProcess) -> None:
    [before] = replicas(breaking)
    kinds = [breaking.judge(**SAME).json()["kind"] for _ in range(30)]
    assert kinds == ["verdict"] * 10 + ["unscored"] * 20  # two calls each
    assert breaking.http.get("/live").status_code == 200
    refused = breaking.http.get("/ready")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert "scripted to break" in refused.json()["detail"]
    for _ in range(300):
        if breaking.http.get("/ready").status_code == 200:
            break
        time.sleep(0.2)
    assert breaking.judge(**SAME).json()["kind"] == "verdict"
    assert {process.pid for process in replicas(breaking)} - {before.pid}  # the old one is leaving


@pytest.mark.service
def test_sigterm_lets_what_was_accepted_finish(tmp_path: Path) -> None:
    with scripted(tmp_path, "drain", delay=3.0, slots=16, queue=8) as service:
        assert asyncio.run(drain(service, 12)) == ([200] * 12, 503, 0)


@pytest.mark.service
def test_there_are_exactly_as_many_places_as_were_set(tmp_path: Path) -> None:
    with scripted(tmp_path, "places", delay=2.0, slots=4, queue=6) as service:
        for _ in range(2):  # the first burst meets a service that has answered nobody yet
            answers = asyncio.run(callers(service.url, [SAME] * 16, 16))
            statuses = Counter(status for status, _, _ in answers)
            assert statuses == {200: 10, 429: 6}
            assert all(hint for status, _, hint in answers if status == 429)


@pytest.mark.service
def test_replicas_grow_with_the_requests_under_way(tmp_path: Path) -> None:
    config = tmp_path / "closecall.toml"
    config.write_text(
        'engine = "scripted"\nmodel = "delay=0.5"\nmax_ongoing = 2\nmax_replicas = 2\n'
    )

    async def loaded(service: ServiceProcess) -> int:
        until = time.monotonic() + 90
        as_facts = asyncio.create_task(callers(service.url, [SAME], 8, until))
        most = 0
        while most < 2 and not as_facts.done():
            await asyncio.sleep(0.5)
            most = max(most, len(replicas(service)))
        as_facts.cancel()
        return most

    with ServiceProcess(tmp_path / "log", "--config", str(config)) as service:
        assert len(replicas(service)) == 1
        assert asyncio.run(loaded(service)) == 2


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
@pytest.mark.service
def test_a_stream_whose_replica_falls_silent_or_dies_ends_with_a_problem(
    number: signal.Signals, tmp_path: Path
) -> None:
    ask = {**SAME, "effort": "full", "stream": True, "timeout": 5.0}
    with scripted(tmp_path, "stream", delay=0.7, slots=1, queue=0) as service:
        [replica] = replicas(service)
        names = []
        with service.http.stream("POST", "/v1/judge", json=ask) as answer:
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    names.append(line.removeprefix("event: "))
                    if len(names) == 1:
                        replica.send_signal(number)
        assert names[0] == "checkpoint"
        assert names[-1] == "problem"
        if number == signal.SIGSTOP:
            replica.send_signal(signal.SIGCONT)
        # The only place is free again.
        answers = asyncio.run(callers(service.url, [SAME], 1, time.monotonic() + 1))
        assert {status for status, _, _ in answers} == {200}
