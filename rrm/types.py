"""The nouns every layer shares: a pair goes in, a verdict or a reason comes out."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Frozen(BaseModel):
    """An immutable value that refuses unknown fields: a misspelt one is an error, not silence."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OutcomePart(Frozen):
    """A part of an outcome. Readers ignore fields that they do not know."""

    model_config = ConfigDict(frozen=True, extra="ignore")


SCHEMA = 2
"""of outcomes. 2 tells tokens read, read from a cache and generated apart, and has nothing for an
order that was not read; 1, released as 0.1, said no number."""
Version = Annotated[int, Field(ge=1, description="of the outcome's schema; none was said in 1")]


class Message(Frozen):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


Prompt = str | tuple[Message, ...]
Preference = Literal["a", "b", "tie"]
Effort = Literal["none", "adaptive", "full"]


def prompt_text(prompt: Prompt) -> str:
    """The prompt as one text; several turns are labelled with who speaks."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return prompt[0].content
    names = {"system": "System", "user": "User", "assistant": "Assistant"}
    return "\n\n".join(f"{names[turn.role]}: {turn.content}" for turn in prompt)


class Pair(Frozen):
    """A prompt and two responses to it."""

    prompt: Prompt
    response_a: str
    response_b: str

    def swapped(self) -> Pair:
        """The same pair with the responses in the other order."""
        return self.model_copy(
            update={"response_a": self.response_b, "response_b": self.response_a}
        )

    @property
    def responses(self) -> tuple[str, str]:
        return (self.response_a, self.response_b)


class Candidates(Frozen):
    """A prompt and one or more responses to it."""

    prompt: Prompt
    responses: tuple[str, ...] = Field(min_length=1)


class Usage(OutcomePart):
    """What a judgement cost. Token counts cover every order that was read."""

    prompt_tokens: int = Field(0, description="tokens of the rendered prompts that were read")
    cached_tokens: int = Field(0, description="prompt tokens served from a cache")
    read_tokens: int = Field(
        0, description="tokens computed by reading: prompts that were read, and probes"
    )
    generated_tokens: int = Field(0, description="tokens generated, as thought or as a verdict")
    thinking_tokens: int = Field(0, description="tokens the model generated as thought")
    probe_tokens: int = Field(0, description="tokens appended to read a verdict, then dropped")
    searches: int = Field(0, description="searches made; one query of both orders is one")
    seconds: float = Field(0.0, description="wall-clock time, queueing included")

    def plus(self, other: Usage) -> Usage:
        """Both together; seconds add up."""
        return Usage(
            **{name: getattr(self, name) + getattr(other, name) for name in type(self).model_fields}
        )


At = int | Literal["query", "lead", "both", "votes"]
"""which checkpoint: its number on the ladder, the prompt alone being 0; or the leading chain asks
for a search; or it, or both, have closed by themselves; or more pairs of chains have voted"""


class Checkpoint(OutcomePart):
    """The verdict as it stood at one point of the chains."""

    at: At = Field(
        description="its number on the ladder, the prompt alone being 0; or the leading chain asks "
        "for a search; or lead, or both, have closed by themselves; or votes were taken"
    )
    searches: int = Field(0, description="answered in the leading chain so far")
    thinking_tokens: int = Field(description="generated so far, both orders together")
    margin: float = Field(
        description="what decides here; positive prefers a: the orders' mean margin, or the "
        "log-odds that a policy made of all margins seen"
    )
    margins: tuple[float | None, float | None] = Field(
        description="from the order a, b and from the order b, a; positive prefers a; null for an "
        "order that was not read"
    )
    probability: float = Field(description="that the side preferred here is right")
    agree: bool | None = Field(
        description="whether both orders prefer the same response; null where one was not read"
    )
    mass: float | None = Field(
        description="probability the labels hold together, the lowest of the orders that were read"
    )

    def mirrored(self) -> Checkpoint:
        """The checkpoint of the swapped pair."""
        first, second = self.margins
        turned = (None if second is None else -second, None if first is None else -first)
        return self.model_copy(update={"margin": -self.margin, "margins": turned})


class StopReason(StrEnum):
    """Why a judgement ended where it did."""

    MARGIN = "margin"
    """the policy was sure enough to stop before the chains ended"""
    TOO_CLOSE = "too_close_to_call"
    """so close that more thought was not worth its price: a tie"""
    UNPRODUCTIVE = "unproductive"
    """thought was measured not to help this judge, so it read the prompt alone"""
    SHORT = "short_mode"
    """a hybrid that has no calibration chose by its first token to answer without thought"""
    PLANNED = "as_planned"
    """the policy has one depth and one number of votes for every pair, and this was all of it"""
    ENDED = "chains_ended"
    """both chains closed by themselves"""
    VOTED = "voted"
    """whole chains left it open, so more pairs of chains voted"""
    TOKEN_LIMIT = "token_limit"  # noqa: S105 no password
    """the chains reached the token limit and were closed there"""
    NO_THOUGHT = "no_thought_asked"
    """effort=none: read from the prompt alone"""
    BUDGET_SPENT = "budget_spent"
    """the budget that it shares with other pairs had no more for it"""
    DEADLINE = "deadline"
    """the caller's time was up; the last checkpoint decided"""
    IDENTICAL = "identical_responses"
    """nothing to judge: the two responses are the same text"""
    AGREED = "orders_agreed"
    """both orders gave the same answer without thought, and there was nothing finer to go by"""
    PARSED = "parsed_text"
    """labels unreadable by probe; the finished text was parsed instead"""


