"""Hybrids: a judge whose first token says whether it thinks. It may choose, or be made to."""

import asyncio
import math
from collections.abc import Mapping

import pytest

from judges.options import JudgeOptions
from judges.pairwise import PairwiseJudge
from judges.styles.label import LabelStyle
from judges.styles.registry import family_style
from rrm.calibration.monitor import Expected, RiskMonitor
from rrm.calibration.trace import trace
from rrm.engines.base import TokenSequence
from rrm.engines.scripted import ScriptedEngine
from rrm.types import StopReason, Verdict
from tests.helpers.judging import PAIR, at, text_of

STYLE = family_style("thinkless")
MODES = ("<think>\n", "<short>")


def judged(
    think: float,
    options: JudgeOptions = JudgeOptions(),
    calibrated: float | None = None,
    monitor: RiskMonitor | None = None,
) -> tuple[Verdict, list[str]]:
    """The verdict of a judge that begins with thought so likely, and what it was asked after."""
    asked: list[str] = []

    def probe(chain: TokenSequence, suffix: str, labels: tuple[str, ...]) -> Mapping[str, float]:
        prompt = text_of(chain)
        if labels == MODES:
            assert not prompt.endswith("<think>\n")
            return {MODES[0]: math.log(think), MODES[1]: math.log(1 - think)}
        asked.append(prompt[prompt.rindex("}") + 2 :] + chain.text + suffix)
        first = prompt.index("good") < prompt.index("bad")
        sure = {True: math.log(0.9), False: math.log(0.1)}
        return {labels[0]: sure[first], labels[1]: sure[not first]}

    engine = ScriptedEngine(["It is so.</think>"], probe)
    calibration = None if calibrated is None else at(calibrated)
    judge = PairwiseJudge(engine, STYLE, calibration, ladder=(4, 40), monitor=monitor)
    verdict = asyncio.run(judge.judge(PAIR, options))
    assert isinstance(verdict, Verdict)
    assert verdict.preferred == "a"
    return verdict, asked


OPENING = "\n\n\\boxed{Assistant "
SHORT = "<short>" + OPENING
WHOLE = "<think>\nIt is so.</think>" + OPENING


def test_it_answers_in_short_where_it_would_rather_not_think() -> None:
    verdict, asked = judged(think=0.2)
    assert verdict.reason is StopReason.SHORT
    assert verdict.usage.thinking_tokens == 0
    assert asked == [SHORT, SHORT]
    assert [order.think for order in verdict.orders] == pytest.approx([0.2, 0.2])
    assert any("the model chose its mode" in note for note in verdict.judge.notes)


def test_it_thinks_whole_chains_where_it_would_rather_think() -> None:
    verdict, asked = judged(think=0.7)
    assert verdict.reason is StopReason.ENDED
    assert asked == [SHORT, SHORT, WHOLE, WHOLE]
    assert [order.think for order in verdict.orders] == pytest.approx([0.7, 0.7])
    assert verdict.usage.thinking_tokens == 2 * len("It is so.</think>")


@pytest.mark.parametrize("think", [0.1, 0.9])
def test_effort_forces_its_mode(think: float) -> None:
    none, asked = judged(think, JudgeOptions("none"))
    assert none.reason is StopReason.NO_THOUGHT
    assert asked == [SHORT, SHORT]
    full, asked = judged(think, JudgeOptions("full"))
    assert full.reason is StopReason.ENDED
    assert asked == [WHOLE, WHOLE]


def test_a_chain_that_is_cut_is_closed_as_thought() -> None:
    _, asked = judged(0.9, JudgeOptions("full", max_thinking_tokens=12))
    assert asked == ["<think>\nIt is </think>" + OPENING] * 2


def test_a_calibration_goes_before_its_own_choice() -> None:
    verdict, _ = judged(think=0.9, calibrated=0.5)
    assert verdict.reason is StopReason.MARGIN
    assert verdict.usage.thinking_tokens == 0


def test_a_revoked_one_thinks_whole_chains_whatever_it_would_do() -> None:
    monitor = RiskMonitor(Expected(apart=0.01, spent=0.5), delta=0.1)
    monitor.revoked = "drift"
    verdict, _ = judged(think=0.1, calibrated=0.5, monitor=monitor)
    assert verdict.reason is StopReason.ENDED


def test_a_trace_keeps_how_likely_it_was_to_think() -> None:
    def probe(chain: TokenSequence, suffix: str, labels: tuple[str, ...]) -> Mapping[str, float]:
        return {labels[0]: math.log(0.75), labels[1]: math.log(0.25)}

    engine = ScriptedEngine(["So.</think>"], probe)
    found = asyncio.run(trace(engine, STYLE, PAIR, "a", (4, 40)))
    assert [chain.think for chain in found.votes[0]] == pytest.approx([0.75, 0.75])
    assert found.votes[0][0].tokens == (0, 4, 11)


def test_its_prompt_is_hashed_with_its_mode() -> None:
    assert isinstance(STYLE, LabelStyle)
    assert STYLE.short == "<short>"
    assert STYLE.prompt_hash not in {family_style("rrm").prompt_hash}
