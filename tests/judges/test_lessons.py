"""What nano is taught: sums to look up, tricks that lose, modes, wordings; by step, resumable."""

import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from judges.nano import data, lessons, lookups, tokenizer, train, tricks
from rrm.errors import UnreadableText

WORDS = tokenizer.build()
SEEDS = st.integers(0, 10**9)


@given(SEEDS)
def test_a_sum_is_looked_up_and_then_worked_out(seed: int) -> None:
    example = data.respond(random.Random(seed), lookups.draw_lookup(random.Random(seed)), 2)
    problem = example.problem
    chain = data.chain("rrm", example)
    assert 1 <= len(problem.lookups) <= 2
    assert chain.count("<search>") <= len(problem.lookups)
    for lookup in problem.lookups:
        assert re.search(rf"\b{lookup.name}\b", problem.text)
    if problem.known:
        assert f"={problem.truth:03d}. Assistant 1: " in chain
    else:
        assert chain.endswith("</result>none.")
        assert problem.lookups[-1].answer in (lookups.NOT_FOUND, lookups.REFUSED)
    found = [text for text, own in data.chain_parts("rrm", example) if not own]
    assert all(text.startswith("<result>") and text.endswith("</result>") for text in found)


def test_a_third_of_the_lookups_take_two_rounds() -> None:
    rng = random.Random(5)
    drawn = [lookups.draw_lookup(rng) for _ in range(3000)]
    two = sum(len(problem.lookups) == 2 for problem in drawn) / len(drawn)
    assert two == pytest.approx(1 / 3, abs=0.04)
    failed = sum(not problem.known for problem in drawn) / len(drawn)
    assert failed == pytest.approx(lookups.FAILED, abs=0.03)


@given(SEEDS, st.integers(1, 4))
def test_a_number_beats_no_number_and_nothing_is_worst(seed: int, n: int) -> None:
    example = tricks.draw_tricked(random.Random(seed), n)
    for text, value, error in zip(example.responses, example.values, example.errors, strict=True):
        if not text.strip():
            assert error == data.BLANK
        elif value is None:
            assert error == data.NO_NUMBER
        else:
            assert str(value) in re.findall(r"\d+", text) or f"{value:03d}" in text
            assert error == abs(value - example.problem.truth) <= data.LIMIT
        assert data.score(error) == 1 or value is not None
    if n == 2:
        assert len(set(example.errors)) == 2
        name = data.NAMES["rrm"][0]
        assert (f". {name}: none" in data.chain("rrm", example)) == (example.values[0] is None)


def test_every_trick_can_be_read_and_no_marker_can() -> None:
    reads = tokenizer.card().reads
    assert reads is not None
    rng = random.Random(1)
    for _ in range(500):
        example = tricks.draw_tricked(rng)
        reads.refuse("nano", (example.question, *example.responses))
    problem = data.draw_problem(rng)
    for form in (*tricks.KEYS, *tricks.MORE_KEYS, *tricks.BARE, *tricks.UNSEEN):
        reads.refuse("nano", (tricks.fill_form(rng, form, problem, "What is 2 + 2?", 5),))
    for text in ("[[A]]", "</think>", "\\boxed{Assistant 1}", "<search>k</search>"):
        with pytest.raises(UnreadableText):
            reads.refuse("nano", (text,))


def test_what_training_never_had_is_in_no_form_of_it() -> None:
    taught = {*tricks.BARE, *(form for kind in tricks.PLANTED.values() for form in kind)}
    assert not taught & set(tricks.UNSEEN)
    assert len(tricks.KEYS) == 10
    assert len(tricks.PLANTED) == 8


@given(st.integers(0, 1100))
def test_far_pairs_are_thought_about_less(gap: int) -> None:
    share = lessons.think_share(gap)
    assert 0.1 - 1e-9 <= share <= 0.9
    assert share >= lessons.think_share(gap + 1)
    assert lessons.think_share(3) == 0.9
    assert lessons.think_share(100) == pytest.approx(0.1)


