"""The reward in a real GRPOTrainer."""

from itertools import groupby
from pathlib import Path

import pytest

from benchmarks.grpo import Watched, distances, train
from rrm.engines.base import Engine
from tests.helpers.judging import nano_judge


@pytest.mark.slow
def test_a_real_grpo_trainer_takes_its_rewards(nano: Engine, tmp_path: Path) -> None:
    reward = Watched(nano_judge(nano))
    trainer = train(reward, steps=2, seed=3, folder=str(tmp_path), warm_up=250)
    assert [len(step) for step in reward.steps] == [32, 32]
    logs = [log for log in trainer.state.log_history if "reward" in log]
    assert len(logs) == 2
    assert all("closecall/unscored" in log for log in logs)
    given = [r for step in reward.steps for _, _, r in step]
    assert sum(r is not None for r in given) > len(given) / 2
    assert len(distances(reward.steps[0])) == 32
    for _, group in groupby(reward.steps[0], key=lambda said: said[0]):
        assert sum(r for _, _, r in group if r is not None) == pytest.approx(0, abs=1e-6)
