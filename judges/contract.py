"""Bring your own judge: a style written down in one TOML file.

The file says what the judge is shown, how it thinks, how its chain is closed early, and how its
verdict is read, as labels that prefer a side or as a score for each response. `judges/contracts`
holds examples. What is wrong with a file is told with the line it stands in.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from judges import grm, rm_r1, rrm
from judges.labels import LabelStyle, close_sections
from judges.scores import ScoreStyle, after_close
from judges.turns import PAIR_SLOTS, Turns
from rrm.style import Fence, Turn
from rrm.types import Frozen

MOST = 16
"""responses in one question"""


class ContractError(ValueError):
    """A contract file cannot be used; the message names the file and the line."""


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


Pattern = Annotated[str, AfterValidator(_one_group)]


class ThoughtPart(Frozen):
    """How the chain begins, ends, and is closed early."""

    opening: str = Field("", description="begins the assistant's turn")
    stop: str = Field(min_length=1, description="the text by which the model ends its chain")
    close: str = Field("", description="appended to a chain that is closed early")
    sections: tuple[str, ...] = Field(
        (), description="tags that are closed early, innermost first, instead of `close`"
    )
    think_token: bool | None = Field(
        None, description="whether the model must own a <think> token; a mismatch is refused"
    )


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

    opening: str = Field(description="stands between the closed chain and the first score")
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
        if not all(1 <= n <= MOST for n in self.responses):
            raise ValueError(f"responses must be from 1 to {MOST}")
        return self


class Decoding(Frozen):
    """How the judge was meant to be decoded; what the service is told goes before it."""

    temperature: float = Field(0.0, ge=0.0, le=2.0)


class Contract(Frozen):
    """One file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$", description="lower case, dashes")
    about: str = ""
    models: tuple[str, ...] = Field(
        (), description="words of model ids that have this contract, in any case"
    )
    alternative: bool = Field(
        False, description="those models have another contract too, and take this one if told"
    )
    turns: tuple[Turn, ...] = Field(min_length=1)
    response: str = Field("{response}", description="one response in {responses}")
    constants: Mapping[str, str] = Field(default_factory=dict, description="own slots")
    markers: tuple[str, ...] = Field((), description="neutralised in prompts and responses")
    thought: ThoughtPart
    labels: LabelsPart | None = None
    scores: ScoresPart | None = None
    decoding: Decoding = Decoding()

    @model_validator(mode="after")
    def _whole(self) -> Contract:
        if (self.labels is None) == (self.scores is None):
            raise ValueError("give either [labels] or [scores]")
        missing = self.shown().missing(self.slots())
        if missing:
            raise ValueError(f"turns: no turn has the slot {', '.join(missing)}")
        return self

    def shown(self) -> Turns:
        return Turns(self.turns, Fence(self.markers), self.response, self.constants)

    def slots(self) -> tuple[str, ...]:
        """The slots that the turns must hold."""
        own = tuple(f"{{{name}}}" for name in self.constants)
        if self.scores is None or set(self.scores.responses) == {2}:
            return (*PAIR_SLOTS, *own)
        if set(self.scores.responses) == {1}:
            return ("{prompt}", "{response_1}", *own)
        return ("{prompt}", "{responses}", *own)

    def style(self) -> LabelStyle | ScoreStyle:
        """The style that the file describes."""
        thought = self.thought
        if self.scores is not None:
            return ScoreStyle(
                name=self.name,
                turns=self.shown(),
                low=self.scores.low,
                high=self.scores.high,
                sizes=self.scores.responses,
                suffix_of=after_close(self.scores.opening, thought.close),
                opening=thought.opening,
                stop=thought.stop,
                between=self.scores.between,
                verdict=re.compile(self.scores.pattern),
                one_each=self.scores.one_each,
                slots=self.slots(),
                thinks=thought.think_token,
            )
        if self.labels is None:
            raise ContractError("give either [labels] or [scores]")
        close = close_sections(thought.sections) if thought.sections else lambda _: thought.close
        return LabelStyle(
            name=self.name,
            turns=self.shown(),
            opening=thought.opening,
            stop=thought.stop,
            verdict_opening=self.labels.opening,
            first=self.labels.first,
            second=self.labels.second,
            even=self.labels.even,
            verdict=re.compile(self.labels.pattern),
            menu=self.labels.menu(),
            close=close,
            thinks=thought.think_token,
        )


