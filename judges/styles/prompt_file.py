"""What `--prompt-file` may hold in TOML: a style of one's own, or other words for one of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import Field, ValidationError, field_validator, model_validator

from judges.styles.label import LabelStyle
from judges.styles.registry import families, family_style
from judges.styles.score import ScoreStyle
from judges.styles.spec import SearchPart, StyleSpec
from judges.styles.toml_file import faults, read_toml
from rrm.prompt import PAIR_SLOTS, PromptTemplate, Sanitizer, Turn
from rrm.types import Frozen


class Rewording(Frozen):
    """A file that gives one of our own styles other words, such as its authors' own."""

    base: str = Field(description="the family whose style it is")
    turns: tuple[Turn, ...] = Field((), description="none: the base's own")
    response: str | None = Field(None, description="one response in {responses} (grm)")
    constants: Mapping[str, str] = Field(default_factory=dict, description="own slots")
    search: SearchPart | None = Field(None, description="how it searches; none: as the base does")

    @property
    def name(self) -> str:
        return self.base

    @field_validator("base")
    @classmethod
    def _known(cls, base: str) -> str:
        if base not in families():
            raise ValueError(f"no family {base!r}; there are: {', '.join(families())}")
        return base

    @model_validator(mode="after")
    def _whole(self) -> Rewording:
        if not self.turns and self.search is None:
            raise ValueError("give turns, or a [search]; else it is the base itself")
        style = self.style()
        slots = PAIR_SLOTS if isinstance(style, LabelStyle) else style.slots
        missing = style.template.missing((*slots, *(f"{{{name}}}" for name in self.constants)))
        if missing:
            raise ValueError(f"turns: no turn has the slot {', '.join(missing)}")
        return self

    def style(self) -> LabelStyle | ScoreStyle:
        """The base in these words; what is untrusted is sanitized as ever."""
        style = family_style(self.base)
        old, markers = style.template, style.template.sanitizer.markers
        if self.search is not None:
            style = replace(style, search=self.search.markers())
            markers = (*markers, *self.search.tags())
        fresh = PromptTemplate(
            self.turns or old.turns,
            Sanitizer(markers),
            self.response or old.response,
            self.constants or (old.constants if not self.turns else {}),
        )
        return replace(style, template=fresh)


def read_prompt_file(file: Path) -> StyleSpec | Rewording:
    """What the TOML in `file` describes.

    Raises FileError, one line a fault, each with its place.
    """
    text, given = read_toml(file)
    try:
        return (Rewording if "base" in given else StyleSpec).model_validate(given)
    except ValidationError as failure:
        raise faults(file, text, failure) from None
