"""Judgements are what they were: outcomes, prompt hashes and digests of weights, kept as data."""

import asyncio
import json
from collections import Counter

import pytest

from rrm.style import open_style, style_names
from serving.registry import weights_digest
from tests.golden import kept, nano, scripted


def test_scripted_judgements_end_as_they_did() -> None:
    wrong = {}
    for number, was in enumerate(kept.read("scripted")):
        found = kept.differences(was, kept.as_kept(scripted.judge_case(number)))
        if found:
            wrong[number] = found
    assert not wrong, f"{len(wrong)} differ, such as {dict(list(wrong.items())[:3])}"


def test_the_scripts_come_by_every_way_to_end() -> None:
    """Golden outcomes protect only what they hold."""
    ends = Counter(one["reason"] for one in kept.read("scripted"))
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
def test_nano_judges_as_it_did() -> None:
    """In float64 what is computed beside it does not matter, so all at once."""
    engine = nano.open_nano()

    async def all_of_them() -> list[dict[str, object]]:
        free = asyncio.Semaphore(32)

        async def one(number: int) -> dict[str, object]:
            async with free:
                return kept.as_kept(await nano.judge_case(engine, number))

        return await asyncio.gather(*(one(number) for number in range(nano.N)))

    try:
        outcomes = asyncio.run(all_of_them())
    finally:
        engine.close()
    wrong = {}
    for number, (was, now) in enumerate(zip(kept.read("nano"), outcomes, strict=True)):
        if found := kept.differences(was, now):
            wrong[number] = found
    assert not wrong, f"{len(wrong)} differ, such as {dict(list(wrong.items())[:3])}"


def test_prompt_hashes_and_digests_of_weights_stay() -> None:
    was = json.loads((kept.HERE / "hashes.json").read_text(encoding="utf-8"))
    assert {name: open_style(name).prompt_hash for name in style_names()} == was["prompts"]
    assert weights_digest("nano") == was["weights"]["nano"]
