"""The whole service, for real: Ray Serve, the Gateway, two replicas of nano, called over HTTP."""

import concurrent.futures
import json
import random
from pathlib import Path
from typing import Any

import pytest

from judges.nano import data
from rrm.types import Score, Verdict
from serving.testing.load import replicas
from serving.testing.process import ServiceProcess

pytestmark = pytest.mark.service

ASK = {
    "prompt": "What is 345 + 278?",
    "response_a": "The answer is 623.",
    "response_b": "It comes to 626.",
}


def test_a_pair_gets_a_verdict_that_says_everything(service: ServiceProcess) -> None:
    answer = service.judge(**ASK, return_chain=True)
    assert answer.status_code == 200
    found = Verdict.model_validate(answer.json())
    assert found.preferred == "a"
    [leading] = (order for order in found.orders if order.led)
    assert leading.chain is not None
    assert leading.chain.startswith("345+278=623")
    assert found.path[0].thinking_tokens == 0
    assert found.usage.thinking_tokens == found.path[-1].thinking_tokens > 0


def test_efforts_styles_and_conversations(service: ServiceProcess) -> None:
    quick = Verdict.model_validate(service.judge(**ASK, effort="none").json())
    assert quick.usage.thinking_tokens == 0
    full = Verdict.model_validate(service.judge(**ASK, effort="full", style="rm-r1").json())
    assert (full.judge.style, full.preferred) == ("rm-r1", "a")
    capped = Verdict.model_validate(
        service.judge(**ASK, effort="full", max_thinking_tokens=20).json()
    )
    assert capped.usage.thinking_tokens == 20
    turns = [{"role": "user", "content": ASK["prompt"]}]
    talk = Verdict.model_validate(service.judge(**{**ASK, "prompt": turns}, effort="full").json())
    assert talk.preferred == "a"


def test_scores_of_one_and_of_several(service: ServiceProcess) -> None:
    body = {"prompt": ASK["prompt"], "responses": ["It is 623.", "It is 620.", "It is 300."]}
    found = Score.model_validate(service.http.post("/v1/score", json=body).json())
    assert found.scores[0] > found.scores[1] > found.scores[2]
    body["responses"] = ["It is 623."]
    found = Score.model_validate(service.http.post("/v1/score", json=body).json())
    assert found.scores[0] > 9.5


def test_what_is_served_is_told(service: ServiceProcess) -> None:
    judges = service.http.get("/v1/judges").json()["judges"]
    assert [judge["style"] for judge in judges] == ["rrm", "rm-r1", "grm", "thinkless"]
    assert all(judge["adaptive"] for judge in judges)
    assert service.http.get("/live").json() == {"status": "live"}
    assert service.http.get("/ready").json() == {"status": "ready"}
    schema = service.http.get("/openapi.json").json()
    paths = {"/v1/judge", "/v1/score", "/v1/judges", "/get_reward", "/live", "/ready", "/metrics"}
    assert set(schema["paths"]) == paths
    example = schema["components"]["schemas"]["JudgeRequest"]["examples"][0]
    assert service.judge(**example).status_code == 200


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in ASK.items() if key != name}


