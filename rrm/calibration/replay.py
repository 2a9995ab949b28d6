"""Replay: what a policy would have done with traces, to the token, without the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from rrm.calibration.arrays import TraceArrays
from rrm.decision.priced import Chance, PricedPolicy, StateKey, TokenPrices
from rrm.decision.thresholds import Policy, Rule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]
    Numbers = NDArray[np.float64]
    Places = NDArray[np.int_]


@dataclass(frozen=True)
class Spent:
    """[traces]: what judgements cost, in tokens."""

    first: Numbers
    """of the leading order's prompt, read"""
    other: Numbers
    """of the other order's prompt, read or shared with the first"""
    votes: Numbers
    """of the prompts of votes"""
    thought: Numbers
    """generated, both orders"""
    probes: Numbers
    """verdicts read: a number, not tokens"""
    cached: Numbers
    """tokens behind which something was read or generated anew"""

    @classmethod
    def none(cls, traces: int, **but: Numbers | float) -> Spent:
        import numpy as np

        return cls(**{f.name: but.get(f.name, 0.0) + np.zeros(traces) for f in fields(cls)})

    def __add__(self, more: Spent) -> Spent:
        return Spent(*(getattr(self, f.name) + getattr(more, f.name) for f in fields(self)))

    def __mul__(self, share: Flags | Numbers | float) -> Spent:
        return Spent(*(getattr(self, f.name) * share for f in fields(self)))

    def cost(self, prices: TokenPrices) -> Numbers:
        """[traces]: all of it, in generated tokens."""
        read = prices.prompt * self.first + prices.other_prompt * (self.other + self.votes)
        probes = (prices.read * prices.suffix + prices.look) * self.probes
        return read + probes + prices.cached * self.cached + prices.generated * self.thought


class Steps:
    """What each step costs from a state, for all traces."""

    def __init__(self, arrays: TraceArrays) -> None:
        import numpy as np

        self.arrays, self._none = arrays, np.zeros(len(arrays))

    def start(self, column: int) -> Spent:
        """The leading prompt, read, or thought through to its end and read there."""
        thought = self.arrays.thought(column)
        return self._spent(first=self.arrays.lead_prompt_tokens, thought=thought, probes=1)

    def think(self, column: int, goal: Places | int) -> Spent:
        """On to `goal`, a column or one a trace, and a probe there: two calls."""
        import numpy as np

        here = self.arrays.thought(column)
        depths = np.stack([self.arrays.thought(k) for k in range(self.arrays.end + 1)])
        there = depths[goal, np.arange(len(here))]
        prefix = self.arrays.lead_prompt_tokens
        return self._spent(thought=there - here, probes=1, cached=2 * prefix + here + there)

    def other(self) -> Spent:
        return self._spent(other=self.arrays.other_prompt_tokens, probes=1)

    def both(self, column: int, other: bool) -> Spent:
        """The rest of the leading chain, and the whole other order; what is new is read."""
        arrays = self.arrays
        rest = arrays.lead_tokens - arrays.thought(column)
        last = 1.0 if column == arrays.end else 2.0
        cached = arrays.other_prompt_tokens + arrays.other_tokens if other else self._none
        return self._spent(
            other=self._none if other else arrays.other_prompt_tokens,
            thought=rest + arrays.other_tokens,
            probes=last,
            cached=cached,
        )

    def vote(self) -> Spent:
        arrays = self.arrays
        more = arrays.votes - 1
        prompts = more * (arrays.lead_prompt_tokens + arrays.other_prompt_tokens)
        return self._spent(votes=prompts, thought=arrays.vote_tokens, probes=2 * more)

    def whole(self) -> Spent:
        """Both orders whole, read once at their ends: what everything is measured against."""
        arrays = self.arrays
        return self._spent(
            first=arrays.lead_prompt_tokens,
            other=arrays.other_prompt_tokens,
            thought=arrays.lead_tokens + arrays.other_tokens,
            probes=2,
        )

    def _spent(self, **given: Numbers | float) -> Spent:
        return Spent.none(len(self.arrays), **given)


@dataclass(frozen=True)
class Walked:
    """What one policy would have done with each trace."""

    arrays: TraceArrays
    value: Numbers
    """[traces]: what decided, log-odds or a mean margin, towards what is shown first"""
    tied: Flags
    """stopped undecided"""
    spent: Spent
    orders: Numbers
    """[traces]: prompts read"""
    stopped: Mapping[StateKey | str, Flags]
    """who stopped in which state, with `both` whole chains, or after `votes`"""
    came: Mapping[StateKey, Flags]
    """who came by each state"""

    @property
    def right(self) -> Flags:
        """A tie is not."""
        return (self.value * self.arrays.truth > 0) & ~self.tied

    @property
    def lost(self) -> Numbers:
        """[traces]: 1 where whole chains would be right and this is not, -1 the other way."""
        return self.arrays.whole_right.astype(float) - self.right


def whole(arrays: TraceArrays) -> Walked:
    """Both orders' whole chains, what is judged without a policy."""
    import numpy as np

    every = np.ones(len(arrays), dtype=bool)
    return Walked(
        arrays,
        arrays.whole,
        ~every,
        Steps(arrays).whole(),
        2.0 * every,
        {"both": every},
        {},
    )


def replay(arrays: TraceArrays, policy: PricedPolicy | Policy | None) -> Walked:
    """What any policy, or none, would have done."""
    if policy is None:
        return whole(arrays)
    return walk(arrays, policy) if isinstance(policy, PricedPolicy) else _stepwise(arrays, policy)


