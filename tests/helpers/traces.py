"""Traces drawn from a known judge."""

from __future__ import annotations

import math
import random

from rrm.trace import Trace, TracedChain

LADDER = (8, 16)


BOND = {"data": "d", "model": "m", "prompt_hash": "h"}


def chain(margins: list[float]) -> TracedChain:
    places = len(margins)
    tokens = tuple(8 * place for place in range(places))
    return TracedChain(tokens=tokens, margins=tuple(margins), masses=(1.0,) * places, closed=True)


def simulated(seed: int, n: int) -> list[Trace]:
    """Margins whose log-odds of being right are exactly their size; whole chains never err.

    Both orders say the same, so the pair's margin is that of its leading chain without thought.
    """
    rng = random.Random(seed)
    traces = []
    for _ in range(n):
        label = rng.choice("ab")
        sign = 1 if label == "a" else -1
        margins = []
        for scale in (2.0, 2.0, 4.0):
            size = rng.expovariate(1 / scale)
            right = rng.random() < 1 / (1 + math.exp(-size))
            margins.append(sign * (size if right else -size))
        lead = chain([margins[0], margins[1], margins[2], 9.0 * sign])
        other = chain([margins[0], 9.0 * sign])
        traces.append(Trace(label=label, lead="ab", prompt_tokens=(1, 1), votes=((lead, other),)))
    return traces
