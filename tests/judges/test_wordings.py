"""Votes in other words: the same pair, asked in a style's wordings in turn."""

import asyncio
import math
from collections.abc import Mapping

from judges.pairwise import PairwiseJudge
from judges.styles.registry import family_style
from rrm.calibration.trace import trace
from rrm.decision.thresholds import Policy, Rule
from rrm.engines.base import TokenSequence
from rrm.engines.scripted import ScriptedEngine
from rrm.types import StopReason, Verdict
from tests.helpers.judging import LONG, PAIR, at, text_of

WORDINGS = tuple(family_style("rrm", number) for number in range(3))


def told_apart(chain: TokenSequence, suffix: str, labels: tuple[str, ...]) -> Mapping[str, float]:
    """Prefers good, but not in the style's own words."""
    prompt = text_of(chain)
    own = prompt.startswith(WORDINGS[0].template.turns[0].content)
    good_first = prompt.index("good") < prompt.index("bad")
    share = 0.5 if own else 0.9 if good_first else 0.1
    return {labels[0]: math.log(share), labels[1]: math.log(1 - share)}


def test_a_policy_buys_another_wording_where_whole_chains_leave_it_open() -> None:
    engine = ScriptedEngine([LONG], told_apart)
    asked: list[str] = []
    start = engine.start

    def noted(rendered, *more):  # type: ignore[no-untyped-def]
        asked.append(rendered.messages[0].content)
        return start(rendered, *more)

    engine.start = noted  # type: ignore[method-assign]
    never = Policy(price=0.001, rules=(Rule(),), lead=Rule(), both=Rule(agree=1.0))
    known = at(1.5).model_copy(update={"policies": (never,), "most_votes": 3, "wordings": 3})
    judge = PairwiseJudge(engine, WORDINGS[0], known, (8, 64), wordings=WORDINGS)
    found = asyncio.run(judge.judge(PAIR))
    assert isinstance(found, Verdict)
    assert (found.reason, found.preferred) == (StopReason.VOTED, "a")
    contents = [style.template.turns[0].content for style in WORDINGS]
    assert asked == [text for text in contents for _ in "ab"]


def test_a_trace_has_a_vote_for_each_wording() -> None:
    engine = ScriptedEngine([LONG], told_apart)
    found = asyncio.run(trace(engine, WORDINGS[0], PAIR, "a", (8, 64), votes=5, wordings=WORDINGS))
    margins = [first.margins[-1] for first, _ in found.votes]
    assert [round(margin, 1) for margin in margins] == [0.0, 2.2, 2.2, 0.0, 2.2]
