"""Verdicts that are written out, where labels cannot be probed: what both orders' texts state."""

from __future__ import annotations

from collections.abc import Sequence

from rrm.parse import Choice, ParsedVerdict, Scores, Unread
from rrm.types import Preference


def direction(reading: ParsedVerdict) -> float:
    """+1 if the reply prefers the first response shown, -1 the second, 0 neither."""
    if isinstance(reading, Choice) and reading.index is not None:
        return 1.0 if reading.index == 0 else -1.0
    if isinstance(reading, Scores):
        first, second = reading.values
        return float((first > second) - (first < second))
    return 0.0


def sides(replies: Sequence[ParsedVerdict]) -> tuple[float, float] | Unread:
    """Which response each order prefers: 1 is a, -1 is b, 0 neither."""
    found: list[float] = []
    for reading, sign in zip(replies, (1.0, -1.0), strict=True):
        if isinstance(reading, Unread):
            return reading
        found.append(sign * direction(reading))
    return found[0], found[1]


def agree(replies: Sequence[ParsedVerdict]) -> bool:
    """Whether both orders prefer the same response."""
    found = sides(replies)
    return not isinstance(found, Unread) and found[0] * found[1] > 0


def stated(found: tuple[float, float]) -> tuple[Preference, float]:
    """The side preferred, and how likely it is right, for orders that do not contradict.

    Two votes and Laplace's rule: (votes + 1) / (orders + 2).
    """
    margin = sum(found)
    if margin == 0:
        return "tie", 0.5
    votes = sum(side * margin > 0 for side in found)
    return ("a" if margin > 0 else "b"), (votes + 1) / 4
