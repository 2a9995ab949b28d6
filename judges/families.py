"""Which style a model was made for, by its name: a directory or a hub id."""

from __future__ import annotations

import re

OWN = (
    ("rm-r1", r"rm-r1.*distill"),
    ("rm-r1-instruct", r"rm-r1.*instruct"),
    ("rrm", r"\brrm-\d+b"),
    ("grm", r"deepseek-grm"),
)
"""style, and what the name looks like, in lower case"""


def styles_of(model: str) -> tuple[str, ...]:
    """The styles of the family that `model` belongs to, the one it takes unasked first; none for a
    family we do not know."""
    from judges.contracts import CONTRACTS

    name = model.lower()
    own = tuple(style for style, pattern in OWN if re.search(pattern, name))
    known = [c for c in CONTRACTS.values() if any(word in name for word in c.models)]
    return own or tuple(c.name for c in sorted(known, key=lambda c: c.alternative))
