"""A style written down in one TOML file: a family of ours, or a judge that somebody brings.

The file says what the judge is shown, how it thinks, how its chain is closed early, and how its
verdict is read, as labels that prefer a side or as a score for each response. `judges/families`
holds ours. What is wrong with a file is told with the line it stands in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from judges.styles.hooks import SUFFIXES
from judges.styles.label import LabelStyle, close_sections
from judges.styles.score import MOST_RESPONSES, ScoreStyle, after_close
from judges.styles.toml_file import faults, read_toml
from rrm.prompt import PAIR_SLOTS, PromptTemplate, Sanitizer, SearchMarkers, Turn
from rrm.types import Frozen

INSTRUCTION = "{instruction}"


def _one_group(pattern: str) -> str:
    try:
        compiled = re.compile(pattern)
    except re.error as failure:
        raise ValueError(f"not a regular expression: {failure}") from None
    if compiled.groups != 1:
        raise ValueError(
            f"needs exactly one (group), which holds the verdict, not {compiled.groups}"
        )
    return pattern


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as failure:
        raise ValueError(f"not a regular expression: {failure}") from None
    return pattern


Pattern = Annotated[str, AfterValidator(_one_group)]
ModelPattern = Annotated[str, AfterValidator(_compiles)]


class ThoughtPart(Frozen):
    """How the chain begins, ends, and is closed early."""

    opening: str = Field("", description="begins the assistant's turn")
    short: str = Field(
        "", description="begins the turn of a hybrid that answers without thought, by its choice"
    )
    stop: str = Field(min_length=1, description="the text by which the model ends its chain")
    close: str = Field("", description="appended to a chain that is closed early")
    sections: tuple[str, ...] = Field(
        (), description="tags that are closed early, innermost first, instead of `close`"
    )
    think_token: bool | None = Field(
        None, description="whether the model must own a <think> token; a mismatch is refused"
    )
    instead: str | None = Field(None, description="the style for models that differ in that")


class LabelsPart(Frozen):
    """A verdict that is one label."""

    opening: str = Field(description="stands between the closed chain and the label")
    first: tuple[str, ...] = Field(min_length=1, description="labels for the first response")
    second: tuple[str, ...] = Field(min_length=1, description="labels for the second response")
    even: tuple[str, ...] = Field((), description="labels for neither")
    pattern: Pattern = Field(description="finds a written verdict; its group is looked up")
    spoken: Mapping[str, Literal["first", "second", "even"]] = Field(
        default_factory=dict, description="what the group may say; none: the labels themselves"
    )

    @model_validator(mode="after")
    def _distinct(self) -> LabelsPart:
        labels = [*self.first, *self.second, *self.even]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"the labels {twice} stand for more than one thing")
        return self

    def menu(self) -> dict[str, int | None]:
        """Group texts, in lower case with single spaces, to 0, 1 or None."""
        index: dict[str, int | None] = {"first": 0, "second": 1, "even": None}
        if self.spoken:
            return {_plain(text): index[side] for text, side in self.spoken.items()}
        sides = (("first", self.first), ("second", self.second), ("even", self.even))
        return {_plain(label): index[side] for side, labels in sides for label in labels}


class ScoresPart(Frozen):
    """A verdict that is a whole number for each response."""

    opening: str = Field("", description="stands between the closed chain and the first score")
    hook: str | None = Field(
        None, description="computes that text from the chain, and how the chain is closed"
    )
    between: str = Field(", ", description="stands between two scores")
    low: int = Field(ge=0)
    high: int = Field(le=100)
    responses: tuple[int, ...] = Field(
        (2,), description="how many responses it takes at once", min_length=1
    )
    pattern: Pattern = Field(description="finds written scores")
    one_each: bool = Field(False, description="a match holds one score, not the whole list")

    @model_validator(mode="after")
    def _ordered(self) -> ScoresPart:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        if not all(1 <= n <= MOST_RESPONSES for n in self.responses):
            raise ValueError(f"responses must be from 1 to {MOST_RESPONSES}")
        if (self.hook is None) == (not self.opening):
            raise ValueError("give either an opening or a hook")
        if self.hook is not None and self.hook not in SUFFIXES:
            raise ValueError(f"no hook {self.hook!r}; there are: {', '.join(SUFFIXES)}")
        return self


class SearchPart(Frozen):
    """How a chain asks for a search, and how it is answered there."""

    opening: str = Field("<search>", min_length=1, description="stands before a query")
    close: str = Field("</search>", min_length=1, description="ends it; the chain waits there")
    result_opening: str = Field("<result>", description="stands before what was found")
    result_close: str = Field("</result>", description="stands behind it")
    nothing: str = Field("not found", description="said where a search found nothing")
    refused: str = Field("refused", description="said where there was no search, or it failed")
    invitation: str = Field(
        "", description="behind the question where there is something to search in"
    )

    def tags(self) -> tuple[str, ...]:
        return self.opening, self.close, self.result_opening, self.result_close

    def markers(self) -> SearchMarkers:
        return SearchMarkers(**self.model_dump())


class Decoding(Frozen):
    """How the judge was meant to be decoded; what the service is told goes before it."""

    temperature: float = Field(0.0, ge=0.0, le=2.0)


class StyleSpec(Frozen):
    """One file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$", description="lower case, dashes")
    about: str = ""
    models: tuple[ModelPattern, ...] = Field(
        (), description="found in the ids of the models of this family, in lower case"
    )
    alternative: bool = Field(
        False, description="those models have another style too, and take this one if told"
    )
    wordings: tuple[str, ...] = Field(
        (), description="texts for the slot {instruction}; the first is the style's own"
    )
    turns: tuple[Turn, ...] = Field(min_length=1)
    response: str = Field("{response}", description="one response in {responses}")
    constants: Mapping[str, str] = Field(default_factory=dict, description="own slots")
    markers: tuple[str, ...] = Field((), description="neutralised in prompts and responses")
    thought: ThoughtPart
    labels: LabelsPart | None = None
    scores: ScoresPart | None = None
    search: SearchPart | None = Field(None, description="none: it cannot search")
    decoding: Decoding = Decoding()

    @model_validator(mode="after")
    def _whole(self) -> StyleSpec:
        if (self.labels is None) == (self.scores is None):
            raise ValueError("give either [labels] or [scores]")
        missing = self.shown().missing(self.slots())
        if missing:
            raise ValueError(f"turns: no turn has the slot {', '.join(missing)}")
        worded = any(INSTRUCTION in turn.content for turn in self.turns)
        if worded != bool(self.wordings):
            raise ValueError(f"wordings and the slot {INSTRUCTION} in a turn need each other")
        if self.thought.short and self.labels is None:
            raise ValueError("thought.short goes with [labels]; scores have no mode")
        return self

    @property
    def wordings_count(self) -> int:
        """In how many wordings it comes."""
        return max(1, len(self.wordings))

    def shown(self, wording: int = 0) -> PromptTemplate:
        """The turns, with the instruction in one of its wordings."""
        turns = self.turns
        if self.wordings:
            said = self.wordings[wording]
            turns = tuple(
                turn.model_copy(update={"content": turn.content.replace(INSTRUCTION, said)})
                for turn in turns
            )
        markers = self.markers if self.search is None else (*self.markers, *self.search.tags())
        return PromptTemplate(turns, Sanitizer(markers), self.response, self.constants)

    def made_for(self, model: str) -> bool:
        """Whether a model of this name, a directory or a hub id, is of this family."""
        return any(re.search(pattern, model.lower()) for pattern in self.models)

    def slots(self) -> tuple[str, ...]:
        """The slots that the turns must hold."""
        own = tuple(f"{{{name}}}" for name in self.constants)
        if self.scores is None or set(self.scores.responses) == {2}:
            return (*PAIR_SLOTS, *own)
        if set(self.scores.responses) == {1}:
            return ("{prompt}", "{response_1}", *own)
        return ("{prompt}", "{responses}", *own)

    def style(self, wording: int = 0) -> LabelStyle | ScoreStyle:
        """The style that the file describes, in the wording of this number."""
        thought = self.thought
        search = None if self.search is None else self.search.markers()
        if self.scores is not None:
            return ScoreStyle(
                name=self.name,
                template=self.shown(wording),
                low=self.scores.low,
                high=self.scores.high,
                sizes=self.scores.responses,
                suffix_of=SUFFIXES[self.scores.hook]
                if self.scores.hook
                else after_close(self.scores.opening, thought.close),
                opening=thought.opening,
                stop=thought.stop,
                between=self.scores.between,
                verdict=re.compile(self.scores.pattern),
                one_each=self.scores.one_each,
                slots=self.slots(),
                thinks=thought.think_token,
                temperature=self.decoding.temperature,
                search=search,
            )
        if self.labels is None:
            raise AssertionError("refused by _whole")
        close = close_sections(thought.sections) if thought.sections else lambda _: thought.close
        return LabelStyle(
            name=self.name,
            template=self.shown(wording),
            opening=thought.opening,
            short=thought.short,
            stop=thought.stop,
            verdict_opening=self.labels.opening,
            first=self.labels.first,
            second=self.labels.second,
            even=self.labels.even,
            verdict=re.compile(self.labels.pattern),
            menu=self.labels.menu(),
            forced_suffix=close,
            thinks=thought.think_token,
            instead=thought.instead,
            temperature=self.decoding.temperature,
            search=search,
        )


def read_spec(file: Path) -> StyleSpec:
    """The style in `file`. Raises FileError, one line a fault, each with its place."""
    text, given = read_toml(file)
    try:
        return StyleSpec.model_validate(given)
    except ValidationError as failure:
        raise faults(file, text, failure) from None


def _plain(text: str) -> str:
    return " ".join(text.split()).lower()
