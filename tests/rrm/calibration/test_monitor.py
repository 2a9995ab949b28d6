"""Drift is found soon, and a quiet stream is hardly ever called drift."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm.calibration.monitor import REMEMBERED, EProcess, Expected, RiskMonitor

EXPECTED = Expected(apart=0.012, spent=0.23)


def stream(seed: int, n: int, apart: float, spent: float) -> RiskMonitor:
    """Pairs of these means; tokens are all or little, as they are."""
    rng = random.Random(seed)
    monitor = RiskMonitor(EXPECTED, delta=0.1)
    for _ in range(n):
        monitor.observe(rng.random() < apart, 1.0 if rng.random() < spent / 2 else spent / 2)
    return monitor


def test_a_quiet_stream_rarely_raises_an_alarm() -> None:
    runs = [stream(seed, 500, apart=0.012, spent=0.2) for seed in range(1000)]
    assert sum(run.revoked is not None for run in runs) <= 0.1 * 1000


@pytest.mark.parametrize(("apart", "spent"), [(0.05, 0.2), (0.01, 0.4)], ids=["verdicts", "spend"])
def test_drift_is_found_within_1000_pairs(apart: float, spent: float) -> None:
    runs = [stream(seed, 1000, apart, spent) for seed in range(50)]
    assert sum(run.revoked is not None for run in runs) >= 48
    said = "differ from whole chains" if apart > 0.01 else "need more thought"
    assert sum(said in str(run.revoked) for run in runs) >= 45


def test_once_revoked_it_stays_so() -> None:
    monitor = stream(1, 1000, apart=0.2, spent=0.2)
    first = monitor.revoked
    assert first is not None
    for _ in range(1000):
        monitor.observe(False, 0.0)
    assert monitor.revoked == first


@given(st.floats(0.001, 0.99), st.lists(st.floats(0, 1), max_size=40))
def test_evidence_is_the_same_in_any_order_and_fair_at_the_mean(
    mean: float, values: list[float]
) -> None:
    one, other = EProcess(mean), EProcess(mean)
    for value in values:
        one.observe(value)
    for value in reversed(values):
        other.observe(value)
    assert one.evidence == pytest.approx(other.evidence, abs=1e-9)
    same = EProcess(mean)
    same.observe(mean)
    assert same.evidence == pytest.approx(0.0)


def test_what_is_no_share_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        EProcess(0.5).observe(1.5)


def test_what_is_remembered_is_bounded() -> None:
    watched = RiskMonitor(Expected(apart=0.5, spent=0.9), delta=0.1)
    for number in range(3 * REMEMBERED):
        watched.observe(False, 0.5, f"{number:064x}")
        watched.observe(False, 0.5, f"{number:064x}")
    assert watched.audited == 3 * REMEMBERED
    assert len(watched._counted) == REMEMBERED
