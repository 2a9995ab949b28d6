"""The styles there are: a file a family in `judges/families`, and those of other distributions.

A new family is one file there. One of another distribution is an entry point of the group
`closecall.styles`, whose value is a Style.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from judges.styles.label import LabelStyle
from judges.styles.score import ScoreStyle
from judges.styles.spec import StyleSpec, read_spec
from rrm.errors import StyleMismatch
from rrm.style import Style

FAMILIES = Path(__file__).parent.parent / "families"
ENTRY_POINTS = "closecall.styles"


@cache
def families() -> Mapping[str, StyleSpec]:
    """Ours, by name. Raises FileError if a file of them is broken."""
    return {spec.name: spec for spec in map(read_spec, sorted(FAMILIES.glob("*.toml")))}


@cache
def family_style(name: str, wording: int = 0) -> LabelStyle | ScoreStyle:
    """The style of one of ours, in the wording of this number.

    Raises StyleMismatch where the family has fewer.
    """
    family = families()[name]
    if not 0 <= wording < family.wordings_count:
        raise StyleMismatch(
            f"style {name} has {family.wordings_count} wordings, numbered from 0; {wording} is none"
        )
    return family.style(wording)


def open_style(name: str, wording: int = 0) -> Style:
    """The style called `name`, in the wording of this number.

    Raises StyleMismatch, naming the styles there are.
    """
    if name in families():
        return family_style(name, wording)
    for point in entry_points(group=ENTRY_POINTS, name=name):
        style: Style = point.load()
        return style
    raise StyleMismatch(f"no style called {name!r}; there are: {', '.join(style_names())}")


def style_names() -> tuple[str, ...]:
    """The names `open_style` knows."""
    return tuple(sorted({*families(), *entry_points(group=ENTRY_POINTS).names}))


def styles_of(model: str) -> tuple[str, ...]:
    """The styles of the family that `model` belongs to by its name, the one it takes unasked first.

    model: a directory or a hub id. None for a family that we do not know.
    """
    known = [spec for spec in families().values() if spec.made_for(model)]
    return tuple(spec.name for spec in sorted(known, key=lambda spec: spec.alternative))
