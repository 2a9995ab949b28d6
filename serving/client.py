"""`Client` and `AsyncClient`: a running service from Python, with the outcomes it gives.

Both need neither torch nor ray. `AsyncClient.judge(pair, asked)` is called like
`judges.pairwise.PairwiseJudge.judge`, so that either can stand behind a batch or a trainer.
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Self

import httpx2
import stamina
from pydantic import TypeAdapter, ValidationError

from judges.options import JudgeOptions, Watch
from rrm.decision.chains import ChainText
from rrm.types import Candidates, Checkpoint, Outcome, Pair, Score, ScoreOutcome, Unscored, Verdict
from serving.errors import RefusedRequest, ServiceError
from serving.schemas import JudgeList, Problem, ThoughtEvent

URL = "http://127.0.0.1:8000"
AGAIN = frozenset({429, 502, 503})
"""statuses that pass: the same request may succeed a little later"""
REFUSED = frozenset({400, 413, 422})
OUTCOMES: TypeAdapter[Verdict | Unscored] = TypeAdapter(Outcome)
SCORES: TypeAdapter[Score | Unscored] = TypeAdapter(ScoreOutcome)


class _Calls:
    """What both clients share: how a call is put, read, and tried again."""

    def __init__(
        self,
        url: str = URL,
        *,
        api_key: str | None = None,
        style: str | None = None,
        timeout: float = 300.0,
        tries: int = 8,
        patience: float = 60.0,
    ) -> None:
        """Nothing is called yet.

        api_key: default CLOSECALL_API_KEY of the environment. style: default the service's own.
        timeout: seconds for one call. tries, patience: how often, and for how many seconds, a call
        is made again that found the service overloaded, restarting or not there.
        """
        self.url, self.style, self.tries, self.patience = url.rstrip("/"), style, tries, patience
        key = api_key or os.environ.get("CLOSECALL_API_KEY")
        self._options: dict[str, Any] = {
            "base_url": self.url,
            "headers": {"authorization": f"Bearer {key}"} if key else {},
            "timeout": httpx2.Timeout(timeout, connect=10.0),
        }

    def _attempts(self) -> Any:
        return stamina.retry_context(
            _again, attempts=self.tries, timeout=self.patience, wait_initial=0.2, wait_max=10.0
        )

    def _judging(self, pair: Pair, options: JudgeOptions) -> dict[str, Any]:
        return {**pair.model_dump(), **self._fields(options)}

    def _scoring(self, candidates: Candidates, options: JudgeOptions) -> dict[str, Any]:
        return {**candidates.model_dump(), **self._fields(options)}

    def _fields(self, options: JudgeOptions) -> dict[str, Any]:
        return {
            "style": self.style,
            "effort": options.effort,
            "max_thinking_tokens": options.max_thinking_tokens,
            "return_chain": options.return_chain,
            "timeout": options.seconds,
            # Services before 0.2 know nothing of these two.
            **({} if options.evidence is None else {"evidence": options.evidence}),
            **({} if options.max_searches is None else {"max_searches": options.max_searches}),
        }


class Client(_Calls):
    """A running service, called from plain code. A context manager; safe for many threads."""

    def __init__(self, url: str = URL, **options: Any) -> None:
        super().__init__(url, **options)
        self._http = httpx2.Client(**self._options)

    def judge(
        self, pair: Pair, options: JudgeOptions = JudgeOptions(), watch: Watch | None = None
    ) -> Verdict | Unscored:
        """Which response of `pair` is better.

        watch: told thought and checkpoints as they come. Raises RefusedRequest for what cannot be
        judged, ServiceError if no outcome came.
        """
        body = self._judging(pair, options)
        if watch is None:
            return OUTCOMES.validate_python(self._call("POST", "/v1/judge", body))
        reader = _Events(watch)
        try:
            with self._http.stream("POST", "/v1/judge", json={**body, "stream": True}) as answer:
                if answer.status_code != 200:
                    answer.read()
                    raise _failure(answer)
                for piece in answer.iter_bytes():
                    reader.feed(piece)
        except httpx2.TransportError as failure:
            raise _unreachable(self.url, failure) from failure
        return reader.outcome()

    def score(
        self, candidates: Candidates, options: JudgeOptions = JudgeOptions()
    ) -> Score | Unscored:
        """A score from 1 to 10 for each response; raises as `judge` does."""
        body = self._scoring(candidates, options)
        return SCORES.validate_python(self._call("POST", "/v1/score", body))

    def judges(self) -> JudgeList:
        """The styles the service can be asked in."""
        return JudgeList.model_validate(self._call("GET", "/v1/judges"))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        for attempt in self._attempts():
            with attempt:
                try:
                    answer = self._http.request(method, path, json=body)
                except httpx2.TransportError as failure:
                    raise _unreachable(self.url, failure) from failure
                return _read(answer)
        raise AssertionError("stamina ended without a result")


class AsyncClient(_Calls):
    """A running service, called from asyncio. An async context manager."""

    def __init__(self, url: str = URL, **options: Any) -> None:
        super().__init__(url, **options)
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=100)
        self._http = httpx2.AsyncClient(limits=limits, **self._options)

    async def judge(
        self, pair: Pair, options: JudgeOptions = JudgeOptions(), watch: Watch | None = None
    ) -> Verdict | Unscored:
        """As `Client.judge`."""
        body = self._judging(pair, options)
        if watch is None:
            return OUTCOMES.validate_python(await self._call("POST", "/v1/judge", body))
        reader = _Events(watch)
        as_facts = self._http.stream("POST", "/v1/judge", json={**body, "stream": True})
        try:
            async with as_facts as answer:
                if answer.status_code != 200:
                    await answer.aread()
                    raise _failure(answer)
                async for piece in answer.aiter_bytes():
                    reader.feed(piece)
        except httpx2.TransportError as failure:
            raise _unreachable(self.url, failure) from failure
        return reader.outcome()

    async def score(
        self, candidates: Candidates, options: JudgeOptions = JudgeOptions()
    ) -> Score | Unscored:
        """As `Client.score`."""
        body = self._scoring(candidates, options)
        return SCORES.validate_python(await self._call("POST", "/v1/score", body))

    async def judges(self) -> JudgeList:
        """As `Client.judges`."""
        return JudgeList.model_validate(await self._call("GET", "/v1/judges"))

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _call(self, method: str, path: str, body: Any = None) -> Any:
        async for attempt in self._attempts():
            with attempt:
                try:
                    answer = await self._http.request(method, path, json=body)
                except httpx2.TransportError as failure:
                    raise _unreachable(self.url, failure) from failure
                return _read(answer)
        raise AssertionError("stamina ended without a result")


class _Events:
    """Reads server-sent events as they come.

    Lines end at a line feed, perhaps behind a carriage return: what else Unicode calls the end of
    a line may stand in a text.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._torn: list[bytes] = []
        self._name = ""
        self._found: Verdict | Unscored | None = None

    def feed(self, piece: bytes) -> None:
        """The next bytes of the stream."""
        *whole, rest = piece.split(b"\n")
        for line in whole:
            self._line(b"".join([*self._torn, line]).removesuffix(b"\r").decode())
            self._torn.clear()
        self._torn.append(rest)

    def _line(self, line: str) -> None:
        kind, _, value = line.partition(": ")
        if kind == "event":
            self._name = value
        elif kind == "data" and self._name == "thought":
            piece = ThoughtEvent.model_validate_json(value)
            self._watch(ChainText(piece.order, piece.text, piece.vote))
        elif kind == "data" and self._name == "checkpoint":
            self._watch(Checkpoint.model_validate_json(value))
        elif kind == "data" and self._name == "outcome":
            self._found = OUTCOMES.validate_json(value)
        elif kind == "data":
            problem = Problem.model_validate_json(value)
            raise ServiceError(problem.detail, problem.status)

    def outcome(self) -> Verdict | Unscored:
        if self._found is None:
            raise ServiceError("the stream ended without an outcome; ask again")
        return self._found


def _read(answer: httpx2.Response) -> Any:
    if answer.status_code != 200:
        raise _failure(answer)
    return answer.json()


def _failure(answer: httpx2.Response) -> Exception:
    """What an answer other than 200 says."""
    status = answer.status_code
    try:
        detail = Problem.model_validate_json(answer.content).detail
    except ValidationError:  # something between us and the service answered
        detail = answer.text[:200] or answer.reason_phrase
    if status in REFUSED:
        return RefusedRequest(detail)
    after = answer.headers.get("retry-after", "")
    return ServiceError(f"{status}: {detail}", status, float(after) if after.isdigit() else None)


def _unreachable(url: str, failure: httpx2.TransportError) -> ServiceError:
    if isinstance(failure, httpx2.ReadTimeout | httpx2.WriteTimeout):
        return ServiceError(f"{url} did not answer in time ({type(failure).__name__})", 504)
    return ServiceError(f"no service answers at {url} ({type(failure).__name__}: {failure})")


def _again(failure: Exception) -> bool | float:
    """Whether a call is worth making again; a number is after how many seconds."""
    if not isinstance(failure, ServiceError):
        return False
    if failure.status is None:
        return True
    return (failure.retry_after or True) if failure.status in AGAIN else False
