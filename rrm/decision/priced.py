"""PricedPolicy: what to buy next in each state of a judgement, at one price of compute.

A state is how deep the leading chain is and whether the other order's prompt was read. There a
logistic curve weighs every margin seen so far into log-odds; how far they are from zero says what
is worth its price: stop, think on, read the other order's prompt, or let the other order think too.
Margins count towards the response that the leading order shows first, so a general liking for that
place is an intercept, and is taken off. `rrm.calibration.learn` learns policies from traces.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

from pydantic import ConfigDict, Field

from rrm.allocation.meter import SEARCH_TOKENS
from rrm.decision.thresholds import ALWAYS, PROMPT_ONLY, Rule
from rrm.types import Frozen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rrm.decision.state import Readout

    Numbers = NDArray[np.float64]

Depth = int | Literal["query", "end"]
"""of the leading chain: a rung of the ladder, the prompt alone being 0; where it asks for a search;
or its end"""
Step = int | Literal["end", "stop", "tie", "other", "both", "search"]
"""think to that depth; stop; stop undecided; read the other order's prompt; think there too; search
what the leading chain asks for"""


PriceKind = Literal["flops", "seconds", "tokens"]
"""operations, seconds on an engine, or generated tokens alone"""


class StateKey(NamedTuple):
    """Where a judgement stands that its leading order began."""

    other: bool
    """the other order's prompt was read"""
    depth: Depth
    searches: int = 0
    """that the leading chain read; 0 at its end, whatever it read"""


class Chance(Frozen):
    """Log-odds that what the leading order shows first is the better response.

    All margins count towards it; a margin that was not read counts 0.
    """

    intercept: float
    margin: float = Field(description="weight of the leading chain's latest margin")
    clipped: float = Field(description="weight of the same, held within `knee` of `centre`")
    knee: float
    centre: float = Field(0.0, description="what order alone adds to that margin, on average")
    prompt: float = Field(0.0, description="weight of what the leading prompt said")
    other: float = Field(0.0, description="weight of what the other order's prompt said")

    @overload
    def __call__(self, margin: float, prompt: float, other: float) -> float: ...
    @overload
    def __call__(self, margin: Numbers, prompt: Numbers, other: Numbers) -> Numbers: ...
    def __call__(self, margin: Any, prompt: Any, other: Any) -> Any:
        """Of one pair, or of arrays of them."""
        held = margin - self.centre
        held = (abs(held + self.knee) - abs(held - self.knee)) / 2
        seen = self.margin * margin + self.clipped * held
        return self.intercept + seen + self.prompt * prompt + self.other * other


class StateRule(Frozen):
    """What is bought in one state."""

    model_config = ConfigDict(ser_json_inf_nan="strings")  # a cut may be infinite

    other: bool = Field(description="the other order's prompt was read")
    depth: Depth
    searches: int = Field(0, description="that the leading chain read; 0 at its end")
    chance: Chance
    cuts: tuple[float, ...] = Field(description="of |log-odds|, rising, between the steps")
    steps: tuple[Step, ...] = Field(description="from most to least doubt")

    @property
    def key(self) -> StateKey:
        return StateKey(self.other, self.depth, self.searches)

    def step(self, log_odds: float) -> Step:
        return self.steps[bisect_left(self.cuts, abs(log_odds))]


class TokenPrices(Frozen):
    """What a token costs, by how it comes about; in generated tokens, where those cost anything.

    A probe is `suffix` tokens that are read, behind all that its chain has in the cache.
    """

    kind: PriceKind
    read: float = Field(ge=0)
    cached: float = Field(ge=0, description="read from a prefix cache")
    generated: float = Field(gt=0)
    suffix: float = Field(ge=0, description="tokens of one probe")
    look: float = Field(0.0, ge=0, description="generated tokens that a probe costs beside those")
    known: float = Field(
        0.0, ge=0, le=1, description="of the first order's prompt, what the cache holds already"
    )
    shared: float = Field(
        0.0, ge=0, le=1, description="of the other order's prompt, what it holds then"
    )
    search: float = Field(SEARCH_TOKENS, ge=0, description="generated tokens that a search costs")

    @property
    def prompt(self) -> float:
        """A token of the first order's prompt."""
        return self.read * (1 - self.known) + self.cached * self.known

    @property
    def other_prompt(self) -> float:
        """A token of the other order's prompt."""
        return self.read * (1 - self.shared) + self.cached * self.shared


