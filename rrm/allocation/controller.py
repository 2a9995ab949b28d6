"""Controller: from what is left, the pairs to come and what pairs have cost, to a price of thought.

Pure: it holds nothing but numbers, and every step makes a new one. The price is the Lagrange
multiplier of the sum (Damani et al., 2410.04707): one price for all pairs spends it where a token
brings most, and a pair that comes late finds its share still there.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

HORIZON = 100
"""pairs over which a stream spends what earlier ones left"""
TRUST = 64.0
"""weight of the calibrated cost estimate, in finished pairs"""
MEMORY = 0.99
"""weight of a finished pair when the next one finishes"""


@dataclass(frozen=True)
class Controller:
    """What the finished pairs have cost, beside what was planned for them; older ones fade."""

    cost: float = 0.0
    planned: float = 0.0
    weight: float = 0.0

    def after(self, cost: float, planned: float) -> Controller:
        """Once one more pair has finished."""
        return Controller(
            MEMORY * self.cost + cost, MEMORY * self.planned + planned, MEMORY * self.weight + 1
        )

    @property
    def bias(self) -> float:
        """Cost of the finished pairs, as a multiple of what was planned."""
        if not self.planned:
            return 1.0
        prior = TRUST * self.planned / self.weight
        return (self.cost + prior) / (self.planned + prior)

    def choose(self, plans: Sequence[float], target: float, draw: float) -> int:
        """Which of `plans` (costs of a pair by falling price) comes to `target`.

        Between two of them the dearer is taken where `draw`, from 0 to 1, is below its share.
        """
        rising = list(itertools.accumulate(plans, max))
        wanted = target / self.bias
        above = next((i for i, plan in enumerate(rising) if plan > wanted), len(rising))
        if 0 < above < len(rising):
            share = (wanted - rising[above - 1]) / (rising[above] - rising[above - 1])
            above += draw < share
        return max(0, above - 1)


def amount_of_total(left: float, pairs: int) -> float:
    """What the next of `pairs` may cost when `left` is uncommitted."""
    return left / max(1, pairs)


def amount_of_stream(left: float, per_pair: float) -> float:
    """The same in a stream without end, of which each pair brings `per_pair` along."""
    return (left + per_pair * (HORIZON - 1)) / HORIZON


def amount_of_time(
    spent: float, gone: float, left: float, committed: float, pairs: int, ended: int
) -> float | None:
    """The same for a budget of seconds; None while nothing is known of its speed.

    spent: units so far, in the `gone` seconds; left: seconds; committed: units of open pairs.
    """
    if ended < TRUST or gone <= 0 or spent <= 0:
        return None
    return (spent / gone * max(0.0, left) - committed) / max(1, pairs)
