"""The laws of an engine, the same for all of them, on real weights.

Probes are exact and leave no trace, batches change nothing, chains end where they should,
sampling is seeded as far as an engine promises, callers may leave. The yardstick of a probe is
always one fresh forward pass of stock transformers.
"""

import asyncio
import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM

from judges.nano import WEIGHTS
from judges.styles.label import LabelStyle
from rrm.engines.base import Engine, ExtendRequest, Pause, ProbeRequest, TokenSequence
from rrm.engines.openai_chat import TextSequence
from rrm.engines.tokenizer import ChatTokenizer
from rrm.errors import PromptTooLong
from rrm.prompt import Rendered, Turn
from rrm.style import Style
from tests.helpers.engines import chains, grow
from tests.helpers.styles import GRM, RM_R1, RRM

BATCH_TOLERANCE = 1e-3
"""nats; padding changes the order of float32 sums (largest seen: a few 1e-5)"""
STYLES = (RRM, RM_R1, GRM)
ENGINES = (
    "transformers",
    pytest.param("sglang", marks=pytest.mark.sglang),
    pytest.param("openai", marks=pytest.mark.sglang),
)
SEEDED = {"transformers"}
"""engines that promise the same chain for the same seed; SGLang needs a mode of its own for it"""
WITH_IDS = {"transformers", "sglang"}
"""engines that know a chain's ids; a chat endpoint tells text and counts"""
WORDS = ChatTokenizer(WEIGHTS)


@pytest.fixture(params=ENGINES, scope="session")
def engine(request: pytest.FixtureRequest) -> Engine:
    name = "nano" if request.param == "transformers" else request.param
    found: Engine = request.getfixturevalue(name)
    return found


@pytest.fixture
def seeded(request: pytest.FixtureRequest) -> bool:
    return request.node.callspec.params["engine"] in SEEDED


@pytest.fixture
def with_ids(request: pytest.FixtureRequest) -> bool:
    return request.node.callspec.params["engine"] in WITH_IDS


def ids_of(chain: TokenSequence) -> list[int]:
    """Prompt and chain as ids, read from the text where the engine does not know them."""
    if isinstance(chain, TextSequence):
        return WORDS.prompt(chain.rendered) + WORDS.encode(chain.text)
    return chain.prompt_ids + chain.ids


@pytest.fixture(scope="module")
def stock() -> Iterator[torch.nn.Module]:
    model: torch.nn.Module = AutoModelForCausalLM.from_pretrained(WEIGHTS, dtype="float32")
    yield model.eval()


def question(style: LabelStyle, chain: TokenSequence) -> ProbeRequest:
    return ProbeRequest(chain, style.suffix(chain.text, chain.finish == "stop"), style.labels)


def logprobs(model: torch.nn.Module, ids: list[int]) -> torch.Tensor:
    """Next-token log-probabilities after every id, (ids, vocabulary)."""
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids])).logits[0].float()
    return torch.log_softmax(logits, dim=-1)


@pytest.mark.parametrize("style", [RRM, RM_R1], ids=lambda style: style.name)
@pytest.mark.parametrize("tokens", [0, 7, 30, 160])
def test_a_probe_equals_a_fresh_full_forward_pass(
    engine: Engine, with_ids: bool, stock: torch.nn.Module, style: LabelStyle, tokens: int
) -> None:
    many = chains(engine, 5, style)
    grow(engine, many, tokens)
    probed = asyncio.run(engine.probe([question(style, chain) for chain in many]))
    for chain, answer in zip(many, probed, strict=True):
        suffix = WORDS.encode(question(style, chain).suffix)
        fresh = logprobs(stock, ids_of(chain) + suffix)[-1]
        for label in style.labels:
            [token] = WORDS.encode(label)
            exact = pytest.approx(float(fresh[token]), abs=1e-4)
            told = answer.labels.logprobs[label]
            # A chat endpoint tells the likeliest tokens, and with them a bound on the others.
            assert told == exact or (not with_ids and -8 > told > float(fresh[token]))
        if with_ids:
            assert answer.tokens == len(suffix)


def test_labels_of_two_tokens_are_probed_exactly(engine: Engine, stock: torch.nn.Module) -> None:
    [chain] = chains(engine, 1, GRM)
    suffix = GRM.suffix("", ended=False)
    [answer] = asyncio.run(engine.probe([ProbeRequest(chain, suffix, GRM.labels)]))
    assert answer.labels.mass == pytest.approx(1.0, abs=0.02)
    [one], [zero] = WORDS.encode("1"), WORDS.encode("0")
    fresh = logprobs(stock, ids_of(chain) + WORDS.encode(suffix) + [one])
    ten = float(fresh[-2, one] + fresh[-1, zero])
    assert answer.labels.logprobs["10"] == pytest.approx(ten, abs=1e-4)
    alone = float(fresh[-2, one]) + math.log(1 - math.exp(float(fresh[-1, zero])))
    assert answer.labels.logprobs["1"] == pytest.approx(alone, abs=1e-3)


