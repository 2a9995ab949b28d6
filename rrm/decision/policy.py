"""Policies: which action a judgement buys next, or whether it stops.

Each is made for one judgement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rrm.decision.actions import Action, Grow, ReadPrompts, Reply, Search, Stop, Vote
from rrm.decision.fixed import FixedPolicy, Stratum
from rrm.decision.priced import PricedPolicy, Step
from rrm.decision.state import Place, Readout, State
from rrm.decision.thresholds import Policy as Rules
from rrm.parse import ParsedVerdict
from rrm.types import StopReason

UNRULED = ("query", "both", "capped", "votes")
"""places at which thresholds stop nobody"""


class Policy(Protocol):
    """Chooses an action, or stops."""

    def reads(self, place: Place) -> bool:
        """Whether a readout at `place` may change what it chooses."""
        ...

    def choose(
        self, state: State, readouts: Sequence[Readout], actions: Sequence[Action]
    ) -> Action | Stop:
        """One of `actions`, or to stop; where there are none, why it stops.

        readouts: every readout so far.
        """
        ...


@dataclass(frozen=True)
class Always:
    """Buys all there is. every: it reads rungs on the way too."""

    every: bool

    def reads(self, place: Place) -> bool:
        return self.every

    def choose(
        self, state: State, readouts: Sequence[Readout], actions: Sequence[Action]
    ) -> Action | Stop:
        return actions[0] if actions else Stop()


@dataclass(frozen=True)
class OwnMode:
    """Does what a hybrid chooses by its first token: whole chains, or its verdict in short.

    Thinkless (arXiv 2505.13379) at temperature 0, by the mean of both orders.
    """

    def reads(self, place: Place) -> bool:
        return True

    def choose(
        self, state: State, readouts: Sequence[Readout], actions: Sequence[Action]
    ) -> Action | Stop:
        last = readouts[-1] if readouts else None
        if last is not None and last.reading is not None and last.readable:
            think = last.reading.think
            if think is not None and think < 0.5:
                return Stop(StopReason.SHORT)
        return actions[0] if actions else Stop()


@dataclass(frozen=True)
class Planned:
    """Buys all there is, which is planned to be the same for every pair. prompt: that alone."""

    prompt: bool

    def reads(self, place: Place) -> bool:
        return self.prompt

    def choose(
        self, state: State, readouts: Sequence[Readout], actions: Sequence[Action]
    ) -> Action | Stop:
        return actions[0] if actions else Stop(StopReason.PLANNED)


@dataclass(frozen=True)
class ByStratum:
    """Buys the way that is fixed for pairs as close as this one is by its prompts.

    way: what the plan offers for a stratum.
    """

    rules: FixedPolicy
    way: Callable[[Stratum], Action]

    def reads(self, place: Place) -> bool:
        return True

    def choose(
        self, state: State, readouts: Sequence[Readout], actions: Sequence[Action]
    ) -> Action | Stop:
        if not readouts:
            return actions[0] if actions else Stop()
        reading = readouts[-1].reading
        if reading is None or readouts[-1].place != 0:
            return Stop(StopReason.PLANNED)
        wanted = self.way(self.rules.stratum(reading.margin))
        return wanted if wanted in actions else Stop(StopReason.PLANNED)


@dataclass(frozen=True)
class Thresholds:
    """Stops where the margin passes its rule's threshold, or is too close for thought to pay.

    at_prompt: why it stops where no thought was bought.
    """

    rules: Rules
    at_prompt: StopReason = StopReason.MARGIN

    def reads(self, place: Place) -> bool:
        return place in (0, "both", "capped") or (place != "query" and self.rules.rule(place).looks)

    def choose(
        self, state: State, readouts: Sequence[Readout], actions: Sequence[Action]
    ) -> Action | Stop:
        last = readouts[-1] if readouts else None
        reason = None if last is None else self.stops(last)
        if reason is not None:
            return Stop(reason)
        return next((one for one in actions if self.buys(one, last)), Stop())

    def stops(self, readout: Readout) -> StopReason | None:
        """Why thought ends at this readout; None if it goes on."""
        reading = readout.reading
        if reading is None or not readout.readable or readout.place in UNRULED:
            return None
        rule = self.rules.rule(readout.place)
        if rule.stops(reading.margin, reading.agree):
            return self.at_prompt if readout.place == 0 else StopReason.MARGIN
        return StopReason.TOO_CLOSE if rule.ties(reading.margin, reading.agree) else None

    def buys(self, action: Action, last: Readout | None) -> bool:
        """Whether an action is of use after this readout."""
        if isinstance(action, Grow):
            return any(map(self.reads, action.places))
        return not isinstance(action, Vote) or _undecided(last, self.rules)

    def onward(self, actions: Sequence[Action], last: Readout) -> Action | None:
        """What leads to whole chains for one who would have stopped."""
        return next((one for one in actions if self.buys(one, last)), None)


@dataclass(frozen=True)
class Priced:
    """Buys what its rules say is worth its price; the other order's prompt is one such thing.

    sure: why it stops where they say that it is.
    """

    rules: PricedPolicy
    sure: StopReason = StopReason.MARGIN

    def reads(self, place: Place) -> bool:
        return place != "query" or self.rules.searches

    def choose(
        self, state: State, readouts: Sequence[Readout], actions: Sequence[Action]
    ) -> Action | Stop:
        last = readouts[-1] if readouts else None
        if last is None:
            return _action_for(actions, "other" if self.rules.start == 0 else "end") or Stop()
        weighed = self.rules.weigh(last)
        if weighed is None or not last.readable:
            return self.onward(actions, last) or Stop()
        if weighed.step == "stop":
            return Stop(self.sure)
        if weighed.step == "tie":
            return Stop(StopReason.TOO_CLOSE)
        return _action_for(actions, weighed.step) or Stop()

    def onward(self, actions: Sequence[Action], last: Readout) -> Action | None:
        """What leads to whole chains, and from there to votes or to a written verdict."""
        useful = [
            one for one in actions if not isinstance(one, Vote) or _undecided(last, self.rules)
        ]
        return _action_for(useful, "both")


def _undecided(last: Readout | None, rules: PricedPolicy | Rules) -> bool:
    """Whether both whole chains were read and leave it to a vote."""
    reading = None if last is None else last.reading
    if reading is None or last is None or last.place != "both":
        return False
    return not rules.both.stops(reading.margin, reading.agree)


def _action_for(actions: Sequence[Action], step: Step) -> Action | None:
    """The action for a step, or what comes nearest.

    From a depth that is not offered, the next one after it; behind the last one, whole chains. A
    chain that asks for a search goes no further without it.
    """
    prompts = [one for one in actions if isinstance(one, ReadPrompts)]
    searches = [one for one in actions if isinstance(one, Search)]
    if searches and (isinstance(step, int) or step in ("end", "search")):
        return searches[0]
    rungs = [one for one in actions if isinstance(one, Grow)]
    if step == "other" and prompts:
        return prompts[0]
    if isinstance(step, int):
        rungs = [one for one in rungs if one.stage >= step] or rungs[-1:]
    elif step == "end":
        rungs = rungs[-1:]
    else:
        rungs = []
    later = [one for one in actions if not isinstance(one, ReadPrompts | Grow | Search)]
    return next(iter([*rungs, *later, *prompts]), None)


class Stopping(Protocol):
    """A policy that may stop early."""

    def reads(self, place: Place) -> bool: ...

    def choose(
        self, state: State, readouts: Sequence[Readout], actions: Sequence[Action]
    ) -> Action | Stop: ...

    def onward(self, actions: Sequence[Action], last: Readout) -> Action | None: ...


@dataclass
class Audited:
    """Thinks whole chains, and notes where `inner` would have stopped. An audit is a policy too.

    report: given that place, its reason, and the readout of both whole chains.
    """

    inner: Stopping
    report: Callable[[Readout, StopReason, Readout], None]
    early: tuple[Readout, StopReason] | None = field(default=None, init=False)

    def reads(self, place: Place) -> bool:
        return self.inner.reads(place)

    def choose(
        self, state: State, readouts: Sequence[Readout], actions: Sequence[Action]
    ) -> Action | Stop:
        choice = self.inner.choose(state, readouts, actions)
        if not isinstance(choice, Stop) or choice.reason is None:
            return choice
        self.early = self.early or (readouts[-1], choice.reason)
        return self.inner.onward(actions, readouts[-1]) or Stop()

    def observe(self, readout: Readout) -> None:
        """Tell the monitor, once both chains are whole and before they are put to the vote."""
        if readout.place == "both" and readout.readable:
            early, reason = self.early or (readout, StopReason.ENDED)
            self.report(early, reason, readout)


@dataclass(frozen=True)
class OrdersAgree:
    """For an endpoint that cannot be probed: thought where the orders disagree without it.

    agree: whether two written verdicts do. stop: agreement is enough to stop.
    """

    agree: Callable[[Sequence[ParsedVerdict]], bool]
    stop: bool

    def reads(self, place: Place) -> bool:
        return True

    def choose(
        self, state: State, readouts: Sequence[Readout], actions: Sequence[Action]
    ) -> Action | Stop:
        if actions and readouts and self.stop and self.agree(readouts[-1].replies):
            return Stop(StopReason.AGREED)
        useful = (one for one in actions if isinstance(one, Reply) and (one.tokens or not readouts))
        return next(useful, Stop())
