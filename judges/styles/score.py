"""Styles whose verdict is a whole-number score for each response, read by probe as its expectation.

The first score is read where the verdict opens; each next one over the likely values of those
before it. The pairwise margin is the difference of the two expectations. Ties are common.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from judges.styles.label import CLOSE_THOUGHT, check_think_token
from rrm.parse import BOXED, ParsedVerdict, Unread, after_thought, last_scores
from rrm.prompt import PromptTemplate, SearchMarkers, Templated, hash_prompt, invited
from rrm.style import Ask, LabelLogprobs, ProbeReadout

MOST_RESPONSES = 16
"""in one request"""
LIKELY = 0.05
"""scores less likely than this do not get their own question about the scores after them"""


@dataclass(frozen=True)
class ScoreStyle(Templated):
    """Each response gets a whole number from `low` to `high`."""

    name: str
    template: PromptTemplate
    low: int
    high: int
    sizes: tuple[int, ...]
    suffix_of: Callable[[str, bool], str]
    """(chain, ended) to what must be appended so that the first score comes next"""
    opening: str = ""
    stop: str = "\\boxed{"
    between: str = ", "
    """stands between two scores"""
    verdict: re.Pattern[str] = BOXED
    one_each: bool = False
    """the verdict pattern holds one score, not all of them"""
    slots: tuple[str, ...] = ("{prompt}", "{responses}")
    thinks: bool | None = None
    """whether the model must own a `<think>` token (None: no matter)"""
    temperature: float = 0.0
    search: SearchMarkers | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(str(score) for score in range(self.low, self.high + 1))

    @property
    def prompt_hash(self) -> str:
        return hash_prompt(
            self.name,
            *self.template.texts(),
            self.template.response,
            self.opening,
            self.stop,
            *invited(self.search),
        )

    def with_prompt(self, text: str) -> ScoreStyle:
        """The style with another instruction text. Raises ValueError where a slot is missing."""
        return replace(self, template=self.template.rewritten(text, self.slots, self.name))

    def suffix(self, chain: str, ended: bool) -> str:
        return self.suffix_of(chain, ended)

    async def read(self, ask: Ask, suffix: str, n: int) -> ProbeReadout:
        """E[x1] where the verdict opens, then each next score over the likely ones before it."""
        weights = {suffix: 1.0}
        scores: list[float] = []
        mass, spread = 1.0, 0.0
        for index in range(n):
            seen = await ask(list(weights), self.labels)
            mass = min(mass, *(one.mass for one in seen))
            means = [_expectation(one) for one in seen]
            shares = list(weights.values())
            scores.append(sum(w * mean for w, (mean, _) in zip(shares, means, strict=True)))
            if index == 0:
                spread = means[0][1]
            longer = {
                f"{text}{label}{self.between}": weight * share
                for (text, weight), one in zip(weights.items(), seen, strict=True)
                for label, share in _shares(one).items()
            }
            weights = _likely(longer)
        z = scores[0] - scores[1] if n == 2 else scores[0]
        return ProbeReadout(z=z, mass=mass, scores=tuple(scores), spread=spread)

    def parse(self, text: str, n: int) -> ParsedVerdict:
        rest = after_thought(text, opened=self.opening.startswith("<think>"))
        if isinstance(rest, Unread):
            return rest
        return last_scores(rest, self.verdict, n, self.low, self.high, self.one_each)

    def check(self, special: Iterable[str]) -> None:
        check_think_token(self.name, self.thinks, special)


def after_close(opening: str, close: str = CLOSE_THOUGHT) -> Callable[[str, bool], str]:
    """Scores that begin with `opening` behind a chain that `close` ends early."""
    return lambda chain, ended: ("" if ended else close) + opening


def _shares(seen: LabelLogprobs) -> dict[str, float]:
    top = max(seen.logprobs.values())
    if math.isinf(top):
        return {label: 1 / len(seen.logprobs) for label in seen.logprobs}
    weights = {label: math.exp(value - top) for label, value in seen.logprobs.items()}
    total = sum(weights.values())
    return {label: weight / total for label, weight in weights.items()}


def _likely(weights: dict[str, float]) -> dict[str, float]:
    """Those at least LIKELY, or else the likeliest, their weights summing to 1."""
    kept = {text: weight for text, weight in weights.items() if weight >= LIKELY}
    kept = kept or dict([max(weights.items(), key=lambda item: item[1])])
    total = sum(kept.values())
    return {text: weight / total for text, weight in kept.items()}


def _expectation(seen: LabelLogprobs) -> tuple[float, float]:
    """Mean and standard deviation of the score."""
    shares = {int(label): share for label, share in _shares(seen).items()}
    mean = sum(score * share for score, share in shares.items())
    return mean, math.sqrt(sum(share * (score - mean) ** 2 for score, share in shares.items()))
