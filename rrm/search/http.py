"""Search by an HTTP endpoint.

`POST URL {"query": "…", "most": 3}` is answered by `{"documents": [{"text": "…", "source": "…"}]}`,
the best first; `source` may be left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx2
from pydantic import BaseModel, ValidationError

from rrm.errors import SearchError
from rrm.search.base import Document

MOST_BYTES = 262_144
"""of an answer; more is a failure"""


class Answer(BaseModel):
    """What an endpoint answers."""

    documents: tuple[Document, ...]


class HttpSearcher:
    """Asks `url`; a search is tried once, within the judgement's own limit of time."""

    def __init__(self, url: str) -> None:
        self.name = url

    async def search(self, query: str, most: int) -> Sequence[Document]:
        """Raises SearchError for an endpoint that is not there, refuses, or says something else."""
        body: dict[str, Any] = {"query": query, "most": most}
        try:
            # A client for each search: judges are called from more than one event loop.
            async with (
                httpx2.AsyncClient(timeout=None) as client,
                client.stream("POST", self.name, json=body) as answer,
            ):
                if answer.status_code != 200:
                    raise SearchError(f"{self.name} answered {answer.status_code}")
                content = await _read(answer)
        except httpx2.TransportError as failure:
            raise SearchError(f"{self.name}: {type(failure).__name__} {failure}") from None
        try:
            return Answer.model_validate_json(content).documents
        except ValidationError:
            shape = '{"documents": [{"text": "..."}]}'
            raise SearchError(f"{self.name} did not answer {shape}") from None


async def _read(answer: httpx2.Response) -> bytes:
    content = bytearray()
    async for piece in answer.aiter_bytes():
        content += piece
        if len(content) > MOST_BYTES:
            raise SearchError(f"an answer of more than {MOST_BYTES} bytes")
    return bytes(content)
