"""Audit: does what was certified still hold on the pairs that come now?

A small share of pairs is thought through whole, although the stopper would have stopped. Two things
are watched on them, both without labels: how often the early verdict is not that of the whole
chains, which bounds the accuracy that stopping costs, and what share of the whole chains' tokens
was spent early, which drifts first when pairs get harder. Each is tested by betting against "the
mean is no higher than when it was certified": the capital is an e-process, so that it may be looked
at after every pair, and it reaches 1/delta with probability delta at most (Ville's inequality;
Ramdas, Grunwald, Vovk and Shafer, "Game-theoretic statistics", Statistical Science 2023).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field

from pydantic import Field

from rrm.types import Frozen

BETS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""capital is spread evenly over these; a mean of e-processes is one"""
REMEMBERED = 4096
"""audited pairs that are known again"""
MOST_BET = 0.9
"""of the bet that the least observation, 0, would ruin"""


class Expected(Frozen):
    """What was seen when the calibration was certified: upper bounds at 97.5 %, as shares."""

    apart: float = Field(description="early verdicts that were not those of the whole chains")
    spent: float = Field(description="tokens of the whole chains that were spent early")


class EProcess:
    """Evidence that observations between 0 and 1 have a mean above `mean`."""

    def __init__(self, mean: float) -> None:
        self.mean = mean
        self._bets = [bet for bet in BETS if bet * mean < MOST_BET]
        self._logs = [0.0 for _ in self._bets]

    def observe(self, value: float) -> None:
        """Raises ValueError for a value that is not between 0 and 1."""
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{value} is not between 0 and 1")
        for index, bet in enumerate(self._bets):
            self._logs[index] += math.log1p(bet * (value - self.mean))

    @property
    def evidence(self) -> float:
        """The capital that 1 has become, as a logarithm."""
        most = max(self._logs)
        mean = sum(math.exp(log - most) for log in self._logs) / len(self._logs)
        return most + math.log(mean)


@dataclass
class RiskMonitor:
    """Watches one calibration; `revoked` says why its certificate holds no more.

    delta: probability of a false alarm, over all time and both tests. fraction: of the pairs that
    are audited.
    """

    expected: Expected
    delta: float
    fraction: float = 1.0
    audited: int = 0
    revoked: str | None = None
    _apart: EProcess = field(init=False)
    _spent: EProcess = field(init=False)
    _counted: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self._apart = EProcess(self.expected.apart)
        self._spent = EProcess(self.expected.spent)

    def selects(self, pair: str) -> bool:
        """Whether the pair of this digest is audited; the same question gets the same answer."""
        return int(pair[:16], 16) < self.fraction * 2**64

    def observe(self, apart: bool, spent: float, pair: str | None = None) -> None:
        """One audited pair. spent: tokens at the early verdict, as a share of the whole chains'.

        pair: its digest; one that is asked again counts once, for it says nothing new, unless
        REMEMBERED others came between.
        """
        if pair is not None:
            known = pair in self._counted
            self._counted[pair] = None
            self._counted.move_to_end(pair)
            if len(self._counted) > REMEMBERED:
                self._counted.popitem(last=False)
            if known:
                return
        self.audited += 1
        self._apart.observe(float(apart))
        self._spent.observe(min(1.0, spent))
        if self.revoked is not None:
            return
        limit = math.log(2 / self.delta)  # half of delta for each
        if self._apart.evidence >= limit:
            self.revoked = (
                f"after {self.audited} audited pairs, early verdicts differ from whole chains more "
                f"often than when this was certified ({self.expected.apart:.3f})"
            )
        elif self._spent.evidence >= limit:
            self.revoked = (
                f"after {self.audited} audited pairs, pairs need more thought than when this was "
                f"certified ({self.expected.spent:.0%} of whole chains)"
            )