class Rewording(Frozen):
    """A file that gives one of our own styles other words, such as its authors' own."""

    base: Literal["rrm", "rm-r1", "rm-r1-instruct", "grm"]
    turns: tuple[Turn, ...] = Field(min_length=1)
    response: str | None = Field(None, description="one response in {responses} (grm)")
    constants: Mapping[str, str] = Field(default_factory=dict, description="own slots")

    @property
    def name(self) -> str:
        return self.base

    @property
    def decoding(self) -> Decoding:
        return Decoding()

    @model_validator(mode="after")
    def _whole(self) -> Rewording:
        style = self.style()
        slots = PAIR_SLOTS if isinstance(style, LabelStyle) else style.slots
        missing = style.turns.missing((*slots, *(f"{{{name}}}" for name in self.constants)))
        if missing:
            raise ValueError(f"turns: no turn has the slot {', '.join(missing)}")
        return self

    def style(self) -> LabelStyle | ScoreStyle:
        """The base in these words; what is untrusted is fenced as ever."""
        own = (rrm.STYLE, rm_r1.STYLE, rm_r1.INSTRUCT, grm.STYLE)
        [style] = [one for one in own if one.name == self.base]
        old = style.turns
        turns = Turns(self.turns, old.fence, self.response or old.response, self.constants)
        return replace(style, turns=turns)


def read_contract(file: Path) -> Contract:
    """The contract in `file`. Raises ContractError, one line a fault, each with its place."""
    found = read_prompt_file(file)
    if not isinstance(found, Contract):
        raise ContractError(f"{file}: has a base; a contract of its own has a name")
    return found


def read_prompt_file(file: Path) -> Contract | Rewording:
    """What the TOML in `file` describes.

    Raises ContractError, one line a fault, each with its place.
    """
    try:
        text = file.read_text(encoding="utf-8")
        given = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as failure:
        raise ContractError(f"{file}: cannot be read: {failure}") from None
    except tomllib.TOMLDecodeError as failure:
        raise ContractError(f"{file}: {failure}") from None
    try:
        return (Rewording if "base" in given else Contract).model_validate(given)
    except ValidationError as failure:
        faults = [
            f"{file}, line {line_of(text, error['loc'])}: "
            f"{'.'.join(map(str, error['loc'])) or 'the file'}: {error['msg']}"
            for error in failure.errors()
        ]
        raise ContractError("\n".join(faults)) from None


def line_of(text: str, place: tuple[int | str, ...]) -> int:
    """The line, from 1, where the value at `place` stands, or its table, or the first line."""
    keys = [key for key in place if isinstance(key, str)]
    numbers = [key for key in place if isinstance(key, int)]
    table: list[str] = []
    found, seen = 1, -1
    for number, line in enumerate(text.splitlines(), start=1):
        if head := re.match(r"\s*\[+\s*([\w.\"-]+)\s*\]+", line):
            table = head[1].replace('"', "").split(".")
            seen += line.lstrip().startswith("[[") and table == keys[: len(table)]
            wanted = not numbers or not line.lstrip().startswith("[[") or seen == numbers[0]
            if table == keys[: len(table)] and wanted:
                found = number
        elif key := re.match(r"\s*\"?([\w-]+)\"?\s*=", line):
            here = [*table, key[1]]
            if here == keys[: len(here)] and (not numbers or seen < 0 or seen == numbers[0]):
                found = number
                if len(here) == len(keys):
                    return found
    return found


def _plain(text: str) -> str:
    return " ".join(text.split()).lower()