class PricedPolicy(Frozen):
    """A rule for each state that can be reached: the best there is at one price."""

    price: float = Field(ge=0.0, description="accuracy that a token must bring, as a share")
    start: Literal[0, "end"] = Field(
        description="the leading chain's depth at its first readout: its prompt, or its end"
    )
    together: bool = Field(
        False, description="both prompts are read at once, as nearly all pairs need the other's"
    )
    last_rung: int = Field(description="number of the ladder's last: there a chain is at its end")
    rules: tuple[StateRule, ...]
    both: Rule = Field(ALWAYS, description="for both whole chains; who goes on takes votes")
    tokens: float | None = Field(None, description="thinking tokens a pair, mean where learnt")
    probes: float | None = Field(None, description="verdicts read a pair, each order's counted")
    orders: float | None = Field(None, description="orders read a pair, mean where learnt")
    searched: float = Field(0.0, description="searches a pair, mean where learnt")

    @property
    def searches(self) -> bool:
        """Whether it was learnt where judges search."""
        return any(rule.depth == "query" for rule in self.rules)

    @cached_property
    def by_state(self) -> Mapping[StateKey, StateRule]:
        return {rule.key: rule for rule in self.rules}

    def rule(self, other: bool, depth: Depth, searches: int = 0) -> StateRule:
        """The rule of a state, or of the deepest one before it where it has none of its own.

        A judgement that was cut short may stand where the policy never leads, or have searched
        where no judge did that it was learnt from.
        """
        found = self.by_state.get(StateKey(other, depth, 0 if depth == "end" else searches))
        if found is not None:
            return found
        same = [rule for rule in self.rules if rule.other == other] or list(self.rules)
        known = [rule.searches for rule in same if rule.searches <= searches]
        same = [rule for rule in same if rule.searches == max(known, default=0)] or same
        reached = depth if isinstance(depth, int) else math.inf
        rungs = [(rule.depth, rule) for rule in same if isinstance(rule.depth, int)]
        before = [(rung, rule) for rung, rule in rungs if rung <= reached]
        return max(before, key=lambda one: one[0])[1] if before else same[-1]

    def prompt_only(self) -> PricedPolicy:
        """One prompt, and no thought whatever it says.

        Raises ValueError for a policy that reads no prompt.
        """
        if self.start != 0:
            raise ValueError("this policy reads no prompt for its verdict")
        first = self.rule(other=False, depth=0)
        rule = first.model_copy(update={"cuts": (), "steps": ("stop",)})
        spent = {"tokens": 0.0, "probes": 1.0, "orders": 1.0, "together": False}
        return self.model_copy(update={"price": PROMPT_ONLY.price, "rules": (rule,), **spent})

    def weigh(self, readout: Readout) -> Weighed | None:
        """What a readout of the leading chain comes to; None for both whole chains, or for text."""
        reading, place = readout.reading, readout.place
        if reading is None or place in ("both", "capped", "votes"):
            return None
        if place == "query" and not self.searches:
            return None
        sign, first, second = 1.0, *reading.margins
        if readout.lead == "ba":
            sign, first, second = -1.0, second, first
        if first is None:
            return None
        deep = place == "lead" or (isinstance(place, int) and place >= self.last_rung)
        depth: Depth = "end" if deep else place if isinstance(place, int) else "query"
        rule = self.rule(second is not None, depth, readout.searches)
        prompt = readout.prompt if self.start == 0 and rule.key[1:] != (0, 0) else None
        log_odds = rule.chance(sign * first, sign * (prompt or 0.0), sign * (second or 0.0))
        return Weighed(sign * log_odds, rule.step(log_odds))


class Weighed(NamedTuple):
    """A readout as a policy takes it."""

    log_odds: float
    """that response a is better"""
    step: Step


def sigmoid(log_odds: float) -> float:
    """The probability of these log-odds."""
    return 1.0 / (1.0 + math.exp(-max(-40.0, min(40.0, log_odds))))
