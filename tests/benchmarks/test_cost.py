"""The benchmark of the cost model compares what it says it compares."""

import pytest

from benchmarks.cost import CONTEXT, SHAPES, SIZE, Decoder, best_of_this_machine
from rrm.allocation.cost_model import CostModel


def test_shapes_differ_in_all_but_size() -> None:
    costs = [CostModel.of(shape.config()) for shape in SHAPES]
    assert len(SHAPES) >= 6
    assert all(cost.matrix_weights == pytest.approx(SIZE, rel=0.001) for cost in costs)
    assert len({cost.kv_width for cost in costs}) >= 5
    assert len({shape.config().intermediate_size for shape in SHAPES}) == len(SHAPES)


def test_a_pass_leaves_the_cache_as_it_was() -> None:
    decoder = Decoder(SHAPES[0])
    decoder.step()
    decoder.step()
    assert decoder.cache.get_seq_length() == CONTEXT
    assert len(decoder.seconds) == 2


def test_this_machine_does_something() -> None:
    best = best_of_this_machine()
    assert best.flops > best.bandwidth / 4 > 1e6
