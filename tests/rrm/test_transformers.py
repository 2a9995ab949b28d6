"""The laws of an engine, on real weights: probes are exact and leave no trace, batches change
nothing, sampling is seeded, callers may leave."""

import asyncio
import math
import random
import threading

import pytest
import torch

from judges import grm, rm_r1, rrm
from judges.labels import LabelStyle
from judges.nano import data
from rrm.engine import Chain, Engine, EngineError, Growth, PromptTooLong, Question, Sampling
from rrm.engines.transformers import TransformersEngine
from rrm.style import Rendered, Style
from rrm.types import Message

BATCH_TOLERANCE = 1e-3
"""nats; padding changes the order of float32 sums (largest seen: a few 1e-5)"""
STYLES = (rrm.STYLE, rm_r1.STYLE, grm.STYLE)


def chains(
    engine: Engine, n: int, style: Style = rrm.STYLE, heat: float = 0.0, seed: int = 1
) -> list[Chain]:
    rng = random.Random(seed)
    made = []
    for index in range(n):
        example = data.draw(rng)
        rendered = style.render(example.question, example.responses, engine.control)
        made.append(engine.start(rendered, Sampling(temperature=heat, seed=index)))
    return made


def grow(engine: Engine, many: list[Chain], tokens: int, stop: str | None = "</think>") -> None:
    asyncio.run(engine.extend([Growth(chain, tokens, stop) for chain in many]))


def question(style: LabelStyle, chain: Chain) -> Question:
    return Question(chain, style.suffix(chain.text, chain.finish == "stop"), style.labels)


@pytest.mark.parametrize("style", [rrm.STYLE, rm_r1.STYLE], ids=lambda style: style.name)
@pytest.mark.parametrize("tokens", [0, 7, 30, 160])
def test_a_probe_equals_a_fresh_full_forward_pass(
    nano: TransformersEngine, style: LabelStyle, tokens: int
) -> None:
    many = chains(nano, 5, style)
    grow(nano, many, tokens)
    probed = asyncio.run(nano.probe([question(style, chain) for chain in many]))
    for chain, answer in zip(many, probed, strict=True):
        ids = chain.prompt_ids + chain.ids + nano.encode(question(style, chain).suffix)
        with torch.inference_mode():
            logits = nano.model(input_ids=torch.tensor([ids])).logits[0, -1].float()
        fresh = torch.log_softmax(logits, dim=-1)
        for label in style.labels:
            [token] = nano.encode(label)
            assert answer.seen.logprobs[label] == pytest.approx(float(fresh[token]), abs=1e-4)


def test_scores_of_two_tokens_are_probed_exactly(nano: TransformersEngine) -> None:
    [chain] = chains(nano, 1, grm.STYLE)
    suffix = grm.STYLE.suffix("", ended=False)
    [answer] = asyncio.run(nano.probe([Question(chain, suffix, grm.LABELS)]))
    assert answer.seen.mass == pytest.approx(1.0, abs=0.02)
    ids = chain.prompt_ids + nano.encode(suffix)
    [one], [zero] = nano.encode("1"), nano.encode("0")
    with torch.inference_mode():
        logits = nano.model(input_ids=torch.tensor([[*ids, one]])).logits[0].float()
    logprobs = torch.log_softmax(logits, dim=-1)
    ten = float(logprobs[-2, one] + logprobs[-1, zero])
    assert answer.seen.logprobs["10"] == pytest.approx(ten, abs=1e-4)
    alone = float(logprobs[-2, one]) + math.log(1 - math.exp(float(logprobs[-1, zero])))
    assert answer.seen.logprobs["1"] == pytest.approx(alone, abs=1e-3)


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
@pytest.mark.parametrize("heat", [0.0, 0.8])
def test_a_chain_is_the_same_with_probing_on_and_off(
    nano: TransformersEngine, style: Style, heat: float
) -> None:
    plain = chains(nano, 6, style, heat)
    grow(nano, plain, 160, style.stop)
    probed = chains(nano, 6, style, heat)
    labels = ("1", "2", "A")
    for goal in (3, 8, 20, 45, 160):
        growths = [Growth(c, goal - len(c.ids), style.stop) for c in probed]
        asyncio.run(nano.extend(growths))
        before = [list(chain.ids) for chain in probed]
        asyncio.run(nano.probe([Question(c, style.suffix(c.text, False), labels) for c in probed]))
        assert [chain.ids for chain in probed] == before
    assert [chain.ids for chain in probed] == [chain.ids for chain in plain]
    assert [chain.text for chain in probed] == [chain.text for chain in plain]


