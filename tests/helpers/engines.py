"""Chains of nano's questions, on any engine."""

from __future__ import annotations

import asyncio
import random

from judges.nano import data
from rrm.engines.base import Engine, ExtendRequest, Sampling, TokenSequence
from rrm.style import Style
from tests.helpers.styles import RRM


def chains(
    engine: Engine, n: int, style: Style = RRM, temperature: float = 0.0, seed: int = 1
) -> list[TokenSequence]:
    rng = random.Random(seed)
    made = []
    for index in range(n):
        example = data.draw(rng)
        rendered = style.render(example.question, example.responses, engine.control)
        made.append(engine.start(rendered, Sampling(temperature=temperature, seed=index)))
    return made


def grow(
    engine: Engine, many: list[TokenSequence], tokens: int, stop: str | None = "</think>"
) -> None:
    asyncio.run(engine.extend([ExtendRequest(chain, tokens, stop) for chain in many]))
