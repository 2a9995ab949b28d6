"""The cost model against real caches and real counts of operations, and its laws."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoConfig,
    DeepseekV3Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    Qwen3Config,
)

from judges.nano import WEIGHTS
from rrm.allocation.cost_model import CostModel, Machine, ProbeAccounting

SMALL: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 96,
    "vocab_size": 128,
}
TOKENS = st.integers(0, 400)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_the_cache_is_as_large_as_the_real_one(kv_heads: int) -> None:
    config = LlamaConfig(**{**SMALL, "num_key_value_heads": kv_heads})
    with torch.inference_mode():
        found = LlamaForCausalLM(config)(input_ids=torch.zeros(1, 37, dtype=torch.long))
    real = sum(
        part.numel() * part.element_size()
        for layer in found.past_key_values.layers
        for part in (layer.keys, layer.values)
    )
    assert CostModel.of(config).kv_bytes(37) == real


@pytest.mark.parametrize("tied", [True, False])
def test_operations_are_those_that_torch_counts(tied: bool) -> None:
    """torch counts whole attention squares; we count what causality leaves, and so must it."""
    config = LlamaConfig(**SMALL, tie_word_embeddings=tied)
    config._attn_implementation = "eager"
    model = LlamaForCausalLM(config)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(input_ids=torch.zeros(1, 50, dtype=torch.long))
    ours = CostModel.of(config)
    square = 4 * ours.attention_width * ours.layers * 50 * 50
    causal = 4 * ours.attention_width * ours.layers * 50 * 51 // 2
    assert ours.prefill_flops(50) == counter.get_total_flops() - square + causal


def test_weights_are_those_of_the_model() -> None:
    config = LlamaConfig(**SMALL, tie_word_embeddings=False)
    every = sum(weight.numel() for weight in LlamaForCausalLM(config).parameters())
    table = config.vocab_size * config.hidden_size
    assert CostModel.of(config).weights == every - table + config.hidden_size
    nano = CostModel.of_directory(WEIGHTS)
    assert nano.kv_bytes(1) == 2 * 4 * 2 * 32 * 4  # as judges/nano/README.md describes it


@pytest.mark.parametrize(
    ("config", "billions"),
    [
        (LlamaConfig(intermediate_size=11008), 6.6),  # Llama 2 7B
        (MixtralConfig(), 12.7),  # 8x7B: two of eight experts
        (DeepseekV3Config(), 36.6),  # 671B, 37 active
        (GPT2Config(), 0.124),
    ],
    ids=["llama", "mixtral", "deepseek", "gpt2"],
)
def test_known_models_have_their_known_size(config: Any, billions: float) -> None:
    assert CostModel.of(config).matrix_weights / 1e9 == pytest.approx(billions, rel=0.01)


def test_layers_with_a_window_stop_growing() -> None:
    config = Gemma3TextConfig(num_hidden_layers=6, sliding_window=100)
    cost = CostModel.of(config)
    assert (cost.full_layers, cost.windows) == (1, (100,) * 5)
    assert cost.kv_bytes(1000) == cost.kv_width * 4 * (1000 + 5 * 100)
    far, near = (cost.decode_flops(1, before) for before in (1000, 500))
    assert far - near == 4 * cost.attention_width * 500


def test_latent_attention_keeps_one_short_row() -> None:
    cost = CostModel.of(DeepseekV3Config())
    assert cost.kv_width == 512 + 64


def test_bytes_follow_the_dtype_unless_given() -> None:
    half = CostModel.of(Qwen3Config(**SMALL, dtype="bfloat16"))
    assert half.weight_bytes == half.cache_bytes == 2
    packed = CostModel.of(Qwen3Config(**SMALL, dtype="bfloat16"), weight_bytes=0.5)
    assert packed.pass_bytes == half.pass_bytes / 4
    assert packed.kv_bytes(9) == half.kv_bytes(9)


def test_a_model_without_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="names no attention heads"):
        CostModel.of(AutoConfig.for_model("mamba", num_hidden_layers=2, vocab_size=64))


@given(TOKENS, TOKENS, TOKENS)
def test_a_pass_in_two_parts_costs_the_same(before: int, first: int, second: int) -> None:
    cost = a_cost(windows=(50, 200))
    parts = cost.prefill_flops(first, before) + cost.prefill_flops(second, before + first)
    assert cost.prefill_flops(first + second, before) == pytest.approx(parts)


@given(st.integers(1, 400), st.integers(1, 30), st.sampled_from([1, 16, 64]))
def test_who_keeps_less_pays_more(prefix: int, suffix: int, page: int) -> None:
    fork, cache, nothing = (
        how.tokens(prefix, suffix, page)
        for how in (ProbeAccounting.FORK, ProbeAccounting.PREFIX, ProbeAccounting.BLACK_BOX)
    )
    assert suffix == fork < cache <= nothing == prefix + suffix
    assert cache <= fork + page
    cost = a_cost()
    flops = [cost.probe_flops(prefix, suffix, how, page) for how in ProbeAccounting]
    assert flops == sorted(flops)


def test_a_decode_pass_is_bound_by_memory_until_the_batch_is_large() -> None:
    cost = a_cost()
    machine = Machine(flops=1e12, bandwidth=1e9)
    one, two = (cost.decode_seconds(machine, 0, batch) for batch in (1, 2))
    assert one == two == cost.pass_bytes / 1e9
    many = cost.decode_seconds(machine, 0, 10_000)
    assert many == pytest.approx(10_000 * cost.decode_flops(1) / 1e12)
    slow = machine.model_copy(update={"layer_seconds": 1.0})
    assert cost.decode_seconds(slow, 0) == one + cost.layers


def a_cost(windows: tuple[int, ...] = ()) -> CostModel:
    return CostModel(
        matrix_weights=1_000_000,
        weights=1_000_100,
        layers=4 + len(windows),
        attention_width=64,
        kv_width=64,
        full_layers=4,
        windows=windows,
    )
