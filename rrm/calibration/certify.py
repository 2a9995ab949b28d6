"""Certificates: how much accuracy a policy may lose, proved on labels it was not fitted on.

A policy and whole chains judge the same pairs. A pair is lost where only whole chains are right,
gained where only the policy is. "The share lost less the share gained is above epsilon" is
rejected by either of two exact tests, each at half the level. One ignores what was gained
(binomial: Clopper and Pearson, Biometrika 1934). The other is the unconditional test of matched
pairs, the greatest probability of so small a difference over all shares gained that the counts
leave plausible (Hsueh, Liu and Chen, Biometrics 2001; plausible after Berger and Boos, JASA 1994).

Policies are tested from the most careful on, each at the whole delta, until one fails: all that
passed hold together (fixed-sequence testing: Angelopoulos et al., "Learn then Test", 2110.01052).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

BEYOND = 1e-3
"""probability given up that the share gained lies outside its confidence set"""
GRID = 40
"""shares gained at which the second test is computed"""
TESTS = 2


def p_value(lost: int, gained: int, n: int, epsilon: float) -> float:
    """Against "the mean loss is above epsilon", after `lost` and `gained` of n pairs."""
    from scipy.stats import binom

    ignoring = float(binom.cdf(lost, n, epsilon))
    return min(1.0, TESTS * min(ignoring, _paired(lost, gained, n, epsilon)))


def certified(
    counts: Iterable[tuple[int, int]], n: int, epsilon: float, delta: float
) -> int | None:
    """The last policy that holds, of policies from the most careful on; None if none does.

    counts: pairs lost and gained by each, of n.
    """
    last = None
    for index, (lost, gained) in enumerate(counts):
        if p_value(lost, gained, n, epsilon) > delta:
            break
        last = index
    return last


def labels_needed(epsilon: float, delta: float) -> int:
    """Least number of pairs that can certify a policy, where it loses none of them."""
    return math.ceil(math.log(delta / TESTS) / math.log1p(-epsilon))


def _paired(lost: int, gained: int, n: int, epsilon: float) -> float:
    """The unconditional test of the difference."""
    import numpy as np
    from scipy.stats import beta, binom

    low = beta.ppf(BEYOND / 2, gained, n - gained + 1) if gained else 0.0
    high = beta.ppf(1 - BEYOND / 2, gained + 1, n - gained) if gained < n else 1.0
    high = min(high, (1 - epsilon) / 2)
    p_gained = np.linspace(min(low, high), high, GRID)[:, None]
    both = 2 * p_gained + epsilon
    # Pairs lost or gained; beyond the last there are next to none.
    apart = np.arange(binom.isf(1e-9, n, both.max()) + 1)[None, :]
    most = np.floor((apart + (lost - gained)) / 2)
    so_many = np.asarray(binom.pmf(apart, n, both))
    so_few_lost = np.asarray(binom.cdf(most, apart, (p_gained + epsilon) / both))
    return float((so_many * so_few_lost).sum(axis=1).max() + BEYOND)
