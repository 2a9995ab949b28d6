"""Trace: one labelled pair thought through to the end, with what each order said on the way.

Both orders' chains run to their ends and are read at every checkpoint of the ladder; a vote is one
more pair of chains. The two chains of a pair know nothing of each other, so whatever a policy does
with them (one leads, both in step, stop at any place) can be replayed from these readings alone,
without the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from rrm.decision.chains import ORDERS, Order, SwapPair
from rrm.decision.votes import Ballot
from rrm.engines.base import Engine
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
) -> Trace:
    """Think `pair` through, up to the last checkpoint of `ladder`, and read it at each.

    label: none takes the judge's own, from its whole chains. votes: pairs of whole chains in all,
    those after the first at `vote_temperature`.

    Raises RefusedText for text that the model cannot take, EngineError if the engine fails.
    """
    temperatures = [temperature, *[vote_temperature] * (votes - 1)]
    pairs = [
        SwapPair(engine, style, pair, temperature, vote=vote)
        for vote, temperature in enumerate(temperatures)
    ]
    made = [await _think(chains, ladder) for chains in pairs]
    chains, (first, second) = pairs[0], made[0]
    return Trace(
        label=label or ("a" if first.margins[-1] + second.margins[-1] > 0 else "b"),
        own=label is None,
        lead=chains.lead,
        group=group,
        prompt_tokens=chains.prompt_tokens,
        votes=tuple(made),
    )


async def _think(chains: SwapPair, ladder: Sequence[int]) -> tuple[TracedChain, TracedChain]:
    """Both chains to their ends, read at every checkpoint."""
    made = [_Reader() for _ in ORDERS]
    for goal in (0, *ladder):
        await chains.grow(goal)
        reading = await chains.read()
        said = zip(ORDERS, made, *reading.both, reading.thinks, strict=True)
        for order, reader, margin, mass, think in said:
            reader.think = think if reader.think is None else reader.think
            reader.add(chains.by_order[order].thinking_tokens, margin, mass)
        if chains.ended:
            break
    ends = [not chains.by_order[order].forced for order in ORDERS]
    first, second = (reader.chain(closed) for reader, closed in zip(made, ends, strict=True))
    return first, second


class _Reader:
    """What one chain says, as it grows."""

    def __init__(self) -> None:
        self.think: float | None = None
        self.tokens: list[int] = []
        self.margins: list[float] = []
        self.masses: list[float] = []

    def add(self, tokens: int, margin: float, mass: float) -> None:
        """A chain that has not grown is read again only because it may have closed."""
        if self.tokens and self.tokens[-1] == tokens:
            self.margins.pop()
            self.masses.pop()
        else:
            self.tokens.append(tokens)
        self.margins.append(round(margin, DIGITS))
        self.masses.append(round(mass, DIGITS))

    def chain(self, closed: bool) -> TracedChain:
        return TracedChain(
            tokens=tuple(self.tokens),
            margins=tuple(self.margins),
            masses=tuple(self.masses),
            closed=closed,
            think=self.think,
        )
