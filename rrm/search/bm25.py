"""Search by words: BM25 over texts that a request brings, or over a file or folder of them.

Okapi BM25 as Lucene computes it (Robertson and Zaragoza 2009; Kamphuis et al., ECIR 2020), by the
library bm25s.
"""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rrm.errors import SearchError, install_hint
from rrm.search.base import Document

SMALL = 20_000
"""characters up to which an index is built beside other work"""
WORDS = r"(?u)\b\w+\b"
TEXT_FILES = (".txt", ".md")
TABLES = (".jsonl", ".csv")


class Bm25Searcher:
    """Searches `documents`, with an index that is built at the first query, or before.

    name: of where they come from.
    """

    def __init__(self, name: str, documents: Sequence[Document]) -> None:
        self.name, self._documents = name, tuple(documents)
        self._index: Any = None

    async def search(self, query: str, most: int) -> Sequence[Document]:
        """Documents that share a word with `query`, the best first."""
        size = sum(len(one.text) for one in self._documents)
        if self._index is None and size > SMALL:
            await asyncio.to_thread(self.build)
        self.build()
        index = self._index
        words = [word for word in tokens_of([query])[0] if word in index.vocab_dict]
        if not words or not self._documents:
            return ()
        scores = index.get_scores(words)
        best = sorted(range(len(scores)), key=lambda place: (-scores[place], place))[:most]
        return tuple(self._documents[place] for place in best if scores[place] > 0)

    def build(self) -> None:
        """Make the index, of the documents that have any word, unless it is there."""
        if self._index is not None:
            return
        words = tokens_of([one.text for one in self._documents])
        kept = [(one, some) for one, some in zip(self._documents, words, strict=True) if some]
        self._documents = tuple(one for one, _ in kept)
        index = _bm25s().BM25(method="lucene")
        index.index([some for _, some in kept] or [["nothing"]], show_progress=False)
        self._index = index


def tokens_of(texts: Sequence[str]) -> list[list[str]]:
    """The words of each text, in lower case, none of them left out."""
    words: list[list[str]] = _bm25s().tokenize(
        list(texts), token_pattern=WORDS, stopwords=[], return_ids=False, show_progress=False
    )
    return words


def _bm25s() -> Any:
    try:
        import bm25s
    except ImportError:
        raise SearchError(f"search by words needs bm25s: {install_hint('search')}") from None
    return bm25s


def over_texts(texts: Sequence[str]) -> Bm25Searcher:
    """The texts of one request; their sources are their numbers, from 1."""
    documents = [Document(text=text, source=str(n)) for n, text in enumerate(texts, start=1)]
    return Bm25Searcher("evidence", documents)


def over_files(path: Path) -> Bm25Searcher:
    """What `read_documents` finds in `path`. Raises SearchError as that does.

    The index is built now: a search has little time.
    """
    found = Bm25Searcher(f"bm25:{path}", read_documents(path))
    found.build()
    return found


def read_documents(path: Path) -> list[Document]:
    """A folder of .txt and .md files, one such file by its paragraphs, or a .jsonl or .csv table.

    A table has a column `text`, and perhaps `source`. Raises SearchError if there is no text.
    """
    try:
        documents = _read(path)
    except (OSError, UnicodeDecodeError) as failure:
        raise SearchError(f"cannot read {path}: {failure}") from None
    if not documents:
        raise SearchError(f"{path} holds no text: give .txt or .md files, or a table with `text`")
    return documents


def _read(path: Path) -> list[Document]:
    if path.is_dir():
        files = sorted(one for one in path.rglob("*") if one.suffix.lower() in TEXT_FILES)
        texts = [(one, one.read_text(encoding="utf-8")) for one in files]
        return [
            Document(text=text, source=str(one.relative_to(path)))
            for one, text in texts
            if text.strip()
        ]
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix.lower() in TABLES:
        return [_document(path, n, row) for n, row in enumerate(_rows(path, text), start=1)]
    parts = [part.strip() for part in text.split("\n\n")]
    return [Document(text=part, source=str(n)) for n, part in enumerate(parts, start=1) if part]


def _rows(path: Path, text: str) -> list[Any]:
    if path.suffix.lower() == ".csv":
        return list(csv.DictReader(text.splitlines()))
    try:
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    except ValueError as failure:
        raise SearchError(f"{path} is not JSON line by line: {failure}") from None


def _document(path: Path, number: int, row: Any) -> Document:
    text = row.get("text") if isinstance(row, dict) else row
    if not isinstance(text, str):
        raise SearchError(f"{path}, row {number} has no `text`")
    source = row.get("source") if isinstance(row, dict) else None
    return Document(text=text, source=str(number) if source is None else str(source))
