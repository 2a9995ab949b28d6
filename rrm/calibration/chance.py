"""How sure a judgement may be of what it has seen: a logistic curve for each state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rrm.calibration.arrays import TraceArrays
from rrm.decision.priced import Chance, StateKey

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]
    Numbers = NDArray[np.float64]

KNEE = 0.4
"""quantile of |margin| beyond which a margin may count for less"""
DIGITS = 6
"""of the numbers in a rule"""


def in_digits(value: float) -> float:
    """In as many digits as a rule is kept with."""
    return float(f"{value:.{DIGITS}g}")


def fit_chance(arrays: TraceArrays, key: StateKey, looked: bool, weight: Numbers) -> Chance:
    """Logistic regression with a small ridge (Newton's method), for the traces that have weight.

    What order alone adds on average is known without labels and taken off every margin; there is no
    other intercept, so that which of two responses tends to be right in these data is not learnt.
    """
    import numpy as np

    column, liking = arrays.column(*key[1:]), arrays.liking
    some = weight > 0
    centre = float(liking[column])
    if not some.any():
        return Chance(intercept=-centre, margin=1.0, clipped=0.0, knee=0.0)
    margin = arrays.lead[some, column] - centre
    knee = float(np.quantile(np.abs(margin), KNEE))
    columns = {"margin": margin, "clipped": np.clip(margin, -knee, knee)}
    centres = {"margin": centre, "clipped": 0.0}
    if looked and column:
        columns["prompt"], centres["prompt"] = arrays.lead[some, 0] - liking[0], liking[0]
    if key.other:
        columns["other"], centres["other"] = arrays.other_prompt[some] + liking[0], -liking[0]
    x = np.stack(list(columns.values()), axis=1)
    spread = x.std(axis=0)
    scale = np.where(spread > 1e-9, spread, 1.0)
    weights = _logistic(x / scale, arrays.truth[some] > 0, weight[some]) / scale
    intercept = -float(weights @ np.array(list(centres.values())))
    named = dict(zip(columns, map(in_digits, weights.tolist()), strict=True))
    return Chance(
        intercept=in_digits(intercept), knee=in_digits(knee), centre=in_digits(centre), **named
    )


def _logistic(x: Numbers, right: Flags, weight: Numbers) -> Numbers:
    import numpy as np

    found, ridge = np.zeros(x.shape[1]), np.eye(x.shape[1])
    for _ in range(12):
        p = sigmoid(x @ found)
        slope = x.T @ (weight * (p - right)) + ridge @ found
        curvature = weight * np.maximum(p * (1 - p), 1e-6)
        step = np.linalg.solve((x * curvature[:, None]).T @ x + ridge, slope)
        found -= np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-4:
            break
    return found


def sigmoid(x: Numbers) -> Numbers:
    """Probabilities of log-odds."""
    import numpy as np

    found: Numbers = 1 / (1 + np.exp(-np.clip(x, -30, 30)))
    return found
