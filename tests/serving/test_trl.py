"""The reward for TRL: groups, messages, failures, and a real GRPOTrainer."""

import asyncio
import math
from typing import Any

import pytest

from judges.pairwise import PairwiseJudge
from rrm.engines.base import Engine
from rrm.engines.scripted import ScriptedEngine
from serving.rlhf.trl import CloseCallReward
from serving.testing.process import ServiceProcess, free_port
from tests.helpers.judging import nano_judge
from tests.helpers.styles import RRM

SUM = "What is 345 + 278?"


def rewards(
    reward: CloseCallReward, prompts: list[Any], texts: list[Any], **more: Any
) -> list[Any]:
    return asyncio.run(reward(prompts, texts, **more))


def test_each_group_is_ranked_on_its_own_and_metrics_are_logged(nano: Engine) -> None:
    logged: dict[str, float] = {}
    other = "What is 7 * 8?"
    found = rewards(
        CloseCallReward(nano_judge(nano)),
        [SUM] * 3 + [other] * 3,
        ["It is 600.", " It is 623.", "It is 7.", "It is 56.", "Bananas.", "It is 50."],
        log_metric=logged.__setitem__,
        completion_ids=[],
        trainer_state=None,
    )
    assert found[1] > found[0] > found[2]
    assert sum(found[:3]) == pytest.approx(0, abs=1e-9)
    assert found[3] > 0 > found[5]
    assert found[4] is None
    assert logged["closecall/unscored"] == pytest.approx(1 / 6)
    assert logged["closecall/thinking_tokens_per_pair"] > 0


def test_conversations_reach_a_service(service: ServiceProcess) -> None:
    prompts = [[{"role": "user", "content": SUM}]] * 2
    texts = [[{"role": "assistant", "content": f"It is {n}."}] for n in (623, 100)]
    good, bad = rewards(CloseCallReward(service.url), prompts, texts)
    assert good > 0 > bad


def test_no_service_or_no_time_is_none_never_a_number() -> None:
    away = CloseCallReward(f"http://127.0.0.1:{free_port()}", tries=1)
    assert rewards(away, [SUM] * 2, ["1", "2"]) == [None, None]
    hung = PairwiseJudge(ScriptedEngine(delay=math.inf), RRM)
    logged: dict[str, float] = {}
    late = CloseCallReward(hung, seconds=0.2)
    assert rewards(late, [SUM] * 2, ["1", "2"], log_metric=logged.__setitem__) == [None, None]
    assert logged["closecall/unscored"] == 1.0
