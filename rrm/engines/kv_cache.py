"""A sequence's own cache, many of them side by side for one pass, and the draw of a next token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from rrm.engines.base import TokenSequence
from rrm.errors import EngineError


@dataclass
class LocalSequence(TokenSequence):
    """A sequence with its cache: (2 x layers, key-value heads, tokens, head dimension)."""

    kv: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    """next-token logits after the last token, float32, (vocabulary,)"""
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        if self.sampling.temperature > 0:
            self.generator = torch.Generator().manual_seed(self.sampling.seed)

    @property
    def cached(self) -> int:
        return 0 if self.kv is None else self.kv.shape[2]

    @property
    def tokens(self) -> list[int]:
        return self.prompt_ids + self.ids


def side_by_side(sequences: Sequence[LocalSequence], device: torch.device) -> tuple[Any, list[int]]:
    """One cache from many, padded on the left; returns it and each row's padding."""
    length = max(sequence.cached for sequence in sequences)
    pads = [length - sequence.cached for sequence in sequences]
    if length == 0:
        return DynamicCache(), pads
    sample = next(sequence.kv for sequence in sequences if sequence.kv is not None)
    both, heads, _, size = sample.shape
    block = torch.zeros(
        both, len(sequences), heads, length, size, dtype=sample.dtype, device=device
    )
    for row, (sequence, pad) in enumerate(zip(sequences, pads, strict=True)):
        if sequence.kv is not None:
            block[:, row, :, pad:] = sequence.kv
    return DynamicCache([(block[k], block[k + 1]) for k in range(0, both, 2)]), pads


def row_of(cache: Any, row: int, start: int, stop: int) -> torch.Tensor:
    """One row's keys and values, copied so that the batch can be freed."""
    parts = [
        part[row, :, start:stop] for layer in cache.layers for part in (layer.keys, layer.values)
    ]
    return torch.stack(parts)


def draw(sequence: LocalSequence) -> int:
    """Greedy, or by inversion with one uniform number a token: the same in any batch."""
    logits = sequence.logits
    if logits is None:
        raise EngineError("a sequence was decoded before its prompt was read")
    if sequence.generator is None:
        return int(logits.argmax())
    shares = torch.softmax(logits.double() / sequence.sampling.temperature, dim=-1)
    point = torch.rand((), generator=sequence.generator, dtype=torch.float64)
    return min(int(torch.searchsorted(shares.cumsum(0), point)), len(shares) - 1)
