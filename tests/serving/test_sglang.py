"""The service on the real SGLang: the same verdicts, and a killed server that nobody notices."""

import asyncio
import random
import time
from collections.abc import Iterator

import psutil
import pytest

from judges.nano import CALIBRATION, data
from judges.nano.pairs import pair_of
from judges.pairwise import PairwiseJudge
from rrm.calibration.artifact import load_calibration
from rrm.engines.base import Engine
from rrm.types import Verdict
from serving.testing.load import callers
from serving.testing.process import ServiceProcess
from serving.testing.sglang_cpu import CONFIG, ENV
from tests.helpers.styles import RRM

pytestmark = [pytest.mark.service, pytest.mark.sglang]


@pytest.fixture(scope="module")
def on_sglang(
    with_sglang: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    """One replica of nano on a private SGLang server."""
    folder = tmp_path_factory.mktemp("sglang")
    config = folder / "closecall.toml"
    config.write_text(CONFIG)
    with ServiceProcess(folder / "log", "--config", str(config), env=ENV) as running:
        yield running


def sglang_processes(service: ServiceProcess) -> list[psutil.Process]:
    """The leader of each private server's group, then everything it started."""
    family = psutil.Process(service.process.pid).children(recursive=True)
    leaders = [p for p in family if "rrm.engines.sglang_host" in " ".join(p.cmdline())]
    return [process for one in leaders for process in (one, *one.children(recursive=True))]


def test_the_service_gives_the_verdicts_of_the_reference_engine(
    on_sglang: ServiceProcess, nano: Engine
) -> None:
    style = RRM
    calibration = load_calibration(CALIBRATION, style.name, style.prompt_hash)
    reference = PairwiseJudge(nano, style, calibration, nano.card.ladder)
    rng = random.Random(14)
    for _ in range(12):
        pair = pair_of(data.draw(rng))
        answer = on_sglang.judge(**pair.model_dump())
        assert answer.status_code == 200
        found = Verdict.model_validate(answer.json())
        expected = asyncio.run(reference.judge(pair))
        assert isinstance(expected, Verdict)
        assert found.preferred == expected.preferred
        assert found.usage.thinking_tokens == expected.usage.thinking_tokens
        assert found.margin == pytest.approx(expected.margin, abs=1e-3)
        again = Verdict.model_validate(on_sglang.judge(**pair.model_dump()).json())
        assert again.usage.cached_tokens == again.usage.prompt_tokens
    [judge] = [j for j in on_sglang.http.get("/v1/judges").json()["judges"] if j["default"]]
    assert judge["engine"] == "sglang"


def test_a_killed_scheduler_costs_no_caller_a_verdict(on_sglang: ServiceProcess) -> None:
    rng = random.Random(3)
    bodies = [
        {**pair_of(data.draw(rng)).model_dump(mode="json"), "effort": "full"} for _ in range(96)
    ]

    async def under_fire() -> list[tuple[int, float, bool]]:
        task = asyncio.ensure_future(callers(on_sglang.url, bodies, 24))
        await asyncio.sleep(0.5)
        schedulers: list[psutil.Process] = []
        while not schedulers and not task.done():  # a look at other processes may miss one
            family = sglang_processes(on_sglang)
            schedulers = [one for one in family if "scheduler" in " ".join(one.cmdline())]
            await asyncio.sleep(0)
        [scheduler] = schedulers
        scheduler.kill()
        return await task

    answers = asyncio.run(under_fire())
    assert [status for status, _, _ in answers] == [200] * len(bodies)
    for body in bodies[:50]:
        assert on_sglang.judge(**body).json()["kind"] == "verdict"


def test_stopping_the_service_stops_sglang(on_sglang: ServiceProcess) -> None:
    mine = sglang_processes(on_sglang)
    assert len(mine) >= 3
    assert on_sglang.stop() == 0
    until = time.monotonic() + 10
    while any(process.is_running() for process in mine) and time.monotonic() < until:
        time.sleep(0.1)
    assert not [process for process in mine if process.is_running()]
