"""CostModel: what tokens cost on one architecture, in floating point operations and bytes.

Read from a Hugging Face config: its model is built without memory (torch's `meta` device) and its
matrices are counted, so that any architecture that transformers knows has its true size. Attention
is added by its formula. A multiplication with its addition counts as 2 operations (Kaplan et al.,
"Scaling Laws for Neural Language Models", 2020, section 2.1).
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field

from rrm.types import Frozen

FULL = frozenset({"full_attention"})
SLIDING = frozenset({"sliding_attention", "chunked_attention"})


class ProbeAccounting(StrEnum):
    """What a probe is charged for, by what the engine keeps."""

    FORK = "fork"
    """the cache is forked or cropped back: the suffix alone"""
    PREFIX = "prefix"
    """a prefix cache of whole pages: what has no page of its own yet, and the suffix"""
    BLACK_BOX = "black_box"
    """nothing is kept: prompt, chain and suffix again"""

    def tokens(self, prefix: int, suffix: int, page: int = 1) -> int:
        """Tokens computed for one probe.

        prefix: tokens of prompt and chain; suffix: of what closes the chain and opens the verdict;
        page: tokens that a prefix cache keeps together. A prefix cache never holds the last token.
        """
        match self:
            case ProbeAccounting.FORK:
                return suffix
            case ProbeAccounting.PREFIX:
                kept = max(0, prefix - 1) // page * page
                return prefix - kept + suffix
            case ProbeAccounting.BLACK_BOX:
                return prefix + suffix


class Machine(Frozen):
    """What a machine can do at most."""

    flops: float = Field(gt=0, description="floating point operations a second")
    bandwidth: float = Field(gt=0, description="bytes a second from memory")
    layer_seconds: float = Field(0.0, ge=0, description="fixed cost of one layer in one pass")


class CostModel(Frozen):
    """Costs of one decoder.

    All operations are for one sequence; a pass over a batch reads the weights once.
    """

    matrix_weights: int = Field(description="weights that every token is multiplied with")
    weights: int = Field(description="weights that one token reads, its embedding's row included")
    layers: int
    attention_width: int = Field(description="query heads times head dimension, in one layer")
    kv_width: int = Field(description="numbers kept in the cache for one token in one layer")
    full_layers: int = Field(description="layers that attend to everything before")
    windows: tuple[int, ...] = Field((), description="how far each other layer attends, in tokens")
    weight_bytes: float = Field(4.0, description="bytes of one weight")
    cache_bytes: float = Field(4.0, description="bytes of one number in the cache")

    @classmethod
    def of(
        cls, config: Any, weight_bytes: float | None = None, cache_bytes: float | None = None
    ) -> CostModel:
        """From a transformers config.

        Bytes are those of the config's dtype unless given (0.5 for weights of 4 bits). Raises
        ValueError for a model that is no decoder with attention.
        """
        text = config.get_text_config(decoder=True)
        matrices, read = _count(text)
        heads = getattr(text, "num_attention_heads", None)
        layers = getattr(text, "num_hidden_layers", None)
        if not isinstance(heads, int) or not isinstance(layers, int):
            raise ValueError(f"{type(config).__name__} names no attention heads and layers")
        head = getattr(text, "head_dim", None) or text.hidden_size // heads
        kv_heads = getattr(text, "num_key_value_heads", None) or heads
        latent = getattr(text, "kv_lora_rank", None)
        # Multi-head latent attention keeps one compressed row (DeepSeek-V2, 2405.04434, eq. 9-13).
        kv_width = latent + text.qk_rope_head_dim if latent else 2 * kv_heads * head
        width = heads * (text.qk_head_dim + text.v_head_dim) // 2 if latent else heads * head
        full, windows = _reach(text, layers)
        size = float(_dtype_bytes(text))
        return cls(
            matrix_weights=matrices,
            weights=read,
            layers=layers,
            attention_width=width,
            kv_width=kv_width,
            full_layers=full,
            windows=windows,
            weight_bytes=size if weight_bytes is None else weight_bytes,
            cache_bytes=size if cache_bytes is None else cache_bytes,
        )

    @classmethod
    def of_directory(cls, directory: Path) -> CostModel:
        """From a model directory's `config.json`. Raises OSError if there is none."""
        from transformers import AutoConfig

        return cls.of(AutoConfig.from_pretrained(directory, local_files_only=True))

    # -- operations -------------------------------------------------------------------------------

    def prefill_flops(self, tokens: int, before: int = 0) -> float:
        """To compute `tokens` in one pass behind `before` that are in the cache."""
        return 2.0 * self.matrix_weights * tokens + 4.0 * self.attention_width * self._seen(
            before, tokens
        )

    def decode_flops(self, tokens: int, before: int = 0) -> float:
        """To generate `tokens` one by one: as many operations as in one pass."""
        return self.prefill_flops(tokens, before)

    def probe_flops(
        self,
        prefix: int,
        suffix: int,
        accounting: ProbeAccounting = ProbeAccounting.FORK,
        page: int = 1,
    ) -> float:
        """One probe of `suffix` behind `prefix` tokens of prompt and chain."""
        computed = accounting.tokens(prefix, suffix, page)
        return self.prefill_flops(computed, prefix + suffix - computed)

    def _seen(self, before: int, tokens: int) -> int:
        """Key positions that `tokens` queries attend to, summed over all layers."""
        every = tokens * before + tokens * (tokens + 1) // 2
        total = self.full_layers * every
        for window in self.windows:
            short = max(0, min(tokens, window - before))  # queries that still see everything
            total += short * before + short * (short + 1) // 2 + (tokens - short) * window
        return total

    # -- bytes ------------------------------------------------------------------------------------

    def kv_bytes(self, tokens: int) -> float:
        """What the cache of one sequence of `tokens` takes."""
        kept = self.full_layers * tokens + sum(min(window, tokens) for window in self.windows)
        return self.kv_width * self.cache_bytes * kept

    @property
    def pass_bytes(self) -> float:
        """Weights that one pass reads, however many sequences share it."""
        return self.weights * self.weight_bytes

    def decode_seconds(self, machine: Machine, before: int, batch: int = 1) -> float:
        """Least seconds of one decode pass.

        Each of `batch` sequences, `before` tokens long, grows by one token. The roofline (Williams
        et al., CACM 2009): whichever of arithmetic and memory takes longer, and the fixed cost of
        the layers.
        """
        arithmetic = batch * self.decode_flops(1, before) / machine.flops
        memory = (self.pass_bytes + batch * self.kv_bytes(before)) / machine.bandwidth
        return max(arithmetic, memory) + self.layers * machine.layer_seconds


