"""The wording and the way to judge, chosen together: Inference-Aware Prompt Optimization.

An arm is a wording, a depth, a number of votes and how they are put together; a context is a price
of a token; the reward is being right less what the chains cost. PSST (Prompt Scaling via Sequential
Trimming, IAPO, AAAI 2026) halves the arms of every context in rounds; what is drawn for the most
votes of a wording is used again for fewer, for every depth and every context. It runs on traces: a
file a wording, the same pairs, several votes; no model is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from rrm.calibration.trace import Trace
from rrm.decision.fixed import Aggregation
from rrm.decision.votes import majority

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]
    Numbers = NDArray[np.float64]
    Places = NDArray[np.int_]

AGGREGATIONS: tuple[Aggregation, ...] = ("mean", "majority")


class Arm(NamedTuple):
    """One way to judge every pair."""

    wording: int
    depth: int
    """index of the depth"""
    aggregation: Aggregation
    votes: int


@dataclass(frozen=True)
class Sampled:
    """What stored votes say. depths: thinking tokens of each chain, rising; the last is whole."""

    depths: tuple[int, ...]
    margins: Numbers
    """[wordings, pairs, votes, depths]: mean margin of both orders, positive towards the label"""
    tokens: Numbers
    """[wordings, pairs, votes, depths]: thinking tokens of both orders"""

    @classmethod
    def of(cls, wordings: Sequence[Sequence[Trace]], depths: Sequence[int]) -> Sampled:
        """wordings: the same pairs in each. Raises ValueError where they are not."""
        import numpy as np

        first = wordings[0]
        votes = min(len(one.votes) for traces in wordings for one in traces)
        for traces in wordings:
            if [one.label for one in traces] != [one.label for one in first]:
                raise ValueError("the files of the wordings do not hold the same pairs in order")
        shape = (len(wordings), len(first), votes, len(depths))
        margins, tokens = np.zeros(shape), np.zeros(shape)
        for p, traces in enumerate(wordings):
            for n, one in enumerate(traces):
                sign = 1.0 if one.label == "a" else -1.0
                for k, depth in enumerate(depths):
                    said, spent = one.votes_at(depth)
                    margins[p, n, :, k] = [sign * margin for margin in said[:votes]]
                    tokens[p, n, :, k] = spent[:votes]
        return cls(tuple(depths), margins, tokens)

    @property
    def votes(self) -> int:
        return int(self.margins.shape[2])

    def part(self, rows: slice) -> Sampled:
        return Sampled(self.depths, self.margins[:, rows], self.tokens[:, rows])

    def arms(self) -> list[Arm]:
        """Every wording and depth, with 1, 2, 4, … votes; without thought there is only one."""
        scales = [2**k for k in range(int(math.log2(self.votes)) + 1)]
        return [
            Arm(p, k, how, votes)
            for p in range(len(self.margins))
            for k, depth in enumerate(self.depths)
            for votes in (scales if depth else [1])
            for how in (AGGREGATIONS if votes > 1 else AGGREGATIONS[:1])
        ]

    def rights(self, arm: Arm) -> tuple[Numbers, Numbers]:
        """[pairs]: how often it is right, and its tokens, over all choices of its votes."""
        import numpy as np

        margins = self.margins[arm.wording, :, :, arm.depth]
        tokens = self.tokens[arm.wording, :, :, arm.depth]
        chosen = [list(some) for some in combinations(range(self.votes), arm.votes)]
        rights = np.mean([verdicts(margins[:, some], arm.aggregation) for some in chosen], axis=0)
        return rights, tokens.mean(axis=1) * arm.votes


def verdicts(margins: Numbers, how: Aggregation) -> Numbers:
    """[pairs]: 1 right, 0 wrong, 1/2 where the votes are even. margins: [pairs, votes]."""
    import numpy as np

    mean: Numbers = np.sign(margins.mean(axis=1))
    if how == "mean":
        return (mean + 1) / 2
    won = np.sign(np.sign(margins).sum(axis=1))
    decided: Numbers = np.where(won == 0, mean, won)
    return (decided + 1) / 2


@dataclass
class Tally:
    """What pulls have shown of each arm: accuracy and tokens."""

    arms: Sequence[Arm]
    right: Numbers = field(init=False)
    tokens: Numbers = field(init=False)
    seen: Numbers = field(init=False)

    def __post_init__(self) -> None:
        import numpy as np

        self.right, self.tokens, self.seen = (np.zeros(len(self.arms)) for _ in range(3))

    def rewards(self, price: float) -> Numbers:
        """[arms]: of what was seen; nothing seen is worth nothing."""
        import numpy as np

        seen = np.maximum(1.0, self.seen)
        return np.where(self.seen > 0, (self.right - price * self.tokens) / seen, -np.inf)


class Puller:
    """Draws stored votes. spent: completions so far, a completion being one pair of chains."""

    def __init__(self, sampled: Sampled, seed: int) -> None:
        import numpy as np

        self.sampled, self.spent = sampled, 0
        self._rng = np.random.default_rng(seed)

    def pull(self, wording: int, votes: int, times: int) -> tuple[Numbers, Numbers]:
        """[times, votes, depths]: margins and tokens of random pairs, each with its own votes."""
        import numpy as np

        sampled = self.sampled
        pairs = self._rng.integers(sampled.margins.shape[1], size=times)
        order = self._rng.random((times, sampled.votes)).argsort(axis=1)[:, :votes]
        self.spent += times * votes
        rows = pairs[:, None], order
        margins: Numbers = np.asarray(sampled.margins[wording][rows])
        return margins, np.asarray(sampled.tokens[wording][rows])


def take(tally: Tally, wording: int, margins: Numbers, tokens: Numbers) -> None:
    """Use one wording's pulls for each of its arms: fewer votes by disjoint parts of them."""
    times, votes = margins.shape[:2]
    for index, arm in enumerate(tally.arms):
        if arm.wording != wording or arm.votes > votes:
            continue
        groups = votes // arm.votes
        kept = slice(0, groups * arm.votes)
        parts = margins[:, kept, arm.depth].reshape(times * groups, arm.votes)
        tally.right[index] += verdicts(parts, arm.aggregation).sum()
        tally.tokens[index] += tokens[:, kept, arm.depth].sum()
        tally.seen[index] += times * groups


