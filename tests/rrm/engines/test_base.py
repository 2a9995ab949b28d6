"""Labels of any number of tokens, the scripted engine, model cards."""

import asyncio
import math
from pathlib import Path

import pytest

from rrm.engines import open_engine
from rrm.engines.base import ExtendRequest, ProbeRequest
from rrm.engines.card import ModelCard
from rrm.engines.labels import plan_labels
from rrm.engines.scripted import ScriptedEngine
from rrm.errors import EngineError, PromptTooLong
from rrm.prompt import Rendered, Turn

ASK = Rendered((Turn(role="user", content="Which?"),), "<think>")


def letters(text: str) -> list[int]:
    return [ord(char) for char in text]


def test_single_token_labels_need_one_node() -> None:
    plan = plan_labels(letters, "[[", ("A", "B"))
    assert plan.forced == tuple(letters("[["))
    assert plan.nodes == ((),)


def test_a_label_that_begins_another_counts_only_where_the_other_does_not_follow() -> None:
    plan = plan_labels(letters, "{", ("1", "10", "2"))
    assert plan.nodes == ((), (ord("1"),))
    first = {ord("1"): math.log(0.6), ord("2"): math.log(0.4)}
    then = {ord("0"): math.log(0.25)}
    seen = plan.combine({(): first.__getitem__, (ord("1"),): then.__getitem__})
    shares = {label: math.exp(value) for label, value in seen.logprobs.items()}
    assert shares == pytest.approx({"1": 0.45, "10": 0.15, "2": 0.4})


def test_a_suffix_whose_end_merges_with_the_label_is_planned_as_a_whole() -> None:
    def merging(text: str) -> list[int]:
        return [7 if word == " A" else 8 if word == " B" else 1 for word in (text[:1], text[1:])]

    plan = plan_labels(merging, "x ", ("A", "B"))
    assert plan.paths == {"A": (7,), "B": (8,)}


def test_labels_that_a_tokenizer_cannot_tell_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="apart"):
        plan_labels(lambda text: [1], "", ("A", "B"))


def test_the_script_is_followed_and_stops_where_it_should() -> None:
    engine = ScriptedEngine(["ab</think>cd"])
    chain = engine.start(ASK)

    async def run() -> None:
        await engine.extend([ExtendRequest(chain, 2, "</think>")])
        assert (chain.text, chain.finish) == ("ab", None)
        await engine.extend([ExtendRequest(chain, 50, "</think>")])
        assert (chain.text, chain.finish) == ("ab</think>", "stop")
        await engine.extend([ExtendRequest(chain, 50, "</think>")])
        assert chain.text == "ab</think>"
        await engine.extend([ExtendRequest(chain, 50, None)])
        assert (chain.text, chain.finish) == ("ab</think>cd", "eos")
        [probed] = await engine.probe([ProbeRequest(chain, "?", ("A", "B"))])
        assert probed.labels.mass == pytest.approx(1.0)

    asyncio.run(run())


def test_faults_and_limits_of_the_script() -> None:
    broken = ScriptedEngine(fault=EngineError("gone"))
    with pytest.raises(EngineError, match="gone"):
        asyncio.run(broken.check())
    with pytest.raises(PromptTooLong):
        ScriptedEngine(context=3).start(ASK)


def test_open_engine_says_what_it_knows() -> None:
    assert open_engine("scripted:").card.name == "scripted"
    with pytest.raises(ValueError, match="give transformers, sglang, openai"):
        open_engine("banana:x")
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        open_engine("transformers:/nowhere")


def test_a_misspelt_card_is_refused(tmp_path: Path) -> None:
    (tmp_path / "closecall.json").write_text('{"name": "x", "lader": [1]}')
    with pytest.raises(ValueError, match="lader"):
        ModelCard.of(tmp_path)
