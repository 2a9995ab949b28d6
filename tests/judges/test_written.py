"""What two written verdicts state together."""

import pytest

from judges.written import agree, direction, sides, stated
from rrm.parse import Choice, ParsedVerdict, Scores, Unread

FIRST, SECOND, NEITHER = Choice(0), Choice(1), Choice(None)
LOST = Unread("truncated", "cut off")


@pytest.mark.parametrize(
    ("reading", "found"),
    [(FIRST, 1), (SECOND, -1), (NEITHER, 0), (Scores((3, 8)), -1), (Scores((5, 5)), 0)],
)
def test_which_response_shown_a_text_prefers(reading: ParsedVerdict, found: float) -> None:
    assert direction(reading) == found


def test_the_other_order_is_turned_round() -> None:
    assert sides((FIRST, SECOND)) == (1, 1)
    assert sides((FIRST, FIRST)) == (1, -1)
    assert sides((LOST, FIRST)) is LOST


def test_agreement_needs_two_that_say_something() -> None:
    assert agree((SECOND, FIRST))
    assert not any(agree(replies) for replies in ((FIRST, FIRST), (FIRST, NEITHER), (LOST, FIRST)))


@pytest.mark.parametrize(
    ("found", "preferred", "probability"),
    [((1, 1), "a", 0.75), ((-1, -1), "b", 0.75), ((0, -1), "b", 0.5), ((0, 0), "tie", 0.5)],
)
def test_two_votes_and_laplaces_rule(
    found: tuple[float, float], preferred: str, probability: float
) -> None:
    assert stated(found) == (preferred, probability)
