"""Replay: what a policy would have done with traces, without the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rrm.stopping import ALWAYS, NEVER, Policy, Rule
from rrm.trace import Trace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]
    Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """Traces as arrays [traces, places]: the ladder's checkpoints, the prompt alone first; the end
    of the leading chain; the end of both; and, where traces have more than one, after the votes.
    `there` marks what a trace came by."""

    ladder: tuple[int, ...]
    margin: Numbers
    """|margin|"""
    agree: Flags
    right: Flags
    tokens: Numbers
    there: Flags

    @classmethod
    def of(cls, traces: Sequence[Trace], ladder: Sequence[int]) -> Table:
        import numpy as np

        both = len(ladder) + 2
        places = {"lead": both - 1, "both": both, "votes": both + 1}
        shape = len(traces), both + 1 + any(trace.votes[1:] for trace in traces)
        table = cls(
            tuple(ladder),
            margin=np.zeros(shape),
            agree=np.zeros(shape, dtype=bool),
            right=np.zeros(shape, dtype=bool),
            tokens=np.zeros(shape),
            there=np.zeros(shape, dtype=bool),
        )
        for row, trace in enumerate(traces):
            for point in trace.route(ladder):
                at = point.at if isinstance(point.at, int) else places[point.at]
                table.margin[row, at] = abs(point.margin)
                table.agree[row, at] = point.agree
                table.right[row, at] = trace.right(point.margin)
                table.tokens[row, at] = point.tokens
                table.there[row, at] = True
        return table

    def __len__(self) -> int:
        return len(self.margin)

    @property
    def both(self) -> int:
        """The place of both whole chains: what others are measured against."""
        return len(self.ladder) + 2

    @property
    def last(self) -> int:
        return int(self.margin.shape[1]) - 1

    def part(self, rows: NDArray[np.int_] | slice) -> Table:
        return Table(
            self.ladder,
            margin=self.margin[rows],
            agree=self.agree[rows],
            right=self.right[rows],
            tokens=self.tokens[rows],
            there=self.there[rows],
        )


@dataclass(frozen=True)
class Played:
    """What one policy would have done with each trace of a table."""

    place: NDArray[np.int_]
    """of the table, where it stopped"""
    right: Flags
    """a tie is not"""
    tokens: Numbers
    looks: Numbers
    """checkpoints read before the last"""
    tied: Flags
    """given up as too close"""


def play(table: Table, policy: Policy | None) -> Played:
    """Replay: stop at the first checkpoint whose rule says so, or at the end of both chains."""
    import numpy as np

    last = table.last
    stopped = np.full(len(table), last)
    going = np.ones(len(table), dtype=bool)
    looks = np.zeros(len(table))
    tied = np.zeros(len(table), dtype=bool)
    for place, rule in enumerate(rules_of(policy, table)):
        if not rule.looks:
            continue
        here = going & table.there[:, place]
        looks += here
        seen = table.margin[:, place], table.agree[:, place]
        tie = here & rule.ties(*seen)
        tied |= tie
        stop = tie | here & rule.stops(*seen)
        stopped[stop] = place
        going &= ~stop
    rows = np.arange(len(table))
    looks -= stopped < last  # the reading that decides is no extra
    right = table.right[rows, stopped] & ~tied
    return Played(stopped, right, table.tokens[rows, stopped], looks, tied)


def rules_of(policy: Policy | None, table: Table) -> tuple[Rule, ...]:
    """One for each place but the last; without a policy, both chains are whole and no more."""
    if policy is None:
        return (*[NEVER] * table.both, ALWAYS)[: table.last]
    return (*policy.rules, policy.lead, policy.both)[: table.last]
