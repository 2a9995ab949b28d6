"""Does the cost model know which architecture decodes faster? `python -m benchmarks.cost`.

Nine decoders of equal size with random weights, which differ in how many heads share keys and
values and in how much of them is MLP. Each decodes a batch behind a long context on this CPU, `n`
passes, in turns; the cost model predicts from the config and from what this machine does at most.
Promised: a rank correlation of at least .8.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.stats import spearmanr
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from benchmarks.report import finish, interval, machine, parser
from rrm.allocation.cost_model import CostModel, Machine

LAYERS, HEAD, VOCAB = 8, 64, 4096
SIZE = 24_000_000
"""weights that a token is multiplied with"""
BATCH, CONTEXT = 4, 1536
LEAST_CORRELATION = 0.8


@dataclass(frozen=True)
class Shape:
    heads: int
    kv_heads: int

    def config(self) -> LlamaConfig:
        """As wide as its heads; the MLP takes what SIZE leaves."""
        hidden = self.heads * HEAD
        attention = hidden * HEAD * (2 * self.heads + 2 * self.kv_heads)
        mlp = (SIZE - VOCAB * hidden) // LAYERS - attention
        return LlamaConfig(
            hidden_size=hidden,
            intermediate_size=mlp // (3 * hidden),
            num_hidden_layers=LAYERS,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            head_dim=HEAD,
            vocab_size=VOCAB,
            tie_word_embeddings=True,
            max_position_embeddings=2 * CONTEXT,
        )


GROUPS = ((4, (1, 2, 4)), (6, (1, 2, 6)), (8, (1, 4, 8)))
SHAPES = tuple(Shape(heads, kv_heads) for heads, shared in GROUPS for kv_heads in shared)


def best_of_this_machine() -> Machine:
    """Operations and bytes a second, each the best of some tries."""

    def least(work: Callable[[], object], tries: int = 7) -> float:
        times = []
        for _ in range(tries):
            began = time.perf_counter()
            work()
            times.append(time.perf_counter() - began)
        return min(times)

    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    row, tall = torch.randn(1, 4096), torch.randn(4096, 8192)
    return Machine(
        flops=2 * 1024**3 / least(lambda: a @ b),
        bandwidth=tall.numel() * 4 / least(lambda: row @ tall),
    )


class Decoder:
    """One shape with its cache full up to CONTEXT."""

    def __init__(self, shape: Shape) -> None:
        self.config = shape.config()
        self.model = LlamaForCausalLM(self.config).eval()
        self.cost = CostModel.of(self.config)
        self.cache = DynamicCache(config=self.config)
        for layer in range(LAYERS):
            keys = torch.randn(BATCH, shape.kv_heads, CONTEXT, HEAD)
            self.cache.update(keys, torch.randn_like(keys), layer)
        self.seconds: list[float] = []

    @torch.inference_mode()
    def step(self) -> None:
        ids = torch.zeros(BATCH, 1, dtype=torch.long)
        began = time.perf_counter()
        self.model(input_ids=ids, past_key_values=self.cache, use_cache=True)
        self.seconds.append(time.perf_counter() - began)
        self.cache.crop(-1)


def main() -> int:
    args = parser(__doc__, n=40, seed=15).parse_args()
    began = time.monotonic()
    torch.manual_seed(args.seed)
    best = best_of_this_machine()
    decoders = [Decoder(shape) for shape in SHAPES]
    rng = random.Random(args.seed)
    for number in range(args.n + 2):
        for decoder in rng.sample(decoders, len(decoders)):
            decoder.step()
        if sys.stderr.isatty():
            print(f"\r{number} of {args.n + 2} passes", end="", file=sys.stderr)
    rows = []
    for shape, decoder in zip(SHAPES, decoders, strict=True):
        predicted = BATCH / decoder.cost.decode_seconds(best, CONTEXT, BATCH)
        kept = decoder.seconds[2:]
        rows.append((predicted, kept))
        ratio = decoder.config.intermediate_size / decoder.config.hidden_size
        print(
            f"{shape.heads} heads, {shape.kv_heads} for keys and values, MLP ratio {ratio:4.1f}, "
            f"{decoder.cost.matrix_weights / 1e6:.1f} million weights, "
            f"cache {decoder.cost.kv_bytes(CONTEXT) / 1e6:5.1f} MB a sequence: "
            f"predicted {predicted:6.0f} tokens/s, measured {BATCH / statistics.median(kept):6.0f}"
        )

    def correlation(passes: list[int]) -> float:
        measured = [1 / statistics.median(kept[i] for i in passes) for _, kept in rows]
        return float(spearmanr([predicted for predicted, _ in rows], measured).statistic)

    every = list(range(args.n))
    figure = correlation(every)
    low, high = interval(every, lambda some: correlation(list(some)), args.seed)
    print(f"machine: {machine()}; {best.flops / 1e9:.0f} GFLOP/s, {best.bandwidth / 1e9:.0f} GB/s")
    print(f"model: random Llama shapes; seed {args.seed}, n {args.n}; ", end="")
    print(f"took {time.monotonic() - began:.0f} s")
    print(f"rank correlation, predicted and measured: {figure:.3f} [{low:.3f}, {high:.3f}]")
    missed = [] if figure >= LEAST_CORRELATION else [f"correlation {figure:.2f}, promised .8"]
    figures = {"correlation": figure, "correlation_95": [low, high], "n": args.n}
    return finish(figures, missed, args.json)


if __name__ == "__main__":
    sys.exit(main())
