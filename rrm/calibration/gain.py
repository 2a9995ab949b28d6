"""ThinkingGain: does this judge get better by thinking?

A judge that was never trained to reason often does not, and then no budget helps it (Wang et al.,
"Think Deep, Think Fast", 2504.14047; for judges J1, 2505.11875). The gain of thought is a paired
difference: the same pairs, before thought and after. With few labels or many flips it cannot be
told, and that is an answer too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from rrm.calibration.trace import Trace
from rrm.types import Frozen

WORTH = 0.01
"""a gain in accuracy that is sure to be less is not worth any thought"""
Z95 = 1.959964
"""of a two-sided interval of 95 %"""
Z80 = 0.841621
"""of a power of 80 %"""


class Gain(Frozen):
    """What thought brought, with its 95 % interval (Agresti and Min, Statist. Med. 2005)."""

    thinking_tokens: float = Field(description="mean, of both orders together")
    value: float = Field(description="accuracy after, less accuracy before, as a share")
    low: float
    high: float

    @classmethod
    def of(cls, tokens: float, gained: int, lost: int, n: int) -> Gain:
        """From the pairs that only thought got right, and those that only it got wrong, of n."""
        # Half a pair more in each of the four cells, so that no flips at all still leave doubt.
        up, down, every = gained + 0.5, lost + 0.5, n + 2
        middle = (up - down) / every
        half = Z95 * math.sqrt(up + down - (up - down) ** 2 / every) / every
        value = (gained - lost) / n if n else 0.0
        return cls(
            thinking_tokens=tokens,
            value=value,
            low=max(-1.0, middle - half),
            high=min(1.0, middle + half),
        )

    @property
    def conclusion(self) -> Answer:
        """Productive if the gain is surely there, unproductive if it is surely not worth it."""
        if self.low > 0:
            return "productive"
        return "unproductive" if self.high < WORTH else "inconclusive"


Answer = Literal["productive", "unproductive", "inconclusive"]


class ThinkingGain(Frozen):
    """The gain of whole chains over no thought, and how it comes about."""

    n: int
    before: float = Field(description="accuracy without thought, as a share")
    whole: Gain
    by_checkpoint: tuple[Gain, ...] = Field(description="both orders in step")
    groups: dict[str, Gain] = Field(description="whole chains, by what the data calls a group")
    flips: float = Field(description="share of pairs that thought made right or wrong")
    detectable: float = Field(description="least gain found 4 times in 5 at this n and these flips")

    @property
    def conclusion(self) -> Answer:
        return self.whole.conclusion

    @property
    def finding(self) -> str:
        """The conclusion in words."""
        means = {
            "productive": "it gets better by thinking",
            "unproductive": "thinking does not help it, so adaptive effort reads the prompt alone",
            "inconclusive": (
                f"whether thinking helps cannot be told; on {self.n} pairs, {self.flips:.0%} of "
                f"them changed by it, a gain of {self.detectable:.3f} would be found 4 times in 5"
            ),
        }
        return (
            f"{self.conclusion}: right {self.before:.3f} without thought; {means[self.conclusion]}"
        )


def thinking_gain(traces: Sequence[Trace], ladder: Sequence[int]) -> ThinkingGain:
    """From labelled pairs. Raises ValueError without any."""
    n = len(traces)
    if not n:
        raise ValueError("no traces")
    before = [trace.right(trace.in_step(0).margin) for trace in traces]
    end = max(trace.whole_tokens for trace in traces)  # no chain is longer than both together

    def gain(some: Sequence[int], tokens: int) -> Gain:
        points = [traces[i].in_step(tokens) for i in some]
        after = [traces[i].right(point.margin) for i, point in zip(some, points, strict=True)]
        gained = sum(now and not before[i] for i, now in zip(some, after, strict=True))
        lost = sum(before[i] and not now for i, now in zip(some, after, strict=True))
        spent = sum(point.tokens for point in points) / len(some)
        return Gain.of(spent, gained, lost, len(some))

    every = range(n)
    named = sorted({trace.group for trace in traces if trace.group is not None})
    whole = gain(every, end)
    after = [trace.right(trace.in_step(end).margin) for trace in traces]
    flips = sum(was != now for was, now in zip(before, after, strict=True)) / n
    return ThinkingGain(
        n=n,
        before=sum(before) / n,
        whole=whole,
        by_checkpoint=tuple(gain(every, goal) for goal in ladder),
        groups={name: gain([i for i in every if traces[i].group == name], end) for name in named},
        flips=flips,
        detectable=(Z95 + Z80) * math.sqrt(max(flips, 1 / n) / n),
    )
