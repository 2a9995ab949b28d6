"""Labelled traces as arrays, in coordinates towards what the leading order shows first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from rrm.calibration.trace import Trace
from rrm.decision.priced import Depth, TokenPrices
from rrm.decision.state import READABLE_MASS
from rrm.decision.votes import Ballot

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]
    Numbers = NDArray[np.float64]
    Places = NDArray[np.int_]

TOKENS_ALONE = TokenPrices(kind="tokens", read=0.0, cached=0.0, generated=1.0, suffix=0.0)


@dataclass(frozen=True)
class TraceArrays:
    """Labelled traces; margins count towards what the leading order shows first.

    Depths are columns: the prompt, the ladder's rungs but its last, the leading chain's end.
    """

    ladder: tuple[int, ...]
    truth: Numbers
    """[traces]: 1 where what is shown first is right, -1 elsewhere"""
    lead: Numbers
    """[traces, depths]: the leading chain's margin; NaN at rungs behind its end"""
    liked: Numbers
    """[traces, depths]: half of what both orders as deep differ by: what order alone does"""
    other_prompt: Numbers
    """[traces]: what the other order's prompt said"""
    other_end: Numbers
    readable: Flags
    """[traces, depths]: the leading chain's labels hold enough probability"""
    other_readable: Flags
    """[traces]: the same of the other order's prompt"""
    closed: Flags
    """[traces]: the leading chain closed by itself"""
    lead_tokens: Numbers
    """[traces]: thinking tokens of the whole leading chain"""
    other_tokens: Numbers
    lead_prompt_tokens: Numbers
    other_prompt_tokens: Numbers
    voted: Numbers
    """[traces]: mean margin after the votes that the sequential test asks for"""
    vote_tokens: Numbers
    """[traces]: thinking tokens of all the votes after the first pair"""
    votes: Numbers
    """[traces]: pairs of chains, the first included"""
    vote_agree: Flags
    """[traces]: whether both orders' votes do, on average"""

    @classmethod
    def of(cls, traces: Sequence[Trace], ladder: Sequence[int]) -> TraceArrays:
        import numpy as np

        n, end = len(traces), len(ladder)
        goals = (0, *ladder[:-1])
        column = {name: np.zeros(n) for name in _COLUMNS}
        margins = np.full((n, end + 1), np.nan)
        liked, readable = np.zeros((n, end + 1)), np.zeros((n, end + 1), dtype=bool)
        other_readable, closed, vote_agree = (np.zeros(n, dtype=bool) for _ in range(3))
        for row, trace in enumerate(traces):
            sign = 1.0 if trace.lead == "ab" else -1.0
            lead, other = trace.leading, trace.other
            for depth, goal in enumerate(goals):
                if depth == 0 or goal < lead.length:
                    margins[row, depth] = sign * lead.margins[lead.place(goal)]
                    readable[row, depth] = lead.masses[lead.place(goal)] >= READABLE_MASS
                said = lead.margins[lead.place(goal)] - other.margins[other.place(goal)]
                liked[row, depth] = sign * said / 2
            margins[row, end] = sign * lead.margins[-1]
            liked[row, end] = sign * (lead.margins[-1] - other.margins[-1]) / 2
            readable[row, end] = lead.masses[-1] >= READABLE_MASS
            other_readable[row] = other.masses[0] >= READABLE_MASS
            closed[row] = lead.closed
            prompts = trace.prompt_tokens if trace.lead == "ab" else trace.prompt_tokens[::-1]
            ballot = Ballot.taken([(one.margins[-1], two.margins[-1]) for one, two in trace.votes])
            vote_agree[row] = ballot.margins[0] * ballot.margins[1] > 0
            more = trace.votes[1 : len(ballot.votes)]
            told = {
                "truth": sign if trace.label == "a" else -sign,
                "other_prompt": sign * other.margins[0],
                "other_end": sign * other.margins[-1],
                "lead_tokens": lead.length,
                "other_tokens": other.length,
                "lead_prompt_tokens": prompts[0],
                "other_prompt_tokens": prompts[1],
                "voted": sign * sum(ballot.margins) / 2,
                "vote_tokens": sum(one.length + two.length for one, two in more),
                "votes": len(ballot.votes),
            }
            for name, value in told.items():
                column[name][row] = value
        return cls(
            ladder=tuple(ladder),
            lead=margins,
            liked=liked,
            readable=readable,
            other_readable=other_readable,
            closed=closed,
            vote_agree=vote_agree,
            **column,
        )

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def end(self) -> int:
        """The column of the leading chain's end."""
        return len(self.ladder)

    @property
    def liking(self) -> Numbers:
        """[depths]: what order alone adds to the leading chain's margin, on average."""
        found: Numbers = self.liked.mean(axis=0)
        return found

    @property
    def there(self) -> Flags:
        """[traces, depths]: where the leading chain was read."""
        import numpy as np

        return ~np.isnan(self.lead)

    @property
    def whole(self) -> Numbers:
        """[traces]: the mean margin of both whole chains."""
        return (self.lead[:, -1] + self.other_end) / 2

    @property
    def agree(self) -> Flags:
        """[traces]: whether both whole chains do."""
        return self.lead[:, -1] * self.other_end > 0

    @property
    def whole_right(self) -> Flags:
        return self.whole * self.truth > 0

    @property
    def has_votes(self) -> bool:
        return bool((self.votes > 1).any())

    def column(self, depth: Depth) -> int:
        return self.end if depth == "end" else depth

    def depth(self, column: int) -> Depth:
        return "end" if column == self.end else column

    def thought(self, column: int) -> Numbers:
        """[traces]: the leading chain's tokens at `column`, or at its end if that is before."""
        import numpy as np

        goal = self.lead_tokens if column == self.end else (0, *self.ladder)[column]
        return np.minimum(goal, self.lead_tokens)

    def onto(self, column: int) -> Places:
        """[traces]: the column where a chain stands that was let think to `column`."""
        import numpy as np

        return np.where(self.there[:, column], column, self.end)

    def can_read(self, other: bool, column: int) -> Flags:
        """[traces]: whether a probe there holds enough probability."""
        first = self.readable[:, column]
        return first & self.other_readable if other else first

    def part(self, rows: Places | Flags | slice) -> TraceArrays:
        every = {name: getattr(self, name)[rows] for name in _ARRAYS}
        return replace(self, **every)


def concatenated(first: TraceArrays, second: TraceArrays) -> TraceArrays:
    """Both together, over one ladder."""
    import numpy as np

    every: dict[str, Any] = {
        name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in _ARRAYS
    }
    return replace(first, **every)


_ARRAYS = tuple(field.name for field in fields(TraceArrays) if field.name != "ladder")
_FLAGS = ("readable", "other_readable", "closed", "vote_agree")
_COLUMNS = tuple(name for name in _ARRAYS if name not in ("lead", "liked", *_FLAGS))
