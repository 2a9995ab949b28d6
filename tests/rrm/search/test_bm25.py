"""Search by words, over texts and over files."""

import asyncio
from pathlib import Path

import pytest

from rrm.errors import SearchError
from rrm.search.bm25 import over_files, over_texts, read_documents

TEXTS = ("k is 037", "m is 112", "the river Kura rises in Turkey", "")


def found(query: str, most: int = 3, texts: tuple[str, ...] = TEXTS) -> list[str]:
    return [one.text for one in asyncio.run(over_texts(texts).search(query, most))]


def test_what_shares_a_word_is_found_the_best_first() -> None:
    assert found("k") == ["k is 037"]
    assert found("Where does the KURA rise?") == ["the river Kura rises in Turkey"]
    assert found("is")[:2] == ["k is 037", "m is 112"]
    assert found("is", most=1) == ["k is 037"]
    assert found("nowhere") == found("") == found("k", texts=("",)) == []


def test_a_text_is_named_by_its_number() -> None:
    [one] = asyncio.run(over_texts(TEXTS).search("m", 3))
    assert one.source == "2"


def test_a_large_collection_is_indexed_beside_other_work() -> None:
    texts = tuple(f"number{n} stands here " * 4 for n in range(2000))
    assert found("number1234", texts=texts) == [texts[1234]]


def test_files_are_read_by_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("One thing.\n\nAnother thing.\n\n\n")
    (tmp_path / "table.csv").write_text("text,source\nk is 037,a page\n")
    (tmp_path / "rows.jsonl").write_text('{"text": "m is 112"}\n"n is 001"\n')
    paragraphs = read_documents(tmp_path / "notes.md")
    assert [(one.text, one.source) for one in paragraphs] == [
        ("One thing.", "1"),
        ("Another thing.", "2"),
    ]
    assert [(one.text, one.source) for one in read_documents(tmp_path / "table.csv")] == [
        ("k is 037", "a page")
    ]
    rows = read_documents(tmp_path / "rows.jsonl")
    assert [one.text for one in rows] == ["m is 112", "n is 001"]
    assert [one.source for one in read_documents(tmp_path)] == ["notes.md"]
    assert over_files(tmp_path / "table.csv").name.startswith("bm25:")


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("none.txt", None, "cannot read"),
        ("empty.txt", b"\n\n", "holds no text"),
        ("latin.txt", b"\xe9", "cannot read"),
        ("rows.jsonl", b"{", "not JSON"),
        ("rows.jsonl", b'{"body": 1}', "row 1 has no `text`"),
    ],
)
def test_what_cannot_be_read_is_said(
    name: str, content: bytes | None, why: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SearchError, match=why):
        read_documents(tmp_path / name)
