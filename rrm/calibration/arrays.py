"""Labelled traces as arrays, in coordinates towards what the leading order shows first."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from rrm.calibration.trace import Trace, TracedChain
from rrm.decision.priced import Depth, StateKey, TokenPrices
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

    Places of the leading chain are columns: the prompt, the ladder's rungs but its last, its end.
    Where judges search, each number of searches has its own, and one where the next is asked for;
    the end is one column, the last.
    """

    ladder: tuple[int, ...]
    places: tuple[tuple[Depth, int], ...]
    """[places]: depth and searches"""
    truth: Numbers
    """[traces]: 1 where what is shown first is right, -1 elsewhere"""
    lead: Numbers
    """[traces, places]: the leading chain's margin; NaN where it does not come by"""
    liked: Numbers
    """[traces, places]: half of what both orders as deep differ by: what order alone does"""
    lands: Places
    """[traces, places]: where it stands when it was let think to there: there, where it asks for a
    search before, or at its end"""
    resumes: Places
    """[traces, searches]: where it stands once it has read what it asked for"""
    thoughts: Numbers
    """[traces, places]: its thinking tokens where it lands"""
    searched: Numbers
    """[traces, places]: searches it made by then, each query once"""
    evidence: Numbers
    """[traces, places]: tokens of what it read of them"""
    other_prompt: Numbers
    """[traces]: what the other order's prompt said"""
    other_end: Numbers
    readable: Flags
    """[traces, places]: the leading chain's labels hold enough probability"""
    other_readable: Flags
    """[traces]: the same of the other order's prompt"""
    closed: Flags
    """[traces]: the leading chain closed by itself"""
    lead_tokens: Numbers
    """[traces]: thinking tokens of the whole leading chain"""
    other_tokens: Numbers
    other_searches: Numbers
    """[traces]: queries of the other order that the leading one did not make"""
    other_evidence: Numbers
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

        ladder = tuple(ladder)
        keyed = [_places(trace.leading, ladder) for trace in traces]
        most = max((len(trace.leading.queries) for trace in traces), default=0)
        places = _columns(ladder, most)
        n, m, index = len(traces), len(places), {place: k for k, place in enumerate(places)}
        column = {name: np.zeros(n) for name in _COLUMNS}
        margins = np.full((n, m), np.nan)
        liked, thoughts, searched, evidence = (np.zeros((n, m)) for _ in range(4))
        lands, resumes = np.zeros((n, m), dtype=int), np.full((n, most), m - 1)
        readable = np.zeros((n, m), dtype=bool)
        other_readable, closed, vote_agree = (np.zeros(n, dtype=bool) for _ in range(3))
        for row, (trace, there) in enumerate(zip(traces, keyed, strict=True)):
            sign = 1.0 if trace.lead == "ab" else -1.0
            lead, other = trace.leading, trace.other
            as_deep, last = _places(other, ladder), len(other.tokens) - 1
            for k, place in enumerate(places):
                landed = _landed(there, place)
                at = there[landed]
                lands[row, k] = index[landed]
                if landed == place:
                    margins[row, k] = sign * lead.margins[at]
                    readable[row, k] = lead.masses[at] >= READABLE_MASS
                thoughts[row, k] = lead.tokens[at]
                searched[row, k] = len(set(lead.queries[: lead.answered(at)]))
                evidence[row, k] = sum(lead.evidence[: lead.answered(at)])
                behind = there.get(place, len(lead.tokens) - 1)
                said = lead.margins[behind] - other.margins[as_deep.get(place, last)]
                liked[row, k] = sign * said / 2
            for number in range(len(lead.queries)):
                after = there["query", number] + 1
                resumes[row, number] = index[next(p for p, at in there.items() if at == after)]
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
                "other_searches": len({*other.queries} - {*lead.queries}),
                "other_evidence": sum(other.evidence),
                "lead_prompt_tokens": prompts[0],
                "other_prompt_tokens": prompts[1],
                "voted": sign * sum(ballot.margins) / 2,
                "vote_tokens": sum(one.length + two.length for one, two in more),
                "votes": len(ballot.votes),
            }
            for name, value in told.items():
                column[name][row] = value
        return cls(
            ladder=ladder,
            places=places,
            lead=margins,
            liked=liked,
            lands=lands,
            resumes=resumes,
            thoughts=thoughts,
            searched=searched,
            evidence=evidence,
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
        return len(self.places) - 1

    @property
    def searches(self) -> int:
        """The most that a leading chain read."""
        return self.places[-2][1] if len(self.places) > 1 else 0

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

    def column(self, depth: Depth, searches: int = 0) -> int:
        """Raises ValueError for a place that these traces do not have."""
        return self.places.index((depth, 0 if depth == "end" else searches))

    def thought(self, column: int) -> Numbers:
        """[traces]: the leading chain's tokens at `column`, or where it lands."""
        found: Numbers = self.thoughts[:, column]
        return found

    def onto(self, column: int, searches: int = 0) -> Places:
        """[traces]: the column where a chain stands that was let think to `column`.

        searches: that it has read so far.
        """
        import numpy as np

        found: Places = self.lands[:, column]
        if column == self.end and searches < self.searches:
            asks = self.column("query", searches)
            found = np.where(self.there[:, asks], asks, found)
        return found

    def can_read(self, other: bool, column: int) -> Flags:
        """[traces]: whether a probe there holds enough probability."""
        first = self.readable[:, column]
        return first & self.other_readable if other else first

    def part(self, rows: Places | Flags | slice) -> TraceArrays:
        every = {name: getattr(self, name)[rows] for name in _ARRAYS}
        return replace(self, **every)


def state_at(arrays: TraceArrays, column: int, other: bool) -> StateKey:
    """A state of theirs. other: the other order's prompt was read."""
    return StateKey(other, *arrays.places[column])


def concatenated(first: TraceArrays, second: TraceArrays) -> TraceArrays:
    """Both together, over one ladder."""
    import numpy as np

    every: dict[str, Any] = {
        name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in _ARRAYS
    }
    return replace(first, **every)


def _columns(ladder: tuple[int, ...], searches: int) -> tuple[tuple[Depth, int], ...]:
    """The places of chains that search so often."""
    found: list[tuple[Depth, int]] = []
    for number in range(searches + 1):
        found += [(depth, number) for depth in range(len(ladder))]
        found += [("query", number)] if number < searches else []
    return (*found, ("end", 0))


def _places(chain: TracedChain, ladder: tuple[int, ...]) -> dict[tuple[Depth, int], int]:
    """Where it was read, by depth and searches; its end last."""
    found: dict[tuple[Depth, int], int] = {}
    last = len(chain.tokens) - 1
    for at, tokens in enumerate(chain.tokens[:last]):
        depth: Depth = "query" if at in chain.asks else bisect_right(ladder, tokens)
        found.setdefault((depth, chain.answered(at)), at)
    found["end", 0] = last
    return found


def _landed(there: Mapping[tuple[Depth, int], int], place: tuple[Depth, int]) -> tuple[Depth, int]:
    """Where a chain stands that is let think to `place`."""
    asks: tuple[Depth, int] = ("query", place[1])
    for one in (place, asks):
        if one in there and place[0] != "end":
            return one
    return "end", 0


_ARRAYS = tuple(
    field.name for field in fields(TraceArrays) if field.name not in ("ladder", "places")
)
_FLAGS = ("readable", "other_readable", "closed", "vote_agree")
_TABLES = ("lead", "liked", "lands", "resumes", "thoughts", "searched", "evidence")
_COLUMNS = tuple(name for name in _ARRAYS if name not in (*_TABLES, *_FLAGS))
