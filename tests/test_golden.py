"""Judgements are what they were: outcomes, prompt hashes and digests of weights, kept as data."""

import json
from collections import Counter

import pytest

from judges.styles.registry import open_style, style_names
from serving.weights import weights_digest
from tests.golden import nano, scripted, store


def test_scripted_judgements_end_as_they_did() -> None:
    wrong = {}
    for number, was in enumerate(store.read("scripted")):
        found = store.differences(was, store.as_kept(scripted.judge_case(number)))
        if found:
            wrong[number] = found
    assert not wrong, f"{len(wrong)} differ, such as {dict(list(wrong.items())[:3])}"


def test_priced_judgements_end_as_they_did() -> None:
    wrong = {}
    for number, was in enumerate(store.read("priced")):
        found = store.differences(was, store.as_told(scripted.judge_priced(number)))
        if found:
            wrong[number] = found
    assert not wrong, f"{len(wrong)} differ, such as {dict(list(wrong.items())[:3])}"
    orders = Counter(was.get("orders_read") for was in store.read("priced"))
    assert min(orders[1], orders[2]) > 100


def test_the_scripts_come_by_every_way_to_end() -> None:
    """Golden outcomes protect only what they hold."""
    ends = Counter(one["reason"] for one in store.read("scripted"))
    for reason in (
        "margin",
        "too_close_to_call",
        "chains_ended",
        "voted",
        "token_limit",
        "no_thought_asked",
        "budget_spent",
        "orders_agreed",
        "parsed_text",
        "budget",
        "unparseable",
        "off_menu",
        "truncated",
        "order_conflict",
    ):
        assert ends[reason] >= 3, ends


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nano", "nano-priced"])
def test_nano_judges_as_it_did(name: str) -> None:
    engine, was = nano.open_nano(), store.read(name)
    known, told = nano.version_1(), store.as_kept
    if name == "nano-priced":
        known, told = nano.shipped(), store.as_told
    try:
        outcomes = [told(one) for one in nano.judge_all(engine, len(was), known)]
    finally:
        engine.close()
    wrong = {}
    for number, (before, now) in enumerate(zip(was, outcomes, strict=True)):
        if found := store.differences(before, now):
            wrong[number] = found
    assert not wrong, f"{len(wrong)} differ, such as {dict(list(wrong.items())[:3])}"


def test_prompt_hashes_and_digests_of_weights_stay() -> None:
    was = json.loads((store.HERE / "hashes.json").read_text(encoding="utf-8"))
    assert {name: open_style(name).prompt_hash for name in style_names()} == was["prompts"]
    assert weights_digest("nano") == was["weights"]["nano"]
