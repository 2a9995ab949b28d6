"""Votes: more chains for what whole ones leave open, and when they are enough.

Each chain of a pair prefers a or b. Wald's sequential probability ratio test (Annals of
Mathematical Statistics 1945) tells "a chain prefers a with probability STRENGTH" from the same of
b, with the least votes of all tests of its errors. It tells what the judge thinks on the whole, not
what is true; what that is worth is measured on labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

STRENGTH = 0.7
"""share of chains that prefer the same response, where it is one to be told"""
ERROR = 0.1
"""probability that the test ends on the wrong side of STRENGTH"""
STEP = math.log(STRENGTH / (1 - STRENGTH))
BOUND = math.log((1 - ERROR) / ERROR)


@dataclass(frozen=True)
class Ballot:
    """Verdict margins of pairs of chains, seen from response a: (order a, b; order b, a)."""

    votes: tuple[tuple[float, float], ...]

    def plus(self, vote: tuple[float, float]) -> Ballot:
        return Ballot((*self.votes, vote))

    @property
    def margins(self) -> tuple[float, float]:
        """The mean of each order."""
        first, second = zip(*self.votes, strict=True)
        return sum(first) / len(first), sum(second) / len(second)

    @property
    def decided(self) -> bool:
        """Whether the test has reached one of its bounds."""
        net = sum((margin > 0) - (margin < 0) for vote in self.votes for margin in vote)
        return abs(net) * STEP >= BOUND

    @classmethod
    def taken(cls, votes: Sequence[tuple[float, float]]) -> Ballot:
        """As many of `votes`, in their order, as the test asks for; the first always."""
        ballot = cls((votes[0],))
        for vote in votes[1:]:
            if ballot.decided:
                break
            ballot = ballot.plus(vote)
        return ballot
