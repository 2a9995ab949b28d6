"""What a token costs here, by how it comes about: for `closecall calibrate --price`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterable, Sequence
from statistics import fmean
from typing import NamedTuple

from rrm.allocation.cost_model import CostModel
from rrm.decision.chain import JudgeChain
from rrm.decision.chains import SwapPair
from rrm.decision.priced import PriceKind, TokenPrices
from rrm.errors import EngineError, RefusedText
from rrm.style import Style
from rrm.types import Pair
from serving.errors import SettingsError
from serving.model_host import ModelHost
from serving.weights import model_directory

SAMPLE = 32
"""pairs that are measured, all at once"""
WARM = 4
"""pairs before them, which no clock is kept on"""
GROWN = 16
"""tokens that each of them thinks"""


def token_prices(
    kind: PriceKind, host: ModelHost, style: Style, pairs: Sequence[Pair]
) -> TokenPrices:
    """Prices beside a generated token's. pairs: as they will come; some are tried on the engine.

    Raises SettingsError, with what to do.
    """
    chains, temperature = [], host.temperature(style)
    for pair in pairs:
        try:
            chains.append(SwapPair(host.engine, style, pair, temperature))
        except RefusedText:
            continue
        if len(chains) == WARM + SAMPLE:
            break
    if not chains:
        raise SettingsError("no row has a pair that this judge can read, to price its tokens by")
    try:
        sampled = asyncio.run(_sample(chains))
    except EngineError as failure:
        raise SettingsError(f"while tokens were priced: {failure}; start again") from None
    read, cached, generated = 0.0, 0.0, 1.0
    if kind == "seconds":
        read, cached = sampled.read / sampled.generated, sampled.cached / sampled.generated
    elif kind == "flops":
        read = _flops_to_read(host, sampled.prompt)
    return TokenPrices(
        kind=kind,
        read=read,
        cached=cached,
        generated=generated,
        suffix=sampled.suffix,
        known=sampled.known,
        shared=sampled.shared,
    )


def _flops_to_read(host: ModelHost, prompt: float) -> float:
    """Operations of a token of the prompt, as a share of those of a generated one."""
    try:
        cost = CostModel.of_directory(model_directory(host.settings.model))
    except (OSError, ValueError) as failure:
        raise SettingsError(
            f"this model's operations cannot be counted ({failure}); give --price seconds or tokens"
        ) from None
    tokens = max(1, round(prompt))
    return cost.prefill_flops(tokens) / tokens / (cost.decode_flops(GROWN, tokens) / GROWN)


class _Sampled(NamedTuple):
    """What some pairs took."""

    read: float
    """seconds a token, like the next two"""
    cached: float
    generated: float
    prompt: float
    """tokens of one order"""
    suffix: float
    """tokens of one probe"""
    known: float
    """of the first order's prompt, in the cache: what all prompts begin with"""
    shared: float
    """of the other order's, when the first was read"""


async def _sample(chains: Sequence[SwapPair]) -> _Sampled:
    """Read, grow and probe all at once, as a service does under load; a few before, to warm up."""
    warm = min(WARM, len(chains) // 2)
    if warm:
        await _measure(chains[:warm])
    return await _measure(chains[warm:])


async def _measure(chains: Sequence[SwapPair]) -> _Sampled:
    engine = chains[0].engine
    lead = [one.by_order[one.lead] for one in chains]
    other = [one.by_order["ba" if one.lead == "ab" else "ab"] for one in chains]
    seconds = await _timed(chain.read() for chain in lead)
    read = seconds / sum(one.usage().read_tokens for one in lead)
    suffixes = sum(one.probe_tokens for one in lead)
    seconds = await _timed(engine.extend([one.growth(GROWN)]) for one in lead)
    generated = seconds / max(1, sum(one.sequence.generated for one in lead))
    seconds = await _timed(chain.read() for chain in lead)
    again = sum(one.probe_tokens for one in lead) - suffixes
    prefixes = sum(len(one.sequence.prompt_ids) + one.sequence.generated for one in lead)
    await _timed(chain.read() for chain in other)
    return _Sampled(
        read=read,
        cached=max(0.0, seconds - read * again) / prefixes,
        generated=generated,
        prompt=fmean(len(one.sequence.prompt_ids) for one in lead),
        suffix=suffixes / len(lead),
        known=fmean(_cached_share(one) for one in lead),
        shared=fmean(_cached_share(one) for one in other),
    )


def _cached_share(chain: JudgeChain) -> float:
    """Of its prompt, as the engine tells it."""
    return (chain.sequence.cached_tokens or 0) / len(chain.sequence.prompt_ids)


async def _timed(work: Iterable[Awaitable[object]]) -> float:
    """Seconds until all of it is done."""
    began = time.perf_counter()
    await asyncio.gather(*work)
    return max(1e-9, time.perf_counter() - began)
