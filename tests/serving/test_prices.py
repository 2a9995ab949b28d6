"""What a token costs: by operations, by seconds on the engine, or generated ones alone."""

import asyncio
import random
from collections.abc import Iterator

import pytest

from judges.nano import data
from judges.nano.pairs import pair_of
from rrm.decision.chains import SwapPair
from rrm.engines.base import Engine
from rrm.types import Pair
from serving.errors import SettingsError
from serving.model_host import ModelHost
from serving.prices import _sample, token_prices
from serving.settings import load_settings
from tests.helpers.styles import RRM

PAIRS = [pair_of(data.draw(random.Random(seed))) for seed in range(12)]


@pytest.fixture(scope="module")
def host() -> Iterator[ModelHost]:
    made = ModelHost(load_settings(model="nano"))
    yield made
    made.close()


def test_operations_are_counted_from_the_config(host: ModelHost) -> None:
    found = token_prices("flops", host, RRM, PAIRS)
    assert 0.9 < found.read < 1 == found.generated  # a prompt attends to less
    assert (found.cached, found.known, found.shared) == (0, 0, 0)
    assert found.suffix == 2


def test_generated_tokens_alone(host: ModelHost) -> None:
    found = token_prices("tokens", host, RRM, PAIRS)
    assert (found.read, found.cached, found.generated) == (0, 0, 1)


def test_seconds_are_measured_on_the_engine(host: ModelHost) -> None:
    found = token_prices("seconds", host, RRM, PAIRS)
    assert found.kind == "seconds"
    assert 0 < found.read < 1 == found.generated  # a pass reads many tokens, and generates one
    assert found.cached >= 0


def test_without_a_readable_pair_it_says_so(host: ModelHost) -> None:
    other = Pair(prompt="Why?", response_a="1", response_b="2")
    with pytest.raises(SettingsError, match="no row has a pair that this judge can read"):
        token_prices("flops", host, RRM, [other])


def test_a_model_without_a_decoder_is_told_what_else_there_is(
    host: ModelHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(directory: object) -> None:
        raise ValueError("no attention heads")

    monkeypatch.setattr("serving.prices.CostModel.of_directory", unknown)
    with pytest.raises(SettingsError, match="give --price seconds or tokens"):
        token_prices("flops", host, RRM, PAIRS)


@pytest.mark.sglang
def test_a_prefix_cache_is_believed(sglang: Engine) -> None:
    """What all prompts begin with is in the cache, and more of the other order once one is read."""
    chains = [SwapPair(sglang, RRM, pair) for pair in PAIRS]
    found = asyncio.run(_sample(chains))
    assert 0 < found.known < found.shared < 1
    assert found.read < found.generated
