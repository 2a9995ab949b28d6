"""Budget: one sum for many pairs, spent where it brings most.

The price of thought is the dial. What is left, shared among the pairs to come, says how much a pair
may cost; the stopper knows what pairs cost at each of its prices, and how much they then do cost
corrects it. So a pair that comes late finds its share still there, and one price for all spends it
where a token brings most (Damani et al., 2410.04707; the price is the Lagrange multiplier of the
sum). Beyond that nothing is left to trust: every step of thought reserves what it may cost before
it begins, and the sum is never exceeded. Where it runs short, those who would pay most go first.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean, pstdev
from typing import Protocol

from rrm.cost import CostModel
from rrm.stopping import AT_ONCE, LOOK_TOKENS, Policy, Stopper
from rrm.types import Usage

HORIZON = 100
"""pairs over which a stream spends what earlier ones left"""
TRUST = 64.0
"""pairs that what the stopper expects counts for, beside those that have ended"""
MEMORY = 0.99
"""weight of an ended pair when the next one ends"""
SLACK = 1e-9


class Meter(Protocol):
    """What a budget counts. before: tokens of prompt and chain so far."""

    @property
    def unit(self) -> str: ...

    def prompt(self, tokens: int) -> float:
        """To read one order's prompt."""
        ...

    def thought(self, tokens: int, before: int) -> float:
        """To generate thought in one order."""
        ...

    def look(self, before: int) -> float:
        """To read one order's verdict."""
        ...

    def past(self, usage: Usage) -> float:
        """What a judgement of this usage has cost."""
        ...


@dataclass(frozen=True)
class Tokens:
    """Thinking tokens; looks cost `look_work` of them for both orders."""

    look_work: float = 0.0
    unit = "thinking tokens"

    def prompt(self, tokens: int) -> float:
        return 0.0

    def thought(self, tokens: int, before: int) -> float:
        return float(tokens)

    def look(self, before: int) -> float:
        return self.look_work / 2

    def past(self, usage: Usage) -> float:
        return float(usage.thinking_tokens)


@dataclass(frozen=True)
class Compute:
    """Floating point operations: prompts, thought and probes, where the engine keeps its cache.

    suffix: tokens of one probe.
    """

    cost: CostModel
    suffix: int
    unit = "FLOPs"

    def prompt(self, tokens: int) -> float:
        return self.cost.prefill_flops(tokens)

    def thought(self, tokens: int, before: int) -> float:
        return self.cost.decode_flops(tokens, before)

    def look(self, before: int) -> float:
        return self.cost.probe_flops(before, self.suffix)

    def past(self, usage: Usage) -> float:
        each, prompt = usage.thinking_tokens // 2, usage.prompt_tokens // 2
        looks = usage.probe_tokens / self.suffix * self.look(prompt + each)
        return 2 * self.prompt(prompt) + 2 * self.thought(each, prompt) + looks


def plain(amount: float | None) -> str:
    """The number in few digits, or in all where few would stand for another number too."""
    few = f"{amount:g}"
    return few if amount is None or float(few) == amount else repr(amount)


