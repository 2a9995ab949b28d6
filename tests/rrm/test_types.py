"""Pairs and verdicts mirror themselves; unknown fields are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rrm.types import (
    Candidates,
    Checkpoint,
    Message,
    OrderReading,
    Pair,
    Provenance,
    StopReason,
    Usage,
    Verdict,
    prompt_text,
)

JUDGE = Provenance(model="m", style="s", prompt_hash="h", effort="full", stopper="none")


def verdict(margin: float, other: float) -> Verdict:
    return Verdict(
        preferred="a" if margin > 0 else "b",
        probability=0.75,
        margin=margin,
        agree=margin * other > 0,
        reason=StopReason.ENDED,
        path=(
            Checkpoint(
                at=0,
                thinking_tokens=4,
                margin=margin,
                margins=(margin, margin),
                probability=0.7,
                agree=True,
                mass=1,
            ),
        ),
        orders=(
            OrderReading(order="ab", led=True, margin=margin, thinking_tokens=1, forced=False),
            OrderReading(order="ba", led=False, margin=other, thinking_tokens=3, forced=True),
        ),
        scores=(3.0, 7.0),
        usage=Usage(thinking_tokens=4),
        judge=JUDGE,
    )


@given(st.text(), st.text(), st.text())
def test_swapping_a_pair_twice_gives_it_back(prompt: str, a: str, b: str) -> None:
    pair = Pair(prompt=prompt, response_a=a, response_b=b)
    assert pair.swapped().swapped() == pair
    assert pair.swapped().responses == (b, a)


@given(st.floats(-9, 9).filter(bool), st.floats(-9, 9).filter(bool))
def test_mirroring_a_verdict_twice_gives_it_back(margin: float, other: float) -> None:
    assert verdict(margin, other).mirrored().mirrored() == verdict(margin, other)


def test_a_mirrored_verdict_prefers_the_other_side() -> None:
    mirrored = verdict(2.0, 1.0).mirrored()
    assert mirrored.preferred == "b"
    assert mirrored.margin == -2.0
    assert [order.order for order in mirrored.orders] == ["ab", "ba"]
    assert [order.margin for order in mirrored.orders] == [-1.0, -2.0]
    assert mirrored.scores == (7.0, 3.0)


def test_a_misspelt_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="respons_b"):
        Pair.model_validate({"prompt": "p", "response_a": "", "respons_b": ""})


def test_candidates_need_a_response() -> None:
    with pytest.raises(ValidationError):
        Candidates(prompt="p", responses=())


def test_a_conversation_becomes_one_text_that_says_who_speaks() -> None:
    turns = (
        Message(role="user", content="Hello"),
        Message(role="assistant", content="Hi"),
        Message(role="user", content="2 + 2?"),
    )
    assert prompt_text(turns) == "User: Hello\n\nAssistant: Hi\n\nUser: 2 + 2?"
    assert prompt_text(turns[:1]) == "Hello"
    assert prompt_text("plain") == "plain"


def test_usage_adds_up() -> None:
    both = Usage(prompt_tokens=1, seconds=0.5).plus(Usage(prompt_tokens=2, probe_tokens=3))
    assert both == Usage(prompt_tokens=3, probe_tokens=3, seconds=0.5)


OLD = {
    "kind": "verdict",
    "preferred": "a",
    "probability": 0.9,
    "margin": 2.0,
    "agree": True,
    "reason": "margin",
    "path": [
        {
            "at": 0,
            "thinking_tokens": 0,
            "margin": 2.0,
            "margins": [1.0, 3.0],
            "probability": 0.9,
            "agree": True,
            "mass": 0.9,
        }
    ],
    "orders": [],
    "scores": None,
    "usage": {"prompt_tokens": 20, "thinking_tokens": 0, "probe_tokens": 8, "seconds": 0.1},
    "judge": {
        "model": "nano",
        "style": "rrm",
        "prompt_hash": "h",
        "effort": "adaptive",
        "stopper": "by hand",
    },
}


def test_an_outcome_of_schema_1_is_read() -> None:
    found = Verdict.model_validate(OLD)
    assert (found.version, found.usage.read_tokens) == (1, 0)
    assert found.path[0].margins == (1.0, 3.0)


def test_fields_of_a_later_schema_are_ignored_by_readers() -> None:
    later = {**OLD, "version": 3, "searches": [1], "usage": {**OLD["usage"], "searches": 1}}  # type: ignore[dict-item]
    found = Verdict.model_validate(later)
    assert found.version == 3
    assert "searches" not in found.model_dump()
    with pytest.raises(ValidationError):
        Pair.model_validate({"prompt": "?", "response_a": "x", "response_b": "y", "typo": 1})


def test_an_order_that_was_not_read_is_null_and_mirrors() -> None:
    point = {**OLD["path"][0], "margins": [1.0, None], "agree": None}  # type: ignore[index]
    order = {"order": "ab", "led": True, "margin": None, "thinking_tokens": 0, "forced": True}
    found = Verdict.model_validate({**OLD, "agree": None, "path": [point], "orders": [order]})
    turned = found.mirrored()
    assert turned.path[0].margins == (None, -1.0)
    assert (turned.orders[0].order, turned.orders[0].margin) == ("ba", None)
    assert turned.mirrored() == found
