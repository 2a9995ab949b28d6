"""Stopper: from how close a pair is to whether more thought is worth its price.

A stopper is fitted on traces of one model in one style. For each checkpoint it holds a logistic
curve from |margin| to the probability that the verdict is right, one where both orders agree and
one where they do not (Platt scaling, 1999): confidence rises with length even on wrong chains, so
no curve serves two checkpoints. For each of a range of prices of thought it holds a policy, the
least |margin| at which to stop at each checkpoint; one of the prices is the one it stops by.

A checkpoint is where one order's chain, the leading one, has thought for so many tokens and the
other has not begun. Only where the whole leading chain leaves it open does the other think too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, overload

from pydantic import ConfigDict, Field

from rrm.audit import Expected
from rrm.productivity import Productivity
from rrm.types import At, Certificate, Frozen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]
    Numbers = NDArray[np.float64]

LOOK_TOKENS = 4.0
"""what one look at a pair costs, in generated tokens: a probe of the chain that has grown, and that
chain taken up again"""


class Curve(Frozen):
    """P(right) = 1 / (1 + exp(-(intercept + slope |margin|))), the slope never negative."""

    intercept: float
    slope: float = Field(ge=0.0)

    def __call__(self, margin: float) -> float:
        logit = self.intercept + self.slope * abs(margin)
        return 1.0 / (1.0 + math.exp(-max(-40.0, min(40.0, logit))))


class Stage(Frozen):
    """The curves of one checkpoint."""

    thinking_tokens: int = Field(description="of the leading chain, at this checkpoint")
    agree: Curve
    differ: Curve
    alone: Curve | None = Field(None, description="where one order alone was read")

    def probability(self, margin: float, agree: bool | None) -> float:
        """That a verdict of this margin is right, 0.5 to 1. agree: None if one order was read."""
        if agree is None:
            return max(0.5, (self.alone or uncalibrated)(margin))
        return max(0.5, (self.agree if agree else self.differ)(margin))


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


AT_ONCE = Policy(price=1.0, rules=(ALWAYS,), lead=ALWAYS)
"""no thought at all, for a judge that does not get better by it"""


class Stopper(Frozen):
    """When to stop thinking, for one model in one style."""

    source: str = Field(description="what it was fitted on")
    temperature: float = Field(0.0, description="of the chains it was fitted on")
    stages: tuple[Stage, ...]
    lead: Stage = Field(description="for a leading chain that has closed by itself")
    both: Stage = Field(description="for both whole chains")
    votes: Stage | None = Field(None, description="for all the votes that the test asked for")
    most_votes: int = Field(1, description="pairs of chains in all, at most")
    vote_temperature: float = Field(0.0, description="of the chains after the first pair")
    policies: tuple[Policy, ...] = Field(description="by rising price")
    look_tokens: float = Field(
        LOOK_TOKENS, description="what a look was taken to cost, in generated tokens"
    )
    whole_tokens: float | None = Field(None, description="of whole chains a pair, mean")
    chosen: int | None = Field(description="the policy it stops by; none: it thinks whole chains")
    certificate: Certificate | None = None
    expected: Expected | None = Field(None, description="what an audit should find")
    productivity: Productivity | None = Field(
        None, description="whether this judge gains by thought"
    )

    def at_price(self, price: float) -> Stopper:
        """The same stopper at the dearest price that is not above `price`; below the first one
        it thinks whole chains. A certificate covers its own price and every lower one."""
        fitting = [index for index, policy in enumerate(self.policies) if policy.price <= price]
        chosen = fitting[-1] if fitting else None
        held = chosen is None or (self.chosen is not None and chosen <= self.chosen)
        kept = self.certificate if held else None
        return self.model_copy(update={"chosen": chosen, "certificate": kept})

    @property
    def thinks(self) -> bool:
        """Whether thought helps this judge, as far as is known."""
        return self.productivity is None or self.productivity.verdict != "unproductive"

    @property
    def ladder(self) -> tuple[int, ...]:
        """The checkpoints that it was fitted on, the prompt alone aside."""
        return tuple(stage.thinking_tokens for stage in self.stages[1:])

    @property
    def policy(self) -> Policy | None:
        return None if self.chosen is None else self.policies[self.chosen]

    def bid(self, at: At, margin: float, agree: bool | None) -> float:
        """The dearest price of a token at which a pair that stands so would think on."""
        rules = ((one.price, one.rule(at)) for one in self.policies)
        on = (
            price
            for price, rule in rules
            if not rule.stops(margin, agree) and not rule.ties(margin, agree)
        )
        return max(on, default=0.0)

    def stage(self, at: int | str) -> Stage:
        """The stage for checkpoint `at`; the last one stands in beyond the ladder.

        Both chains closed at a limit (`capped`) are read like both whole ones.
        """
        if isinstance(at, int):
            return self.stages[min(at, len(self.stages) - 1)]
        if at == "lead":
            return self.lead
        return self.votes if at == "votes" and self.votes is not None else self.both

    def probability(self, at: int | str, margin: float, agree: bool | None) -> float:
        """That the verdict read at checkpoint `at` is right; 0.5 to 1."""
        return self.stage(at).probability(margin, agree)


def uncalibrated(margin: float) -> float:
    """The judge's own word for how sure it is: the logistic of a log-odds margin, 0.5 to 1."""
    return 1.0 / (1.0 + math.exp(-min(40.0, abs(margin))))
