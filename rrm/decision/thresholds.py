"""Thresholds: the least |margin| at which to stop at each checkpoint, with both prompts read.

How calibrations of version 1 decide; `rrm.decision.priced` is what is fitted now. A checkpoint is
where the leading chain has thought for so many tokens and the other has not begun. Only where the
whole leading chain leaves it open does the other think too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, overload

from pydantic import ConfigDict, Field

from rrm.types import Frozen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]
    Numbers = NDArray[np.float64]


class Rule(Frozen):
    """Where to stop at one checkpoint. One where nobody stops is not looked at."""

    model_config = ConfigDict(ser_json_inf_nan="strings")  # a threshold may be infinite

    agree: float = Field(math.inf, description="stop at this |margin| if both orders agree")
    differ: float = Field(math.inf, description="the same where they do not")
    alone: float = Field(math.inf, description="the same where one order alone was read")
    close: float = Field(0.0, description="a tie below this |margin|: too close to think on")

    @property
    def looks(self) -> bool:
        return min(self.agree, self.differ, self.alone) < math.inf or self.close > 0

    @overload
    def stops(self, margin: float, agree: bool | None) -> bool: ...
    @overload
    def stops(self, margin: Numbers, agree: Flags) -> Flags: ...
    def stops(self, margin: Any, agree: Any) -> Any:
        """Whether the margin is wide enough to stop here; of one pair, or of arrays of them."""
        size = abs(margin)
        if agree is None:
            return size >= self.alone
        return (agree & (size >= self.agree)) | ((agree ^ True) & (size >= self.differ))

    @overload
    def ties(self, margin: float, agree: bool | None) -> bool: ...
    @overload
    def ties(self, margin: Numbers, agree: Flags) -> Flags: ...
    def ties(self, margin: Any, agree: Any) -> Any:
        """Whether it is so close that more thought is not worth its price."""
        return (abs(margin) < self.close) & (self.stops(margin, agree) ^ True)


NEVER, ALWAYS = Rule(), Rule(agree=0.0, differ=0.0)


class Policy(Frozen):
    """A rule for each checkpoint: the best there is at one price of thought."""

    price: float = Field(ge=0.0, description="accuracy that a token must bring, as a share")
    rules: tuple[Rule, ...] = Field(description="by the checkpoint's number, the prompt's first")
    lead: Rule = Field(description="for a leading chain that has closed by itself")
    both: Rule = Field(ALWAYS, description="for both whole chains; who goes on takes votes")
    tokens: float | None = Field(None, description="thinking tokens a pair, mean where fitted")
    looks: float | None = Field(None, description="looks a pair before the last, the same")

    def rule(self, at: int | str) -> Rule:
        """The rule for checkpoint `at`; the last one stands in beyond the ladder."""
        if isinstance(at, int):
            return self.rules[min(at, len(self.rules) - 1)]
        return {"lead": self.lead, "both": self.both}.get(at, ALWAYS)


PROMPT_ONLY = Policy(price=1.0, rules=(ALWAYS,), lead=ALWAYS)
"""no thought at all, for a judge that does not get better by it"""
