"""What a judgement has bought, and what it has read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from rrm.decision.chains import Order, PairReadout
from rrm.parse import ParsedVerdict
from rrm.types import At

READABLE_MASS = 0.5
"""labels that hold less probability than this cannot be read by probe"""

Place = At | Literal["capped"]
"""where a readout stands: a checkpoint, or both chains at a limit below the ladder's last rung"""


class ChainKey(NamedTuple):
    """Which chain: its order, and which of several on the same question."""

    order: Order
    vote: int = 0


@dataclass(frozen=True)
class ChainState:
    """What was bought of one chain."""

    opened: bool = False
    """its prompt was read"""
    tokens: int = 0
    asks: bool = False
    """it waits for a search that can be made"""
    ended: bool = False
    """the model ended it, so it grows no more"""
    readable: bool | None = None
    """whether its labels hold enough probability where it stands; None: not probed there"""
    silent: bool = False
    """its labels held too little before any thought"""


@dataclass(frozen=True)
class State:
    """What was bought of all chains, and what they wrote out."""

    chains: Mapping[ChainKey, ChainState]
    votes: int = 1
    """pairs of chains"""
    voted: bool = False
    replies: int = 0
    """times that verdicts were written out"""

    def orders(self, *orders: Order) -> list[ChainState]:
        """The first pair's chains."""
        return [self.chains[ChainKey(order)] for order in orders]


@dataclass(frozen=True)
class Readout:
    """A verdict as it stood at one place."""

    place: Place
    at: At
    """the same on the wire"""
    tokens: int
    """thinking tokens of all chains so far"""
    reading: PairReadout | None
    """by probe; None: it was written out"""
    replies: tuple[ParsedVerdict, ...] = ()
    """what both orders wrote, where it was"""
    lead: Order = "ab"
    """the order that leads"""
    prompt: float | None = None
    """margin towards a that the leading order's prompt had, where that was read"""
    searches: int = 0
    """answered in the leading chain so far"""

    @property
    def readable(self) -> bool:
        return self.reading is not None and self.reading.mass >= READABLE_MASS
