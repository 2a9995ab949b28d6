"""A replica's own part, without Ray around it: the budget that its pairs share."""

import asyncio
import json
import time
from collections.abc import Awaitable
from pathlib import Path

import pytest

from judges.nano import CALIBRATION, data
from judges.nano.pairs import pair_of
from judges.options import JudgeOptions
from rrm.calibration.artifact import Artifact
from rrm.calibration.monitor import Expected
from rrm.types import Effort, StopReason, Verdict
from serving.gateway import JudgeAnswer
from serving.replica import Judge
from serving.settings import load_settings
from tests.helpers.judging import examples


@pytest.fixture
def replica() -> Judge:
    return Judge(load_settings(tokens_per_pair=12.0))


def asked(
    replica: Judge, example: data.Example, effort: Effort = "adaptive"
) -> Awaitable[JudgeAnswer]:
    return replica.judge(pair_of(example), None, JudgeOptions(effort), time.time() + 60)


def test_pairs_share_what_each_brings_along(replica: Judge) -> None:
    async def all_of_them() -> list[Verdict]:
        found = await asyncio.gather(*(asked(replica, one) for one in examples(40, seed=6)))
        assert all(isinstance(one, Verdict) for one in found)
        return found  # type: ignore[return-value]

    async def one_whole() -> JudgeAnswer:
        return await asked(replica, examples(1, seed=7)[0], "full")

    try:
        found = asyncio.run(all_of_them())
        spent = sum(one.usage.thinking_tokens for one in found)
        assert 0.5 * 40 * 12 < spent <= 40 * 12
        assert replica.budget is not None
        assert replica.budget.spent == spent
        # Who sets a limit, or wants whole chains, pays for himself.
        whole = asyncio.run(one_whole())
        assert isinstance(whole, Verdict)
        assert whole.usage.thinking_tokens > 50
        assert replica.budget.spent == spent
    finally:
        replica.host.close()


@pytest.mark.slow
def test_drift_revokes_the_certificate_of_a_running_replica(tmp_path: Path) -> None:
    """Its calibration promises less thought than the pairs that come need."""
    kept = Artifact.read(CALIBRATION)
    bound = kept.styles["rrm"]
    expected = Expected(apart=0.3, spent=0.02)
    strict = bound.calibration.model_copy(update={"expected": expected})
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps(kept.plus("rrm", bound.prompt_hash, strict).as_json()))
    replica = Judge(load_settings(calibration=file, audit_share=1.0, style="rrm"))

    async def ask(n: int, seed: int) -> list[Verdict]:
        found = await asyncio.gather(*(asked(replica, one) for one in examples(n, seed=seed)))
        assert all(isinstance(one, Verdict) for one in found)
        return found  # type: ignore[return-value]

    try:
        before = asyncio.run(ask(1, seed=1))[0]
        assert before.judge.certificate is not None
        audited = asyncio.run(ask(60, seed=2))
        assert any("audited" in note for one in audited for note in one.judge.notes)
        after = asyncio.run(ask(1, seed=3))[0]
        assert after.judge.certificate is None
        assert any("certificate revoked" in note for note in after.judge.notes)
        assert after.reason is StopReason.ENDED
    finally:
        replica.host.close()
