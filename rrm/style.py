"""How one family of judges is asked and read: the Style protocol. `judges.styles` has them."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rrm.parse import ParsedVerdict
from rrm.prompt import Rendered, SearchMarkers


@dataclass(frozen=True)
class LabelLogprobs:
    """What a probe observe: natural-log probability of each label, among all continuations."""

    logprobs: Mapping[str, float]

    @property
    def mass(self) -> float:
        """Probability that all labels hold together, 0 to 1."""
        return min(1.0, sum(math.exp(value) for value in self.logprobs.values()))


Ask = Callable[[Sequence[str], Sequence[str]], Awaitable[list[LabelLogprobs]]]
"""ask(suffixes, labels): label log-probabilities after the chain plus each suffix."""


@dataclass(frozen=True)
class ProbeReadout:
    """A verdict read by probe, seen from the first response of this order."""

    z: float
    """margin: log P(first better) - log P(second better), or a difference of expected scores"""
    mass: float
    scores: tuple[float, ...] | None = None
    spread: float = 0.0
    think: float | None = None
    """probability with which a hybrid begins to think, read before it does; None: it is none"""


class Style(Protocol):
    """What one family of judges is shown, and how its verdict is read."""

    @property
    def name(self) -> str: ...
    @property
    def prompt_hash(self) -> str:
        """Hash of everything in the prompt that is not the user's."""
        ...

    @property
    def stop(self) -> str:
        """The text by which the model ends its chain."""
        ...

    @property
    def short(self) -> str:
        """Begins the turn of a hybrid that answers without thought, by its own choice; "": none."""
        ...

    @property
    def search(self) -> SearchMarkers | None:
        """How it asks for a search; none: it cannot."""
        ...

    def clean(self, text: str, control: Iterable[str] = ()) -> tuple[str, tuple[str, ...]]:
        """A stranger's text made harmless for this style, and what was changed in it."""
        ...

    @property
    def temperature(self) -> float:
        """At which its authors decode; settings and calibrations go before it."""
        ...

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many responses the style can be asked about at once."""
        ...

    def render(
        self, prompt: str, responses: Sequence[str], control: Iterable[str] = ()
    ) -> Rendered:
        """Messages for `responses` in this order; `control` are the model's special tokens."""
        ...

    def suffix(self, chain: str, ended: bool) -> str:
        """What to append to `chain` so that the verdict label comes next."""
        ...

    async def read(self, ask: Ask, suffix: str, n: int) -> ProbeReadout:
        """Read the verdict over `n` responses after `suffix`."""
        ...

    def parse(self, text: str, n: int) -> ParsedVerdict:
        """Read a finished reply. Never raises."""
        ...

    def check(self, special: Iterable[str]) -> None:
        """Raise StyleMismatch if a model with these special tokens is of another family."""
        ...
