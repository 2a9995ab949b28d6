"""One way for all pairs: a wording, a depth, so many votes and how they are put together.

What `closecall tune` finds: Inference-Aware Prompt Optimization (AAAI 2026) chooses the prompt and
the inference strategy together, since the best prompt for one chain is not the best for ten.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rrm.decision.priced import PricedPolicy
from rrm.decision.thresholds import Policy
from rrm.types import Frozen

Aggregation = Literal["majority", "mean"]
"""of votes: by how many prefer a side, or by their mean margin"""


class Stratum(Frozen):
    """How pairs are judged whose prompts leave them so close."""

    below: float | None = Field(description="|margin| of both prompts; none: all the others")
    depth: int = Field(ge=0, description="thinking tokens of each chain")
    votes: int = Field(ge=1, description="pairs of chains")
    searches: int = Field(0, ge=0, description="of each chain")


class FixedPolicy(Frozen):
    """How every pair is judged, the best there is at one price.

    With strata: how all are that their prompts leave equally close; closeness is read, not learnt
    from place to place as a priced policy does.
    """

    price: float = Field(ge=0.0, description="accuracy that a token must bring, as a share")
    wording: int = Field(0, ge=0, description="of the style's instruction")
    depth: int | None = Field(description="thinking tokens of each chain; none: whole")
    votes: int = Field(ge=1, description="pairs of chains")
    aggregation: Aggregation = Field(description="of the votes")
    tokens: float | None = Field(None, description="thinking tokens a pair, mean where tuned")
    strata: tuple[Stratum, ...] = Field((), description="by rising |margin|; none: all alike")

    def stratum(self, margin: float) -> Stratum:
        """Of pairs of this margin. Raises ValueError where there are none."""
        for one in self.strata:
            if one.below is None or abs(margin) < one.below:
                return one
        raise ValueError("the last stratum must hold all the others")


Rules = PricedPolicy | Policy | FixedPolicy
"""of every kind"""
