"""Budget: one sum for many pairs, spent where it brings most.

A ledger keeps the sum, a controller finds the price of thought at which it lasts, and each pair
gets an account and the policy of that price.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean, pstdev
from typing import NamedTuple

from rrm.allocation.account import Account, AllOf, Capped, Metered
from rrm.allocation.controller import (
    HORIZON,
    Controller,
    amount_of_stream,
    amount_of_time,
    amount_of_total,
)
from rrm.allocation.ledger import Holding, Ledger
from rrm.allocation.meter import PROBE_TOKENS, Meter, Tokens, Work
from rrm.calibration.calibration import Calibration
from rrm.decision.fixed import FixedPolicy, Rules
from rrm.decision.priced import PricedPolicy
from rrm.decision.thresholds import PROMPT_ONLY
from rrm.types import Usage


def plain(amount: float | None) -> str:
    """The number in few digits, or in all where few would stand for another number too."""
    few = f"{amount:g}"
    return few if amount is None or float(few) == amount else repr(amount)


@dataclass
class TimeLimit:
    """So many seconds, from the first time that somebody asks what is left."""

    seconds: float
    clock: Callable[[], float]
    began: float | None = None

    @property
    def left(self) -> float:
        self.began = self.clock() if self.began is None else self.began
        return self.seconds - (self.clock() - self.began)


class Budget:
    """What many pairs may cost together. Belongs to one event loop.

    total: in units of `meter`, never exceeded. pairs: how many will come. seconds: from the first
    pair on, instead of a total; what is not decided then is decided by its last readout.
    per_pair: of a stream without end, what each pair that comes adds to the total.
    """

    def __init__(
        self,
        total: float = 0.0,
        pairs: int = 0,
        meter: Meter | None = None,
        *,
        per_pair: float = 0.0,
        seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        timed = seconds is not None
        self.meter = meter or Tokens(PROBE_TOKENS if timed else 0.0)
        self.pairs, self.per_pair = pairs, per_pair
        self.time = TimeLimit(seconds, clock) if seconds is not None else None
        self.description = (
            f"{plain(seconds)} seconds" if timed else f"{plain(total)} {self.meter.unit}"
        )
        self.ledger = Ledger(math.inf if timed else total, self._prompts_to_come)
        self.controller = Controller()
        self.begun = 0
        self.ended = 0
        self._open: set[PairAccount] = set()
        self._unthought: deque[float] = deque(maxlen=HORIZON)
        """what the latest pairs cost without any thought"""

    @property
    def spent(self) -> float:
        return self.ledger.spent

    @property
    def reserved(self) -> float:
        return self.ledger.reserved

    @property
    def total(self) -> float:
        return self.ledger.total

    @property
    def seconds_left(self) -> float | None:
        """Of a budget in seconds."""
        return None if self.time is None else self.time.left

    def begin(
        self, calibration: Calibration | None, pair: str, prompts: tuple[int, int]
    ) -> PairAccount:
        """The account of the next pair. calibration: of its judge; pair: digest; prompts: tokens.

        Whoever begins one ends it.
        """
        self.begun += 1
        self.ledger.total += self.per_pair
        self._unthought.append(self._plan(_unthought(calibration), prompts))
        account = self._choose(calibration, self._target(), pair, prompts)
        self._open.add(account)
        return account

    def end(self, account: PairAccount) -> None:
        """Take what is left of an account back, and learn from what it cost."""
        self._open.discard(account)
        self.ended += 1
        if account.most is None and account.planned > 0 and not account.refused:
            self.controller = self.controller.after(account.spent, account.planned / account.bias)
        account.holding.close()

    def charge(self, usage: Usage) -> None:
        """Count a pair that an earlier run has judged, which this one goes on with.

        A budget in seconds is one of this run alone.
        """
        self.skip()
        if self.time is None:
            self.ledger.spent += self.meter.past(usage)

    def skip(self) -> None:
        """Count a pair that needs no account."""
        self.pairs -= 1

    def _target(self) -> float | None:
        """What the pair that begins may cost; None while nothing is known."""
        committed = sum(
            max(account.planned - account.spent, account.holding.reserved) for account in self._open
        )
        to_come = self.pairs - self.begun + 1
        if self.time is not None:
            left = self.time.left
            gone = self.time.seconds - left
            return amount_of_time(self.spent, gone, left, committed, to_come, self.ended)
        uncommitted = self.total - self.spent - committed
        if self.per_pair:
            return amount_of_stream(uncommitted, self.per_pair)
        return amount_of_total(uncommitted, to_come)

    def _choose(
        self,
        calibration: Calibration | None,
        target: float | None,
        pair: str,
        prompts: tuple[int, int],
    ) -> PairAccount:
        """The policy whose pairs cost `target`, or one of the two nearest, drawn by the digest."""
        if target is None or (calibration is not None and not calibration.thinks):
            return self._account(calibration, 0.0)
        options = _options(calibration)
        if calibration is None or len(options) == 1:
            return self._account(calibration, max(0.0, target), most=max(0.0, target))
        if target <= 0:
            return self._account(_following(calibration, options[0].policy), 0.0)
        plans = [self._plan(option, prompts) for option in options]
        plans = list(itertools.accumulate(plans, max))
        chosen = self.controller.choose(plans, target, int(pair[-15:], 16) / 16**15)
        following = _following(calibration, options[chosen].policy)
        return self._account(following, plans[chosen] * self.controller.bias)

    def _account(
        self, calibration: Calibration | None, planned: float, most: float | None = None
    ) -> PairAccount:
        return PairAccount(
            self, self.ledger.open(), calibration, planned, most, self.controller.bias
        )

    def _plan(self, option: _Option, prompts: tuple[int, int]) -> float:
        """What a pair costs that is judged so, halved between its orders."""
        each = round(option.tokens / 2)
        return sum(
            option.orders / 2 * self.meter.price(Work("prompt", prompt, 0))
            + self.meter.price(Work("thought", each, prompt))
            + option.probes / 2 * self.meter.price(Work("probe", 0, prompt + each))
            + option.searches / 2 * self.meter.price(Work("search", 1, prompt))
            for prompt in prompts
        )

    def _prompts_to_come(self) -> float:
        """What the prompts still to come cost together, by those that came: three deviations up."""
        left = max(0, self.pairs - self.begun)
        if left == 0 or not any(self._unthought):
            return 0.0
        return fmean(self._unthought) * left + 3 * pstdev(self._unthought) * math.sqrt(left)


@dataclass(eq=False)
class PairAccount:
    """What one pair of a budget follows and pays from."""

    budget: Budget
    holding: Holding
    calibration: Calibration | None
    """its judge's, at the price that the budget has now"""
    planned: float
    """what it is expected to cost"""
    most: float | None
    """what it may cost, where no prices are known"""
    bias: float
    account: Account = field(init=False)

    def __post_init__(self) -> None:
        meter = self.budget.meter
        drawn = Metered(self.holding, meter)
        self._cap = None if self.most is None else Capped(meter, self.most)
        self.account = drawn if self._cap is None else AllOf(self._cap, drawn)

    @property
    def spent(self) -> float:
        return self.holding.spent

    @property
    def refused(self) -> bool:
        """Whether it was refused what it asked for."""
        return self.holding.refused or (self._cap is not None and self._cap.refused)

    def end(self) -> None:
        """Give back what is left. The pair asks for nothing more."""
        self.budget.end(self)