def test_long_labels_are_probed_along_their_own_ids(
    engine: Engine, with_ids: bool, stock: torch.nn.Module
) -> None:
    [chain] = chains(engine, 1)
    labels = ("123", "124", "15", "9")
    [answer] = asyncio.run(engine.probe([ProbeRequest(chain, "</think>\n\n", labels)]))
    head = ids_of(chain) + WORDS.encode("</think>\n\n")
    for label in labels:
        ids = WORDS.encode(label)
        fresh = logprobs(stock, head + ids)
        total = sum(float(fresh[len(head) - 1 + k, token]) for k, token in enumerate(ids))
        told = answer.labels.logprobs[label]
        # A chat endpoint tells the likeliest tokens, which these are not: a bound from above.
        assert told == pytest.approx(total, abs=1e-3) or (not with_ids and told > total)


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_chain_is_the_same_with_probing_on_and_off(
    engine: Engine, seeded: bool, style: Style, temperature: float
) -> None:
    if temperature and not seeded:
        temperature = 0.0
    plain = chains(engine, 6, style, temperature)
    grow(engine, plain, 160, style.stop)
    probed = chains(engine, 6, style, temperature)
    labels = ("1", "2", "A")
    for goal in (3, 8, 20, 45, 160):
        requests = [ExtendRequest(c, goal - len(c.ids), style.stop) for c in probed]
        asyncio.run(engine.extend(requests))
        before = [list(chain.ids) for chain in probed]
        asyncio.run(
            engine.probe([ProbeRequest(c, style.suffix(c.text, False), labels) for c in probed])
        )
        assert [chain.ids for chain in probed] == before
    assert [chain.ids for chain in probed] == [chain.ids for chain in plain]
    assert [chain.text for chain in probed] == [chain.text for chain in plain]


def test_an_opening_may_come_after_the_prompt_was_probed(engine: Engine) -> None:
    """A hybrid is asked for its mode first; what follows is as if it had begun so."""
    rendered = RRM.render("What is 2 + 3?", ("It is 5.", "It is 6."))
    late, early = engine.start(replace(rendered, opening="")), engine.start(rendered)
    asyncio.run(engine.probe([ProbeRequest(late, "", ("<think>\n", "1"))]))
    engine.begin(late, rendered.opening)
    grow(engine, [late, early], 12)
    assert late.text == early.text
    one, two = asyncio.run(engine.probe([question(RRM, late), question(RRM, early)]))
    assert one.labels.logprobs == pytest.approx(two.labels.logprobs, abs=1e-3)


def test_a_query_pauses_a_chain_and_what_is_put_in_is_read(
    engine: Engine, stock: torch.nn.Module, with_ids: bool
) -> None:
    rendered = RRM.render("What is 15 + k?", ("It is 52.", "It is 61."))
    chain, plain = engine.start(rendered), engine.start(rendered)
    pause = Pause("<search>", "</search>")
    grown = [
        ExtendRequest(one, 60, "</think>", how) for one, how in ((chain, pause), (plain, None))
    ]
    asyncio.run(engine.extend(grown))
    assert chain.text == "<search>k</search>"
    assert (chain.paused, chain.ended, plain.paused) == (True, False, False)
    assert plain.generated == 60 or plain.ended
    asyncio.run(engine.extend([ExtendRequest(chain, 60, "</think>", pause)]))
    assert chain.text == "<search>k</search>"  # it waits
    before = chain.generated
    engine.append(chain, "<result>k is 037</result>")
    assert (chain.paused, chain.generated) == (False, before)
    if with_ids:
        assert chain.appended == len(WORDS.encode("<result>k is 037</result>"))
    [seen] = asyncio.run(engine.probe([question(RRM, chain)]))
    ids = ids_of(chain) + WORDS.encode(RRM.suffix(chain.text, ended=False))
    expected = logprobs(stock, ids)[-1]
    for label in RRM.labels:
        [token] = WORDS.encode(label)
        assert seen.labels.logprobs[label] == pytest.approx(float(expected[token]), abs=2e-3)
    asyncio.run(engine.extend([ExtendRequest(chain, 500, "</think>", pause)]))
    assert chain.text.startswith("<search>k</search><result>k is 037</result>015+037=052.")
    assert (chain.finish, chain.paused) == ("stop", False)
    assert len(chain.ids) == chain.generated + chain.appended


def test_a_chain_may_ask_again_and_go_on_without_an_answer(engine: Engine) -> None:
    chain = engine.start(RRM.render("What is k + m?", ("It is 52.", "It is 61.")))
    pause = Pause("<search>", "</search>")
    for name, answer in (("k", "<result>k is 037</result>"), ("m", "<result>refused</result>")):
        asyncio.run(engine.extend([ExtendRequest(chain, 60, "</think>", pause)]))
        assert chain.paused
        assert chain.text.endswith(f"<search>{name}</search>")
        engine.append(chain, answer)
    asyncio.run(engine.extend([ExtendRequest(chain, 60, "</think>", pause)]))
    assert chain.text.endswith("<result>refused</result>none.</think>")


