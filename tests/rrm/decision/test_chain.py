"""Chains of a pair: what they are drawn from."""

from rrm.decision.chain import seed_of
from rrm.prompt import Rendered, Turn


def test_a_question_is_drawn_from_the_same_seed_for_ever() -> None:
    asked = Rendered((Turn(role="user", content="Which?"),), "<think>\n", ("[[A]]",))
    assert seed_of(asked, 0) == 11022123198591717
    assert seed_of(asked, 3) == 59943308561178051
