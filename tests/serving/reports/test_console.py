"""Outcomes as people read them."""

import io

from rich.console import Console

from rrm.types import Certificate, StopReason
from serving.journal import JudgedRow
from serving.reports.batch import Tally
from serving.reports.console import WHY, headline, print_outcome, verdict_text
from tests.helpers.judging import LONG, at, prefers_good, scripted, verdict, voting


def shown(certificate: Certificate | None) -> str:
    calibration = at(1.5).model_copy(update={"certificate": certificate})
    console = Console(width=120)
    with console.capture() as capture:
        console.print(verdict_text(verdict(scripted(prefers_good(0.1), [LONG], calibration))))
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


def test_an_order_that_was_not_read_is_no_disagreement() -> None:
    found = verdict(scripted(prefers_good(0.1), [LONG], at(1.5)))
    alone = found.model_copy(
        update={
            "agree": None,
            "path": tuple(
                point.model_copy(update={"agree": None, "margins": (point.margin, None)})
                for point in found.path
            ),
        }
    )
    assert headline(alone).endswith("read in one order alone")
    console = Console(width=100, record=True, file=io.StringIO())
    print_outcome(console, alone)
    assert "disagree" not in console.export_text()
    tally = Tally()
    tally.add(JudgedRow(index=0, id=None, key="k", label="a", outcome=alone))
    assert (tally.compared, tally.disagreed) == (0, 0)
