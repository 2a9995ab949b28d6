"""What goes over the wire: requests, problems, what is served. Unknown fields are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from judges.options import JudgeOptions
from judges.styles.score import MOST_RESPONSES
from rrm.types import Candidates, Effort, Message, Pair, Prompt


def _not_blank(prompt: Prompt) -> Prompt:
    texts = [prompt] if isinstance(prompt, str) else [turn.content for turn in prompt]
    if not any(text.strip() for text in texts):
        raise ValueError("the prompt is empty; give the text the responses answer")
    return prompt


def _unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is no text; send valid Unicode") from None
    return text


Text = Annotated[str, AfterValidator(_unicode)]
PromptField = Annotated[
    Text | Annotated[tuple[Message, ...], Field(min_length=1, max_length=200)],
    AfterValidator(_not_blank),
    Field(description="the text that the responses answer, or a conversation"),
]
Response = Annotated[Text, Field(description="one response, as it was written")]
ThinkingLimit = Annotated[
    int | None, Field(ge=0, le=1_000_000, strict=True, description="for both orders together")
]


MOST_TEXTS = 1_000
"""to search in, in one request"""
SHORTEST = 0.5
"""seconds; with less, no answer could come back in time"""


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    style: str | None = Field(None, description="one of GET /v1/judges; default: the service's")
    effort: Effort = Field(
        "adaptive",
        description="none: from the prompt alone; adaptive: as much as the pair needs; "
        "full: whole chains",
    )
    max_thinking_tokens: ThinkingLimit = None
    return_chain: bool = Field(False, strict=True, description="send the chain of thought back")
    evidence: str | Annotated[tuple[Text, ...], Field(max_length=MOST_TEXTS)] | None = Field(
        None,
        description="to search in while it thinks: texts, or the name of one of the service's "
        "searchers; none: the service's own, if it has one",
    )
    max_searches: int | None = Field(None, ge=0, le=100, strict=True, description="of each chain")
    timeout: float | None = Field(
        None,
        ge=SHORTEST,
        strict=True,
        le=3600,
        description="seconds; when they are over, a pair gets the verdict of its last checkpoint",
    )

    @property
    def options(self) -> JudgeOptions:
        """As a judge takes them; its seconds are for who knows the time to say."""
        return JudgeOptions(
            self.effort,
            self.max_thinking_tokens,
            self.return_chain,
            evidence=self.evidence,
            max_searches=self.max_searches,
        )


class JudgeRequest(_Request):
    """Which of two responses is better?"""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "prompt": "What is 345 + 278?",
                    "response_a": "The answer is 623.",
                    "response_b": "It comes to 633.",
                    "effort": "adaptive",
                    "return_chain": True,
                }
            ]
        }
    )

    prompt: PromptField
    response_a: Response
    response_b: Response
    stream: bool = Field(
        False,
        strict=True,
        description="answer with server-sent events: `thought`, `checkpoint`, then `outcome`; "
        "or `problem` if no outcome can follow",
    )

    @property
    def options(self) -> JudgeOptions:
        return replace(super().options, trace=self.stream)

    @property
    def pair(self) -> Pair:
        return Pair(prompt=self.prompt, response_a=self.response_a, response_b=self.response_b)


class ScoreRequest(_Request):
    """How good is each response, from 1 to 10?"""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "prompt": "What is 345 + 278?",
                    "responses": ["The answer is 623.", "It comes to 633.", "It is 7."],
                }
            ]
        }
    )

    prompt: PromptField
    responses: Annotated[tuple[Response, ...], Field(min_length=1, max_length=MOST_RESPONSES)]

    @property
    def candidates(self) -> Candidates:
        return Candidates(prompt=self.prompt, responses=self.responses)


class ThoughtEvent(BaseModel):
    """A piece of one order's chain of thought, as it grows (event `thought`)."""

    order: Literal["ab", "ba"]
    text: str
    vote: int = Field(0, description="which of several chains of this order it belongs to")


class JudgeInfo(BaseModel):
    """One style this service can be asked in."""

    style: str
    model: str
    engine: str
    default: bool
    adaptive: bool = Field(description="has thresholds for this model, so thought is adaptive")
    scores: bool = Field(description="can score responses (POST /v1/score)")
    searches: bool = Field(False, description="looks up in evidence what it does not know")
    ladder: tuple[int, ...] = Field(description="checkpoints: thinking tokens of each chain")
    prompt_hash: str
    reads: str = Field(description="what text the model can judge")


class JudgeList(BaseModel):
    """The styles this service can be asked in."""

    judges: tuple[JudgeInfo, ...]


class Problem(BaseModel):
    """RFC 9457 problem details; `detail` says what to do."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] | None = Field(None, description="field by field")


class Status(BaseModel):
    """That the service lives, or is ready."""

    status: Literal["live", "ready"]


class Refusal(BaseModel):
    """A replica's answer to what it cannot judge.

    A value, so that nothing has to be raised across processes.
    """

    status: int
    detail: str