class OrderReading(OutcomePart):
    """One order's last reading."""

    order: Literal["ab", "ba"]
    led: bool = Field(description="this order thought first, while the other waited")
    margin: float | None = Field(
        description="in this order, seen from a: positive prefers a; null if it was not read"
    )
    thinking_tokens: int
    forced: bool = Field(description="the chain was closed for it, not by it")
    chain: str | None = Field(None, description="the chain of thought, if asked for")
    think: float | None = Field(
        None, description="how likely a hybrid was to begin with thought; null for others"
    )


class Certificate(OutcomePart):
    """What a calibration is proved to keep, with probability 1 - delta over the labels it saw."""

    promises: Literal["accuracy", "self-agreement"] = Field(
        "accuracy",
        description="what is kept: accuracy by labels, or agreement with its own whole chains",
    )
    epsilon: float = Field(description="share of it lost against whole chains, at most")
    delta: float = Field(description="probability that the labels were misleading, at most")
    n: int = Field(description="labelled pairs that it rests on")
    lost: int = Field(description="of these, right with whole chains only")
    gained: int = Field(description="of these, right with the policy only")
    price: float = Field(description="accuracy that a token must bring, as a share")
    data: str = Field(description="sha256 of the labelled data")
    model: str = Field(description="sha256 of the weights")
    prompt_hash: str


class SearchRecord(OutcomePart):
    """One search of a judgement."""

    query: str = Field(description="as the judge wrote it")
    found: str | None = Field(description="what there was to read, in part; null for nothing")
    sources: tuple[str, ...] = Field((), description="where that stands, as the searcher says")
    failed: str | None = Field(None, description="why nothing came back")
    seconds: float = 0.0


class Provenance(OutcomePart):
    """What judged: enough to ask the same question again."""

    model: str
    style: str
    prompt_hash: str = Field(description="hash of the style's instruction text and markers")
    effort: Effort
    stopper: str = Field(description="which thresholds decided, or why none did")
    certificate: Certificate | None = Field(None, description="what early stopping cannot cost")
    notes: tuple[str, ...] = Field((), description="anything unusual, such as neutralised text")
    searches: tuple[SearchRecord, ...] = Field((), description="what it looked up, in order")


class Verdict(OutcomePart):
    """The judge decided."""

    kind: Literal["verdict"] = "verdict"
    version: Version = 1
    preferred: Preference
    probability: float = Field(
        ge=0.0, le=1.0, description="that the preferred side is right; 0.5 for a tie"
    )
    margin: float = Field(
        description="what decided; positive prefers a: the orders' mean margin, or where a policy "
        "stopped before both chains were whole, its log-odds that a is better"
    )
    orders_read: int = Field(2, ge=0, le=2, description="orders whose prompt was read")
    agree: bool | None = Field(
        description="both orders prefer the same response; null where one was not read"
    )
    reason: StopReason
    path: tuple[Checkpoint, ...]
    orders: tuple[OrderReading, ...]
    scores: tuple[float, float] | None = Field(
        None, description="expected scores of a and b, 1 to 10, where the style gives scores"
    )
    usage: Usage
    judge: Provenance

    @property
    def consistent(self) -> bool | None:
        """Whether the verdict stays when the responses swap places: both orders prefer the same.

        None unless both were read, and as deep as each other.
        """
        begun = {order.thinking_tokens > 0 for order in self.orders}
        ends = self.path[-1].at if self.path else "both"
        return self.agree if len(begun) == 1 or ends in ("both", "votes") else None

    def mirrored(self) -> Verdict:
        """The verdict of the swapped pair."""
        flipped: dict[Preference, Preference] = {"a": "b", "b": "a", "tie": "tie"}
        turned: dict[str, Literal["ab", "ba"]] = {"ab": "ba", "ba": "ab"}
        return self.model_copy(
            update={
                "preferred": flipped[self.preferred],
                "margin": -self.margin,
                "path": tuple(point.mirrored() for point in self.path),
                "orders": tuple(
                    o.model_copy(
                        update={
                            "order": turned[o.order],
                            "margin": None if o.margin is None else -o.margin,
                        }
                    )
                    for o in reversed(self.orders)
                ),
                "scores": None if self.scores is None else (self.scores[1], self.scores[0]),
            }
        )


UnscoredReason = Literal[
    "unparseable",
    "off_menu",
    "truncated",
    "order_conflict",
    "engine_error",
    "deadline",
    "budget",
    "refused",
]


class Unscored(OutcomePart):
    """The judge did not decide. Never counted as a tie, a loss, or a zero."""

    kind: Literal["unscored"] = "unscored"
    version: Version = 1
    reason: UnscoredReason
    detail: str
    usage: Usage
    judge: Provenance


Outcome = Annotated[Verdict | Unscored, Field(discriminator="kind")]


class Score(OutcomePart):
    """How good each response is, from 1 to 10."""

    kind: Literal["score"] = "score"
    version: Version = 1
    scores: tuple[float, ...] = Field(description="expected score of each response, 1 to 10")
    spread: float = Field(description="standard deviation of the first score's distribution")
    reason: StopReason
    thinking_tokens: int
    chain: str | None = None
    usage: Usage
    judge: Provenance


ScoreOutcome = Annotated[Score | Unscored, Field(discriminator="kind")]
