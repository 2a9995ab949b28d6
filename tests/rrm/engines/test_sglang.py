"""What only the SGLang engine can show: running servers, keys, a server that does not come up."""

import asyncio
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from judges.nano import WEIGHTS
from rrm.engines import open_engine
from rrm.engines.base import Engine, EngineOptions, ExtendRequest, ProbeRequest, TokenSequence
from rrm.engines.sglang import SGLangEngine
from rrm.engines.sglang_client import SGLangClient
from rrm.engines.sglang_server import RunningServer, launch_arguments
from rrm.errors import EngineError
from serving.testing.sglang_cpu import ENV, OPTIONS
from tests.helpers.engines import chains, grow


@pytest.fixture
def running(sglang: Engine) -> EngineOptions:
    """How to reach the session's server as one that runs already."""
    assert isinstance(sglang, SGLangEngine)
    return EngineOptions(base_url=sglang.server.url, api_key=sglang.server.key)


def test_a_running_server_is_used_with_its_key(running: EngineOptions, sglang: Engine) -> None:
    engine = open_engine(f"sglang:{WEIGHTS}", running)
    theirs, ours = chains(engine, 2), chains(sglang, 2)
    grow(engine, theirs, 30)
    grow(sglang, ours, 30)
    assert [chain.ids for chain in theirs] == [chain.ids for chain in ours]
    engine.close()
    asyncio.run(sglang.check())  # it was not ours to stop
    grow(sglang, chains(sglang, 1), 3)


def test_a_wrong_key_is_told(running: EngineOptions) -> None:
    with pytest.raises(EngineError, match="401"):
        open_engine(f"sglang:{WEIGHTS}", replace(running, api_key="wrong"))


def test_nobody_there_is_told() -> None:
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:9"):
        open_engine(f"sglang:{WEIGHTS}", EngineOptions(base_url="http://127.0.0.1:9"))


def test_a_server_with_another_tokenizer_is_refused(running: EngineOptions, tmp_path: Path) -> None:
    for file in WEIGHTS.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tokenizer = tmp_path / "tokenizer.json"
    words = json.loads(tokenizer.read_text())
    ids = words["model"]["vocab"]
    ids["1"], ids["2"] = ids["2"], ids["1"]
    tokenizer.write_text(json.dumps(words))
    with pytest.raises(EngineError, match="another tokenizer"):
        open_engine(f"sglang:{tmp_path}", running)


def test_a_server_that_cannot_be_started_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(EngineError, match=r"cannot be started.*/nowhere/python"):
        open_engine(f"sglang:{WEIGHTS}", OPTIONS)


def test_a_cached_prefix_is_counted(sglang: Engine) -> None:
    assert isinstance(sglang, SGLangEngine)
    [chain] = chains(sglang, 1, seed=77)
    asyncio.run(sglang.probe([ProbeRequest(chain, "", ("1", "2"))]))
    cold = chain.cached_tokens
    assert cold is not None
    assert cold < len(chain.prompt_ids) - 1
    grow(sglang, [chain], 10)
    before = replace(sglang.count)
    [answer] = asyncio.run(sglang.probe([ProbeRequest(chain, "</think>\n\n", ("1", "2"))]))
    assert chain.cached_tokens == cold
    # The last generated token was never run; everything before it was.
    assert sglang.count.probe - before.probe == answer.tokens + 1
    assert sglang.count.prompt == before.prompt


