"""The benchmark of modes: how it counts. The training itself is tested in `test_degrpo`."""

import asyncio
import random

import pytest

from benchmarks import modes
from benchmarks.attacks import judge_of
from judges.nano import WEIGHTS, data
from rrm.engines.base import Engine


def test_shares_are_counted_by_closeness() -> None:
    some = modes.held_out(300, 3)
    thinks = [0.9 if one.gap <= 3 else 0.2 for one in some]
    margins = [1.0 if one.gap <= 3 else 5.0 for one in some]
    found = modes.modes_of(thinks, margins, some)
    assert found["close"] == pytest.approx(0.9)
    assert found["apart"] == pytest.approx(0.7)
    assert (found["margin_think"], found["margin_short"]) == pytest.approx((1.0, 5.0))
    assert list(found["bands"]) == [name for name, _, _ in data.BANDS]
    assert modes.missed([{**found, "seed": 1}]) == []
    bad = {**found, "seed": 1, "think": 0.99, "apart": 0.1, "margin_think": 9.0}
    assert len(modes.missed([bad])) == 3


def test_its_likelihood_of_thought_is_read_on_nano(
    nano: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(4)
    some = [data.draw(rng) for _ in range(60)]
    judge = judge_of(nano, modes.STYLE, WEIGHTS)
    rows = asyncio.run(modes.judged(judge, "none", some))
    assert all(0 < row["think"] < 1 and row["tokens"] == 0 for row in rows)
    found = modes.readout(rows, seed=0)
    assert found["closeness"] > 0.2
    assert "AUROC of think" in capsys.readouterr().out
