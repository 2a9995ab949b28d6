"""Calibration: from how close a pair is to how sure its verdict is, and to what is worth buying.

A calibration is fitted on traces of one model in one style. For each checkpoint it holds logistic
curves from |margin| to the probability that the verdict is right: where both orders agree, where
they do not, where one alone was read (Platt scaling, 1999). Confidence rises with length even on
wrong chains, so no curve serves two checkpoints. For each of a range of prices it holds a policy
(`rrm.decision.priced`; `rrm.decision.thresholds` in version 1); one of the prices is chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pydantic import ConfigDict, Field

from rrm.calibration.gain import ThinkingGain
from rrm.calibration.monitor import Expected
from rrm.decision.fixed import FixedPolicy, Rules
from rrm.decision.priced import PricedPolicy, TokenPrices, sigmoid
from rrm.decision.thresholds import PROMPT_ONLY
from rrm.types import Certificate, Frozen

if TYPE_CHECKING:
    from rrm.decision.state import Readout

LOOK_TOKENS = 4.0
"""what a look was taken to cost in version 1, in generated tokens"""
CONFLICT = 0.25
"""the default of `Stopper.conflict`. Below it a judge of pairs with known winners was right as
often as a coin, on three judges' traces; above it more often"""


class PlattScaler(Frozen):
    """P(right) = 1 / (1 + exp(-(intercept + slope |margin|))), the slope never negative."""

    intercept: float
    slope: float = Field(ge=0.0)

    def __call__(self, margin: float) -> float:
        return sigmoid(self.intercept + self.slope * abs(margin))


class PlattScalers(Frozen):
    """The curves of one checkpoint."""

    thinking_tokens: int = Field(description="of the leading chain, at this checkpoint")
    agree: PlattScaler
    differ: PlattScaler
    alone: PlattScaler | None = Field(None, description="where one order alone was read")

    def probability(self, margin: float, agree: bool | None) -> float:
        """That a verdict of this margin is right, 0.5 to 1. agree: None if one order was read."""
        if agree is None:
            return max(0.5, (self.alone or uncalibrated)(margin))
        return max(0.5, (self.agree if agree else self.differ)(margin))


class PositionBias(Frozen):
    """What the order of the responses alone does at one depth of both chains.

    A pair's liking is half the difference of its orders' margins, towards what is shown first.
    """

    thinking_tokens: int | None = Field(description="of each chain; none: both chains whole")
    n: int
    mean: float = Field(description="of the liking, in log-odds")
    spread: float = Field(description="its standard deviation")
    otherwise: float = Field(
        description="share of pairs that one order alone would have decided otherwise than both"
    )


class Weighed(NamedTuple):
    """What a readout comes to."""

    margin: float
    """what decides; positive prefers a"""
    probability: float
    """that the side it prefers is right, 0.5 to 1"""


class Calibration(Frozen):
    """What decides when more compute is worth its price, for one model in one style."""

    model_config = ConfigDict(ser_json_inf_nan="strings")

    source: str = Field(description="what it was fitted on")
    temperature: float = Field(0.0, description="of the chains it was fitted on")
    stages: tuple[PlattScalers, ...]
    lead: PlattScalers = Field(description="for a leading chain that has closed by itself")
    both: PlattScalers = Field(description="for both whole chains")
    votes: PlattScalers | None = Field(
        None, description="for all the votes that the test asked for"
    )
    most_votes: int = Field(1, description="pairs of chains in all, at most")
    vote_temperature: float = Field(0.0, description="of the chains after the first pair")
    wordings: int = Field(
        1, ge=1, description="of the instruction, in which the pairs of chains are asked in turn"
    )
    policies: tuple[Rules, ...] = Field(description="by rising price")
    token_prices: TokenPrices | None = Field(None, description="what a token was taken to cost")
    position_bias: tuple[PositionBias, ...] = Field((), description="by depth, both whole last")
    conflict: float = Field(
        CONFLICT,
        ge=0,
        le=1,
        description="whole chains that contradict each other say nothing where their mean margin "
        "is at most this share of half their difference",
    )
    look_tokens: float = Field(
        LOOK_TOKENS, description="what a look was taken to cost, in generated tokens"
    )
    whole_tokens: float | None = Field(None, description="of whole chains a pair, mean")
    chosen: int | None = Field(description="the policy it stops by; none: it thinks whole chains")
    certificate: Certificate | None = None
    expected: Expected | None = Field(None, description="what an audit should find")
    productivity: ThinkingGain | None = Field(
        None, description="whether this judge gains by thought"
    )

    def at_price(self, price: float) -> Calibration:
        """The same calibration at the dearest price that is not above `price`.

        Below the first one it thinks whole chains. A certificate covers its own price and every
        lower one.
        """
        fitting = [index for index, policy in enumerate(self.policies) if policy.price <= price]
        chosen = fitting[-1] if fitting else None
        held = chosen is None or (self.chosen is not None and chosen <= self.chosen)
        kept = self.certificate if held else None
        return self.model_copy(update={"chosen": chosen, "certificate": kept})

    @property
    def prompt_only(self) -> Rules:
        """No thought at all, whatever is read."""
        bought = [one for one in self.policies if isinstance(one, PricedPolicy) and one.start == 0]
        return bought[-1].prompt_only() if bought else PROMPT_ONLY

    @property
    def thinks(self) -> bool:
        """Whether thought helps this judge, as far as is known."""
        return self.productivity is None or self.productivity.conclusion != "unproductive"

    @property
    def ladder(self) -> tuple[int, ...]:
        """The checkpoints that it was fitted on, the prompt alone aside."""
        return tuple(stage.thinking_tokens for stage in self.stages[1:])

    @property
    def policy(self) -> Rules | None:
        return None if self.chosen is None else self.policies[self.chosen]

    def marginal_value(self, readout: Readout) -> float:
        """The dearest price of a token at which a pair that stands so would think on."""
        return max((one.price for one in self.policies if _goes_on(one, readout)), default=0.0)

    def weigh(self, readout: Readout, policy: Rules | None) -> Weighed | None:
        """What a readout comes to under the policy that is followed, if one is."""
        reading = readout.reading
        if reading is None:
            return None
        if isinstance(policy, PricedPolicy) and (weighed := policy.weigh(readout)) is not None:
            return Weighed(weighed.log_odds, sigmoid(abs(weighed.log_odds)))
        known = self.probability(readout.place, reading.margin, reading.agree)
        return Weighed(reading.margin, known)

    def stage(self, at: int | str) -> PlattScalers:
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
    return sigmoid(abs(margin))


def contradict(margins: tuple[float | None, float | None], conflict: float = CONFLICT) -> bool:
    """Whether two orders contradict each other and their mean is within what order alone does.

    The mean of both margins is the pair's, half their difference the order's.
    """
    first, second = margins
    if first is None or second is None or first * second >= 0:
        return False
    return abs(first + second) <= conflict * abs(first - second)


def _goes_on(policy: Rules, readout: Readout) -> bool:
    """Whether a pair that stands so buys more under `policy`."""
    reading = readout.reading
    if reading is None or isinstance(policy, FixedPolicy):
        return False
    if isinstance(policy, PricedPolicy):
        weighed = policy.weigh(readout)
        if weighed is not None:
            return weighed.step not in ("stop", "tie")
        return not policy.both.stops(reading.margin, reading.agree)
    rule = policy.rule(readout.at)
    held = rule.stops(reading.margin, reading.agree), rule.ties(reading.margin, reading.agree)
    return not any(held)
