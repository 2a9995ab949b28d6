"""A group of responses compared with each other: a strength for each.

A ring and chords of pairs place the responses roughly: far pairs are settled at once. Then those
that stand next to each other in that order, the near-equal ones, are compared, until the order's
neighbours all have been. The judge thinks as long as each pair needs. Strengths are Bradley and
Terry's (Biometrika 1952).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from judges.options import JudgeOptions
from rrm.errors import RefusedText
from rrm.types import Pair, Prompt, Unscored, Verdict

PRIOR = 0.1
"""comparisons of each response with one of average strength, as many won as lost: keeps the
strength of one that wins every time finite"""
REFINEMENTS = 3
"""how often neighbours are compared and the order made anew"""
ITERATIONS = 1000
CLOSE_ENOUGH = 1e-9
Edge = tuple[int, int]


class PairJudge(Protocol):
    """A judge in this process or a client of a service."""

    async def judge(self, pair: Pair, options: JudgeOptions = ...) -> Verdict | Unscored: ...


@dataclass(frozen=True)
class Ranking:
    """What comparing pairs of a group came to.

    strengths: log-odds, mean 0 over the responses that could be compared; None: it could not be.
    failures: why pairs had no verdict.
    """

    strengths: tuple[float | None, ...]
    thinking_tokens: int
    pairs: int
    failures: tuple[str, ...]


async def rank(
    judge: PairJudge,
    prompt: Prompt,
    responses: Sequence[str],
    options: JudgeOptions = JudgeOptions(),
) -> Ranking:
    """Compare the responses; equal texts share one strength."""
    texts = list(dict.fromkeys(responses))
    if len(texts) == 1:
        return Ranking((0.0,) * len(responses), 0, 0, ())
    group = _Group(judge, prompt, texts)
    edges = ring_and_chords(len(texts))
    for _ in range(1 + REFINEMENTS):
        await group.compare(edges, options)
        edges = group.uncompared_neighbours()
    found = group.strengths()
    by_text = dict(zip(texts, found, strict=True))
    known = [by_text[text] for text in responses if by_text[text] is not None]
    mean = sum(value for value in known if value is not None) / max(1, len(known))
    return Ranking(
        tuple(None if (s := by_text[text]) is None else s - mean for text in responses),
        group.tokens,
        group.pairs,
        tuple(group.failures),
    )


def ring_and_chords(n: int) -> list[Edge]:
    """Each of `n` with the next, and with the one about half the ring away."""
    edges = {(min(i, j), max(i, j)) for i in range(n) for j in ((i + 1) % n, (i + n // 2) % n)}
    return sorted(edge for edge in edges if edge[0] != edge[1])


def bradley_terry(n: int, wins: Mapping[Edge, float]) -> list[float]:
    """Log-strengths of `n` from wins[i, j], the probability that i beats j; mean 0.

    The maximum-likelihood fit by Hunter's minorisation (Annals of Statistics 2004, eq. 3), with
    PRIOR comparisons of each against one of average strength.
    """
    won = [PRIOR / 2] * n
    for (first, second), probability in wins.items():
        won[first] += probability
        won[second] += 1 - probability
    strength = [1.0] * n
    for _ in range(ITERATIONS):
        shared = [PRIOR / (value + 1.0) for value in strength]
        for first, second in wins:
            share = 1 / (strength[first] + strength[second])
            shared[first] += share
            shared[second] += share
        fresh = [w / s for w, s in zip(won, shared, strict=True)]
        moved = max(abs(math.log(a / b)) for a, b in zip(fresh, strength, strict=True))
        strength = fresh
        if moved < CLOSE_ENOUGH:
            break
    logs = [math.log(value) for value in strength]
    mean = sum(logs) / n
    return [value - mean for value in logs]


class _Group:
    """Different responses to one prompt, and what is known of their order."""

    def __init__(self, judge: PairJudge, prompt: Prompt, texts: Sequence[str]) -> None:
        self.judge, self.prompt, self.texts = judge, prompt, texts
        self.wins: dict[Edge, float] = {}
        self.compared: set[Edge] = set()
        self.failures: list[str] = []
        self.tokens = self.pairs = 0

    async def compare(self, edges: Sequence[Edge], options: JudgeOptions) -> None:
        self.compared.update(edges)
        await asyncio.gather(*(self._one(*edge, options) for edge in edges))

    async def _one(self, i: int, j: int, options: JudgeOptions) -> None:
        pair = Pair(prompt=self.prompt, response_a=self.texts[i], response_b=self.texts[j])
        self.pairs += 1
        try:
            outcome = await self.judge.judge(pair, options)
        except RefusedText as refusal:
            self.failures.append(str(refusal))
            return
        self.tokens += outcome.usage.thinking_tokens
        if isinstance(outcome, Unscored):
            self.failures.append(f"{outcome.reason}: {outcome.detail}")
            return
        sure = outcome.probability
        self.wins[i, j] = 1 - sure if outcome.preferred == "b" else sure

    def strengths(self) -> list[float | None]:
        compared = {index for edge in self.wins for index in edge}
        fitted = bradley_terry(len(self.texts), self.wins)
        return [fitted[i] if i in compared else None for i in range(len(self.texts))]

    def uncompared_neighbours(self) -> list[Edge]:
        """Pairs that stand next to each other from strongest to weakest and were not asked yet."""
        known = {i: s for i, s in enumerate(self.strengths()) if s is not None}
        order = sorted(known, key=lambda index: -known[index])
        edges = [(min(i, j), max(i, j)) for i, j in pairwise(order)]
        return [edge for edge in edges if edge not in self.compared]
