"""Outcomes as people read them."""

from rich.console import Console

from rrm.types import Certificate, StopReason
from serving.show import WHY, verdict_text
from tests.helpers.judging import LONG, at, prefers_good, scripted, verdict, voting


def shown(certificate: Certificate | None) -> str:
    stopper = at(1.5).model_copy(update={"certificate": certificate})
    console = Console(width=120)
    with console.capture() as capture:
        console.print(verdict_text(verdict(scripted(prefers_good(0.1), [LONG], stopper))))
    return capture.get()


def test_votes_are_told_apart() -> None:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(verdict_text(verdict(voting(prefers_good(0.1), ["x" * 12 + "</think>"]))))
    assert "80 tokens (20 + 20, one chain an order; then 40 in votes)" in capture.get()


def test_every_reason_to_stop_has_words() -> None:
    assert set(WHY) == set(StopReason)


def test_a_certificate_is_shown_where_there_is_one() -> None:
    proof = Certificate(
        epsilon=0.02,
        delta=0.1,
        n=500,
        lost=1,
        gained=0,
        price=0.001,
        data="d",
        model="m",
        prompt_hash="h",
    )
    said = "stopping early loses at most 2 points of accuracy, 90% sure (500 pairs)"
    assert said in shown(proof)
    assert "certified" not in shown(None)
