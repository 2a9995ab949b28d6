"""A replica's own part, without Ray around it: the budget that its pairs share."""

import asyncio
import math
import time

import pytest

from judges.nano import data
from judges.nano.pairs import pair_of
from rrm.types import Verdict
from serving.replica import Judge
from serving.settings import load_settings
from serving.wire import JudgeRequest
from tests.judges.test_pairwise import examples


@pytest.fixture
def replica() -> Judge:
    return Judge(load_settings(tokens_per_pair=12.0))


def asking(example: data.Example, **more: object) -> JudgeRequest:
    return JudgeRequest.model_validate({**pair_of(example).model_dump(), **more})


def test_pairs_share_what_each_brings_along(replica: Judge) -> None:
    async def all_of_them() -> list[Verdict]:
        found = await asyncio.gather(
            *(replica.judge(asking(one), time.time() + 60) for one in examples(40, seed=6))
        )
        assert all(isinstance(one, Verdict) for one in found)
        return found  # type: ignore[return-value]

    try:
        found = asyncio.run(all_of_them())
        spent = sum(one.usage.thinking_tokens for one in found)
        assert 0.5 * 40 * 12 < spent <= 40 * 12
        assert replica.budget is not None
        assert replica.budget.spent == spent
        # Who sets a limit, or wants whole chains, pays for himself.
        alone = replica.judge(asking(examples(1, seed=7)[0], effort="full"), math.inf)
        whole = asyncio.run(alone)
        assert isinstance(whole, Verdict)
        assert whole.usage.thinking_tokens > 50
        assert replica.budget.spent == spent
    finally:
        replica.registry.close()
