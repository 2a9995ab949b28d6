"""Meters: from the work of a judgement to an amount in the unit of a budget."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from rrm.allocation.cost_model import CostModel
from rrm.types import Usage

SEARCH_TOKENS = 40.0
"""what a search costs, in generated tokens, unless it is priced otherwise"""
PROBE_TOKENS = 4.0
"""what one probe of one order costs in seconds, in generated tokens: the probe itself, and the
chain taken up again"""


class Work(NamedTuple):
    """Something that an engine does for one chain."""

    kind: Literal["prompt", "thought", "probe", "search"]
    tokens: int
    """of a prompt or evidence read, of thought generated; searches; of a probe the meter knows"""
    before: int
    """tokens of prompt and chain before it"""


class Meter(Protocol):
    """What a budget counts."""

    @property
    def unit(self) -> str: ...

    def price(self, work: Work) -> float:
        """The amount of one piece of work."""
        ...

    def past(self, usage: Usage) -> float:
        """What a judgement of this usage has cost."""
        ...


def amount(meter: Meter, work: Iterable[Work]) -> float:
    """All pieces together."""
    return sum(meter.price(one) for one in work)


@dataclass(frozen=True)
class Tokens:
    """Thinking tokens; a probe of one order and a search cost so many of them."""

    probe_tokens: float = 0.0
    search_tokens: float = SEARCH_TOKENS
    unit = "thinking tokens"

    def price(self, work: Work) -> float:
        if work.kind == "probe":
            return self.probe_tokens
        if work.kind == "search":
            return self.search_tokens * work.tokens
        return float(work.tokens) if work.kind == "thought" else 0.0

    def past(self, usage: Usage) -> float:
        return usage.thinking_tokens + self.search_tokens * usage.searches


@dataclass(frozen=True)
class Compute:
    """Floating point operations: prompts, thought and probes, where the engine keeps its cache.

    suffix: tokens of one probe. search_tokens: what a search costs, in generated tokens.
    """

    cost: CostModel
    suffix: int
    search_tokens: float = SEARCH_TOKENS
    unit = "FLOPs"

    def price(self, work: Work) -> float:
        if work.kind == "probe":
            return self.cost.probe_flops(work.before, self.suffix)
        if work.kind == "search":
            return self.search_tokens * work.tokens * self.cost.decode_flops(1, work.before)
        if work.kind == "thought":
            return self.cost.decode_flops(work.tokens, work.before)
        return self.cost.prefill_flops(work.tokens, work.before)

    def past(self, usage: Usage) -> float:
        each, prompt = usage.thinking_tokens // 2, usage.prompt_tokens // 2
        work = [Work("prompt", prompt, 0), Work("thought", each, prompt)] * 2
        work.append(Work("search", usage.searches, prompt))
        probe = self.price(Work("probe", 0, prompt + each))
        return amount(self, work) + usage.probe_tokens / self.suffix * probe