class Budget:
    """What many pairs may cost together. Belongs to one event loop.

    total: in units of `meter`, never exceeded. pairs: how many will come. seconds: from the first
    pair on, instead of a total; what is not decided then is decided by its last checkpoint.
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
        self.meter = meter or Tokens(LOOK_TOKENS if timed else 0.0)
        self.total, self.pairs, self.per_pair = math.inf if timed else total, pairs, per_pair
        self.seconds, self._clock = seconds, clock
        self.says = f"{plain(seconds)} seconds" if timed else f"{plain(total)} {self.meter.unit}"
        self._began: float | None = None
        self.spent = 0.0
        self.reserved = 0.0
        self.begun = 0
        self.ended = 0
        self._open: set[Share] = set()
        self._claims: list[_Claim] = []
        self._count = itertools.count()
        self._cost = self._planned = self._weight = 0.0
        self._unthought: deque[float] = deque(maxlen=HORIZON)
        """what the latest pairs cost without any thought"""

    @property
    def free(self) -> float:
        return self.total - self.spent - self.reserved

    @property
    def seconds_left(self) -> float | None:
        """Of a budget in seconds."""
        if self.seconds is None:
            return None
        if self._began is None:
            self._began = self._clock()
        return self.seconds - (self._clock() - self._began)

    def begin(self, stopper: Stopper | None, pair: str, prompts: tuple[int, int]) -> Share:
        """The share of the next pair. stopper: of its judge; pair: digest; prompts: tokens.

        Whoever begins one ends it.
        """
        self.begun += 1
        self.total += self.per_pair
        self._unthought.append(self._plan(0.0, 0.0, prompts))
        target = self._target()
        share = self._choose(stopper, target, pair, prompts)
        self._open.add(share)
        return share

    def charge(self, usage: Usage) -> None:
        """Count a pair that an earlier run has judged, which this one goes on with.

        A budget in seconds is one of this run alone.
        """
        self.skip()
        if self.seconds is None:
            self.spent += self.meter.past(usage)

    def skip(self) -> None:
        """Count a pair that needs no share."""
        self.pairs -= 1

    def _target(self) -> float | None:
        """What the pair that begins may cost; None while nothing is known."""
        committed = sum(max(share.planned - share.spent, share.reserved) for share in self._open)
        left = self.seconds_left
        if left is not None:
            gone = (self.seconds or 0.0) - left
            if self.ended < TRUST or gone <= 0 or self.spent <= 0:
                return None
            fund = self.spent / gone * max(0.0, left) - committed
            return fund / max(1, self.pairs - self.begun + 1)
        fund = self.total - self.spent - committed
        if self.per_pair:
            return (fund + self.per_pair * (HORIZON - 1)) / HORIZON
        return fund / max(1, self.pairs - self.begun + 1)

    def _choose(
        self, stopper: Stopper | None, target: float | None, pair: str, prompts: tuple[int, int]
    ) -> Share:
        """The policy whose pairs cost `target`, or one of the two nearest, drawn by the digest."""
        if target is None:
            return Share(self, stopper, planned=0.0)
        if stopper is not None and not stopper.thinks:
            return Share(self, stopper, planned=0.0)
        options = _options(stopper)
        if stopper is None or len(options) == 1:
            return Share(self, stopper, planned=max(0.0, target), most=max(0.0, target))
        plans = [self._plan(tokens, looks, prompts) for _, tokens, looks in options]
        plans = list(itertools.accumulate(plans, max))
        wanted = target / self._bias
        above = next((i for i, plan in enumerate(plans) if plan > wanted), len(plans))
        if 0 < above < len(plans):
            share = (wanted - plans[above - 1]) / (plans[above] - plans[above - 1])
            above += int(pair[-15:], 16) / 16**15 < share
        chosen = max(0, above - 1)
        return Share(self, _following(stopper, options[chosen][0]), plans[chosen] * self._bias)

    def _plan(self, tokens: float, looks: float, prompts: tuple[int, int]) -> float:
        """What a pair costs that thinks for so many tokens and is looked at so often."""
        meter, each = self.meter, round(tokens / 2)
        return sum(
            meter.prompt(prompt)
            + meter.thought(each, prompt)
            + (1 + looks) * meter.look(prompt + each)
            for prompt in prompts
        )

    @property
    def _bias(self) -> float:
        """Cost of the pairs that have ended, by what was planned for them."""
        if not self._planned:
            return 1.0
        prior = TRUST * self._planned / self._weight
        return (self._cost + prior) / (self._planned + prior)

    def _close(self, share: Share) -> None:
        self._open.discard(share)
        self.ended += 1
        if share.most is None and share.planned > 0 and not share.cut:
            plan = share.planned / share.bias
            self._cost = MEMORY * self._cost + share.spent
            self._planned = MEMORY * self._planned + plan
            self._weight = MEMORY * self._weight + 1
        self._serve()

    def _serve(self) -> None:
        """Grant what those ask for who wait, dearest bid first, and refuse what never comes."""
        while self._claims:
            claim = self._claims[0]
            if claim.answer.done():
                heapq.heappop(self._claims)
            elif claim.amount <= self._room(claim):
                heapq.heappop(self._claims)
                self.reserved += claim.amount
                claim.answer.set_result(True)
            elif claim.amount > self._room(claim) + self._returning(claim.share):
                heapq.heappop(self._claims)
                claim.answer.set_result(False)
            else:
                return

    def _room(self, claim: _Claim) -> float:
        """What is free for it: thought leaves enough to read the prompts that are still to come."""
        room = self.free + SLACK * self.total
        if claim.rank == -math.inf:
            return room
        return room - self._to_come

    @property
    def _to_come(self) -> float:
        """What the prompts still to come cost together, by those that came: three deviations up."""
        left = max(0, self.pairs - self.begun)
        if left == 0 or not any(self._unthought):
            return 0.0
        return fmean(self._unthought) * left + 3 * pstdev(self._unthought) * math.sqrt(left)

    def _returning(self, without: Share) -> float:
        """What others hold who do not wait themselves, and may not need in the end."""
        waiting = {claim.share for claim in self._claims}
        return sum(s.reserved for s in self._open if s is not without and s not in waiting)


@dataclass(eq=False)
class Share:
    """What one pair of a budget follows and pays from."""

    budget: Budget
    stopper: Stopper | None
    """its judge's, at the price that the budget has now"""
    planned: float
    """what it is expected to cost"""
    most: float | None = None
    """what it may cost, where no prices are known"""
    spent: float = 0.0
    reserved: float = 0.0
    cut: bool = False
    """it was refused what it asked for"""
    bias: float = field(init=False)

    def __post_init__(self) -> None:
        self.bias = self.budget._bias

    async def reserve(self, amount: float, bid: float) -> bool:
        """Have `amount` ready to be paid; False if the budget cannot. It may wait for others.

        bid: what the pair would pay for a token; of those who wait, the dearest goes first.
        """
        budget, more = self.budget, amount - self.reserved
        if self.most is not None and self.spent + amount > self.most:
            self.cut = True
            return False
        if more > 0:
            claim = _Claim(-bid, next(budget._count), more, self)
            heapq.heappush(budget._claims, claim)
            budget._serve()
            try:
                granted = await claim.answer
            except asyncio.CancelledError:
                if claim.answer.done() and not claim.answer.cancelled() and claim.answer.result():
                    budget.reserved -= more
                raise
            if not granted:
                self.cut = True
                return False
            self.reserved += more
        return True

    def pay(self, amount: float) -> None:
        """Of what is reserved."""
        self.spent += amount
        self.budget.spent += amount
        self.reserved -= amount
        self.budget.reserved -= amount

    def end(self) -> None:
        """Give back what is left. The pair asks for nothing more."""
        self.budget.reserved -= self.reserved
        self.reserved = 0.0
        self.budget._close(self)


@dataclass(order=True)
class _Claim:
    """Who waits for how much."""

    rank: float
    number: int
    amount: float = field(compare=False)
    share: Share = field(compare=False)
    answer: asyncio.Future[bool] = field(
        compare=False, default_factory=lambda: asyncio.get_running_loop().create_future()
    )


def _options(stopper: Stopper | None) -> list[tuple[Policy | None, float, float]]:
    """No thought, the policies by falling price, whole chains: with mean tokens and looks."""
    found: list[tuple[Policy | None, float, float]] = [(AT_ONCE, 0.0, 0.0)]
    if stopper is None:
        return found
    found += [
        (policy, policy.tokens, policy.looks)
        for policy in reversed(stopper.policies)
        if policy.tokens is not None and policy.looks is not None
    ]
    if stopper.whole_tokens is not None:
        found.append((None, stopper.whole_tokens, 0.0))
    return found


def _following(stopper: Stopper, policy: Policy | None) -> Stopper:
    """`stopper` at this policy; a certificate covers what is not dearer than its own."""
    if policy is AT_ONCE:
        update = {"policies": (AT_ONCE,), "chosen": 0, "certificate": None}
        return stopper.model_copy(update=update)
    return stopper.at_price(-1.0 if policy is None else policy.price)