def _count(config: Any) -> tuple[int, int]:
    """Weights that every token is multiplied with, and weights that a pass reads."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    head = model.get_output_embeddings()
    looked_up = model.get_input_embeddings().weight
    tied = head is not None and head.weight is looked_up
    matrices = other = 0
    for name, weight in model.named_parameters():
        if weight is looked_up and not tied:
            continue  # one row a token
        size = round(weight.numel() * _active(config, name))
        if weight.dim() >= 2 and "embed_positions" not in name and ".wpe." not in name:
            matrices += size
        else:
            other += size
    return matrices, matrices + other + looked_up.shape[1]


def _active(config: Any, name: str) -> float:
    """Share of a weight that one token meets: 1, but for experts (Shazeer et al., 1701.06538)."""
    if ".experts." not in name:
        return 1.0
    every = getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None)
    every = every or getattr(config, "n_routed_experts", None)
    return float(config.num_experts_per_tok / every) if every else 1.0


def _reach(config: Any, layers: int) -> tuple[int, tuple[int, ...]]:
    """How many layers see everything, and the windows of those that do not.

    A layer of another kind (linear attention, a state space) keeps no cache that grows.
    """
    kinds = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None) or getattr(
        config, "attention_chunk_size", None
    )
    if kinds is None:
        return (0, (window,) * layers) if window else (layers, ())
    slides = tuple(window for kind in kinds if kind in SLIDING and window)
    full = sum(kind in FULL or (kind in SLIDING and not window) for kind in kinds)
    return full, slides


def _dtype_bytes(config: Any) -> int:
    import torch

    dtype = getattr(config, "dtype", None)
    if isinstance(dtype, str):
        dtype = getattr(torch, dtype)
    return int((dtype or torch.float32).itemsize)