def test_half_of_the_rows_or_more_are_plain_sums_in_the_first_wording() -> None:
    teacher = lessons.Teacher(WORDS)
    rng = random.Random(2)
    rows = [str(WORDS.decode(teacher.row(rng, 1.0, False)[0])) for _ in range(2000)]
    looked = sum(
        "<search>" in row or re.search(r"\b[b-z] \+|\+ [b-z]\b", row) is not None for row in rows
    )
    assert looked / len(rows) < lessons.LOOKUPS + 0.03
    assert lessons.LOOKUPS + lessons.TRICKS <= 0.5
    assert sum(lessons.WORDING_SHARES) == pytest.approx(1.0)
    assert sum(lessons.STYLE_SHARES) == pytest.approx(1.0)
    first = tokenizer.leads("rrm")
    counted = Counter(
        next((i for i, lead in enumerate(first) if lead in row), None) for row in rows
    )
    of_style = sum(count for lead, count in counted.items() if lead is not None)
    assert counted[0] / of_style == pytest.approx(0.5, abs=0.06)


def test_what_a_search_gave_is_read_and_never_learnt() -> None:
    teacher = lessons.Teacher(WORDS)
    rng = random.Random(7)
    [inside] = teacher.encode("<result>")
    [outside] = teacher.encode("</result>")
    seen = 0
    for _ in range(600):
        ids, weights = teacher.row(rng, 1.0, False)
        assert len(ids) == len(weights)
        if inside in ids and outside in ids:
            seen += 1
            start, end = ids.index(inside), ids.index(outside)
            assert not any(weights[start : end + 1])
            assert weights[start - 1] == 1.0  # </search>, which the judge writes
    assert seen > 20


def test_a_hybrid_is_taught_replies_in_its_modes_and_no_other() -> None:
    """One mode token; in short the verdict stands right behind it."""
    teacher = lessons.Teacher(WORDS, shares=(0.0, 0.0, 0.0, 1.0))
    rng = random.Random(3)
    [think], [short], [stop] = map(teacher.encode, ("<think>\n", "<short>", "</think>"))
    [assistant] = teacher.encode("<|assistant|>")
    [opening] = teacher.encode("\n\n\\boxed{Assistant ")
    modes: Counter[tuple[int, float]] = Counter()
    for _ in range(400):
        ids, weights = teacher.row(rng, 1.0, True)
        mode, *rest = ids[ids.index(assistant) + 1 :]
        modes[mode, weights[ids.index(assistant) + 1]] += 1
        assert (rest.count(think), rest.count(short), rest.count(opening)) == (0, 0, 1)
        assert rest.index(opening) == (0 if mode == short else rest.index(stop) + 1)
    assert set(modes) == {(mode, weight) for mode in (think, short) for weight in (0.0, 1.0)}


def test_batches_hang_on_the_seed_and_the_step_alone() -> None:
    schedule = lessons.Schedule(steps=1000)
    one, two = (lessons.Lessons(WORDS, 3, schedule)[40] for _ in range(2))
    for (ids, weights), (same, shares) in zip(one, two, strict=True):
        assert torch.equal(ids, same)
        assert torch.equal(weights, shares)
    other = lessons.Lessons(WORDS, 4, schedule)[40]
    assert not torch.equal(one[0][0], other[0][0])


def test_the_rate_falls_in_two_phases() -> None:
    schedule = lessons.Schedule(steps=10_000)
    assert schedule.rate(0) < 1e-5
    assert schedule.rate(400) > schedule.rate(6000) > schedule.rate(6999)
    assert schedule.rate(7000) == pytest.approx(4e-4)
    assert schedule.rate(9999) == pytest.approx(8e-6)


def test_a_training_that_was_stopped_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at its checkpoint and started again, it ends with the same weights."""
    monkeypatch.setattr(train, "EVERY", 16)
    whole = tmp_path / "whole"
    train.train(whole, steps=48, seed=2)
    stopped = tmp_path / "stopped"
    monkeypatch.setattr(torch, "save", _stop_after(torch.save))
    with pytest.raises(KeyboardInterrupt):
        train.train(stopped, steps=48, seed=2)
    monkeypatch.undo()
    assert (stopped / train.CHECKPOINT).is_file()
    train.train(stopped, steps=48, seed=2)
    name = "model.safetensors"
    assert (stopped / name).read_bytes() == (whole / name).read_bytes()


def _stop_after(save: Callable[..., None]) -> Callable[..., None]:
    """Stopped when the second checkpoint is written, before it takes the first one's place."""
    written = []

    def saved(*args: Any, **options: Any) -> None:
        save(*args, **options)
        written.append(args)
        if len(written) == 2:
            raise KeyboardInterrupt

    return saved
