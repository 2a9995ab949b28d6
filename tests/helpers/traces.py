"""Traces drawn from a known judge."""

from __future__ import annotations

import math
import random
from typing import Literal

from rrm.calibration.arrays import TraceArrays
from rrm.calibration.trace import Trace, TracedChain

LADDER = (8, 16, 24)


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


def arrays(seed: int, n: int) -> TraceArrays:
    return TraceArrays.of(simulated(seed, n), LADDER)


def hopeless(traces: list[Trace], share: float, seed: int) -> list[Trace]:
    """Some of the pairs are too close for any thought: coin flips from first to last."""
    rng = random.Random(seed)
    made = []
    for trace in traces:
        if rng.random() < share:
            label: Literal["a", "b"] = "a" if rng.random() < 0.5 else "b"
            small = [[rng.uniform(-0.05, 0.05) for _ in (0, *LADDER)] for _ in "ab"]
            chains = tuple(chain(margins) for margins in small)
            trace = trace.model_copy(
                update={"label": label, "votes": (chains,), "group": "hopeless"}
            )
        made.append(trace)
    return made


def liking(traces: list[Trace], mean: float, spread: float, seed: int) -> list[Trace]:
    """The same judge with a liking for what is shown first, drawn pair by pair."""
    rng = random.Random(seed)
    made = []
    for trace in traces:
        extra = rng.gauss(mean, spread)
        votes = tuple((_shifted(one, extra), _shifted(two, -extra)) for one, two in trace.votes)
        made.append(trace.model_copy(update={"votes": votes}))
    return made


def _shifted(of: TracedChain, by: float) -> TracedChain:
    return of.model_copy(update={"margins": tuple(margin + by for margin in of.margins)})
