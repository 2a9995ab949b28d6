"""Datasets are read as they come; what is wrong keeps its row and says why."""

import json
from pathlib import Path

import pytest

from rrm.types import Message, Pair
from serving.datasets import choose_columns, read_dataset
from serving.errors import SettingsError


def test_jsonl_and_csv_give_the_same_rows(tmp_path: Path) -> None:
    jsonl, csv = tmp_path / "x.jsonl", tmp_path / "x.csv"
    jsonl.write_text('{"question": "2?", "chosen": "a, b", "rejected": "c", "winner": "A"}\n\n')
    csv.write_text('question,chosen,rejected,winner\n2?,"a, b",c,1\n')
    first, second = read_dataset(jsonl), read_dataset(csv)
    assert first.columns == second.columns
    assert first.columns["a"] == "chosen"
    assert first.rows == second.rows
    assert first.rows[0].pair == Pair(prompt="2?", response_a="a, b", response_b="c")
    assert first.rows[0].label == "a"


def test_columns_can_be_given_and_missing_ones_are_named() -> None:
    record = {"q": "", "one": "", "two": "", "label": ""}
    given = {"prompt": "q", "a": "one", "b": "two"}
    assert choose_columns(record, given) == {**given, "label": "label"}
    with pytest.raises(SettingsError, match=r"which column is a, b\? There are 'prompt', 'one'"):
        choose_columns({"prompt": "", "one": ""}, {})
    with pytest.raises(SettingsError, match="no column 'three'"):
        choose_columns(record, {**given, "b": "three"})
    with pytest.raises(SettingsError, match="no role 'c'"):
        choose_columns(record, {"c": "one"})


def test_a_bad_row_keeps_its_place(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text(
        '{"prompt": "2?", "a": "1", "b": "2", "label": "B"}\n'
        "{broken\n"
        "[1]\n"
        '{"prompt": "2?", "a": 1, "b": "2"}\n'
        '{"prompt": "", "a": "1", "b": "2"}\n'
        '{"prompt": 7, "a": "1", "b": "2"}\n'
        '{"prompt": "2?", "a": "1", "b": "2", "label": "left"}\n'
        '{"prompt": "2?", "a": "\\ud800", "b": "2"}\n'
        '{"prompt": [{"role": "user", "content": "2?"}], "a": "1", "b": "2", "label": "tie"}\n'
    )
    rows = read_dataset(file).rows
    assert [row.index for row in rows] == list(range(9))
    assert [row.pair is None for row in rows] == [False, *[True] * 7, False]
    assert all(row.fault for row in rows[1:8])
    assert rows[8].pair is not None
    assert rows[8].pair.prompt == (Message(role="user", content="2?"),)
    assert [rows[0].label, rows[8].label] == ["b", "tie"]


def test_the_key_follows_content_and_judge(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text('{"prompt": "2?", "a": "1", "b": "2"}\n' * 2)
    one, two = read_dataset(file).rows
    assert one.key("x") == two.key("x") != one.key("y")
    file.write_text('{"prompt": "2?", "a": "1", "b": "3"}\n')
    assert read_dataset(file).rows[0].key("x") != one.key("x")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.jsonl", b"", "holds no rows"),
        ("x.txt", b"x", "neither .jsonl nor .csv"),
        ("x.csv", b"\xff\xfe", "not UTF-8"),
        ("x.jsonl", b'"no object"\n', "which column is prompt, a, b"),
    ],
)
def test_a_file_that_is_none_is_said(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SettingsError, match=said):
        read_dataset(tmp_path / name)
    with pytest.raises(SettingsError, match="cannot read"):
        read_dataset(tmp_path / "none.jsonl")


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\x0c", "\x0b", "\x1c", "\x1e"])
def test_only_a_line_feed_ends_a_line(tmp_path: Path, sign: str) -> None:
    text = f"one{sign}two"
    lines, table = tmp_path / "in.jsonl", tmp_path / "in.csv"
    record = {"prompt": text, "a": text, "b": "x"}
    raw = json.dumps(record, ensure_ascii=False)
    lines.write_bytes(f"{raw if ord(sign) > 31 else json.dumps(record)}\r\n".encode() * 2)
    table.write_text(f"prompt,a,b\n{text},{text},x\n" * 1, encoding="utf-8", newline="")
    for path, n in ((lines, 2), (table, 1)):
        found = read_dataset(path).rows
        assert len(found) == n
        assert all(row.pair is not None and row.pair.response_a == text for row in found)


def test_a_cell_may_hold_lines(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(b'prompt,a,b\r\n"one\r\ntwo","x\ny",z\r\n')
    [row] = read_dataset(path).rows
    assert row.pair is not None
    assert (row.pair.prompt, row.pair.response_a) == ("one\r\ntwo", "x\ny")


def test_a_row_may_bring_texts_to_search_in(tmp_path: Path) -> None:
    row = {"prompt": "q", "a": "1", "b": "2"}
    given = ({"evidence": ["one", "two"]}, {"evidence": "one"}, {"evidence": None}, {"evidence": 3})
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({**row, **more}) for more in given))
    rows = read_dataset(path).rows
    assert [one.evidence for one in rows] == [("one", "two"), ("one",), None, None]
    assert rows[3].fault == "evidence is neither a text nor a list of texts"
    assert len({one.key("judge") for one in rows}) == 4
