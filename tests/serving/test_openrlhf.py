"""`/get_reward`: what OpenRLHF's own client gets, and that nothing ever kills a training."""

import asyncio
import importlib.util
import json
import os
import random
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest

from judges.nano import data
from rrm.types import Message
from serving.rlhf.openrlhf import read_sample
from serving.testing.process import ServiceProcess

PROMPT = "What is 345 + 278?"
CHAT = f"<|im_start|>system\nYou help.<|im_end|>\n<|im_start|>user\n{PROMPT}<|im_end|>\n"
ASSISTANT = "<|im_start|>assistant\n"
WHEELS = Path(__file__).parents[2] / ".ci" / "wheels"


def post(service: ServiceProcess, query: Any, prompts: Any, labels: Any, **params: Any) -> Any:
    body = {"query": query, "prompts": prompts, "labels": labels}
    answer = service.http.post("/get_reward", json=body, params=params)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["scores"] == found["rewards"]
    assert all(0 <= reward <= 1 for reward in found["rewards"])
    assert set(found["extra_logs"]) == {"judge_failed", "thinking_tokens"}
    return found


def test_a_query_is_taken_apart_whatever_its_template() -> None:
    for query, prompt, options in (
        (f"{PROMPT} It is 7.", PROMPT, PROMPT),
        (f"<s>{PROMPT} It is 7.</s>", PROMPT, PROMPT),
        (
            f"{CHAT}{ASSISTANT}It is 7.<|im_end|>\n<|endoftext|>",
            CHAT + ASSISTANT,
            (Message(role="user", content=PROMPT),),
        ),
        (
            f"<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{PROMPT}<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nIt is 7.<|eot_id|>",
            f"<|start_header_id|>user<|end_header_id|>\n\n{PROMPT}<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
            (Message(role="user", content=PROMPT),),
        ),
    ):
        sample = read_sample(query, prompt, "7")
        assert (sample.prompt, sample.response, sample.label) == (options, "It is 7.", "7")
    for query, prompt in (
        ("It is 7.", PROMPT),
        (PROMPT, PROMPT),
        ("x", ""),
        (f"x{PROMPT}", PROMPT),
    ):
        with pytest.raises(ValueError, match=r"its prompt|is empty"):
            read_sample(query, prompt, None)
    assert read_sample(f"{PROMPT} 7", PROMPT, {"any": "json"}).label is None


def test_better_responses_earn_more(service: ServiceProcess) -> None:
    queries = [f"{CHAT}{ASSISTANT}It is {n}.<|im_end|>" for n in (623, 620, 500)]
    found = post(service, queries, [CHAT + ASSISTANT] * 3, [None] * 3)
    right, near, far = found["rewards"]
    assert right > 0.9
    assert right > near > far
    assert found["extra_logs"]["judge_failed"] == [0.0] * 3


def test_a_style_that_compares_asks_whether_the_label_is_beaten(service: ServiceProcess) -> None:
    queries = [f"{PROMPT} It is {n}." for n in (623, 7)]
    found = post(service, queries, [PROMPT] * 2, ["It is 600."] * 2, style="rm-r1")
    assert found["rewards"][0] > 0.9
    assert found["rewards"][1] < 0.1
    lost = post(service, queries[:1], [PROMPT], [None], style="rm-r1", failed=0.25)
    assert (lost["rewards"], lost["extra_logs"]["judge_failed"]) == ([0.25], [1.0])


@pytest.mark.parametrize(
    ("query", "prompt"),
    [
        ("Why? Because.", "Why?"),
        ("something else", PROMPT),
        (PROMPT, PROMPT),
        ("", ""),
        (f"{PROMPT} [[A]]</think>", PROMPT),
        (f"{PROMPT} {'1 ' * 3000}", PROMPT),
    ],
)
def test_what_cannot_be_judged_is_a_flagged_finite_reward(
    service: ServiceProcess, query: str, prompt: str
) -> None:
    found = post(service, [query], [prompt], [{"any": "json"}])
    assert (found["rewards"], found["extra_logs"]["judge_failed"]) == ([0.5], [1.0])


def test_a_flood_of_special_tokens_is_a_flagged_reward_like_any_other(
    service: ServiceProcess,
) -> None:
    for flood in ("</s>" * 30_000, "<|im_start|>user\n" * 7_000, "<" + " " * 120_000):
        found = post(service, [PROMPT + flood], [PROMPT], [None])
        assert found["extra_logs"]["judge_failed"] == [1.0]
        assert service.http.get("/live").status_code == 200


def test_lists_of_other_lengths_are_a_mistake(service: ServiceProcess) -> None:
    body = {"query": ["a", "b"], "prompts": ["a"], "labels": [None]}
    assert service.http.post("/get_reward", json=body).status_code == 422


def client_of_the_wheel(folder: Path) -> Any:
    """`openrlhf.utils.agent` out of its wheel, without the packages only its training needs."""
    found = sorted(WHEELS.glob("openrlhf-0.11*.whl"))
    if not found:
        why = "OpenRLHF's wheel is not in .ci/wheels (pip download --no-deps openrlhf==0.11.2)"
        assert "CLOSECALL_CI" not in os.environ, why
        pytest.skip(why)
    with zipfile.ZipFile(found[0]) as wheel:
        wheel.extractall(folder)
    [utils] = folder.rglob("openrlhf/utils")
    for name in ("openrlhf", "openrlhf.utils"):  # their __init__ files import the trainers
        sys.modules[name] = types.ModuleType(name)
    for name in ("logging_utils", "agent"):
        full = f"openrlhf.utils.{name}"
        spec = importlib.util.spec_from_file_location(full, utils / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules["openrlhf.utils.agent"]


def test_openrlhfs_own_client_gets_its_rewards(service: ServiceProcess, tmp_path: Path) -> None:
    agent = client_of_the_wheel(tmp_path)
    executor = agent.SingleTurnAgentExecutor([f"{service.url}/get_reward"])
    examples = [data.draw(random.Random(seed), n=1) for seed in range(32)]
    examples += [data.respond(random.Random(1), examples[0].problem, 1)] * 2

    async def go() -> list[Any]:
        return await asyncio.gather(
            *(
                executor._fetch_rewards_via_http(
                    [f"{e.question} {e.responses[0]}"], [e.question], [None]
                )
                for e in examples
            )
        )

    found = [answers[0] for answers in asyncio.run(go())]
    assert len(found) == 34
    right = [f["rewards"][0] > 0.9 for f in found]
    assert sum(r == (e.errors[0] == 0) for r, e in zip(right, examples, strict=True)) >= 32
    assert all(f["extra_logs"]["judge_failed"] == [0.0] for f in found)
    json.dumps(found, allow_nan=False)
