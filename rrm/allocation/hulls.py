"""One budget for many items: who gets how much, so that the whole is worth most.

Each item can be stopped at some depths, of known value and cost. Where value rises ever more slowly
with cost, taking the best bargain next is optimal up to the last step that does not fit (Damani et
al., "Learning How Hard to Think", 2410.04707, section 3). A value that rises late is bridged by its
concave hull: what pays only together is taken together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Allocation:
    """What each item gets."""

    depth: NDArray[np.int_]
    """[items]: the depth at which it stops"""
    spent: float
    price: float
    """value that the last step taken brought for one unit of cost; infinite if none was taken"""


def allocate(values: NDArray[Any], costs: NDArray[Any], budget: float) -> Allocation:
    """Spend at most `budget` on the steps that bring most for their cost.

    values, costs: [items, depths]; costs rise with depth, and depth 0 is paid whatever the budget.
    An item that has fewer depths repeats its last one. Raises ValueError if depth 0 alone costs
    more than there is.
    """
    items = len(values)
    spent = float(costs[:, 0].sum())
    if spent > budget * (1 + 1e-12):
        raise ValueError(f"no thought at all costs {spent:g} already, more than {budget:g}")
    item, to, slope, cost = _steps(values, costs)
    order = np.lexsort((item, -slope))
    total = spent + np.cumsum(cost[order])
    taken = order[: int(np.searchsorted(total, budget * (1 + 1e-12), side="right"))]
    depth = np.zeros(items, dtype=np.int_)
    np.maximum.at(depth, item[taken], to[taken])
    if len(taken):
        spent = float(total[len(taken) - 1])
    return Allocation(depth, spent, float(slope[taken[-1]]) if len(taken) else float("inf"))


def _steps(
    values: NDArray[Any], costs: NDArray[Any]
) -> tuple[NDArray[np.int_], NDArray[np.int_], NDArray[Any], NDArray[Any]]:
    """The edges of each item's concave hull that gain: item, depth reached, value for cost, cost.

    Edges of one item come with falling value for cost, so a later one never overtakes.
    """
    rows = np.arange(len(values))
    depths = np.arange(values.shape[1])
    at = np.zeros(len(values), dtype=np.int_)
    found = []
    while len(rows):
        gain = values[rows] - values[rows, at][:, None]
        more = costs[rows] - costs[rows, at][:, None]
        later = (depths > at[:, None]) & (more > 0)
        slopes = np.where(later, gain / np.where(later, more, 1.0), -np.inf)
        # Of equal slopes the farthest: one edge.
        best = values.shape[1] - 1 - slopes[:, ::-1].argmax(axis=1)
        here = np.arange(len(rows))
        rising = slopes[here, best] > 0
        rows, best, here = rows[rising], best[rising], here[rising]
        found.append((rows, best, slopes[here, best], more[here, best]))
        at = best
    parts = [np.concatenate(part) for part in zip(*found, strict=True)]
    return parts[0], parts[1], parts[2], parts[3]
