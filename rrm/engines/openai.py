"""Any OpenAI-compatible chat endpoint as an engine: vLLM, SGLang, llama.cpp, Ollama, hosted ones.

What an endpoint can do is found out when it is opened, or declared. One that gives the
log-probabilities of next tokens and continues an assistant turn it is handed can be probed: the
sequence and a suffix are put into the assistant's turn, and one token is asked for. Any other can
only be asked for whole replies (`can_probe` is false), which is for the judge to know.

No tokenizer is needed, and none is known: a sequence is text, its token count is what the server
says, and its ids are UNTOLD. Labels are read among the likeliest next tokens, by their text.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2
import stamina

from rrm.engines.base import (
    EngineOptions,
    ExtendRequest,
    ProbeRequest,
    ProbeResult,
    Sampling,
    TokenSequence,
)
from rrm.engines.card import ModelCard
from rrm.engines.http import LoopThread
from rrm.errors import EngineError, PromptTooLong
from rrm.style import LabelLogprobs, Rendered, Turn

UNTOLD = -1
"""stands for a token whose id the server does not tell"""
TOPS = (20, 5)
"""likeliest tokens to ask for: what most allow at most, else what all do"""
UNLIKELY = -12.0
"""log-probability under which a token is not followed further"""
ATTEMPTS = 6
CONNECTIONS = 64
TIMEOUT = 600.0
"""seconds of one call; callers have deadlines of their own"""
CONTINUE = {"continue_final_message": True, "add_generation_prompt": False}
"""how vLLM and SGLang are told to continue the assistant's turn; others do it unasked"""
ALL_TEXT = {"skip_special_tokens": False}
"""the same for a stop string that is a special token, such as </think>"""


class _TryAgain(Exception):
    """The server is busy or was not reached. wait: seconds it asked for."""

    def __init__(self, why: str, wait: float | None) -> None:
        super().__init__(why)
        self.wait = wait