def _stepwise(arrays: TraceArrays, policy: Policy) -> Walked:
    """Thresholds: both prompts first, then each rung that has a rule."""
    import numpy as np

    n, steps = len(arrays), Steps(arrays)
    value, live, tied = np.zeros(n), np.ones(n, dtype=bool), np.zeros(n, dtype=bool)
    spent = steps.start(0) + steps.other()
    at = np.zeros(n, dtype=int)
    stopped: dict[StateKey | str, Flags] = {}
    for column in range(arrays.end + 1):
        margin = (np.nan_to_num(arrays.lead[:, column]) + arrays.other_prompt) / 2
        agree = np.nan_to_num(arrays.lead[:, column]) * arrays.other_prompt > 0
        here = live & arrays.there[:, column]
        ends = [(here, policy.rules[column] if column < len(policy.rules) else policy.rules[-1])]
        if column == arrays.end:
            ends = [(here & arrays.closed, policy.lead), (here & ~arrays.closed, ends[0][1])]
        for some, rule in ends:
            if column and not rule.looks:
                continue
            if column:
                prefix = arrays.lead_prompt_tokens
                grown = arrays.thought(column) - np.choose(
                    at, [arrays.thought(k) for k in range(arrays.end + 1)]
                )
                more = Spent.none(n, thought=grown, probes=1, cached=2 * prefix + grown)
                spent = spent + more * some
                at = np.where(some, column, at)
            some = some & arrays.can_read(True, column)
            tie = some & rule.ties(margin, agree)
            stop = tie | (some & rule.stops(margin, agree))
            value[stop], tied = margin[stop], tied | tie
            key = StateKey(True, arrays.depth(column))
            stopped[key] = stopped.get(key, np.zeros(n, dtype=bool)) | stop
            live &= ~stop
    for column in range(arrays.end + 1):
        spent = spent + steps.both(column, other=True) * (live & (at == column))
    value[live] = arrays.whole[live]
    return _voted(arrays, policy.both, live, value, tied, spent, stopped)


def _voted(
    arrays: TraceArrays,
    rule: Rule,
    both: Flags,
    value: Numbers,
    tied: Flags,
    spent: Spent,
    stopped: dict[StateKey | str, Flags],
    orders: Numbers | None = None,
    came: Mapping[StateKey, Flags] | None = None,
) -> Walked:
    """Votes for those of `both`, whose chains are whole, where these leave it open."""
    import numpy as np

    votes = np.zeros(len(arrays), dtype=bool)
    if arrays.has_votes:
        votes = both & ~rule.stops(np.abs(arrays.whole), arrays.agree)
        spent = spent + Steps(arrays).vote() * votes
        value = np.where(votes, arrays.voted, value)
        stopped["votes"] = votes
    stopped["both"] = both & ~votes
    orders = np.full(len(arrays), 2.0) if orders is None else orders
    return Walked(arrays, value, tied, spent, orders, stopped, came or {})


def walk(arrays: TraceArrays, policy: PricedPolicy) -> Walked:
    """Replay: every state in order of depth, the leading order alone first."""
    import numpy as np

    n, steps = len(arrays), Steps(arrays)
    value, live = np.zeros(n), np.ones(n, dtype=bool)
    tied, other = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    orders = np.ones(n)
    depth = arrays.onto(arrays.column(policy.start))
    spent = steps.start(arrays.column(policy.start))
    if policy.together:
        spent, other, orders = spent + steps.other(), ~other, orders + 1
    came: dict[StateKey, Flags] = {}
    stopped: dict[StateKey | str, Flags] = {}
    at_end = np.zeros(n, dtype=bool)

    def take(some: Flags, more: Spent) -> None:
        nonlocal spent
        spent = spent + more * some

    for key in sorted(policy.by_state, key=lambda key: (arrays.column(key.depth), key.other)):
        rule, column = policy.by_state[key], arrays.column(key.depth)
        here = came[key] = live & (other == key.other) & (depth == column)
        if not here.any():
            continue
        log_odds = chance(arrays, key, rule.chance, policy.start == 0)
        picked = np.searchsorted(rule.cuts, np.abs(log_odds))
        blind = here & ~arrays.can_read(key.other, column)
        for index, step in enumerate(rule.steps):
            go = here & ~blind & (picked == index)
            if step == "stop" or step == "tie":
                value[go] = log_odds[go]
                tied |= go & (step == "tie")
                stopped[key] = stopped.get(key, np.zeros(n, dtype=bool)) | go
                live &= ~go
            elif step == "both" or step == "search":
                blind |= go
            elif step == "other":
                take(go, steps.other())
                orders += go
                other |= go
            else:
                goal = arrays.onto(arrays.column(step))
                take(go, steps.think(column, goal))
                depth = np.where(go, goal, depth)
        take(blind, steps.both(column, key.other))
        orders += blind & ~other
        at_end |= blind
        live &= ~blind
    value[at_end] = arrays.whole[at_end]
    return _voted(arrays, policy.both, at_end, value, tied, spent, stopped, orders, came)


def chance(arrays: TraceArrays, key: StateKey, of: Chance, looked: bool) -> Numbers:
    """[traces]: log-odds in a state. looked: the leading prompt was read for its verdict."""
    import numpy as np

    column = arrays.column(key.depth)
    nothing = np.zeros(len(arrays))
    first = arrays.lead[:, 0] if looked and column else nothing
    second = arrays.other_prompt if key.other else nothing
    return of(np.nan_to_num(arrays.lead[:, column]), first, second)