def test_probes_of_many_callers_are_one_request_and_one_cannot_spoil_the_others(
    sglang: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(sglang, SGLangEngine)
    many = chains(sglang, 5)
    too_long = TokenSequence(prompt_ids=many[0].prompt_ids * 100)
    sizes = []
    real = SGLangClient.generate

    async def counted(client: SGLangClient, body: dict[str, Any], n: int) -> Any:
        sizes.append(n)
        return await real(client, body, n)

    async def ask(chain: TokenSequence) -> float:
        [answer] = await sglang.probe([ProbeRequest(chain, "", ("1", "2"))])
        return answer.labels.mass

    async def together(many: list[TokenSequence]) -> list[Any]:
        return await asyncio.gather(*map(ask, many), return_exceptions=True)

    monkeypatch.setattr(SGLangClient, "generate", counted)
    monkeypatch.setattr("rrm.engines.batching.GATHER", 0.3)
    good = asyncio.run(together(many))
    assert all(isinstance(mass, float) for mass in good)
    assert sizes == [5]
    mixed = asyncio.run(together([*many, too_long]))
    assert isinstance(mixed[-1], EngineError)
    assert mixed[:-1] == pytest.approx(good, abs=1e-5)


def test_a_stop_that_is_a_token_of_its_own_is_sent_as_one(
    sglang: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(sglang, SGLangEngine)
    sent: list[dict[str, Any]] = []
    real = SGLangClient.generate

    async def seen(client: SGLangClient, body: dict[str, Any], n: int) -> Any:
        sent.extend(body["sampling_params"])
        return await real(client, body, n)

    monkeypatch.setattr(SGLangClient, "generate", seen)
    by_token, by_text = chains(sglang, 1) + chains(sglang, 1)
    grow(sglang, [by_token], 200, "</think>")
    monkeypatch.setattr(sglang.tokenizer, "control", frozenset())
    grow(sglang, [by_text], 200, "</think>")
    assert [set(how) & {"stop", "stop_token_ids"} for how in sent] == [{"stop_token_ids"}, {"stop"}]
    assert (by_token.ids, by_token.finish) == (by_text.ids, "stop")
    assert by_token.text.endswith("</think>")


def test_a_long_chain_is_no_hanging_server(sglang: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(sglang, SGLangEngine)
    monkeypatch.setattr(sglang._client, "_awaited", 1)
    monkeypatch.setattr(sglang._client, "_heard", -1e9)
    asyncio.run(sglang.check())  # no answer for long, but the server says that it works
    monkeypatch.setattr(sglang._client, "_heard", -1e9)
    monkeypatch.setattr(sglang._client, "server", RunningServer("http://127.0.0.1:9", None))
    with pytest.raises(EngineError, match="hangs"):
        asyncio.run(sglang.check())


def test_a_server_that_cannot_load_says_what_it_said(
    with_sglang: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("rrm.engines.sglang_server.DEATHS", 1)
    bad = replace(OPTIONS, server_args=("--no-such-option",))
    with pytest.raises(EngineError, match="no-such-option"):
        open_engine(f"sglang:{WEIGHTS}", bad)


def test_options_become_launcher_words() -> None:
    words = launch_arguments(
        WEIGHTS,
        EngineOptions(
            device="cuda",
            dtype="bfloat16",
            tensor_parallel=2,
            memory_share=0.8,
            server_args=("--context-length", "8192"),
        ),
    )
    assert words == [
        *("--model-path", str(WEIGHTS), "--dtype", "bfloat16", "--tp-size", "2"),
        *("--mem-fraction-static", "0.8", "--context-length", "8192"),
    ]
    with pytest.raises(ValueError, match="float64"):
        launch_arguments(WEIGHTS, EngineOptions(dtype="float64"))


def test_an_abort_reaches_the_scheduler(sglang: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(sglang, SGLangEngine)
    many = chains(sglang, 4)
    real = SGLangClient.generate

    async def endless(client: SGLangClient, body: dict[str, Any], n: int) -> Any:
        for how in body["sampling_params"]:
            how["ignore_eos"] = True
        return await real(client, body, n)

    monkeypatch.setattr(SGLangClient, "generate", endless)

    def counted(name: str) -> float:
        """By the server's own counters."""
        headers = {"Authorization": f"Bearer {sglang.server.key}"}
        text = httpx2.get(f"{sglang.server.url}/metrics", headers=headers).text
        return sum(map(float, re.findall(rf"^sglang:{name}{{.*}} (\S+)$", text, re.M)))

    async def leave() -> None:
        requests = [ExtendRequest(chain, 1000, None) for chain in many]
        task = asyncio.ensure_future(sglang.extend(requests))
        while await asyncio.to_thread(counted, "num_running_reqs") == 0:
            assert not task.done(), "ended before the server counted them"
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    aborted, generated = counted("num_aborted_requests_total"), sglang.count.generated
    asyncio.run(leave())
    for _ in range(100):
        if counted("num_aborted_requests_total") == aborted + 4:
            break
        time.sleep(0.1)
    assert counted("num_aborted_requests_total") == aborted + 4
    assert sglang.count.generated == generated  # nobody waits for what they would have said
    for _ in range(100):
        if counted("num_running_reqs") == 0:
            break
        time.sleep(0.1)
    assert counted("num_running_reqs") == 0
