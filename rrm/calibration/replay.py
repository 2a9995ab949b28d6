"""Replay: what a policy would have done with traces, to the token, without the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rrm.calibration.arrays import TraceArrays, state_at
from rrm.calibration.spent import Spent, Steps
from rrm.decision.fixed import FixedPolicy, Rules
from rrm.decision.priced import Depth, PricedPolicy, StateKey, StateRule, Step
from rrm.decision.thresholds import Policy, Rule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]
    Numbers = NDArray[np.float64]
    Places = NDArray[np.int_]


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


def replay(arrays: TraceArrays, policy: Rules | None) -> Walked:
    """What any policy, or none, would have done.

    Raises ValueError for one way for all pairs, which is measured on its own traces
    (`rrm.calibration.tune`).
    """
    if policy is None:
        return whole(arrays)
    if isinstance(policy, FixedPolicy):
        raise ValueError("one way for all pairs is not replayed place by place")
    return walk(arrays, policy) if isinstance(policy, PricedPolicy) else _stepwise(arrays, policy)


def _stepwise(arrays: TraceArrays, policy: Policy) -> Walked:
    """Thresholds: both prompts first, then each rung that has a rule.

    Raises ValueError for traces that searched: thresholds are older than that.
    """
    import numpy as np

    if arrays.searches and len(policy.rules) > 1:  # who reads the prompt alone meets none
        raise ValueError("thresholds of version 1 know no searches; fit a new calibration")
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
                grown = arrays.thought(column) - arrays.thoughts[np.arange(n), at]
                more = Spent.none(n, thought=grown, probes=1, cached=2 * prefix + grown)
                spent = spent + more * some
                at = np.where(some, column, at)
            some = some & arrays.can_read(True, column)
            tie = some & rule.ties(margin, agree)
            stop = tie | (some & rule.stops(margin, agree))
            value[stop], tied = margin[stop], tied | tie
            key = state_at(arrays, column, True)
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
    depth = np.full(n, arrays.column(policy.start))
    aim = depth.copy()
    spent = steps.start(arrays.column(policy.start))
    if policy.together:
        spent, other, orders = spent + steps.other(), ~other, orders + 1
    came: dict[StateKey, Flags] = {}
    stopped: dict[StateKey | str, Flags] = {}
    at_end = np.zeros(n, dtype=bool)

    def take(some: Flags, more: Spent) -> None:
        nonlocal spent
        spent = spent + more * some

    columns = range(arrays.end + 1)
    states = [state_at(arrays, column, second) for column in columns for second in (False, True)]
    for key in states:
        column = arrays.column(*key[1:])
        here = live & (other == key.other) & (depth == column)
        if not here.any():
            continue
        if key.depth == "query" and not policy.searches:
            # Who knows of no searches reads neither the query nor what was found, and goes on.
            goal = _past_search(arrays, key, aim)
            take(here, steps.search(column, probes=0) + steps.think(column, goal, probes=0))
            depth = np.where(here, goal, depth)
            continue
        came[key] = here
        rule = policy.rule(*key)
        log_odds = chance(arrays, key, rule, policy.start == 0)
        picked = np.searchsorted(rule.cuts, np.abs(log_odds))
        blind = here & ~arrays.can_read(key.other, column)
        for index, step in enumerate(rule.steps):
            go = here & ~blind & (picked == index)
            if step == "stop" or step == "tie":
                value[go] = log_odds[go]
                tied |= go & (step == "tie")
                stopped[key] = stopped.get(key, np.zeros(n, dtype=bool)) | go
                live &= ~go
            elif step == "both":
                blind |= go
            elif step == "other":
                take(go, steps.other())
                orders += go
                other |= go
            elif key.depth == "query":  # no thought leads on from here but by the search
                take(go, steps.search(column))
                depth = np.where(go, arrays.resumes[:, key.searches], depth)
            else:
                column_aimed = _goal(arrays, key, step)
                aim[go] = column_aimed
                goal = arrays.onto(column_aimed, key.searches)
                take(go, steps.think(column, goal))
                depth = np.where(go, goal, depth)
        take(blind, steps.both(column, key.other))
        orders += blind & ~other
        at_end |= blind
        live &= ~blind
    value[at_end] = arrays.whole[at_end]
    return _voted(arrays, policy.both, at_end, value, tied, spent, stopped, orders, came)


def _past_search(arrays: TraceArrays, key: StateKey, aim: Places) -> Places:
    """[traces]: where a chain stands that went on to the rung that it was on its way to."""
    import numpy as np

    found, searches = np.full(len(arrays), arrays.end), key.searches + 1
    resumed = arrays.resumes[:, key.searches]
    for column in np.unique(aim):
        here = aim == column
        depth, _ = arrays.places[column]
        for goal in (depth, _next(arrays, depth)):  # the next, for who asked just at that rung
            at = arrays.end if goal == "end" else arrays.column(goal, searches)
            found = np.where(here, arrays.onto(at, searches), found)
            here = here & (resumed == at)
    return found


def _next(arrays: TraceArrays, depth: Depth) -> Depth:
    """The rung behind one."""
    if not isinstance(depth, int) or depth + 1 >= len(arrays.ladder):
        return "end"
    return depth + 1


def _goal(arrays: TraceArrays, key: StateKey, step: Step) -> int:
    """The column of a step: a rung that lies behind is the next one that does not."""
    if not isinstance(step, int):
        return arrays.end
    rung = max(step, key.depth + 1) if isinstance(key.depth, int) else step
    return arrays.column(rung, key.searches) if rung < len(arrays.ladder) else arrays.end


def chance(arrays: TraceArrays, key: StateKey, rule: StateRule, looked: bool) -> Numbers:
    """[traces]: log-odds in a state. looked: the leading prompt was read for its verdict."""
    import numpy as np

    column = arrays.column(*key[1:])
    nothing = np.zeros(len(arrays))
    first = arrays.lead[:, 0] if looked and rule.key[1:] != (0, 0) else nothing
    second = arrays.other_prompt if key.other else nothing
    return rule.chance(np.nan_to_num(arrays.lead[:, column]), first, second)