class _Refused(EngineError):
    """The server does not take this request. status: its HTTP status."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(f"{status}: {why}")
        self.status = status


@dataclass(frozen=True)
class Abilities:
    """What an endpoint can do. None: not known yet."""

    logprobs: bool | None = None
    """tells the likeliest next tokens with their log-probabilities"""
    prefill: bool | None = None
    """continues an assistant turn it is handed"""


@dataclass
class TextSequence(TokenSequence):
    """A chain of which only the text is known. ids: one UNTOLD for each token."""

    rendered: Rendered = field(default_factory=lambda: Rendered((), ""))


@dataclass(frozen=True)
class _Reply:
    text: str
    tokens: int
    prompt_tokens: int
    cached_tokens: int
    reason: str
    """finish_reason: stop, length, …"""
    told: bool
    """whether the server says what stopped it"""
    matched: Any
    """that: a stop string; a token or None for the end of the turn"""
    top: Mapping[str, float] = field(default_factory=dict)
    """the likeliest first tokens"""


class OpenAIEngine:
    """`openai:MODEL` at `options.base_url`, such as http://127.0.0.1:8000/v1.

    Raises EngineError if nobody answers there or the model is not served.
    """

    def __init__(self, model: str, options: EngineOptions) -> None:
        if options.base_url is None:
            raise ValueError("an OpenAI-compatible endpoint needs a base URL: http://HOST:PORT/v1")
        self.model = model
        self.base = options.base_url.rstrip("/")
        self.url = f"openai:{model}"
        self.card = ModelCard(name=model)
        self.control: frozenset[str] = frozenset()  # not told; the fence knows the usual ones
        self.prompt_tokens = self.cached_tokens = self.generated_tokens = 0
        """as the server counted them"""
        self._extras = True
        """whether it takes fields that OpenAI's own endpoint refuses"""
        self._top = TOPS[0]
        self._loop = LoopThread("openai")
        self._client = self._loop.wait(self._open(options.api_key))
        try:
            declared = Abilities(options.logprobs, options.prefill)
            self.abilities = self._loop.wait(self._discover(declared))
        except BaseException:
            self.close()
            raise

    @property
    def can_probe(self) -> bool:
        return bool(self.abilities.logprobs and self.abilities.prefill)

    # -- the protocol -----------------------------------------------------------------------------

    def start(self, rendered: Rendered, sampling: Sampling = Sampling()) -> TokenSequence:
        return TextSequence(prompt_ids=[], sampling=sampling, rendered=rendered)

    async def probe(self, requests: Sequence[ProbeRequest]) -> list[ProbeResult]:
        if not self.can_probe:
            raise EngineError("this endpoint cannot be probed: " + self.lacks())
        return list(await self._loop.run(_all([self._probe(request) for request in requests])))

    async def extend(self, requests: Sequence[ExtendRequest]) -> None:
        await self._loop.run(_all([self._grow(request) for request in requests]))

    async def check(self) -> None:
        return None  # somebody else's server: a new replica would not mend it

    def close(self) -> None:
        self._loop.wait(self._client.aclose(), timeout=5)
        self._loop.close()

    def lacks(self) -> str:
        """What is missing for probing."""
        missing = []
        if not self.abilities.logprobs:
            missing.append("tells no log-probabilities")
        if not self.abilities.prefill:
            missing.append("does not continue an assistant turn")
        return f"{self.base} {' and '.join(missing)}"

    # -- probing ----------------------------------------------------------------------------------

    async def _probe(self, request: ProbeRequest) -> ProbeResult:
        sequence = _text_sequence(request.sequence)
        shares, calls, least = await self._shares(sequence, request.suffix, "", request.labels, 0.0)
        seen = {
            label: math.log(share) if (share := shares.get(label, 0.0)) > 0 else least
            for label in request.labels
        }
        return ProbeResult(LabelLogprobs(seen), calls)

    async def _shares(
        self, sequence: TextSequence, suffix: str, said: str, labels: Sequence[str], logprob: float
    ) -> tuple[dict[str, float], int, float]:
        """Probability of each of `labels`, all of which go on from `said`, which has `logprob`;
        how many calls that took; and the log-probability of the least likely token told, than
        which no other label is likelier.

        A label that begins another ("1" and "10") counts only where the other does not follow.
        """
        reply = await self._chat(sequence, 1, None, after=suffix + said, top=self._top)
        found: dict[str, float] = {}
        calls = 1
        for token, value in reply.top.items():
            whole, share = said + token, math.exp(logprob + value)
            longer = [label for label in labels if label.startswith(whole) and label != whole]
            inner: dict[str, float] = {}
            if longer and token and logprob + value > UNLIKELY:
                inner, more, _ = await self._shares(
                    sequence, suffix, whole, longer, logprob + value
                )
                calls += more
            for label, part in inner.items():
                found[label] = found.get(label, 0.0) + part
            meant = _meant(whole, labels)
            if meant is not None:
                found[meant] = found.get(meant, 0.0) + max(0.0, share - sum(inner.values()))
        if not reply.top:
            raise EngineError(f"{self.base} told no log-probabilities this time")
        return found, calls, logprob + min(reply.top.values())

    # -- growing ----------------------------------------------------------------------------------

    async def _grow(self, request: ExtendRequest) -> None:
        sequence = _text_sequence(request.sequence)
        ended = sequence.finish == "eos" or (sequence.finish == "stop" and request.stop is not None)
        if ended or request.tokens <= 0:
            return
        if sequence.text and not self.abilities.prefill:
            raise EngineError(f"{self.base} does not continue an assistant turn")
        reply = await self._as_far_as_it_goes(sequence, request)
        sequence.text += reply.text
        sequence.ids += [UNTOLD] * reply.tokens
        if request.stop is not None and request.stop in sequence.text:
            sequence.text = sequence.text[: sequence.text.index(request.stop) + len(request.stop)]
            sequence.finish = "stop"
        elif reply.reason == "stop":
            # The reply ends before its stop string; an endpoint that does not say what stopped
            # it is taken to have met the one that it was given.
            if request.stop is not None and (reply.matched == request.stop or not reply.told):
                sequence.text += request.stop
                sequence.finish = "stop"
            else:
                sequence.finish = "eos"

    async def _as_far_as_it_goes(self, sequence: TextSequence, request: ExtendRequest) -> _Reply:
        """Servers refuse to begin what might outgrow the context; ask for less then."""
        tokens = request.tokens
        while True:
            try:
                return await self._chat(sequence, tokens, request.stop)
            except PromptTooLong:
                if tokens == 1:
                    raise
                tokens //= 2

    # -- the wire ---------------------------------------------------------------------------------

    async def _open(self, key: str | None) -> httpx2.AsyncClient:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx2.Limits(max_connections=CONNECTIONS, keepalive_expiry=2)
        return httpx2.AsyncClient(timeout=TIMEOUT, headers=headers, limits=limits)

    async def _discover(self, declared: Abilities) -> Abilities:
        """Ask for one token in a few ways. Raises EngineError if there is nobody to ask."""
        listed = await self._list()
        if listed and self.model not in listed:
            there = ", ".join(sorted(listed)[:8])
            raise EngineError(f"{self.base} serves no model {self.model!r}; there are: {there}")
        asking = Rendered((Turn(role="user", content="Say A."),), "")
        sequence = TextSequence(prompt_ids=[], rendered=asking)
        plain = await self._chat(sequence, 1, None)
        logprobs, prefill = declared.logprobs, declared.prefill
        if logprobs is None:
            logprobs = await self._tells_logprobs(sequence)
        if prefill is None:
            try:
                begun = await self._chat(sequence, 1, None, after="A")
                # A turn that is continued is longer by its one token; one that is taken for a
                # finished turn brings the end of the turn and the head of the next one along.
                prefill = 0 < begun.prompt_tokens - plain.prompt_tokens <= 2
            except _Refused:
                prefill = False
        return Abilities(logprobs, prefill)

    async def _tells_logprobs(self, sequence: TextSequence) -> bool:
        for top in TOPS:
            self._top = top
            try:
                return bool((await self._chat(sequence, 1, None, top=top)).top)
            except _Refused:
                continue
        return False

    async def _list(self) -> set[str]:
        """The models served; none if the endpoint does not say."""
        try:
            answer = await self._call("GET", "/models", None)
        except _Refused as refusal:
            if refusal.status in (401, 403):
                raise
            return set()
        models = answer.get("data") or []
        return {str(model.get("id")) for model in models if isinstance(model, dict)}

    async def _chat(
        self,
        sequence: TextSequence,
        tokens: int,
        stop: str | None,
        after: str = "",
        top: int = 0,
    ) -> _Reply:
        """One call. after: text behind the sequence; top: how many likeliest tokens to tell."""
        turns = [turn.model_dump() for turn in sequence.rendered.messages]
        begun = sequence.rendered.opening + sequence.text + after
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": tokens,
            "temperature": sequence.sampling.temperature,
        }
        if sequence.sampling.temperature > 0:
            body["seed"] = sequence.sampling.seed % 2**31
        if stop is not None:
            body["stop"] = [stop]
        if top:
            body |= {"logprobs": True, "top_logprobs": top, "temperature": 0}
        if begun:
            turns = [*turns, {"role": "assistant", "content": begun}]
        body["messages"] = turns
        extras = {**ALL_TEXT, **(CONTINUE if begun else {})}
        if self._extras:
            try:
                return self._read(
                    sequence, await self._call("POST", "/chat/completions", body | extras)
                )
            except _Refused as refusal:
                if refusal.status not in (400, 422) or _too_long(str(refusal)):
                    raise
        answer = await self._call("POST", "/chat/completions", body)
        self._extras = False  # without them it went
        return self._read(sequence, answer)

    def _read(self, sequence: TextSequence, answer: Mapping[str, Any]) -> _Reply:
        try:
            choice = answer["choices"][0]
            message = choice["message"]
            usage = answer.get("usage") or {}
            thought = message.get("reasoning_content") or message.get("reasoning") or ""
            text = message.get("content") or ""
            if thought:
                text = f"<think>{thought}</think>{text}"
            content = (choice.get("logprobs") or {}).get("content") or []
            top = {
                str(one["token"]): float(one["logprob"])
                for one in (content[0].get("top_logprobs") or [] if content else [])
            }
            details = usage.get("prompt_tokens_details") or {}
            reply = _Reply(
                text=text,
                tokens=int(usage.get("completion_tokens") or 0),
                prompt_tokens=int(usage.get("prompt_tokens") or 0),
                cached_tokens=int(details.get("cached_tokens") or 0),
                reason=str(choice.get("finish_reason")),
                told="matched_stop" in choice or "stop_reason" in choice,
                matched=choice.get("matched_stop", choice.get("stop_reason")),
                top=top,
            )
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as failure:
            raise EngineError(f"{self.base} gave a reply that is no chat completion") from failure
        if not sequence.prompt_ids:
            sequence.prompt_ids = [UNTOLD] * reply.prompt_tokens
            sequence.cached_tokens = reply.cached_tokens
        self.prompt_tokens += reply.prompt_tokens
        self.cached_tokens += reply.cached_tokens
        self.generated_tokens += reply.tokens
        return reply

    async def _call(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        """Made again when the server is busy or was not reached, as late as it asks for."""
        try:
            async for attempt in stamina.retry_context(
                on=_wait, attempts=ATTEMPTS, timeout=None, wait_initial=0.2, wait_max=20.0
            ):
                with attempt:
                    return await self._once(method, path, body)
        except _TryAgain as failure:
            raise EngineError(f"{self.base}{path}: {failure}") from None
        raise AssertionError("stamina ended without a result")

    async def _once(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        try:
            answer = await self._client.request(method, f"{self.base}{path}", json=body)
        except httpx2.TransportError as failure:
            raise _TryAgain(f"{type(failure).__name__} {failure}", None) from None
        if answer.status_code == 429 or answer.status_code >= 500:
            raise _TryAgain(f"{answer.status_code} {answer.text[:300]}", _retry_after(answer))
        if answer.status_code >= 400:
            if _too_long(answer.text):
                raise PromptTooLong(f"{self.model} takes no prompt so long: {answer.text[:300]}")
            raise _Refused(answer.status_code, answer.text[:300])
        try:
            return answer.json()
        except ValueError:
            raise EngineError(f"{self.base}{path} answered no JSON: {answer.text[:200]}") from None


def open_engine(model: str, options: EngineOptions) -> OpenAIEngine:
    """model: the name that the endpoint serves it under. See `rrm.engines.registry`."""
    return OpenAIEngine(model, options)


def _meant(text: str, labels: Sequence[str]) -> str | None:
    """The label that `text` is, or runs over the end of: "A]]" means A, but 12 does not mean 1."""
    over = [
        label
        for label in labels
        if text == label or (text.startswith(label) and not text[len(label)].isalnum())
    ]
    return max(over, key=len, default=None)


async def _all(work: Sequence[Any]) -> list[Any]:
    return list(await asyncio.gather(*work))


def _wait(failure: Exception) -> bool | float:
    """Whether to try again, and after how many seconds if the server said so."""
    if not isinstance(failure, _TryAgain):
        return False
    if failure.wait is None:
        return True
    return failure.wait + random.random()  # not all at once


def _retry_after(answer: httpx2.Response) -> float | None:
    try:
        return min(60.0, max(0.0, float(answer.headers["retry-after"])))
    except (KeyError, ValueError):
        return None


def _too_long(text: str) -> bool:
    said = text.lower()
    return "context" in said and any(
        word in said for word in ("length", "exceed", "longer", "maxim")
    )


def _text_sequence(sequence: TokenSequence) -> TextSequence:
    if not isinstance(sequence, TextSequence):
        raise TypeError("this sequence was started by another engine")
    return sequence