BAD: list[tuple[str, str, Any, int, str]] = [
    ("missing field", "/v1/judge", without("response_b"), 422, "response_b: Field required"),
    ("misspelt field", "/v1/judge", {**ASK, "efort": "none"}, 422, "efort: Extra inputs"),
    ("empty prompt", "/v1/judge", {**ASK, "prompt": " "}, 422, "the prompt is empty"),
    ("no turns", "/v1/judge", {**ASK, "prompt": []}, 422, "prompt"),
    ("a list", "/v1/judge", [1], 422, "body"),
    ("wrong type", "/v1/judge", {**ASK, "response_a": 3}, 422, "response_a"),
    ("unknown effort", "/v1/judge", {**ASK, "effort": "much"}, 422, "'none', 'adaptive' or 'full'"),
    ("negative limit", "/v1/judge", {**ASK, "max_thinking_tokens": -1}, 422, "greater than"),
    ("unknown style", "/v1/judge", {**ASK, "style": "x"}, 422, "speaks rrm, rm-r1, grm, thinkless"),
    ("1 MB of text", "/v1/judge", {**ASK, "prompt": "1 + " * 250_000}, 413, "max_body_bytes"),
    ("long prompt", "/v1/judge", {**ASK, "prompt": "1 + " * 5_000}, 422, "takes 1024"),
    ("unreadable", "/v1/judge", {**ASK, "prompt": "Why is it?"}, 422, "cannot read 'Why'"),
    ("four digits", "/v1/judge", {**ASK, "response_a": "1000"}, 422, "cannot read '1000'"),
    ("</think>", "/v1/judge", {**ASK, "response_b": "626</think>"}, 422, "cannot read '<'"),
    ("[[A]]", "/v1/judge", {**ASK, "response_b": "626 [[A]]"}, 422, "cannot read '['"),
    ("chat token", "/v1/judge", {**ASK, "response_b": "<|assistant|>"}, 422, "cannot read"),
    ("a NUL", "/v1/judge", {**ASK, "response_b": "\x00"}, 422, "cannot read"),
    ("lone surrogate", "/v1/judge", b'{"prompt": "\\ud800", "response_a": "", "response_b": "x"}',
     422, "surrogate"),
    ("invalid JSON", "/v1/judge", b'{"prompt": ', 400, "not valid JSON"),
    ("not UTF-8", "/v1/judge", b"\xff\xfe", 400, "JSON"),
    ("no responses", "/v1/score", {"prompt": "p", "responses": []}, 422, "at least 1"),
    ("17 responses", "/v1/score", {"prompt": "p", "responses": ["1"] * 17}, 422, "at most 16"),
    ("pairwise score", "/v1/score", {"prompt": "1", "responses": ["1"], "style": "rrm"}, 422,
     "use style grm"),
    ("no route", "/v1/jugde", ASK, 404, "/openapi.json"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "path", "body", "status", "said"), BAD, ids=[b[0] for b in BAD])
def test_bad_input_gets_a_clear_error_and_the_next_request_works(
    service: ServiceProcess, what: str, path: str, body: Any, status: int, said: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    answer = service.http.post(path, content=content, headers=headers)
    problem = answer.json()
    assert (answer.status_code, problem["status"]) == (status, status), problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in problem["detail"]
    assert service.judge(**ASK, effort="none").status_code == 200


def test_identical_responses_are_a_tie(service: ServiceProcess) -> None:
    found = service.judge(prompt="Why?", response_a="same", response_b="same").json()
    assert (found["preferred"], found["reason"]) == ("tie", "identical_responses")


def judge_many(service: ServiceProcess, n: int, callers: int = 24) -> list[int]:
    rng = random.Random(4)
    bodies = []
    for _ in range(n):
        example = data.draw(rng)
        a, b = example.responses
        bodies.append({"prompt": example.question, "response_a": a, "response_b": b})

    def one(body: dict[str, str]) -> int:
        answer = service.judge(**body)
        if answer.status_code == 200:
            assert answer.json()["kind"] == "verdict"
        return answer.status_code

    with concurrent.futures.ThreadPoolExecutor(callers) as pool:
        return list(pool.map(one, bodies))


def test_a_killed_replica_costs_no_caller_an_answer(service: ServiceProcess) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        codes = pool.submit(judge_many, service, 120)
        replicas(service)[0].kill()
        assert codes.result(timeout=120) == [200] * 120


def test_overload_is_refused_with_429_and_keys_are_asked_for(tmp_path: Path) -> None:
    config = tmp_path / "closecall.toml"
    config.write_text('max_ongoing = 1\nmax_queued = 1\nengine = "scripted"\n')
    env = {
        "CLOSECALL_API_KEYS": '["a-long-random-key"]',
        "RAY_ADDRESS": "127.0.0.1:9",  # another's Ray, which is left alone
    }
    running = ServiceProcess(tmp_path / "log", "--config", str(config), env=env)
    try:
        denied = running.judge(**ASK)
        assert denied.status_code == 401
        assert denied.headers["www-authenticate"] == "Bearer"
        assert "a-long-random-key" not in denied.text
        assert running.http.get("/live").status_code == 200
        running.http.headers["authorization"] = "Bearer a-long-random-key"
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(lambda _: running.judge(**ASK), range(120)))
        codes = {answer.status_code for answer in answers}
        assert codes == {200, 429}
        refused = [answer for answer in answers if answer.status_code == 429]
        assert all(answer.headers["retry-after"] == "1" for answer in refused)
        judged = next(answer for answer in answers if answer.status_code == 200).json()
        assert (judged["kind"], judged["preferred"]) == ("verdict", "tie")
    finally:
        assert running.stop() == 0
