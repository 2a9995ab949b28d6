"""What judgements cost on traces, step by step, to the token."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from rrm.calibration.arrays import TraceArrays
from rrm.decision.priced import TokenPrices

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]
    Numbers = NDArray[np.float64]
    Places = NDArray[np.int_]


@dataclass(frozen=True)
class Spent:
    """[traces]: what judgements cost, in tokens."""

    first: Numbers
    """of the leading order's prompt, read"""
    other: Numbers
    """of the other order's prompt, read or shared with the first"""
    votes: Numbers
    """of the prompts of votes"""
    thought: Numbers
    """generated, both orders"""
    probes: Numbers
    """verdicts read: a number, not tokens"""
    cached: Numbers
    """tokens behind which something was read or generated anew"""
    searches: Numbers
    """a number; a query of both orders is one"""
    evidence: Numbers
    """of what was found, read"""

    @classmethod
    def none(cls, traces: int, **but: Numbers | float) -> Spent:
        import numpy as np

        return cls(**{f.name: but.get(f.name, 0.0) + np.zeros(traces) for f in fields(cls)})

    def __add__(self, more: Spent) -> Spent:
        return Spent(*(getattr(self, f.name) + getattr(more, f.name) for f in fields(self)))

    def __mul__(self, share: Flags | Numbers | float) -> Spent:
        return Spent(*(getattr(self, f.name) * share for f in fields(self)))

    def cost(self, prices: TokenPrices) -> Numbers:
        """[traces]: all of it, in generated tokens."""
        read = prices.prompt * self.first + prices.other_prompt * (self.other + self.votes)
        probes = (prices.read * prices.suffix + prices.look) * self.probes
        found = prices.search * self.searches + prices.read * self.evidence
        return read + probes + prices.cached * self.cached + prices.generated * self.thought + found


class Steps:
    """What each step costs from a state, for all traces."""

    def __init__(self, arrays: TraceArrays) -> None:
        import numpy as np

        self.arrays, self._none = arrays, np.zeros(len(arrays))

    def start(self, column: int) -> Spent:
        """The leading prompt, read, or thought through to its end and read there."""
        arrays = self.arrays
        return self._spent(
            first=arrays.lead_prompt_tokens,
            thought=arrays.thought(column),
            probes=1,
            searches=arrays.searched[:, column],
            evidence=arrays.evidence[:, column],
        )

    def think(self, column: int, goal: Places | int, probes: int = 1) -> Spent:
        """On to `goal`, a column or one a trace, and a probe there: two calls."""
        import numpy as np

        here = self.arrays.thought(column)
        there = self.arrays.thoughts[np.arange(len(here)), goal]
        prefix = self.arrays.lead_prompt_tokens + self.arrays.evidence[:, column]
        cached = 2 * prefix + here + there
        return self._spent(thought=there - here, probes=probes, cached=cached)

    def search(self, column: int, probes: int = 1) -> Spent:
        """What the leading chain asks for at `column`, and a probe once it was read.

        Without that probe, the next one is where it goes on to.
        """
        import numpy as np

        arrays = self.arrays
        goal, rows = arrays.resumes[:, arrays.places[column][1]], np.arange(len(arrays))
        made, read = (
            table[rows, goal] - table[:, column] for table in (arrays.searched, arrays.evidence)
        )
        prefix = arrays.lead_prompt_tokens + arrays.thought(column) + arrays.evidence[:, column]
        return self._spent(searches=made, evidence=read, probes=probes, cached=2 * prefix)

    def other(self) -> Spent:
        return self._spent(other=self.arrays.other_prompt_tokens, probes=1)

    def both(self, column: int, other: bool) -> Spent:
        """The rest of the leading chain, and the whole other order; what is new is read."""
        arrays = self.arrays
        rest = arrays.lead_tokens - arrays.thought(column)
        last = 1.0 if column == arrays.end else 2.0
        cached = arrays.other_prompt_tokens + arrays.other_tokens if other else self._none
        made, read = (
            table[:, -1] - table[:, column] for table in (arrays.searched, arrays.evidence)
        )
        return self._spent(
            other=self._none if other else arrays.other_prompt_tokens,
            thought=rest + arrays.other_tokens,
            probes=last,
            cached=cached,
            searches=made + arrays.other_searches,
            evidence=read + arrays.other_evidence,
        )

    def vote(self) -> Spent:
        arrays = self.arrays
        more = arrays.votes - 1
        prompts = more * (arrays.lead_prompt_tokens + arrays.other_prompt_tokens)
        return self._spent(votes=prompts, thought=arrays.vote_tokens, probes=2 * more)

    def whole(self) -> Spent:
        """Both orders whole, read once at their ends: what everything is measured against."""
        arrays = self.arrays
        return self._spent(
            first=arrays.lead_prompt_tokens,
            other=arrays.other_prompt_tokens,
            thought=arrays.lead_tokens + arrays.other_tokens,
            probes=2,
            searches=arrays.searched[:, -1] + arrays.other_searches,
            evidence=arrays.evidence[:, -1] + arrays.other_evidence,
        )

    def _spent(self, **given: Numbers | float) -> Spent:
        return Spent.none(len(self.arrays), **given)
