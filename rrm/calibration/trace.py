"""Trace: one labelled pair thought through to the end, with what each order said on the way.

Both orders' chains run to their ends and are read at every checkpoint of the ladder; a vote is one
more pair of chains. The two chains of a pair know nothing of each other, so whatever a policy does
with them (one leads, both in step, stop at any place) can be replayed from these readings alone,
without the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from pydantic import Field

from rrm.allocation.account import Unlimited
from rrm.decision.chain import JudgeChain
from rrm.decision.chains import ORDERS, Order, SwapPair
from rrm.decision.search import ChainSearch, answer
from rrm.decision.votes import Ballot
from rrm.engines.base import Engine
from rrm.search.evidence import Evidence
from rrm.style import Style
from rrm.types import At, Frozen, Pair

VOTE_TEMPERATURE = 0.7
"""of chains after the first, which would say the same again if nothing were drawn"""
DIGITS = 5
"""of what is kept of a margin or a mass"""


class TracedChain(Frozen):
    """One order's chain: what it said at each place where it was read, its end last."""

    tokens: tuple[int, ...] = Field(description="thinking tokens at each place, 0 first")
    margins: tuple[float, ...] = Field(description="verdict margin there; positive prefers a")
    masses: tuple[float, ...] = Field(description="probability the labels hold together there")
    closed: bool = Field(description="it closed by itself, so the last reading was not forced")
    think: float | None = Field(
        None, description="how likely a hybrid was to begin with thought; null for others"
    )
    searches: tuple[int, ...] = Field(
        (), description="searches answered by each place; none at all where there was none to make"
    )
    asks: tuple[int, ...] = Field((), description="places at which it waits for a search")
    queries: tuple[str, ...] = Field((), description="what was searched, in order")
    evidence: tuple[int, ...] = Field((), description="tokens read for each of them")

    def answered(self, place: int) -> int:
        """Searches by then."""
        return self.searches[place] if self.searches else 0

    @property
    def length(self) -> int:
        """Thinking tokens of the whole chain."""
        return self.tokens[-1]

    def place(self, tokens: int) -> int:
        """Where it is read when it may think for `tokens`: there, or at its end if that is less."""
        return sum(one < tokens for one in self.tokens[:-1])


class Trace(Frozen):
    """One labelled pair."""

    label: Literal["a", "b"]
    own: bool = Field(False, description="the label is what the whole chains said, for want of one")
    lead: Order
    group: str | None = Field(None, description="the domain or subset that the data names")
    prompt_tokens: tuple[int, int] = Field(description="of the orders a, b and b, a")
    votes: tuple[tuple[TracedChain, TracedChain], ...] = Field(
        description="pairs of chains, orders a, b and b, a; the first is what a verdict rests on"
    )

    @property
    def leading(self) -> TracedChain:
        return self.votes[0][ORDERS.index(self.lead)]

    @property
    def other(self) -> TracedChain:
        return self.votes[0][1 - ORDERS.index(self.lead)]

    @property
    def whole_tokens(self) -> int:
        """Thinking tokens of both whole chains of the first vote."""
        return sum(chain.length for chain in self.votes[0])

    def right(self, margin: float) -> bool:
        """Whether a verdict of this margin is the label; a margin of 0 is not."""
        return margin != 0 and (margin > 0) == (self.label == "a")

    def route(self, ladder: Sequence[int]) -> tuple[Point, ...]:
        """What a judge comes by when one order leads.

        The prompt, the leading chain at each checkpoint of `ladder`, its end, and the end of both.
        """
        lead, other = self.leading, self.other
        points = [self._point(0, 0, 0)]
        for stage, goal in enumerate(ladder, start=1):
            if goal >= lead.length:
                break
            points.append(self._point(stage, lead.place(goal), 0))
        end = len(lead.tokens) - 1
        points.append(self._point("lead" if lead.closed else len(ladder), end, 0))
        both = self._point("both", end, len(other.tokens) - 1)
        points.append(both)
        if self.votes[1:]:
            points.append(self._voted(both))
        return tuple(points)

    def _voted(self, both: Point) -> Point:
        """After as many votes as the sequential test asks for."""
        ballot = Ballot.taken([(one.margins[-1], two.margins[-1]) for one, two in self.votes])
        more = self.votes[1 : len(ballot.votes)]
        margins = ballot.margins
        return Point(
            at="votes",
            tokens=both.tokens + sum(one.length + two.length for one, two in more),
            margin=sum(margins) / 2,
            agree=margins[0] * margins[1] > 0,
            mass=min([both.mass, *(chain.masses[-1] for pair in more for chain in pair)]),
        )

    def votes_at(self, tokens: int) -> tuple[list[float], list[int]]:
        """Margin and thinking tokens of each pair of chains when each may think for `tokens`."""
        places = [[(one, one.place(tokens)) for one in pair] for pair in self.votes]
        margins = [sum(one.margins[place] for one, place in pair) / 2 for pair in places]
        spent = [sum(one.tokens[place] for one, place in pair) for pair in places]
        return margins, spent

    def in_step(self, tokens: int) -> Point:
        """The verdict when each order may think for `tokens`."""
        return self._point("both", self.leading.place(tokens), self.other.place(tokens))

    def _point(self, at: At, lead: int, other: int) -> Point:
        first, second = self.leading, self.other
        margins = first.margins[lead], second.margins[other]
        return Point(
            at=at,
            tokens=first.tokens[lead] + second.tokens[other],
            margin=sum(margins) / 2,
            agree=margins[0] * margins[1] > 0,
            mass=min(first.masses[lead], second.masses[other]),
        )


