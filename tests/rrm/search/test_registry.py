"""Searchers by name, and what a service remembers of them."""

import asyncio
from pathlib import Path

import pytest

from rrm.errors import SearchError, UnknownSearcher
from rrm.search.bm25 import Bm25Searcher
from rrm.search.http import HttpSearcher
from rrm.search.registry import Remembering, Searchers, check_searcher, open_searcher
from tests.rrm.search.test_evidence import Told


def test_a_searcher_is_opened_by_what_names_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("k is 037")
    assert isinstance(open_searcher(f"bm25:{tmp_path}"), Bm25Searcher)
    assert isinstance(open_searcher("https://search.example/v1"), HttpSearcher)
    for wrong in ("bm26:x", "ftp://x", ""):
        with pytest.raises(SearchError, match="give bm25:PATH"):
            open_searcher(wrong)
        with pytest.raises(SearchError, match="give bm25:PATH"):
            check_searcher(wrong)
    with pytest.raises(SearchError, match="no such file"):
        check_searcher(f"bm25:{tmp_path}/none")
    check_searcher(f"bm25:{tmp_path}")
    check_searcher("https://search.example/v1")


def test_an_entry_point_gives_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        @staticmethod
        def load() -> object:
            return lambda rest: Told(rest)

    def points(group: str, name: str) -> list[Point]:
        assert group == "closecall.searchers"
        return [Point()] if name == "ours" else []

    monkeypatch.setattr("rrm.search.registry.entry_points", points)
    found = open_searcher("ours:42")
    assert isinstance(found, Told)
    assert found.documents == ("42",)


def test_answers_are_kept_and_failures_are_not() -> None:
    inner = Told("k is 037")
    searcher = Remembering(inner, characters=3, kept=2)

    async def ask(*queries: str) -> None:
        for query in queries:
            await searcher.search(query, 3)

    asyncio.run(ask("a", "a", "b", "a", "c", "a", "b"))
    [kept] = asyncio.run(searcher.search("b", 3))
    assert kept.text == "k i"
    assert [query for query, _ in inner.asked] == ["a", "b", "c", "b"]
    inner.fault = SearchError("down")
    for _ in range(2):
        with pytest.raises(SearchError):
            asyncio.run(ask("d"))
    assert [query for query, _ in inner.asked][-2:] == ["d", "d"]


def test_a_request_brings_texts_or_names_a_searcher() -> None:
    searchers = Searchers({"wiki": Told("a"), "own": Told("b")}, default="own")
    assert searchers.of("wiki") is searchers.named["wiki"]
    assert searchers.of(None) is searchers.named["own"]
    assert searchers.of(()) is None
    assert isinstance(searchers.of(("k is 037",)), Bm25Searcher)
    assert Searchers().of(None) is None
    with pytest.raises(UnknownSearcher, match="there are: own, wiki"):
        searchers.of("else")
