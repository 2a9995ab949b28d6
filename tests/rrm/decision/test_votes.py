"""The sequential test ends early on the clear, and on the wrong side no more often than it says."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm.decision.votes import ERROR, STRENGTH, Ballot

VOTES = st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=9)


@pytest.mark.parametrize("strength", [STRENGTH, 0.9])
def test_it_ends_on_the_right_side(strength: float) -> None:
    rng = random.Random(0)
    wrong = used = 0
    for _ in range(2000):
        votes = [
            tuple(1.0 if rng.random() < strength else -1.0 for _ in range(2)) for _ in range(200)
        ]
        ballot = Ballot.taken(votes)  # type: ignore[arg-type]
        assert ballot.decided
        wrong += sum(ballot.margins) < 0
        used += len(ballot.votes)
    assert wrong <= ERROR * 2000
    assert used / 2000 < 6


@given(VOTES)
def test_it_takes_the_first_and_stops_as_soon_as_it_is_decided(
    votes: list[tuple[float, float]],
) -> None:
    ballot = Ballot.taken(votes)
    taken = len(ballot.votes)
    assert ballot.votes == tuple(votes[:taken])
    assert 1 <= taken <= len(votes)
    assert ballot.decided or taken == len(votes)
    assert all(not Ballot(tuple(votes[:n])).decided for n in range(1, taken))


@given(VOTES)
def test_the_swapped_pair_gets_the_mirrored_ballot(votes: list[tuple[float, float]]) -> None:
    ballot = Ballot.taken(votes)
    mirror = Ballot.taken([(-second, -first) for first, second in votes])
    assert len(mirror.votes) == len(ballot.votes)
    assert mirror.margins == pytest.approx(tuple(-m for m in reversed(ballot.margins)))


def test_one_pair_that_agrees_is_not_enough() -> None:
    assert not Ballot(((3.0, 3.0),)).decided
    assert Ballot(((3.0, 3.0), (1.0, 1.0))).decided
    assert not Ballot(((3.0, -3.0), (1.0, -1.0), (2.0, -2.0))).decided