def test_what_does_not_fit_is_not_put_in(engine: Engine, with_ids: bool) -> None:
    chain = engine.start(RRM.render("What is 15 + k?", ("It is 52.", "It is 61.")))
    long = "k is 037 " * 2000
    if with_ids:
        with pytest.raises(PromptTooLong, match="with what was found"):
            engine.append(chain, long)
        assert (chain.ids, chain.appended, chain.text) == ([], 0, "")
    else:  # a chat endpoint tells no context, and refuses the next call
        engine.append(chain, long)
        with pytest.raises(PromptTooLong):
            grow(engine, [chain], 8)


def test_a_batch_gives_what_one_by_one_gives(engine: Engine) -> None:
    together, alone = chains(engine, 24), chains(engine, 24)
    grow(engine, together, 60)
    for chain in alone:
        grow(engine, [chain], 60)
    assert [chain.ids for chain in together] == [chain.ids for chain in alone]
    assert [chain.text for chain in together] == [chain.text for chain in alone]
    batch = asyncio.run(engine.probe([question(RRM, chain) for chain in together]))
    for chain, answer in zip(alone, batch, strict=True):
        [single] = asyncio.run(engine.probe([question(RRM, chain)]))
        for label in RRM.labels:
            difference = single.labels.logprobs[label] - answer.labels.logprobs[label]
            assert abs(difference) < BATCH_TOLERANCE


def test_sampling_is_seeded_by_chain_and_not_by_company(engine: Engine, seeded: bool) -> None:
    first, second = chains(engine, 8, temperature=1.5), chains(engine, 8, temperature=1.5)
    grow(engine, first, 40)
    for chain in reversed(second):
        grow(engine, [chain], 25)
        grow(engine, [chain], 15)
    if seeded:
        assert [chain.ids for chain in first] == [chain.ids for chain in second]
    # nano is so sure that cooler chains may all say what the greedy ones do.
    hot, greedy = chains(engine, 8, temperature=2.0), chains(engine, 8)
    grow(engine, hot, 40)
    grow(engine, greedy, 40)
    assert [chain.text for chain in greedy] != [chain.text for chain in hot]


def test_a_chain_ends_at_the_stop_string_and_can_then_write_its_verdict(engine: Engine) -> None:
    [chain] = chains(engine, 1)
    grow(engine, [chain], 500)
    assert chain.ended
    assert chain.text.endswith("</think>")
    length = len(chain.ids)
    grow(engine, [chain], 500)
    assert len(chain.ids) == length
    grow(engine, [chain], 20, stop=None)
    assert chain.text.endswith("}")
    if not isinstance(chain, TextSequence):
        assert chain.text == WORDS.decode(chain.ids)


def test_a_stop_string_is_found_across_calls_and_inside_a_token(engine: Engine) -> None:
    [whole] = chains(engine, 1)
    grow(engine, [whole], 60, stop=None)
    for start, length in ((10, 6), (11, 9), (30, 5)):
        stop = whole.text[start : start + length]
        end = whole.text.index(stop) + len(stop)
        for step in (60, 3, 1):
            [chain] = chains(engine, 1)
            for _ in range(60 // step):
                grow(engine, [chain], step, stop)
            assert chain.finish == "stop"
            assert chain.text == whole.text[:end]
            if not isinstance(chain, TextSequence):
                assert WORDS.decode(chain.ids) == chain.text


def test_no_growth_beyond_what_was_asked(engine: Engine) -> None:
    many = chains(engine, 3)
    grow(engine, many, 5)
    assert [len(chain.ids) for chain in many] == [5, 5, 5]
    grow(engine, many, 0)
    assert [len(chain.ids) for chain in many] == [5, 5, 5]


def test_no_chain_outgrows_the_context(engine: Engine) -> None:
    [chain] = chains(engine, 1, temperature=2.0)
    for _ in range(4):
        grow(engine, [chain], 2000, stop="never said")
        if chain.finish is None:
            assert len(ids_of(chain)) <= WORDS.context
        asyncio.run(engine.probe([ProbeRequest(chain, "", ("1", "2"))]))


def test_a_caller_who_leaves_takes_its_work_along(engine: Engine) -> None:
    many = chains(engine, 4)

    async def leave() -> None:
        task = asyncio.ensure_future(
            engine.extend([ExtendRequest(chain, 400, None) for chain in many])
        )
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        [after] = chains(engine, 1)
        await engine.extend([ExtendRequest(after, 500, None)])
        assert after.ended

    asyncio.run(leave())
    assert not any(chain.ended for chain in many)
    asyncio.run(engine.check())


def test_a_prompt_over_the_context_is_refused(engine: Engine) -> None:
    long = Rendered((Turn(role="user", content="1 + " * 600),), "")
    with pytest.raises(PromptTooLong, match="1024"):
        chain = engine.start(long)
        asyncio.run(engine.extend([ExtendRequest(chain, 5, None)]))