def psst(sampled: Sampled, prices: Sequence[float], completions: int, seed: int) -> list[Arm]:
    """The best arm at each price, with so many completions in all (IAPO, algorithm 1).

    Raises ValueError where they do not reach for one pull of each wording in the first round.
    """
    import numpy as np

    arms = sampled.arms()
    rounds = max(1, math.ceil(math.log2(len(arms))))
    each = completions // rounds
    alive = [np.arange(len(arms)) for _ in prices]
    puller, tally = Puller(sampled, seed), Tally(arms)
    for number in range(rounds):
        scales: dict[int, int] = {}
        for index in {int(index) for some in alive for index in some}:
            arm = arms[index]
            scales[arm.wording] = max(arm.votes, scales.get(arm.wording, 0))
        times = each // sum(scales.values())
        if times < 1 and number == 0:
            raise ValueError(
                f"{completions} completions are too few for {len(arms)} arms: give at least "
                f"{rounds * sum(scales.values())}"
            )
        for wording, votes in sorted(scales.items()):
            take(tally, wording, *puller.pull(wording, votes, max(1, times)))
        for context, price in enumerate(prices):
            some = alive[context]
            if len(some) > 1:
                best = np.argsort(-tally.rewards(price)[some], kind="stable")
                alive[context] = some[best[: len(some) // 2]]
    return [
        arms[int(some[tally.rewards(price)[some].argmax()])]
        for some, price in zip(alive, prices, strict=True)
    ]


def values(sampled: Sampled, arms: Sequence[Arm]) -> tuple[Numbers, Numbers]:
    """[arms]: accuracy and tokens a pair, exactly."""
    import numpy as np

    found = [sampled.rights(arm) for arm in arms]
    return (
        np.array([float(right.mean()) for right, _ in found]),
        np.array([float(tokens.mean()) for _, tokens in found]),
    )


def whole_arm(sampled: Sampled) -> Arm:
    """The style's own wording, one pair of whole chains: what is judged without tuning."""
    return Arm(0, len(sampled.depths) - 1, "mean", 1)


def arm_margins(sampled: Sampled, arm: Arm) -> Numbers:
    """[pairs]: the margin that the first votes of an arm come to, positive towards the label."""
    import numpy as np

    margins = sampled.margins[arm.wording, :, : arm.votes, arm.depth]
    if arm.aggregation == "mean" or arm.votes == 1:
        found: Numbers = margins.mean(axis=1)
        return found
    return np.array([majority(list(map(float, row))) for row in margins])


# -- what others do -------------------------------------------------------------------------------


def uniform(sampled: Sampled, prices: Sequence[float], completions: int, seed: int) -> list[Arm]:
    """Every arm as many completions as the others, nothing used again."""
    arms, puller = sampled.arms(), Puller(sampled, seed)
    tally = Tally(arms)
    for index, arm in enumerate(arms):
        times = max(1, completions // (len(arms) * arm.votes))
        margins, tokens = puller.pull(arm.wording, arm.votes, times)
        tally.right[index] += verdicts(margins[:, :, arm.depth], arm.aggregation).sum()
        tally.tokens[index] += tokens[:, :, arm.depth].sum()
        tally.seen[index] += times
    return [arms[int(tally.rewards(price).argmax())] for price in prices]


def uniform_reused(
    sampled: Sampled, prices: Sequence[float], completions: int, seed: int
) -> list[Arm]:
    """Every wording as often as the others, and each pull used for all arms of its wording.

    PSST without trimming: what its halving adds to using pulls again.
    """
    arms, puller = sampled.arms(), Puller(sampled, seed)
    tally = Tally(arms)
    wordings = len(sampled.margins)
    times = max(1, completions // (wordings * sampled.votes))
    for wording in range(wordings):
        take(tally, wording, *puller.pull(wording, sampled.votes, times))
    return [arms[int(tally.rewards(price).argmax())] for price in prices]


def upper_bounds(
    sampled: Sampled, prices: Sequence[float], completions: int, seed: int, width: float = 0.1
) -> list[Arm]:
    """UCB (Auer et al. 2002) for each price by itself, an arm a pull, nothing used again."""
    import numpy as np

    arms, puller, chosen = sampled.arms(), Puller(sampled, seed), []
    for price in prices:
        tally, until = Tally(arms), puller.spent + completions // len(prices)
        order = np.random.default_rng(seed).permutation(len(arms))
        pulls = 0
        while puller.spent < until:
            if pulls < len(arms):
                index = int(order[pulls])
            else:
                bonus = width * np.sqrt(np.log(pulls) / np.maximum(1.0, tally.seen))
                index = int((tally.rewards(price) + bonus).argmax())
            arm = arms[index]
            margins, tokens = puller.pull(arm.wording, arm.votes, 1)
            tally.right[index] += verdicts(margins[:, :, arm.depth], arm.aggregation)[0]
            tally.tokens[index] += tokens[:, :, arm.depth].sum()
            tally.seen[index] += 1
            pulls += 1
        chosen.append(arms[int(tally.rewards(price).argmax())])
    return chosen


def apart(sampled: Sampled, prices: Sequence[float], completions: int, seed: int) -> list[Arm]:
    """The wording first, by one whole pair of chains; then the way to judge in that wording."""
    arms, puller = sampled.arms(), Puller(sampled, seed)
    tally, wordings = Tally(arms), len(sampled.margins)
    for wording in range(wordings):
        take(tally, wording, *puller.pull(wording, 1, max(1, completions // (2 * wordings))))
    last = len(sampled.depths) - 1
    single = {
        arm.wording: tally.right[n] / tally.seen[n]
        for n, arm in enumerate(arms)
        if arm.depth == last and arm.votes == 1
    }
    best = max(single, key=lambda wording: single[wording])
    fresh = Tally(arms)
    times = max(1, completions // (2 * sampled.votes))
    take(fresh, best, *puller.pull(best, sampled.votes, times))
    return [arms[int(fresh.rewards(price).argmax())] for price in prices]


METHODS: Mapping[str, Callable[[Sampled, Sequence[float], int, int], list[Arm]]] = {
    "PSST": psst,
    "uniform": uniform,
    "uniform, reused": uniform_reused,
    "UCB .1": upper_bounds,
    "apart": apart,
}
"""by name, each called with sampled, prices, completions, seed"""
