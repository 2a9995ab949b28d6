"""What one judgement finds: shared, in bounds, and never a reason to fail."""

import asyncio
from collections.abc import Sequence

import pytest

from rrm.errors import SearchError
from rrm.search.base import Document, SearchLimits
from rrm.search.evidence import Evidence


class Told:
    """Gives documents, or fails, after some time."""

    name = "told"

    def __init__(self, *documents: str, fault: Exception | None = None, delay: float = 0.0) -> None:
        self.documents, self.fault, self.delay = documents, fault, delay
        self.asked: list[tuple[str, int]] = []

    async def search(self, query: str, most: int) -> Sequence[Document]:
        self.asked.append((query, most))
        await asyncio.sleep(self.delay)
        if self.fault is not None:
            raise self.fault
        return [Document(text=text, source=str(n)) for n, text in enumerate(self.documents)]


def test_one_query_is_asked_once_by_all_chains() -> None:
    searcher = Told("k is 037", delay=0.01)

    async def both() -> None:
        evidence = Evidence(searcher)
        assert not evidence.knows("k")
        one, two = await asyncio.gather(evidence.find("k"), evidence.find("k"))
        assert one is two
        assert evidence.knows("k")
        assert evidence.searches == 1
        assert (one.found, one.sources, one.failed) == ("k is 037", ("0",), None)
        assert [record.query for record in evidence.records] == ["k"]

    asyncio.run(both())
    assert searcher.asked == [("k", 3)]


@pytest.mark.parametrize(
    ("searcher", "why"),
    [
        (Told(fault=SearchError("503")), "503"),
        (Told(fault=RuntimeError("a bug of theirs")), "RuntimeError: a bug of theirs"),
        (Told(delay=30), "no answer within 0.05 s"),
        (None, "nothing to search in"),
    ],
)
def test_a_failure_is_a_record(searcher: Told | None, why: str) -> None:
    async def failing() -> None:
        evidence = Evidence(searcher, SearchLimits(seconds=0.05))
        record = await evidence.find("k")
        assert record.found is None
        assert record.failed is not None
        assert why in record.failed

    asyncio.run(failing())


def test_what_is_found_is_cut_to_the_limits() -> None:
    limits = SearchLimits(documents=2, characters=10, query=3)

    async def cut() -> None:
        evidence = Evidence(Told("a" * 1_000_000, "b" * 7, "c"), limits)
        record = await evidence.find("x")
        assert record.found == "a" * 10
        assert record.sources == ("0", "1")
        short = await Evidence(Told("aaa", "bbb", "ccc"), limits).find("x")
        assert short.found == "aaa\nbbb"
        long = await evidence.find("four")
        assert long.failed == "a query is at most 3 characters"
        nothing = await Evidence(Told("", " ")).find("x")
        assert (nothing.found, nothing.failed) == (None, None)

    asyncio.run(cut())


def test_a_judgement_that_is_over_takes_its_search_along() -> None:
    async def leaving() -> None:
        evidence = Evidence(Told(delay=30))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(evidence.find("k"), 0.05)
        await asyncio.sleep(0)
        assert evidence.records == ()

    asyncio.run(leaving())
