"""Rivals of the bought policy: thresholds on |margin| along one fixed line of places.

One prompt or both are read first; then a place is a rung, the leading chain's end, perhaps both
whole chains. Margins of one order alone are centred: what the order adds on average is taken off.
Thresholds are tuned by coordinate descent on the traces that are fitted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rrm.calibration.arrays import TraceArrays
from rrm.calibration.learn import PATH
from rrm.calibration.replay import Walked, whole
from rrm.calibration.spent import Spent
from rrm.decision.priced import TokenPrices

Numbers = NDArray[np.float64]
FURTHER = (3.2, 4.8)
"""prices beyond the policy's path, as there"""
GRID = 12
"""thresholds tried at a place: quantiles of |margin|"""
ROUNDS = 2


@dataclass(frozen=True)
class Rival:
    """A way to judge that walks one fixed line of places and stops by a threshold at each.

    both_prompts: both are read first. rungs: it looks inside the chain, not at the prompt alone.
    both_ends: it ends with both whole chains, else with the leading one.
    """

    both_prompts: bool
    rungs: bool
    both_ends: bool

    def columns(self, arrays: TraceArrays) -> list[int]:
        return [0, *(range(1, arrays.end) if self.rungs else ()), arrays.end]

    def centres(self, arrays: TraceArrays) -> Numbers:
        """[depths]: what the leading order adds on average to what it shows first."""
        return arrays.liking * (not self.both_prompts)

    def tuned(
        self, fit: TraceArrays, tokens: TokenPrices, price: float, start: Sequence[float] = ()
    ) -> Sequence[float]:
        """The least |margin| to stop at, for each place but the last. start: of a lower price."""
        centres, columns = self.centres(fit), self.columns(fit)
        places = columns if self.both_ends else columns[:-1]
        grids: list[list[float]] = []
        for column in places:
            margin = np.abs(self._margin(fit, column, centres)[fit.there[:, column]])
            few = len(margin) <= GRID
            grid = [] if few else np.quantile(margin, np.linspace(0, 0.98, GRID)).tolist()
            grids.append([*grid, np.inf])
        least = list(start) or [np.inf] * len(places)
        best = np.inf
        for _ in range(ROUNDS):
            before = best
            for index, grid in enumerate(grids):
                for level in grid:
                    tried = [*least[:index], level, *least[index + 1 :]]
                    found = self.walk(fit, tried, centres)
                    loss = float((1 - found.right + price * found.spent.cost(tokens)).mean())
                    if loss < best - 1e-12:
                        best, least = loss, tried
            if best == before:
                break
        return least

    def walk(self, arrays: TraceArrays, least: Sequence[float], centres: Numbers) -> Walked:
        """What it would have done; every verdict that is read costs a probe, the last one too."""
        n = len(arrays)
        value, thought = np.zeros(n), np.zeros(n)
        live, probes = np.ones(n, dtype=bool), np.zeros(n)
        looked = np.zeros(n, dtype=bool)
        for column, level in zip(self.columns(arrays), least, strict=False):
            if not np.isfinite(level):
                continue
            margin = self._margin(arrays, column, centres)
            here = live & arrays.there[:, column]
            probes += here * (1 if column or not self.both_prompts else 2)
            looked = here if column == arrays.end else looked
            stop = here & (np.abs(margin) >= level)
            value[stop], thought[stop] = margin[stop], arrays.thought(column)[stop]
            live &= ~stop
        ends = arrays.whole if self.both_ends else self._margin(arrays, arrays.end, centres)
        value[live] = ends[live]
        whole_thought = arrays.lead_tokens + (arrays.other_tokens if self.both_ends else 0)
        thought[live] = whole_thought[live]
        probes += live * ((2 - looked) if self.both_ends else 1)
        orders = 1.0 + (live if self.both_ends and not self.both_prompts else self.both_prompts)
        other = arrays.other_prompt_tokens * (np.broadcast_to(orders, n) > 1)
        spent = Spent.none(
            n, first=arrays.lead_prompt_tokens, other=other, thought=thought, probes=probes
        )
        never = np.zeros(n, dtype=bool)
        return Walked(arrays, value, never, spent, np.broadcast_to(orders, n), {}, {})

    def _margin(self, arrays: TraceArrays, column: int, centres: Numbers) -> Numbers:
        lead: Numbers = np.nan_to_num(arrays.lead[:, column]) - centres[column]
        return (lead + arrays.other_prompt) / 2 if self.both_prompts else lead


LINES = {
    "both orders, look once": Rival(both_prompts=True, rungs=False, both_ends=True),
    "both prompts, looks inside": Rival(both_prompts=True, rungs=True, both_ends=True),
    "one order, look once": Rival(both_prompts=False, rungs=False, both_ends=False),
    "one order, looks inside": Rival(both_prompts=False, rungs=True, both_ends=False),
}
ONE_WHOLE = "one order, whole"


def settings(
    fit: TraceArrays, held: TraceArrays, tokens: TokenPrices
) -> Iterator[tuple[str, Walked, Walked]]:
    """Every setting of every rival: its name, what it does on `fit`, what on `held`."""
    cost = float(whole(fit).spent.cost(tokens).mean())
    for name, line in LINES.items():
        centres = line.centres(fit)
        least: Sequence[float] = ()
        for price in (*PATH, *FURTHER):
            least = line.tuned(fit, tokens, price / cost, least)
            yield name, line.walk(fit, least, centres), line.walk(held, least, centres)
    alone = LINES["one order, look once"]
    centres = alone.centres(fit)
    yield ONE_WHOLE, alone.walk(fit, [np.inf], centres), alone.walk(held, [np.inf], centres)
