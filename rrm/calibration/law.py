"""How accuracy follows what is spent on evidence, thought and votes: a law with seven numbers.

Yue et al., "Inference Scaling for Long-Context Retrieval Augmented Generation" (ICLR 2025,
arXiv 2410.04343, eq. 3), with (documents, shots, iterations) replaced by theta = (searches,
thinking tokens, votes): logit of accuracy = (a + b * i) . log(theta + .01) + c, by least squares.
i is what each axis brings alone in a stratum of pairs, which tells close strata from plain ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from rrm.calibration.gain import Z95
from rrm.decision.fixed import Aggregation, FixedPolicy, Stratum

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

SHIFT = 0.01
"""keeps the logarithm of nothing finite"""
AXES = ("searches", "tokens", "votes")


class Theta(NamedTuple):
    """What is spent on one pair: searches and thinking tokens of each chain, pairs of chains."""

    searches: int
    tokens: int
    votes: int


@dataclass(frozen=True)
class Measured:
    """One stratum judged in one way."""

    stratum: int
    theta: Theta
    right: int
    n: int
    cost: float
    """of a pair, mean, in generated tokens"""

    @property
    def accuracy(self) -> float:
        """Smoothed, so that its logit is finite."""
        return (self.right + 0.5) / (self.n + 1)


def alone(points: Iterable[Measured], whole: int) -> dict[int, tuple[float, float, float]]:
    """What each axis brings by itself, by stratum. whole: tokens of a chain that is not cut.

    Raises KeyError where one of the five measurements that it takes is missing.
    """
    known = {(one.stratum, one.theta): one.accuracy for one in points}

    def gain(stratum: int, more: Theta, less: Theta) -> float:
        return known[stratum, more] - known[stratum, less]

    nothing, thought = Theta(0, 0, 1), Theta(0, whole, 1)
    steps = ((Theta(1, 0, 1), nothing), (thought, nothing), (Theta(0, whole, 3), thought))
    return {
        stratum: (gain(stratum, *steps[0]), gain(stratum, *steps[1]), gain(stratum, *steps[2]))
        for stratum in sorted({stratum for stratum, _ in known})
    }


@dataclass(frozen=True)
class Law:
    """The seven numbers, each with its standard error."""

    a: tuple[float, ...]
    b: tuple[float, ...]
    c: float
    errors: tuple[float, ...]
    """of a, b and c, in that order"""
    r2: float

    @property
    def numbers(self) -> tuple[float, ...]:
        return (*self.a, *self.b, self.c)

    @property
    def intervals(self) -> list[tuple[float, float]]:
        """95 %, of `numbers`."""
        both = zip(self.numbers, self.errors, strict=True)
        return [(value - Z95 * error, value + Z95 * error) for value, error in both]

    def accuracy(self, theta: Theta, brings: Sequence[float]) -> float:
        """Of pairs of a stratum to which the axes bring so much alone."""
        import numpy as np

        logit = _row(theta, brings) @ np.array(self.numbers)
        return float(1 / (1 + np.exp(-np.clip(logit, -40, 40))))


def _row(theta: Theta, brings: Sequence[float]) -> Numbers:
    import numpy as np

    logs = np.log(np.array(theta, dtype=float) + SHIFT)
    row: Numbers = np.concatenate([logs, logs * np.array(brings), [1.0]])
    return row


def fit_law(points: Sequence[Measured], brings: dict[int, tuple[float, float, float]]) -> Law:
    """Ordinary least squares, points weighed by how surely they are known.

    The weight of a logit is n p (1 - p), the inverse of its variance. Raises ValueError for fewer
    points than numbers.
    """
    import numpy as np

    if len(points) < 8:
        raise ValueError(f"{len(points)} measurements cannot tell seven numbers; give 8 or more")
    x = np.stack([_row(one.theta, brings[one.stratum]) for one in points])
    p = np.array([one.accuracy for one in points])
    y, weight = np.log(p / (1 - p)), np.array([one.n for one in points]) * p * (1 - p)
    root = np.sqrt(weight)[:, None]
    found, *_ = np.linalg.lstsq(x * root, y * root[:, 0], rcond=None)
    left = y - x @ found
    spread = float((weight * left**2).sum() / max(1, len(points) - x.shape[1]))
    covariance = np.linalg.pinv((x * root).T @ (x * root)) * max(1.0, spread)
    mean = float((weight * y).sum() / weight.sum())
    r2 = 1 - float((weight * left**2).sum() / (weight * (y - mean) ** 2).sum())
    numbers = tuple(map(float, found))
    return Law(
        a=numbers[:3],
        b=numbers[3:6],
        c=numbers[6],
        errors=tuple(map(float, np.sqrt(np.clip(np.diag(covariance), 0.0, None)))),
        r2=r2,
    )


def choose(
    law: Law,
    costs: Sequence[Measured],
    brings: dict[int, tuple[float, float, float]],
    budget: float,
) -> dict[int, Theta]:
    """The way that each stratum is to be judged in, so that a pair costs `budget` in the mean.

    Among the ways in `costs`, by what the law predicts; the sum over strata is made largest by
    the slopes of their concave hulls. Raises ValueError where nothing costs so little.
    """
    import numpy as np

    from rrm.allocation.hulls import allocate

    strata = sorted({one.stratum for one in costs})
    ways = [sorted((one for one in costs if one.stratum == s), key=_cost) for s in strata]
    total = sum(some[0].n for some in ways)
    most = max(map(len, ways))
    padded = [[*some, *[some[-1]] * (most - len(some))] for some in ways]
    share = np.array([some[0].n / total for some in ways])[:, None]
    values = [[law.accuracy(one.theta, brings[one.stratum]) for one in some] for some in padded]
    prices = [[one.cost for one in some] for some in padded]
    found = allocate(share * np.array(values), share * np.array(prices), budget)
    return {s: padded[k][found.depth[k]].theta for k, s in enumerate(strata)}


def as_policy(
    chosen: dict[int, Theta],
    edges: Sequence[float],
    price: float,
    aggregation: Aggregation = "mean",
) -> FixedPolicy:
    """The choice as a judge follows it.

    edges: of |margin| of both prompts, rising, between the strata, the closest pairs being the
    first; price: of a token, as a share of accuracy.
    """
    strata = [
        Stratum(
            below=edges[k] if k < len(edges) else None,
            depth=theta.tokens,
            votes=theta.votes,
            searches=theta.searches,
        )
        for k, theta in sorted(chosen.items())
    ]
    last = strata[-1]
    return FixedPolicy(
        price=price,
        depth=last.depth,
        votes=last.votes,
        aggregation=aggregation,
        strata=tuple(strata),
    )


def _cost(one: Measured) -> float:
    return one.cost
