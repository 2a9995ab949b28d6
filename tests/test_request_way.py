"""A request's way stays short: one text from the replica to the verdict, measured by running it."""

from tests.helpers.way import way

FUNCTIONS, MODULES, RETURNS = 13, 6, 5


def test_a_text_passes_few_rooms_and_does_not_wander() -> None:
    found = way()
    assert found.modules == [
        "serving/replica.py",
        "judges/pairwise.py",
        "rrm/decision/chains.py",
        "rrm/decision/chain.py",
        "rrm/prompt.py",
        "rrm/engines/tokenizer.py",
    ]
    assert len(found.functions) <= FUNCTIONS, found.functions
    assert found.returns <= RETURNS
