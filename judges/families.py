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


def style_of(model: str) -> str | None:
    """The style of the family that `model` belongs to; None for a family we do not know."""
    from judges.contracts import CONTRACTS

    name = model.lower()
    for style, pattern in OWN:
        if re.search(pattern, name):
            return style
    for contract in CONTRACTS.values():
        if any(word in name for word in contract.models):
            return contract.name
    return None
