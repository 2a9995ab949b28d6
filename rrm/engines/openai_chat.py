"""Calls of an OpenAI-compatible chat endpoint: made again while it is busy, read with care."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2
import stamina

from rrm.engines.base import TokenSequence
from rrm.errors import EngineError, PromptTooLong
from rrm.prompt import Rendered

UNTOLD = -1
"""stands for a token whose id the server does not tell"""
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


class RequestRefused(EngineError):
    """The server does not take this request. status: its HTTP status."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(f"{status}: {why}")
        self.status = status


@dataclass
class TextSequence(TokenSequence):
    """A chain of which only the text is known. ids: one UNTOLD for each token."""

    rendered: Rendered = field(default_factory=lambda: Rendered((), ""))
    known: int = 0
    """characters of `text` when something was last put in"""


@dataclass(frozen=True)
class ChatReply:
    """What the endpoint answered to one call."""

    text: str
    tokens: int
    prompt_tokens: int
    cached_tokens: int
    reason: str
    """finish_reason: stop, length, …"""
    names_stop: bool
    """whether the server says what stopped it"""
    matched: Any
    """that: a stop string; a token or None for the end of the turn"""
    top: Mapping[str, float] = field(default_factory=dict)
    """the likeliest first tokens"""


class ChatEndpoint:
    """`base`/chat/completions for one model. Belongs to one event loop.

    counts: what the server said it did, in tokens.
    """

    def __init__(self, base: str, model: str, key: str | None) -> None:
        self.base, self.model = base, model
        self.prompt_tokens = self.cached_tokens = self.generated_tokens = 0
        """as the server counted them"""
        self._extras = True
        """whether it takes fields that OpenAI's own endpoint refuses"""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx2.Limits(max_connections=CONNECTIONS, keepalive_expiry=2)
        self._client = httpx2.AsyncClient(timeout=TIMEOUT, headers=headers, limits=limits)

    async def close(self) -> None:
        await self._client.aclose()

    async def models(self) -> set[str]:
        """The models served; none if the endpoint does not say."""
        try:
            answer = await self._call("GET", "/models", None)
        except RequestRefused as refusal:
            if refusal.status in (401, 403):
                raise
            return set()
        models = answer.get("data") or []
        return {str(model.get("id")) for model in models if isinstance(model, dict)}

    async def chat(
        self,
        sequence: TextSequence,
        tokens: int,
        stops: Sequence[str] = (),
        after: str = "",
        top: int = 0,
    ) -> ChatReply:
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
        if stops:
            body["stop"] = list(stops)
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
            except RequestRefused as refusal:
                if refusal.status not in (400, 422) or _too_long(str(refusal)):
                    raise
        answer = await self._call("POST", "/chat/completions", body)
        self._extras = False  # without them it went
        return self._read(sequence, answer)

    def _read(self, sequence: TextSequence, answer: Mapping[str, Any]) -> ChatReply:
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
            reply = ChatReply(
                text=text,
                tokens=int(usage.get("completion_tokens") or 0),
                prompt_tokens=int(usage.get("prompt_tokens") or 0),
                cached_tokens=int(details.get("cached_tokens") or 0),
                reason=str(choice.get("finish_reason")),
                names_stop="matched_stop" in choice or "stop_reason" in choice,
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
            raise RequestRefused(answer.status_code, answer.text[:300])
        try:
            return answer.json()
        except ValueError:
            raise EngineError(f"{self.base}{path} answered no JSON: {answer.text[:200]}") from None


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
    lower = text.lower()
    return "context" in lower and any(
        word in lower for word in ("length", "exceed", "longer", "maxim")
    )
