"""`POST /get_reward` as OpenRLHF 0.11 posts it (`openrlhf/utils/agent.py` of its wheel).

It sends one sample a post: the decoded prompt and response together, special tokens kept, and the
prompt again. It tries five times and then loses the sample, and a null or NaN kills the training.
So every answer is finite, and a judge that failed is told in `extra_logs`, never hidden in a score.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from rrm.types import Effort, Message, Prompt, Score, Unscored, Verdict
from serving.errors import ProblemError
from serving.middleware import note
from serving.routes import GatewayProtocol
from serving.schemas import SHORTEST, JudgeRequest, ScoreRequest, Text

MOST_SECONDS = 165.0
"""the client gives up after 180"""
SPECIAL = re.compile(
    r"<\|[^<>|\n]{1,40}\|>|<｜[^<>｜\n]{1,40}｜>|</?s>|<(?:bos|eos|pad|start_of_turn|end_of_turn)>"
)
"""chat and end tokens of the common model families"""
BEGINS = re.compile(f"(?:{SPECIAL.pattern}|\\s)*+")
EDGE = re.compile(
    r"<\|im_start\|>(?P<chatml>system|user|assistant)\n|(?P<chatml_end><\|im_end\|>)"
    r"|<\|start_header_id\|>(?P<llama>system|user|assistant)<\|end_header_id\|>\n\n"
    r"|(?P<llama_end><\|eot_id\|>)"
)
"""where a turn of ChatML (Qwen and others) or of Llama 3 begins and ends"""


class RewardRequest(BaseModel):
    """What OpenRLHF 0.11 posts: three lists of one length, in practice one."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "query": ["What is 345 + 278? It is 623."],
                    "prompts": ["What is 345 + 278?"],
                    "labels": ["623"],
                }
            ]
        }
    )

    query: Annotated[tuple[Text, ...], Field(min_length=1, max_length=256)]
    prompts: Annotated[tuple[Text, ...], Field(min_length=1, max_length=256)]
    labels: tuple[Any, ...] | None = None

    @model_validator(mode="after")
    def _one_length(self) -> RewardRequest:
        if len(self.prompts) != len(self.query) or len(self.labels or self.query) != len(
            self.query
        ):
            raise ValueError("query, prompts and labels must be of one length")
        return self


class RewardOptions(BaseModel):
    """How samples are rewarded: in the URL, since the trainer writes the body."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    style: str | None = Field(None, description="default: grm, if the model speaks it")
    effort: Effort = "adaptive"
    failed: float = Field(0.5, ge=0, le=1, description="stand-in where judging failed")


class RewardAnswer(BaseModel):
    """Finite always. `extra_logs.judge_failed` is 1 where the reward is only a stand-in."""

    rewards: tuple[float, ...]
    scores: tuple[float, ...]
    extra_logs: dict[str, tuple[float, ...]]


def router(gateway: GatewayProtocol, most_seconds: float) -> APIRouter:
    """The route of this trainer. most_seconds: that the service allows a request."""
    routes = APIRouter()

    @routes.post("/get_reward")
    async def get_reward(
        request: RewardRequest, options: Annotated[RewardOptions, Query()]
    ) -> RewardAnswer:
        """OpenRLHF's remote reward (`--reward.remote_url http://HOST:PORT/get_reward`).

        A score from 0 to 1 for each response, or, in a style that only compares, how probably it
        beats its label. `failed` is the stand-in where judging failed, which `extra_logs` tells.
        """
        seconds = min(MOST_SECONDS, most_seconds)
        return await RewardHandler(gateway, options, seconds).answer(request)

    return routes


@dataclass(frozen=True)
class Sample:
    """What is judged of one post."""

    prompt: Prompt
    response: str
    label: str | None


@dataclass(frozen=True)
class Reward:
    """One sample's reward, from 0 to 1; failed: why there is none, and `value` is a stand-in."""

    value: float
    thinking_tokens: int = 0
    failed: str | None = None


