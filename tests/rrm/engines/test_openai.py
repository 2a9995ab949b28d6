"""What only a chat endpoint can show: what it can do, its faults, and judging without probes.

The endpoint is SGLang's own; where faults must be exact, a scripted one.
"""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from judges.nano import WEIGHTS
from judges.options import JudgeOptions
from judges.pairwise import PairwiseJudge
from judges.pointwise import PointwiseJudge
from rrm.engines import open_engine
from rrm.engines.base import Engine, EngineOptions, ExtendRequest, ProbeRequest
from rrm.engines.openai import Abilities, OpenAIEngine
from rrm.engines.sglang import SGLangEngine
from rrm.errors import EngineError, PromptTooLong
from rrm.prompt import Rendered, Turn
from rrm.types import Candidates, Pair, Score, StopReason, Unscored, Verdict
from tests.helpers.styles import GRM, RM_R1, RM_R1_INSTRUCT, RRM

PAIR = Pair(prompt="What is 345 + 278?", response_a="It is 623.", response_b="It is 613.")
ASK = Rendered((Turn(role="user", content="Which?"),), "")
Answer = tuple[int, dict[str, str], Any]
"""status, headers, body"""


def options_of(sglang: Engine, **more: Any) -> EngineOptions:
    assert isinstance(sglang, SGLangEngine)
    options = EngineOptions(base_url=f"{sglang.server.url}/v1", api_key=sglang.server.key)
    return replace(options, **more)


def test_abilities_are_found_out_and_can_be_declared(sglang: Engine, openai: Engine) -> None:
    assert isinstance(openai, OpenAIEngine)
    assert openai.abilities == Abilities(logprobs=True, prefill=True)
    assert openai.can_probe
    declared = open_engine(f"openai:{WEIGHTS}", options_of(sglang, prefill=False))
    assert isinstance(declared, OpenAIEngine)
    assert not declared.can_probe
    assert "does not continue an assistant turn" in declared.lacks()
    declared.close()


def test_a_wrong_key_and_a_wrong_model_are_told(sglang: Engine) -> None:
    with pytest.raises(EngineError, match="401"):
        open_engine(f"openai:{WEIGHTS}", options_of(sglang, api_key="wrong"))
    with pytest.raises(EngineError, match="serves no model 'other'; there are"):
        open_engine("openai:other", options_of(sglang))
    with pytest.raises(ValueError, match="base URL"):
        open_engine("openai:other")


def test_a_probed_endpoint_gives_the_verdict_of_the_reference(openai: Engine, nano: Engine) -> None:
    found, known = (
        asyncio.run(PairwiseJudge(engine, RRM, ladder=nano.card.ladder).judge(PAIR))
        for engine in (openai, nano)
    )
    assert isinstance(found, Verdict)
    assert isinstance(known, Verdict)
    assert found.preferred == known.preferred == "a"
    assert found.usage.thinking_tokens == known.usage.thinking_tokens
    # What stood behind the prompt in the first call is counted with it: nobody tells them apart.
    assert 0 <= found.usage.prompt_tokens - known.usage.prompt_tokens <= 8


def test_without_probes_whole_replies_are_read(sglang: Engine) -> None:
    engine = open_engine(f"openai:{WEIGHTS}", options_of(sglang, prefill=False, logprobs=False))
    try:
        judge = PairwiseJudge(engine, GRM, ladder=(64, 256))
        found = asyncio.run(judge.judge(PAIR, JudgeOptions("full")))
        assert isinstance(found, Verdict)
        assert (found.preferred, found.reason) == ("a", StopReason.PARSED)
        assert found.usage.thinking_tokens > 40
        assert any("cannot be probed" in note for note in found.judge.notes)
        score = asyncio.run(
            PointwiseJudge(engine, GRM, ladder=(64, 256)).score(
                Candidates(prompt=PAIR.prompt, responses=PAIR.responses), JudgeOptions("full")
            )
        )
        assert isinstance(score, Score)
        assert score.scores[0] > score.scores[1]
        [chain] = [engine.start(ASK)]
        with pytest.raises(EngineError, match="cannot be probed"):
            asyncio.run(engine.probe([ProbeRequest(chain, "", ("A",))]))
    finally:
        engine.close()


