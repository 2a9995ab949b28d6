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
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

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
from rrm.engines.openai_chat import UNTOLD, ChatEndpoint, ChatReply, RequestRefused, TextSequence
from rrm.errors import EngineError, PromptTooLong
from rrm.prompt import Rendered, Turn
from rrm.style import LabelLogprobs

TOPS = (20, 5)
"""likeliest tokens to ask for: what most allow at most, else what all do"""
UNLIKELY = -12.0
"""log-probability under which a token is not followed further"""


@dataclass(frozen=True)
class Abilities:
    """What an endpoint can do. None: not known yet."""

    logprobs: bool | None = None
    """tells the likeliest next tokens with their log-probabilities"""
    prefill: bool | None = None
    """continues an assistant turn it is handed"""


class OpenAIEngine:
    """`openai:MODEL` at `options.base_url`, such as http://127.0.0.1:8000/v1.

    Raises EngineError if nobody answers there or the model is not served.
    """

    def __init__(self, model: str, options: EngineOptions) -> None:
        if options.base_url is None:
            raise ValueError("an OpenAI-compatible endpoint needs a base URL: http://HOST:PORT/v1")
        self.url, self.card = f"openai:{model}", ModelCard(name=model)
        self.control: frozenset[str] = frozenset()  # not told; the sanitizer knows the usual ones
        self._top = TOPS[0]
        self._loop = LoopThread("openai")
        self.endpoint = self._loop.wait(_opened(options.base_url.rstrip("/"), model, options))
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

    def begin(self, sequence: TokenSequence, opening: str) -> None:
        asked = _text_sequence(sequence)
        asked.rendered = replace(asked.rendered, opening=asked.rendered.opening + opening)

    def append(self, sequence: TokenSequence, text: str) -> None:
        """How many tokens it is nobody tells, so they are not counted."""
        asked = _text_sequence(sequence)
        asked.text += text
        asked.known, asked.resumed, asked.paused = len(asked.text), len(asked.ids), False

    async def probe(self, requests: Sequence[ProbeRequest]) -> list[ProbeResult]:
        if not self.can_probe:
            raise EngineError("this endpoint cannot be probed: " + self.lacks())
        return list(await self._loop.run(_all([self._probe(request) for request in requests])))

    async def extend(self, requests: Sequence[ExtendRequest]) -> None:
        await self._loop.run(_all([self._grow(request) for request in requests]))

    async def check(self) -> None:
        return None  # somebody else's server: a new replica would not mend it

    def close(self) -> None:
        self._loop.wait(self.endpoint.close(), timeout=5)
        self._loop.close()

    def lacks(self) -> str:
        """What is missing for probing."""
        missing = []
        if not self.abilities.logprobs:
            missing.append("tells no log-probabilities")
        if not self.abilities.prefill:
            missing.append("does not continue an assistant turn")
        return f"{self.endpoint.base} {' and '.join(missing)}"

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
        self,
        sequence: TextSequence,
        suffix: str,
        prefix: str,
        labels: Sequence[str],
        logprob: float,
    ) -> tuple[dict[str, float], int, float]:
        """Probability of each of `labels`, all of which go on from `prefix`, which has `logprob`.

        Also how many calls that took, and the log-probability of the least likely token told, than
        which no other label is likelier. A label that begins another ("1" and "10") counts only
        where the other does not follow.
        """
        reply = await self.endpoint.chat(sequence, 1, after=suffix + prefix, top=self._top)
        found: dict[str, float] = {}
        calls = 1
        for token, value in reply.top.items():
            whole, share = prefix + token, math.exp(logprob + value)
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
            raise EngineError(f"{self.endpoint.base} told no log-probabilities this time")
        return found, calls, logprob + min(reply.top.values())

    # -- growing ----------------------------------------------------------------------------------

    async def _grow(self, request: ExtendRequest) -> None:
        sequence = _text_sequence(request.sequence)
        if not request.grows:
            return
        if sequence.text and not self.abilities.prefill:
            raise EngineError(f"{self.endpoint.base} does not continue an assistant turn")
        reply = await self._as_far_as_it_goes(sequence, request)
        sequence.text += reply.text
        sequence.ids += [UNTOLD] * reply.tokens
        ends = [
            (end, stop)
            for stop in request.stops
            if (end := sequence.text.find(stop, sequence.known)) >= 0
        ]
        if ends:
            end, stop = min(ends)
            sequence.text = sequence.text[: end + len(stop)]
            request.met(stop)
        elif reply.reason == "stop":
            met = _stopped_by(request, sequence, reply)
            if met is None:
                sequence.finish = "eos"
            else:
                sequence.text += met
                request.met(met)

    async def _as_far_as_it_goes(self, sequence: TextSequence, request: ExtendRequest) -> ChatReply:
        """Servers refuse to begin what might outgrow the context; ask for less then."""
        tokens = request.tokens
        while True:
            try:
                return await self.endpoint.chat(sequence, tokens, request.stops)
            except PromptTooLong:
                if tokens == 1:
                    raise
                tokens //= 2

    # -- opening ----------------------------------------------------------------------------------

    async def _discover(self, declared: Abilities) -> Abilities:
        """Ask for one token in a few ways. Raises EngineError if there is nobody to ask."""
        listed = await self.endpoint.models()
        if listed and self.endpoint.model not in listed:
            there = ", ".join(sorted(listed)[:8])
            raise EngineError(
                f"{self.endpoint.base} serves no model {self.endpoint.model!r}; there are: {there}"
            )
        asking = Rendered((Turn(role="user", content="Say A."),), "")
        sequence = TextSequence(prompt_ids=[], rendered=asking)
        plain = await self.endpoint.chat(sequence, 1)
        logprobs, prefill = declared.logprobs, declared.prefill
        if logprobs is None:
            self._top = await _likeliest(self.endpoint, sequence)
            logprobs = self._top > 0
        if prefill is None:
            try:
                begun = await self.endpoint.chat(sequence, 1, after="A")
                # A turn that is continued is longer by its one token; one that is taken for a
                # finished turn brings the end of the turn and the head of the next one along.
                prefill = 0 < begun.prompt_tokens - plain.prompt_tokens <= 2
            except RequestRefused:
                prefill = False
        return Abilities(logprobs, prefill)


async def _likeliest(endpoint: ChatEndpoint, sequence: TextSequence) -> int:
    """How many of the likeliest tokens it tells; 0: none."""
    for top in TOPS:
        try:
            if (await endpoint.chat(sequence, 1, top=top)).top:
                return top
            return 0
        except RequestRefused:
            continue
    return 0


async def _opened(base: str, model: str, options: EngineOptions) -> ChatEndpoint:
    """In the loop that it will be used in."""
    return ChatEndpoint(base, model, options.api_key)


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


def _stopped_by(request: ExtendRequest, sequence: TextSequence, reply: ChatReply) -> str | None:
    """The stop string before which a reply ends; None: its turn is over.

    An endpoint that does not say what stopped it is taken to have met one that it was given: the
    one that closes a query, where a query is open.
    """
    if reply.names_stop:
        return next((stop for stop in request.stops if reply.matched == stop), None)
    said, pause = sequence.text[sequence.known :], request.pause
    if pause is not None and said.rfind(pause.opening) > said.rfind(pause.close):
        return pause.close
    return request.stop


async def _all(work: Sequence[Any]) -> list[Any]:
    return list(await asyncio.gather(*work))


def _text_sequence(sequence: TokenSequence) -> TextSequence:
    if not isinstance(sequence, TextSequence):
        raise TypeError("this sequence was started by another engine")
    return sequence