class RewardHandler:
    """Rewards posts by asking `gateway`. seconds: for all that one post needs.

    Without a style in the options it takes one that scores, if the model speaks one.
    """

    def __init__(self, gateway: GatewayProtocol, options: RewardOptions, seconds: float) -> None:
        self.gateway, self.options = gateway, options
        self.until = time.monotonic() + seconds

    async def answer(self, request: RewardRequest) -> RewardAnswer:
        """A finite reward for every sample."""
        samples = zip(request.query, request.prompts, request.labels or repeat(None), strict=False)
        rewards = await asyncio.gather(*(self._reward(*sample) for sample in samples))
        note(kind="reward", failed=[reward.failed for reward in rewards if reward.failed])
        values = tuple(reward.value for reward in rewards)
        return RewardAnswer(
            rewards=values,
            scores=values,
            extra_logs={
                "judge_failed": tuple(float(reward.failed is not None) for reward in rewards),
                "thinking_tokens": tuple(float(reward.thinking_tokens) for reward in rewards),
            },
        )

    async def _reward(self, query: str, prompt: str, label: object) -> Reward:
        """Waits its turn where other callers are sent away."""
        try:
            sample = await asyncio.to_thread(read_sample, query, prompt, label)
        except ValueError as fault:
            return Reward(self.options.failed, failed=str(fault))
        while (left := self.until - time.monotonic()) > SHORTEST:
            try:
                return value_of(await self._judge(sample, left), self.options.failed)
            except ProblemError as problem:
                if problem.problem.status not in (429, 503):
                    return Reward(self.options.failed, failed=problem.problem.title)
                await asyncio.sleep(min(0.5, left))
        return Reward(self.options.failed, failed="the service was too busy")

    async def _judge(self, sample: Sample, seconds: float) -> Verdict | Score | Unscored:
        """Scored by a style that scores, else compared with its label. Raises ProblemError."""
        judges = {info.style: info for info in (await self.gateway.judges()).judges}
        scoring = [info.style for info in judges.values() if info.scores]
        style = self.options.style or next(iter(scoring), None)
        common: dict[str, Any] = {
            "prompt": sample.prompt,
            "style": style,
            "effort": self.options.effort,
            "timeout": seconds,
        }
        if style in scoring:
            return await self.gateway.score(ScoreRequest(responses=(sample.response,), **common))
        if sample.label is None:
            raise ProblemError(422, "no label to compare with, and the style only compares", "")
        return await self.gateway.judge(
            JudgeRequest(response_a=sample.response, response_b=sample.label, **common)
        )


def read_sample(query: str, prompt: str, label: object) -> Sample:
    """Take prompt and response apart. Raises ValueError if the query does not hold its prompt."""
    before, found, rest = query.partition(prompt) if prompt else ("", "", "")
    if not found or SPECIAL.sub("", before).strip():
        raise ValueError("the query does not begin with its prompt")
    response = _bare(rest)
    if not response:
        raise ValueError("the response is empty")
    return Sample(_turns(prompt), response, label if isinstance(label, str) and label else None)


def value_of(outcome: Verdict | Score | Unscored, stand_in: float) -> Reward:
    """A score from 1 to 10 becomes 0 to 1; a verdict, how probably the response beats the label."""
    tokens = outcome.usage.thinking_tokens
    if isinstance(outcome, Unscored):
        return Reward(stand_in, tokens, f"{outcome.reason}: {outcome.detail}")
    if isinstance(outcome, Score):
        return Reward((outcome.scores[0] - 1) / 9, tokens)
    sure = outcome.probability
    return Reward(1 - sure if outcome.preferred == "b" else sure, tokens)


def _templated(prompt: str) -> Iterator[Message]:
    """The turns that a chat template wrote, in one pass; one that never ends is none."""
    edges = list(EDGE.finditer(prompt))
    last = {edge.lastgroup: edge.start() for edge in edges}  # of each kind of end
    opened: re.Match[str] | None = None
    for edge in edges:
        kind = edge.lastgroup or ""
        if opened is not None and kind == f"{opened.lastgroup}_end":
            content = prompt[opened.end() : edge.start()].strip()
            yield Message.model_validate(
                {"role": opened[opened.lastgroup or 0], "content": content}
            )
            opened = None
        elif opened is None and not kind.endswith("_end"):
            opened = edge if last.get(f"{kind}_end", -1) > edge.start() else None


def _bare(text: str) -> str:
    """Without special tokens at either end; those within are the judge's to neutralise."""
    begins = BEGINS.match(text)
    start, end = begins.end() if begins else 0, len(text.rstrip())
    for special in reversed(list(SPECIAL.finditer(text, start))):
        if special.end() != end:
            break
        end = special.start()
        while end > start and text[end - 1].isspace():
            end -= 1
    return text[start:end]


def _turns(prompt: str) -> Prompt:
    """A templated prompt as its turns, any other as its text."""
    kept = tuple(turn for turn in _templated(prompt) if turn.content)
    # A template's standing system line is no part of the question.
    question = kept if len(kept) > 2 else tuple(turn for turn in kept if turn.role != "system")
    return question or SPECIAL.sub("", prompt).strip()
