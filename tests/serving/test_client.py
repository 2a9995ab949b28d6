"""The clients against the real service, and against a gateway that fails on purpose."""

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from judges.options import Event, JudgeOptions
from rrm.decision.chains import ChainText
from rrm.errors import RefusedText
from rrm.types import Candidates, Checkpoint, Pair, Score, Verdict
from serving.client import AsyncClient, Client, _Events
from serving.errors import RefusedRequest, ServiceError
from serving.schemas import ThoughtEvent
from serving.testing.process import ServiceProcess, free_port

PAIR = Pair(
    prompt="What is 345 + 278?", response_a="The answer is 623.", response_b="It comes to 626."
)


def test_outcomes_come_back_as_the_same_objects(service: ServiceProcess) -> None:
    with Client(service.url) as client:
        found = client.judge(PAIR, JudgeOptions("full", return_chain=True))
        assert isinstance(found, Verdict)
        assert found.orders[0].chain
        assert isinstance(client.score(Candidates(prompt=PAIR.prompt, responses=("623",))), Score)
        assert [judge.style for judge in client.judges().judges] == [
            "rrm",
            "rm-r1",
            "grm",
            "thinkless",
        ]
    with Client(service.url, style="rm-r1") as client:
        assert client.judge(PAIR, JudgeOptions("none")).judge.style == "rm-r1"


def test_the_async_client_does_the_same_for_many(service: ServiceProcess) -> None:
    async def go() -> list[Any]:
        async with AsyncClient(service.url) as client:
            pairs = [PAIR, PAIR.swapped()] * 10
            found: list[Any] = await asyncio.gather(*map(client.judge, pairs))
            candidates = Candidates(prompt=PAIR.prompt, responses=("623", "4"))
            return [*found, await client.score(candidates), await client.judges()]

    *verdicts, score, judges = asyncio.run(go())
    assert [found.preferred for found in verdicts] == ["a", "b"] * 10
    assert score.scores[0] > score.scores[1]
    assert judges.judges[0].default


def test_watching_streams_thought_and_checkpoints(service: ServiceProcess) -> None:
    told: list[Event] = []
    with Client(service.url) as client:
        found = client.judge(PAIR, JudgeOptions("full", return_chain=True), watch=told.append)
    assert isinstance(found, Verdict)
    first = "".join(e.text for e in told if isinstance(e, ChainText) and e.order == "ab")
    assert first == found.orders[0].chain
    assert tuple(e for e in told if isinstance(e, Checkpoint)) == found.path
    again: list[Event] = []

    async def go() -> Any:
        async with AsyncClient(service.url) as client:
            return await client.judge(PAIR, JudgeOptions("full"), watch=again.append)

    assert asyncio.run(go()).preferred == found.preferred
    assert len(again) == len(told)


def test_what_cannot_be_judged_raises_as_it_does_in_process(service: ServiceProcess) -> None:
    odd = Pair(prompt="Why is it?", response_a="x", response_b="y")
    with Client(service.url) as client:
        with pytest.raises(RefusedText, match="cannot read 'Why'"):
            client.judge(odd)
        with pytest.raises(RefusedText, match="cannot read 'Why'"):
            client.judge(odd, watch=lambda event: None)
        with pytest.raises(RefusedRequest, match="at most 16"):
            client.score(Candidates(prompt="1", responses=("1",) * 17))


class Failing(BaseHTTPRequestHandler):
    """Plays `script`, one status a request, then 200 with an empty list of judges."""

    script: ClassVar[list[int]] = []
    seen: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.seen.append(self.headers["authorization"])
        status = self.script.pop(0) if self.script else 200
        body = b'{"judges": []}' if status == 200 else b"<html>busy</html>"
        self.send_response(status)
        if status == 429:
            self.send_header("retry-after", "0")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def failing() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Failing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_what_passes_is_tried_again_and_what_does_not_is_said(
    failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOSECALL_API_KEY", "a-long-random-key")
    with Client(failing) as client:
        Failing.script[:], Failing.seen[:] = [429, 503, 502], []
        assert client.judges().judges == ()
        assert Failing.seen == ["Bearer a-long-random-key"] * 4
        Failing.script[:], Failing.seen[:] = [401], []
        with pytest.raises(ServiceError, match="401") as caught:
            client.judges()
        assert (caught.value.status, len(Failing.seen)) == (401, 1)
    with Client(failing, tries=2) as client:
        Failing.script[:] = [503] * 5
        with pytest.raises(ServiceError, match="503: <html>busy"):
            client.judges()


def test_a_service_that_is_not_there_is_named() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Client(url, tries=2) as client, pytest.raises(ServiceError, match=f"answers at {url}"):
        client.judge(PAIR)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_line_separator_in_a_thought_ends_no_line(size: int) -> None:
    text = "one\u2028two\x85three\x0cé"
    event = ThoughtEvent(order="ab", text=text).model_dump_json()
    raw = f"event: thought\ndata: {event}\n\n".encode() * 2
    told: list[Any] = []
    for sent in (raw, raw.replace(b"\n", b"\r\n")):
        told.clear()
        events = _Events(told.append)
        for start in range(0, len(sent), size):
            events.feed(sent[start : start + size])
        assert [piece.text for piece in told] == [text] * 2
