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


class FixedPolicy(Frozen):
    """How every pair is judged, the best there is at one price."""

    price: float = Field(ge=0.0, description="accuracy that a token must bring, as a share")
    wording: int = Field(0, ge=0, description="of the style's instruction")
    depth: int | None = Field(description="thinking tokens of each chain; none: whole")
    votes: int = Field(ge=1, description="pairs of chains")
    aggregation: Aggregation = Field(description="of the votes")
    tokens: float | None = Field(None, description="thinking tokens a pair, mean where tuned")


Rules = PricedPolicy | Policy | FixedPolicy
"""of every kind"""
