"""The benchmarks of SGLang: small runs of their own code, and what they promise."""

import asyncio
import random
from pathlib import Path

import pytest

from benchmarks import parity, throughput
from benchmarks.pretrained import probe_share
from benchmarks.throughput import Lap, Ways
from judges.nano import data
from judges.nano.pairs import pair_of
from rrm.engines.base import Engine
from rrm.engines.sglang import SGLangEngine
from serving.testing.process import ServiceProcess
from serving.testing.sglang_cpu import CONFIG


def test_parity_on_a_few_pairs(nano: Engine, sglang: Engine) -> None:
    rng = random.Random(1)
    pairs = [pair_of(data.draw(rng)) for _ in range(6)]
    found = parity.compared("grm", pairs, [nano, sglang], seed=1)
    assert parity.missed("grm", found) == []
    assert found["same_length"] == 1.0
    assert found["log_probabilities"] > 100
    bad = {**found, "equal": 0.97, "apart_median": 0.02}
    assert len(parity.missed("grm", bad)) == 2


@pytest.mark.service
def test_four_ways_to_one_server(sglang: Engine, tmp_path: Path) -> None:
    assert isinstance(sglang, SGLangEngine)
    rng = random.Random(2)
    examples = [data.draw(rng) for _ in range(12)]
    pairs = [pair_of(example) for example in examples]
    labels = ["ab"[example.better] for example in examples]
    config = tmp_path / "closecall.toml"
    config.write_text(f'{CONFIG}base_url = "{sglang.server.url}"\n')
    env = {"CLOSECALL_ENGINE_KEY": str(sglang.server.key)}

    async def laps(service: ServiceProcess) -> dict[str, Lap]:
        ways = Ways(sglang, service)
        found = {name: await ways.lap(name, pairs, labels) for name in throughput.WAYS}
        await ways.http.aclose()
        return found

    with ServiceProcess(tmp_path / "log", "--config", str(config), env=env) as service:
        found = asyncio.run(laps(service))
    assert all(lap.right >= 11 for name, lap in found.items() if name != "raw")
    # The same chains; the written verdicts of the chat come on top.
    assert found["raw"].generated == pytest.approx(found["full"].generated, abs=2)
    assert found["chat"].generated > found["full"].generated > found["one order"].generated
    assert found["one order"].generated > found["adaptive"].generated
    assert found["adaptive"].cached > 0
    assert 0 < probe_share(sglang, []) < 1


def test_what_is_missed_is_said() -> None:
    good = {"full_of_raw": 0.9, "adaptive_of_chat": 2.6, "adaptive_of_one_order": 1.4, "lost": 0.0}
    assert throughput.missed(good) == []
    bad = {"full_of_raw": 0.8, "adaptive_of_chat": 2.1, "adaptive_of_one_order": 1.2, "lost": 0.02}
    assert len(throughput.missed(bad)) == 4
