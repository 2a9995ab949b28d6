"""What the order of the responses alone does to a judge: known without labels.

In coordinates towards what is shown first, a chain's margin is the pair's preference, which changes
sign when the responses are swapped, plus a liking for the first place, which does not. So half the
difference of both orders' margins is the liking (Shi et al., "Judging the Judges", 2406.07791, on
position bias; Zheng et al., 2306.05685, on swapping).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rrm.calibration.arrays import TraceArrays
from rrm.calibration.calibration import CONFLICT, PositionBias
from rrm.calibration.trace import Trace

if TYPE_CHECKING:
    pass

FEWEST_CONFLICTS = 30
"""pairs that contradict themselves, without which the default stands"""
SHARES = (1.0, 0.5, 0.25, 0.1, 0.0)
"""tried for `Stopper.conflict`"""
Z90 = 1.281552
"""of a one-sided bound of 90 %"""


def position_bias(traces: Sequence[Trace], ladder: Sequence[int]) -> tuple[PositionBias, ...]:
    """By depth of both chains; a chain that ended before is read at its end. Whole chains last."""
    import numpy as np

    found = []
    for tokens in (0, *ladder[:-1], None):
        lead, other = np.array([_margins(trace, tokens) for trace in traces]).T
        liking, mean = (lead - other) / 2, (lead + other) / 2
        found.append(
            PositionBias(
                thinking_tokens=tokens,
                n=len(traces),
                mean=float(liking.mean()),
                spread=float(liking.std()),
                otherwise=float((lead * mean <= 0).mean()),
            )
        )
    return tuple(found)


def _margins(trace: Trace, tokens: int | None) -> tuple[float, float]:
    """Of the leading order and the other, towards what the leading one shows first."""
    lead, other = trace.leading, trace.other
    sign = 1.0 if trace.lead == "ab" else -1.0
    places = [-1 if tokens is None else chain.place(tokens) for chain in (lead, other)]
    return sign * lead.margins[places[0]], sign * other.margins[places[1]]


def fit_conflict(arrays: TraceArrays) -> float:
    """`Calibration.conflict`: the greatest at which contradicting whole chains are a coin's throw.

    As far as the labels can tell: above it they are right more often than that.
    """
    import numpy as np

    apart = np.abs(arrays.lead[:, -1] - arrays.other_end)
    met = np.abs(arrays.lead[:, -1] + arrays.other_end)
    split = arrays.lead[:, -1] * arrays.other_end < 0
    if split.sum() < FEWEST_CONFLICTS:
        return CONFLICT
    for share in SHARES:
        some = split & (met <= share * apart)
        n, right = int(some.sum()), float(arrays.whole_right[some].mean()) if some.any() else 0.5
        if right - Z90 * np.sqrt(0.25 / max(1, n)) <= 0.5:
            return share
    return 0.0