@dataclass(frozen=True)
class Point:
    """A verdict that a policy may stop at."""

    at: At
    tokens: int
    """thinking tokens of both orders together"""
    margin: float
    agree: bool
    mass: float


async def trace(
    engine: Engine,
    style: Style,
    pair: Pair,
    label: Literal["a", "b"] | None,
    ladder: Sequence[int],
    temperature: float = 0.0,
    group: str | None = None,
    votes: int = 1,
    vote_temperature: float = VOTE_TEMPERATURE,
    evidence: Evidence | None = None,
    wordings: Sequence[Style] = (),
) -> Trace:
    """Think `pair` through, up to the last checkpoint of `ladder`, and read it at each.

    label: none takes the judge's own, from its whole chains. votes: pairs of whole chains in all,
    those after the first at `vote_temperature`. evidence: what is searched for it. wordings: of the
    style, its own first; votes are asked in them in turn, each first in its own words.

    Raises RefusedText for text that the model cannot take, EngineError if the engine fails.
    """
    evidence = evidence or Evidence()
    styles = wordings or (style,)
    fresh = min(votes, len(styles))
    temperatures = [temperature] * fresh + [vote_temperature] * (votes - fresh)
    pairs = [
        SwapPair(engine, styles[vote % len(styles)], pair, degree, None, vote, evidence.given)
        for vote, degree in enumerate(temperatures)
    ]
    made = [await _think(chains, ladder, evidence) for chains in pairs]
    chains, (first, second) = pairs[0], made[0]
    return Trace(
        label=label or ("a" if first.margins[-1] + second.margins[-1] > 0 else "b"),
        own=label is None,
        lead=chains.lead,
        group=group,
        prompt_tokens=chains.prompt_tokens,
        votes=tuple(made),
    )


async def _think(
    chains: SwapPair, ladder: Sequence[int], evidence: Evidence
) -> tuple[TracedChain, TracedChain]:
    """Both chains to their ends, read at every checkpoint, before and after every search."""
    made = [_Reader(chains.by_order[order], evidence) for order in ORDERS]
    for goal in (0, *ladder):
        while True:
            await chains.grow(goal)
            await _read(chains, made)
            paused = [reader for reader in made if reader.waits(goal)]
            if not paused:
                break
            await answer([one.asked() for one in paused], evidence, Unlimited(), 0.0)
            await _read(chains, made)
        if chains.ended:
            break
    first, second = (reader.chain() for reader in made)
    return first, second


async def _read(chains: SwapPair, readers: Sequence[_Reader]) -> None:
    reading = await chains.read()
    for reader, margin, mass, think in zip(readers, *reading.both, reading.thinks, strict=True):
        reader.think = think if reader.think is None else reader.think
        reader.add(margin, mass)


class _Reader:
    """What one chain says, as it grows."""

    def __init__(self, chain: JudgeChain, evidence: Evidence) -> None:
        self._chain, self._evidence = chain, evidence
        self.think: float | None = None
        self._places: list[tuple[int, int, bool]] = []
        """thinking tokens, searches answered, whether it waits for one"""
        self._said: list[tuple[float, float]] = []
        self._queries: list[tuple[str, int]] = []
        """with how long the chain was before the answer"""

    def add(self, margin: float, mass: float) -> None:
        """A chain that has not grown is read again only because it may have closed."""
        search = self._chain.search
        place = self._chain.thinking_tokens, search.answered, search.asks(self._evidence)
        if self._places and self._places[-1] == place:
            self._said.pop()
        else:
            self._places.append(place)
        self._said.append((round(margin, DIGITS), round(mass, DIGITS)))

    def waits(self, goal: int) -> bool:
        """Whether it asks for a search on its way to `goal`."""
        return self._chain.sequence.paused and self._chain.sequence.generated < goal

    def asked(self) -> ChainSearch:
        """What it asks for, which is answered next."""
        search = self._chain.search
        if search.asks(self._evidence):
            self._queries.append((search.query, search.length - self._chain.sequence.generated))
        return search

    def chain(self) -> TracedChain:
        tokens, searches, asks = zip(*self._places, strict=True)
        margins, masses = zip(*self._said, strict=True)
        sequence = self._chain.sequence
        read = [before for _, before in self._queries]
        read.append(self._chain.search.length - sequence.generated)
        looked_up = bool(self._queries)
        return TracedChain(
            tokens=tokens,
            margins=margins,
            masses=masses,
            closed=not self._chain.forced,
            think=self.think,
            searches=searches if looked_up else (),
            asks=tuple(place for place, waits in enumerate(asks) if waits),
            queries=tuple(query for query, _ in self._queries),
            evidence=tuple(after - before for before, after in pairwise(read)),
        )
