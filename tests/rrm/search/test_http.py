"""An endpoint that is searched, over a real socket, also one that misbehaves."""

import asyncio
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

import pytest

from rrm.errors import SearchError
from rrm.search.base import SearchLimits
from rrm.search.evidence import Evidence
from rrm.search.http import MOST_BYTES, HttpSearcher


class Endpoint(BaseHTTPRequestHandler):
    asked: ClassVar[list[object]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append(body)
        answer: bytes = {
            "/good": json.dumps({"documents": [{"text": "k is 037", "source": "p. 3", "x": 1}]}),
            "/large": json.dumps({"documents": [{"text": "x" * 1_000_000}]}),
            "/odd": "[1, 2]",
        }.get(self.path, "").encode()
        self.send_response(200 if answer else 503)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_documents_come_from_an_endpoint(url: str) -> None:
    [one] = asyncio.run(HttpSearcher(f"{url}/good").search("k", 3))
    assert (one.text, one.source) == ("k is 037", "p. 3")
    assert Endpoint.asked[-1] == {"query": "k", "most": 3}


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/odd", "did not answer"),
        ("/large", f"more than {MOST_BYTES} bytes"),
        ("/gone", "answered 503"),
    ],
)
def test_anything_else_is_a_failed_search(url: str, path: str, why: str) -> None:
    with pytest.raises(SearchError, match=why):
        asyncio.run(HttpSearcher(url + path).search("k", 3))


def test_nobody_there_is_a_failed_search() -> None:
    with pytest.raises(SearchError, match="ConnectError"):
        asyncio.run(HttpSearcher("http://127.0.0.1:9").search("k", 3))


def test_one_that_hangs_costs_its_time_and_no_more() -> None:
    async def hanging() -> None:
        open_: list[asyncio.StreamWriter] = []
        server = await asyncio.start_server(lambda _, to: open_.append(to), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        evidence = Evidence(HttpSearcher(f"http://127.0.0.1:{port}"), SearchLimits(seconds=0.2))
        record = await evidence.find("k")
        assert record.failed == "no answer within 0.2 s"
        for one in open_:
            one.close()
            await one.wait_closed()
        server.close()

    asyncio.run(hanging())
