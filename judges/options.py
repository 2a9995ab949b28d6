"""What a caller may ask of a judge, and the limits that every judge keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rrm.decision.chains import ChainText
from rrm.search.registry import Given
from rrm.types import Checkpoint, Effort

LADDER = (64, 128, 256, 512, 1024, 2048, 4096)
"""Checkpoints for a model that names none: thinking tokens of each chain."""
REPLY_AT_ONCE = (
    "\n\nDo not think about it: reply at once, with nothing but the verdict in its form."
)
"""how a judge that cannot be probed is asked for an answer without thought"""
TIE = 1e-9
"""a |margin| below this is no preference"""

Event = ChainText | Checkpoint
Watch = Callable[[Event], None]


@dataclass(frozen=True)
class JudgeOptions:
    """How a caller wants a pair judged.

    max_thinking_tokens: for both orders together; None leaves it to the ladder. seconds: when they
    are over, the last checkpoint decides; a judgement that has none is unscored.
    """

    effort: Effort = "adaptive"
    max_thinking_tokens: int | None = None
    return_chain: bool = False
    seconds: float | None = None
    trace: bool = False
    """with effort full: read every checkpoint too, although nothing depends on it"""
    evidence: Given = None
    """to search in: texts, or the name of one of the service's searchers; None: its own, if any"""
    max_searches: int | None = None
    """of each chain; None leaves it to the limits of searches"""

    @property
    def plain(self) -> bool:
        """Adaptive, and nothing but the calibration says when to stop."""
        limits = (self.max_thinking_tokens, self.max_searches)
        return self.effort == "adaptive" and limits == (None, None)