class _Option(NamedTuple):
    """A way to judge a pair, and what it takes on average. policy: none, whole chains."""

    policy: Rules | None
    tokens: float
    """generated as thought"""
    probes: float
    """verdicts read, each order's counted"""
    orders: float
    """orders whose prompt is read"""
    searches: float = 0.0


def _unthought(calibration: Calibration | None) -> _Option:
    """No thought at all."""
    policy = PROMPT_ONLY if calibration is None else calibration.prompt_only
    orders = 1.0 if isinstance(policy, PricedPolicy) else 2.0
    return _Option(policy, 0.0, orders, orders)


def _options(calibration: Calibration | None) -> list[_Option]:
    """No thought, the policies by falling price, whole chains."""
    found = [_unthought(calibration)]
    if calibration is None:
        return found
    for policy in reversed(calibration.policies):
        if isinstance(policy, FixedPolicy):
            continue  # it has one cost for all
        if isinstance(policy, PricedPolicy):
            if policy.tokens is None or policy.probes is None or policy.orders is None:
                continue
            spent = policy.tokens, policy.probes, policy.orders, policy.searched
            found.append(_Option(policy, *spent))
        elif policy.tokens is not None and policy.looks is not None:
            found.append(_Option(policy, policy.tokens, 2.0 + policy.looks, 2.0))
    if calibration.whole_tokens is not None:
        found.append(_Option(None, calibration.whole_tokens, 2.0, 2.0))
    return found


def _following(calibration: Calibration, policy: Rules | None) -> Calibration:
    """`calibration` at this policy; a certificate covers what is not dearer than its own."""
    if policy is not None and policy.price >= PROMPT_ONLY.price:
        update = {"policies": (policy,), "chosen": 0, "certificate": None}
        return calibration.model_copy(update=update)
    return calibration.at_price(-1.0 if policy is None else policy.price)
