"""REST that holds: streams, deadlines, callers who leave, metrics, logs."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rrm.types import Checkpoint, Verdict
from serving.metrics import select
from serving.testing.process import ServiceProcess

ASK = {
    "prompt": "What is 345 + 278?",
    "response_a": "The answer is 623.",
    "response_b": "It comes to 626.",
}
KEY = "a-long-random-key"


def events(answer: httpx2.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    for block in answer.read().decode().strip().split("\n\n"):
        name, data = block.split("\n")
        yield name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_a_stream_tells_both_chains_every_checkpoint_and_the_outcome(
    service: ServiceProcess,
) -> None:
    body = {**ASK, "stream": True, "effort": "full", "return_chain": True}
    with service.http.stream("POST", "/v1/judge", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = list(events(answer))
    assert {name for name, _ in told} == {"thought", "checkpoint", "outcome"}
    assert [name for name, _ in told].count("outcome") == 1
    assert told[-1][0] == "outcome"
    found = Verdict.model_validate(told[-1][1])
    for order in found.orders:
        pieces = [e["text"] for name, e in told if name == "thought" and e["order"] == order.order]
        assert len(pieces) > 3
        assert "".join(pieces) == order.chain
    path = tuple(Checkpoint.model_validate(e) for name, e in told if name == "checkpoint")
    assert path == found.path
    assert len(path) > 3
    whole = Verdict.model_validate(service.judge(**ASK, effort="full").json())
    assert whole.preferred == found.preferred
    assert found.usage.thinking_tokens == whole.usage.thinking_tokens


LOOKUP = {"prompt": "What is 15 + k?", "response_a": "It is 52.", "response_b": "It is 61."}


def test_a_request_brings_what_can_be_searched(service: ServiceProcess) -> None:
    body = {**LOOKUP, "effort": "full", "evidence": ["m is 112", "k is 037"], "return_chain": True}
    found = Verdict.model_validate(service.judge(**body).json())
    assert found.preferred == "a"
    assert found.usage.searches == 1
    [record] = found.judge.searches
    assert (record.query, record.found, record.sources) == ("k", "k is 037", ("2",))
    none = Verdict.model_validate(service.judge(**{**body, "max_searches": 0}).json())
    assert none.usage.searches == 0
    for wrong, said in (
        ({"evidence": "wiki"}, "no searcher called 'wiki'"),
        ({"evidence": []}, "give evidence"),
        ({"evidence": [1]}, "evidence"),
        ({"evidence": ["k"] * 1001}, "1000"),
        ({"max_searches": -1}, "max_searches"),
    ):
        answer = service.judge(**{**body, **wrong})
        assert answer.status_code == 422, answer.text
        assert said in answer.text
    scored = service.http.post(
        "/v1/score",
        json={
            "prompt": LOOKUP["prompt"],
            "responses": ["It is 52.", "It is 61."],
            "evidence": ["k is 037"],
        },
    ).json()
    assert scored["judge"]["searches"][0]["query"] == "k"
    assert scored["scores"][0] > scored["scores"][1]


def test_a_stream_that_cannot_begin_is_a_plain_problem(service: ServiceProcess) -> None:
    for wrong in ({"prompt": "Why is it?"}, {"style": "x"}, {"effort": "much"}):
        answer = service.judge(**{**ASK, **wrong}, stream=True)
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"


def test_every_request_is_counted_and_metrics_name_no_text(service: ServiceProcess) -> None:
    service.judge(**ASK, effort="none")
    service.judge(**ASK)
    wanted = {
        'reason="no_thought_asked"',
        "ray_closecall_outcomes_total",
        "ray_closecall_thinking_tokens_spent_total",
        "ray_closecall_thinking_tokens_bucket",
        "ray_closecall_seconds_bucket",
        "ray_closecall_latency_seconds_bucket",
        "ray_closecall_open_requests",
        "ray_serve_deployment_queued_queries",
    }
    text = ""
    for _ in range(200):  # each process reports on its own, about once a second
        text = service.http.get("/metrics").text
        if all(name in text for name in wanted):
            break
        time.sleep(0.1)
    assert {name for name in wanted if name not in text} == set()
    assert text.count("# TYPE ray_closecall_outcomes_total") == 1
    assert "What is" not in text


def test_metrics_of_two_nodes_are_one_exposition() -> None:
    node = (
        "# HELP ray_closecall_x said\n# TYPE ray_closecall_x counter\nray_closecall_x{{n={n}}} 1\n"
    )
    other = "# TYPE ray_other counter\nray_other 1\n"
    both = select(node.format(n=1) + other + node.format(n=2))
    assert both.splitlines() == [
        "# HELP ray_closecall_x said",
        "# TYPE ray_closecall_x counter",
        "ray_closecall_x{n=1} 1",
        "ray_closecall_x{n=2} 1",
    ]


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServiceProcess, Path]]:
    """One slot, no queue to speak of, an engine that never answers, a key, a log."""
    folder = tmp_path_factory.mktemp("slow")
    (folder / "keys").write_text(f"{KEY}\n")
    config = folder / "closecall.toml"
    config.write_text(
        f'engine = "faulty"\nmodel = "hang"\nmax_ongoing = 1\nmax_queued = 1\n'
        f'api_key_file = "{folder / "keys"}"\nlog_file = "{folder / "log.jsonl"}"\n'
    )
    running = ServiceProcess(folder / "log", "--config", str(config))
    running.http.headers["authorization"] = f"Bearer {KEY}"
    yield running, folder / "log.jsonl"
    assert running.stop() == 0


def test_an_engine_that_hangs_is_unscored_at_the_deadline(
    slow: tuple[ServiceProcess, Path],
) -> None:
    service, _ = slow
    for route, body in (
        ("/v1/judge", ASK),
        ("/v1/score", {"prompt": ASK["prompt"], "responses": ["1", "2"]}),
    ):
        answer = service.http.post(route, json={**body, "timeout": 3.0})
        assert answer.status_code == 200
        found = answer.json()
        assert (found["kind"], found["reason"]) == ("unscored", "deadline")
        assert "within" in found["detail"]
    with service.http.stream(
        "POST", "/v1/judge", json={**ASK, "timeout": 3.0, "stream": True}
    ) as s:
        assert [(name, data["reason"]) for name, data in events(s)] == [("outcome", "deadline")]


def logged(log: Path, wanted: str) -> str:
    """The log, once it says what is wanted: a line is written after its answer."""
    for _ in range(100):
        if wanted in (text := log.read_text()):
            return text
        time.sleep(0.05)
    raise AssertionError(text)


def test_a_caller_who_leaves_frees_the_only_slot(slow: tuple[ServiceProcess, Path]) -> None:
    """The engine never ends, so only the caller's leaving can free it."""
    service, log = slow
    same = {**ASK, "response_b": ASK["response_a"], "timeout": 30}
    for stream in (False, True):
        with pytest.raises(httpx2.TimeoutException):
            service.http.post("/v1/judge", json={**ASK, "stream": stream}, timeout=0.5)
        answer = service.http.post("/v1/judge", json=same)
        assert (answer.status_code, answer.json()["reason"]) == (200, "identical_responses")
    logged(log, '"status": 499')


def test_the_log_has_a_line_a_request_and_neither_text_nor_key(
    slow: tuple[ServiceProcess, Path],
) -> None:
    service, log = slow
    body = {**ASK, "response_b": ASK["response_a"]}
    answer = service.http.post("/v1/judge", json=body, headers={"x-request-id": "mine-7"})
    assert answer.headers["x-request-id"] == "mine-7"
    service.http.post("/v1/judge", json=body, headers={"authorization": "Bearer wrong"})
    text = logged(log, '"status": 401')
    lines = [json.loads(line) for line in text.splitlines()]
    [mine] = [line for line in lines if line["request_id"] == "mine-7"]
    assert mine["route"] == "/v1/judge"
    assert (mine["status"], mine["kind"], mine["reason"]) == (200, "verdict", "identical_responses")
    assert lines[-1]["status"] == 401
    assert KEY not in text
    assert "What is" not in text
    assert "answer" not in text
