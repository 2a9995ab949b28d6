"""The bundled judge: its data is right, its tokenizer is stock, its domain is told, it judges."""

import asyncio
import hashlib
import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from judges.nano import WEIGHTS, data, evaluate, lessons, tokenizer, train
from judges.styles.label import LabelStyle
from judges.styles.registry import open_style
from judges.styles.score import ScoreStyle
from rrm.engines.base import Engine
from rrm.engines.card import ModelCard
from rrm.errors import UnreadableText
from tests.helpers.styles import GRM, RM_R1, RRM, THINKLESS


@given(st.integers(0, 10**9), st.integers(1, 4))
def test_examples_are_what_they_say(seed: int, n: int) -> None:
    example = data.draw(random.Random(seed), n)
    assert 0 <= example.problem.truth <= data.LIMIT
    assert all(value is not None and 0 <= value <= data.LIMIT for value in example.values)
    assert len(set(example.errors)) == n
    for step in example.problem.steps:
        signs = {"+": step.left + step.right, "-": step.left - step.right}
        assert step.result == (signs | {"*": step.left * step.right})[step.sign]
    assert example.problem.steps[-1].result == example.problem.truth
    for value, response in zip(example.values, example.responses, strict=True):
        assert re.findall(r"\d+", response)[-1] == str(value)
    card = tokenizer.card()
    assert card.reads is not None
    card.reads.refuse(card.name, (example.question, *example.responses))


def test_scores_fall_with_the_error() -> None:
    assert [data.score(error) for error in (0, 1, 2, 3, 4, 255, 256, 999)] == [
        10, 9, 8, 8, 7, 2, 1, 1,
    ]  # fmt: skip


def test_the_saved_files_are_what_the_code_writes(tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    for name in ("tokenizer.json", "chat_template.jinja", "closecall.json"):
        assert (tmp_path / name).read_text() == (WEIGHTS / name).read_text()


@pytest.mark.parametrize("style", [RRM, RM_R1, GRM, THINKLESS], ids=lambda s: s.name)
def test_the_stock_loader_gives_the_ids_that_training_used(
    style: LabelStyle | ScoreStyle,
) -> None:
    """Every constant piece is one token and nothing falls to bytes (a trap with qwen2)."""
    stock = AutoTokenizer.from_pretrained(WEIGHTS)
    example = data.draw(random.Random(3))
    taught = lessons.Teacher(tokenizer.build())
    text = taught.prompt(style, example)
    ids = stock(text, add_special_tokens=False).input_ids
    assert ids == taught.encode(text)
    assert len(ids) < 75
    assert stock.decode(ids) == text


def test_the_card_names_these_weights() -> None:
    digest = hashlib.sha256((WEIGHTS / "model.safetensors").read_bytes()).hexdigest()
    assert digest in (WEIGHTS.parent / "README.md").read_text()


@pytest.mark.parametrize(
    "text",
    ["Why is the sky blue?", "1000", "3.5", "1,000", "５", "</think>", "[[A]]", "what is\u200b 3"],
)
def test_what_nano_cannot_read_is_refused_by_name(nano: Engine, text: str) -> None:
    assert nano.card.reads is not None
    with pytest.raises(UnreadableText, match=r"'nano' cannot read .*closecall serve --model"):
        nano.card.reads.refuse("nano", ("What is 2 + 2?", text))


def test_a_model_without_a_card_reads_anything(tmp_path: Path) -> None:
    assert ModelCard.of(tmp_path).reads is None


def test_nano_estimates_far_pairs_and_works_close_ones_out(nano: Engine) -> None:
    """The table of the card, small: far pairs right at no thought, all right at whole chains."""
    table = asyncio.run(evaluate.measure(nano, open_style("rrm"), n=120, seed=5))
    assert table.exact > 0.9
    _, everything = table.rows["all"]
    assert everything[-1] > 0.97
    assert table.rows["1-3"][1][0] < table.rows["over 100"][1][0]
    assert "whole" in str(table)


def test_nano_writes_whole_score_lists(nano: Engine) -> None:
    assert asyncio.run(evaluate.exact_scores(nano, open_style("grm"), n=30, seed=5)) > 0.8


def test_training_runs_and_writes_a_directory_that_loads(tmp_path: Path) -> None:
    loss = train.train(tmp_path, steps=20, seed=1)
    assert loss < 7
    assert not (tmp_path / train.CHECKPOINT).exists()
    assert ModelCard.of(tmp_path).name == "nano"
    assert (tmp_path / "model.safetensors").is_file()