def test_a_batch_gives_what_one_by_one_gives(nano: TransformersEngine) -> None:
    together, alone = chains(nano, 24), chains(nano, 24)
    grow(nano, together, 60)
    for chain in alone:
        grow(nano, [chain], 60)
    assert [chain.ids for chain in together] == [chain.ids for chain in alone]
    batch = asyncio.run(nano.probe([question(rrm.STYLE, chain) for chain in together]))
    for chain, answer in zip(alone, batch, strict=True):
        [single] = asyncio.run(nano.probe([question(rrm.STYLE, chain)]))
        for label in rrm.STYLE.labels:
            difference = single.seen.logprobs[label] - answer.seen.logprobs[label]
            assert abs(difference) < BATCH_TOLERANCE


def test_sampling_is_seeded_by_chain_and_not_by_company(nano: TransformersEngine) -> None:
    first, second = chains(nano, 8, heat=1.5), chains(nano, 8, heat=1.5)
    grow(nano, first, 40)
    for chain in reversed(second):
        grow(nano, [chain], 25)
        grow(nano, [chain], 15)
    assert [chain.ids for chain in first] == [chain.ids for chain in second]
    greedy = chains(nano, 8)
    grow(nano, greedy, 40)
    assert [chain.ids for chain in greedy] != [chain.ids for chain in first]


def test_a_chain_ends_at_the_stop_string_and_can_then_write_its_verdict(
    nano: TransformersEngine,
) -> None:
    [chain] = chains(nano, 1)
    grow(nano, [chain], 500)
    assert chain.finish is not None
    assert chain.ended
    assert chain.text.endswith("</think>")
    length = len(chain.ids)
    grow(nano, [chain], 500)
    assert len(chain.ids) == length
    grow(nano, [chain], 20, stop=None)
    assert chain.text.endswith("}")


def test_no_growth_beyond_what_was_asked(nano: TransformersEngine) -> None:
    many = chains(nano, 3)
    grow(nano, many, 5)
    assert [len(chain.ids) for chain in many] == [5, 5, 5]
    grow(nano, many, 0)
    assert [len(chain.ids) for chain in many] == [5, 5, 5]


def test_a_caller_who_leaves_takes_its_work_along(nano: TransformersEngine) -> None:
    many = chains(nano, 4)

    async def leave() -> None:
        task = asyncio.ensure_future(nano.extend([Growth(chain, 400, None) for chain in many]))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        [after] = chains(nano, 1)
        await nano.extend([Growth(after, 500, None)])
        assert after.ended

    asyncio.run(leave())
    assert not any(chain.ended for chain in many)


def test_a_prompt_over_the_context_is_refused(nano: TransformersEngine) -> None:
    long = Rendered((Message(role="user", content="1 + " * 600),), "")
    with pytest.raises(PromptTooLong, match="takes 1024"):
        nano.start(long)


def test_a_failing_pass_fails_its_callers_and_no_others(
    nano: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no memory")

    with monkeypatch.context() as patched:
        patched.setattr(nano, "model", broken)
        for _ in range(3):
            with pytest.raises(EngineError, match="no memory"):
                grow(nano, chains(nano, 2), 5)
        with pytest.raises(EngineError, match="in a row"):
            asyncio.run(nano.check())
    [chain] = chains(nano, 1)
    grow(nano, [chain], 5)
    assert len(chain.ids) == 5
    asyncio.run(nano.check())


def test_a_hanging_pass_is_noticed(
    nano: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = threading.Event()
    model = nano.model

    def hanging(*args: object, **named: object) -> object:
        hold.wait(60)
        return model(*args, **named)

    async def hang() -> None:
        task = asyncio.ensure_future(nano.extend([Growth(chains(nano, 1)[0], 2, None)]))
        with pytest.raises(EngineError, match="hangs"):
            while True:
                await asyncio.sleep(0.01)
                await nano.check()
        hold.set()
        await task
        await nano.check()

    with monkeypatch.context() as patched:
        patched.setattr(nano, "model", hanging)
        patched.setattr("rrm.engines.transformers.STUCK", 0.2)
        asyncio.run(asyncio.wait_for(hang(), 50))
