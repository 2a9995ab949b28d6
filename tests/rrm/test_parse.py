"""The parser never raises, the last verdict wins, and a label off the menu is none."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm.parse import BOXED, Choice, Scores, Unread, after_thought, last_scores
from tests.helpers.styles import GRM, RM_R1, RM_R1_INSTRUCT, RRM

STYLES = (RRM, RM_R1, RM_R1_INSTRUCT, GRM)
FRAGMENTS = st.sampled_from(
    [
        "<think>", "</think>", "\\boxed{", "Assistant 1", "Assistant 2", "}", "<answer>[[", "A",
        "B", "C", "]]</answer>", "Scores: ", "7, 10", ", ", "\n", "٣", "\\boxed{1, 2}", "11",
    ]
)  # fmt: skip


@settings(max_examples=10_000)
@given(st.one_of(st.text(max_size=200), st.lists(FRAGMENTS, max_size=12).map("".join)))
def test_parsing_never_raises_and_stays_on_the_menu(text: str) -> None:
    for style in STYLES:
        reading = style.parse(text, 2)
        if isinstance(reading, Choice):
            assert reading.index in (0, 1)
        elif isinstance(reading, Scores):
            assert len(reading.values) == 2
            assert all(1 <= value <= 10 for value in reading.values)
        else:
            assert reading.reason in ("unparseable", "off_menu", "truncated")


def rrm_reads(text: str) -> object:
    return RRM.parse("<think>\n" + text, 2)


def r1_reads(text: str) -> object:
    return RM_R1.parse("<think>\n" + text, 2)


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("hm</think>\\boxed{Assistant 1}", 0),
        ("hm</think>\\boxed{Assistant 2}", 1),
        ("hm</think>\\boxed{ assistant  2 }", 1),
        ("hm</think>\\boxed{Assistant 1} no: \\boxed{Assistant 2}", 1),
        ("\\boxed{Assistant 2}</think>\\boxed{Assistant 1}", 0),
        ("</think>\\boxed{Assistant 2}</think>\\boxed{Assistant 1}", 0),
    ],
)
def test_the_last_rrm_verdict_after_the_thought_wins(text: str, index: int) -> None:
    assert rrm_reads(text) == Choice(index)


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("</think><answer>[[A]]</answer>", 0),
        ("</think><answer>[[B]]</answer>", 1),
        ("</think><answer> [[A]] </answer> wait <answer>[[B]]</answer>", 1),
        ("<answer>[[A]]</answer></think> <answer>[[B]]</answer>", 1),
    ],
)
def test_the_last_rm_r1_verdict_after_the_thought_wins(text: str, index: int) -> None:
    assert r1_reads(text) == Choice(index)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "truncated"),
        ("still thinking \\boxed{Assistant 1}", "truncated"),
        ("</think>", "unparseable"),
        ("</think>Assistant 1", "unparseable"),
        ("</think>\\boxed{Assistant 3}", "off_menu"),
        ("</think>\\boxed{Assistant 1} \\boxed{neither}", "off_menu"),
        ("</think>\\boxed{Assistant ١}", "off_menu"),
        ("</think>\\boxed{Assistant 1}<think>", "truncated"),
    ],
)
def test_what_is_no_rrm_verdict(text: str, reason: str) -> None:
    reading = rrm_reads(text)
    assert isinstance(reading, Unread)
    assert reading.reason == reason


def test_a_tie_is_off_the_menu_of_rm_r1() -> None:
    reading = r1_reads("</think><answer>[[A]]</answer><answer>[[C]]</answer>")
    assert reading == Unread("off_menu", "C")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("Scores: \\boxed{7, 10}", (7, 10)),
        ("Rating: \\boxed{3,4} final \\boxed{ 5 , 6 }", (5, 6)),
        ("\\boxed{1, 2} and \\boxed{x}", (1, 2)),
        ("\\boxed{1, 2} of 3: \\boxed{9}", (1, 2)),
    ],
)
def test_the_last_list_of_the_right_length_wins(text: str, values: tuple[int, ...]) -> None:
    assert GRM.parse(text, 2) == Scores(values)


def test_scores_out_of_range_are_off_the_menu() -> None:
    assert isinstance(last_scores("\\boxed{0, 11}", BOXED, 2, 1, 10), Unread)
    reading = last_scores("scale 1 to 10", BOXED, 2, 1, 10)
    assert isinstance(reading, Unread)
    assert reading.reason == "unparseable"


def test_a_megabyte_is_parsed_in_linear_time() -> None:
    for style in STYLES:
        style.parse("<think>" + "\\boxed{" * 150_000, 2)
        style.parse("<answer>" + "[[" * 500_000 + "</think>", 2)


@given(st.text(max_size=60))
def test_text_after_the_thought_is_kept_as_it_is(text: str) -> None:
    tail = re.sub(r"</?think>", "", text)
    assert after_thought(f"<think>x</think>{tail}") == tail