class Scripted:
    """An endpoint that answers as told: a function from (path, body) to an answer."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.answer: Callable[[dict[str, Any]], Answer] = lambda body: reply("A")
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send((200, {}, {"data": [{"id": "m"}]}))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.bodies.append(body)
                self.send(outer.answer(body))

            def send(self, answer: Answer) -> None:
                status, headers, body = answer
                raw = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(raw))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def engine(self, **more: Any) -> OpenAIEngine:
        base = f"http://127.0.0.1:{self.server.server_port}/v1"
        found = open_engine("openai:m", EngineOptions(base_url=base, **more))
        assert isinstance(found, OpenAIEngine)
        return found


def reply(text: str, reason: str = "stop", prompt: int = 9, **message: Any) -> Answer:
    choice = {"message": {"content": text, **message}, "finish_reason": reason}
    usage = {"prompt_tokens": prompt, "completion_tokens": len(text.split())}
    return 200, {}, {"choices": [choice], "usage": usage}


@pytest.fixture
def endpoint() -> Iterator[Scripted]:
    made = Scripted()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_an_endpoint_that_refuses_unknown_fields_is_asked_without_them(endpoint: Scripted) -> None:
    def strict(body: dict[str, Any]) -> Answer:
        if "skip_special_tokens" in body:
            return 400, {}, {"error": {"message": "Unrecognized request argument supplied"}}
        return reply("A", prompt=9 + 12 * (body["messages"][-1]["role"] == "assistant"))

    endpoint.answer = strict
    engine = endpoint.engine()
    assert engine.abilities == Abilities(logprobs=False, prefill=False)
    before = len(endpoint.bodies)
    asyncio.run(engine.extend([ExtendRequest(engine.start(ASK), 5, None)]))
    assert len(endpoint.bodies) == before + 1  # it is known by now
    engine.close()


def test_a_busy_endpoint_is_asked_again_and_when_it_says(endpoint: Scripted) -> None:
    engine = endpoint.engine(logprobs=False, prefill=False)
    busy = [(429, {"retry-after": "0"}, {}), (503, {}, b"no"), (500, {}, b"oh")]
    endpoint.answer = lambda body: busy.pop() if busy else reply("fine")
    chain = engine.start(ASK)
    asyncio.run(engine.extend([ExtendRequest(chain, 5, None)]))
    assert (chain.text, chain.finish, len(chain.ids)) == ("fine", "eos", 1)
    engine.close()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((400, {}, {"error": "bad model"}), "400.*bad model"),
        ((200, {}, b"<html>"), "no JSON"),
        ((200, {}, {"choices": []}), "no chat completion"),
        ((503, {"retry-after": "0"}, b"down"), "503 down"),
    ],
)
def test_a_fault_is_told_and_is_no_verdict(
    endpoint: Scripted, answer: Answer, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rrm.engines.openai_chat.ATTEMPTS", 2)
    engine = endpoint.engine(logprobs=False, prefill=False)
    endpoint.answer = lambda body: answer
    with pytest.raises(EngineError, match=said):
        asyncio.run(engine.extend([ExtendRequest(engine.start(ASK), 5, None)]))
    found = asyncio.run(PairwiseJudge(engine, RRM).judge(PAIR))
    assert isinstance(found, Unscored)
    assert found.reason == "engine_error"
    engine.close()


def test_a_prompt_that_is_too_long_is_told_as_such(endpoint: Scripted) -> None:
    engine = endpoint.engine(logprobs=False, prefill=False)
    said = {"error": {"message": "This model's maximum context length is 10 tokens"}}
    endpoint.answer = lambda body: (400, {}, said)
    with pytest.raises(PromptTooLong, match="maximum context length"):
        asyncio.run(engine.extend([ExtendRequest(engine.start(ASK), 8, None)]))
    engine.close()


def by_order(first: str, second: str) -> Callable[[dict[str, Any]], Answer]:
    """Says `first` where the better response stands first, else `second`; thinks if it may."""

    def answer(body: dict[str, Any]) -> Answer:
        shown = body["messages"][-1]["content"]
        better_first = shown.index("623") < shown.index("613")
        if "at once" in shown:
            return reply(first if better_first else second)
        return reply(
            "\\boxed{Assistant 1}" if better_first else "\\boxed{Assistant 2}",
            reasoning_content="let me see",
        )

    return answer


def test_orders_that_agree_without_thought_settle_it(endpoint: Scripted) -> None:
    engine = endpoint.engine(logprobs=False, prefill=False)
    endpoint.answer = by_order("\\boxed{Assistant 1}", "\\boxed{Assistant 2}")
    judge = PairwiseJudge(engine, RRM)
    found = asyncio.run(judge.judge(PAIR))
    assert isinstance(found, Verdict)
    assert (found.preferred, found.reason) == ("a", StopReason.AGREED)
    assert found.usage.thinking_tokens == 0
    assert found.probability == 0.75
    engine.close()


@pytest.mark.parametrize("at_once", ["\\boxed{Assistant 1}", "I cannot say"])
def test_orders_that_disagree_or_say_nothing_are_thought_through(
    endpoint: Scripted, at_once: str
) -> None:
    engine = endpoint.engine(logprobs=False, prefill=False)
    endpoint.answer = by_order(at_once, at_once)
    judge = PairwiseJudge(engine, RRM)
    found = asyncio.run(judge.judge(PAIR, JudgeOptions(return_chain=True)))
    assert isinstance(found, Verdict)
    assert (found.preferred, found.reason) == ("a", StopReason.PARSED)
    assert found.usage.thinking_tokens > 0
    assert found.usage.probe_tokens > 0
    assert found.orders[0].chain == "<think>let me see</think>\\boxed{Assistant 1}"
    none = asyncio.run(judge.judge(PAIR, JudgeOptions("none")))
    assert isinstance(none, Unscored)
    mirrored = asyncio.run(judge.judge(PAIR.swapped()))
    assert isinstance(mirrored, Verdict)
    assert mirrored.preferred == "b"
    engine.close()


def test_labels_of_several_tokens_are_read_along_the_likeliest(endpoint: Scripted) -> None:
    tops = {
        "": {"1": -0.5, "2": -1.5, "12": -3.0, "x": -4.0},
        "1": {"0": -0.7, "]": -0.7},
    }

    def telling(body: dict[str, Any]) -> Answer:
        last = body["messages"][-1]
        said = last["content"].rpartition("{")[2] if last["role"] == "assistant" else ""
        status, headers, answer = reply("1")
        likeliest = [{"token": t, "logprob": p} for t, p in tops[said].items()]
        answer["choices"][0]["logprobs"] = {"content": [{"top_logprobs": likeliest}]}
        return status, headers, answer

    engine = endpoint.engine(logprobs=True, prefill=True)
    endpoint.answer = telling
    [found] = asyncio.run(
        engine.probe([ProbeRequest(engine.start(ASK), "{", ("1", "2", "10", "7"))])
    )
    seen = found.labels.logprobs
    assert seen["10"] == pytest.approx(-1.2)
    assert seen["2"] == pytest.approx(-1.5)
    assert sum(2.718281828 ** seen[label] for label in ("1", "10")) == pytest.approx(
        0.6065, abs=1e-3
    )
    assert seen["7"] == pytest.approx(-4.0)  # a bound: it was not among those told
    assert found.tokens == 2
    engine.close()


def test_an_endpoint_whose_tokens_are_unknown_does_not_fail_on_the_think_token(
    endpoint: Scripted,
) -> None:
    engine = endpoint.engine(logprobs=False, prefill=False)
    PairwiseJudge(engine, RM_R1)
    PairwiseJudge(engine, RM_R1_INSTRUCT)
    engine.close()
