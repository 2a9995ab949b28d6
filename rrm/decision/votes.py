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

from rrm.decision.chains import PairReadout
from rrm.decision.fixed import Aggregation
from rrm.decision.state import Readout

STRENGTH = 0.7
"""share of chains that prefer the same response, where it is one to be told"""
ERROR = 0.1
"""probability that the test ends on the wrong side of STRENGTH"""
EVEN = 1e-6
"""|margin| of votes that are evenly split"""
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
    def majority(self) -> float:
        """Of the pairs of chains, each a vote."""
        return majority([(first + second) / 2 for first, second in self.votes])

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


def majority(margins: Sequence[float]) -> float:
    """Of some verdicts' margins: log-odds of the share that prefers a, half a vote added to each.

    Evenly split they are as their mean is, and next to nothing.
    """
    wins = sum(margin > 0 for margin in margins)
    losses = sum(margin < 0 for margin in margins)
    if wins == losses:
        return math.copysign(EVEN, sum(margins)) if sum(margins) else 0.0
    return math.log((wins + 0.5) / (losses + 0.5))


class Votes:
    """The votes of one judgement: the first pair's verdict, and those of fresh pairs of chains."""

    def __init__(self) -> None:
        self._ballot: Ballot | None = None
        self._masses: list[tuple[float, float]] = []
        self.counted = False
        """they were put together into a readout"""

    @property
    def count(self) -> int:
        """Pairs of chains that count."""
        return 1 if self._ballot is None else len(self._ballot.votes)

    def decided(self, first: Readout) -> bool:
        """Whether the test has heard enough. first: the first pair's."""
        return self.begin(first).decided

    def begin(self, first: Readout) -> Ballot:
        """The ballot so far; raises ValueError for a verdict that was not read by probe."""
        if self._ballot is None:
            if first.reading is None:
                raise ValueError("only what was read by probe can be put to the vote")
            margins, masses = first.reading.both
            self._ballot, self._masses = Ballot((margins,)), [masses]
        return self._ballot

    def add(self, vote: PairReadout) -> None:
        """Count one more pair. Raises ValueError before any began."""
        if self._ballot is None:
            raise ValueError("no vote was begun")
        margins, masses = vote.both
        self._ballot = self._ballot.plus(margins)
        self._masses.append(masses)

    def read(self, first: Readout, aggregation: Aggregation = "mean") -> PairReadout:
        """One readout of all."""
        ballot = self.begin(first)
        self.counted = True
        scores = None if first.reading is None else first.reading.scores
        margins = ballot.margins if aggregation == "mean" else (ballot.majority,) * 2
        return PairReadout(margins, min(self._masses, key=min), scores)
