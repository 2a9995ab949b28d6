"""Judges on scripts, and pairs of nano, for many tests."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Mapping

from judges.nano import CALIBRATION, data
from judges.options import JudgeOptions
from judges.pairwise import PairwiseJudge
from judges.styles.label import LabelStyle
from judges.styles.score import ScoreStyle
from rrm.calibration.artifact import load_calibration
from rrm.calibration.calibration import Calibration, PlattScaler, PlattScalers
from rrm.calibration.monitor import Expected, RiskMonitor
from rrm.decision.thresholds import Policy, Rule
from rrm.engines.base import Engine, TokenSequence
from rrm.engines.scripted import ProbeScript, ScriptedEngine
from rrm.types import Pair, Unscored, Verdict
from tests.helpers.styles import RRM

PAIR = Pair(prompt="Which?", response_a="good", response_b="bad")


def text_of(chain: TokenSequence) -> str:
    return "".join(map(chr, chain.prompt_ids))


def prefers_good(strength: float) -> ProbeScript:
    """A judge whose log-odds for the good response are `strength` a thinking token.

    It leans to it by next to nothing before any.
    """

    def probe(chain: TokenSequence, suffix: str, labels: tuple[str, ...]) -> Mapping[str, float]:
        prompt = text_of(chain)
        sign = 1 if prompt.index("good") < prompt.index("bad") else -1
        share = 1 / (1 + math.exp(-sign * strength * (len(chain.ids) + 1e-6)))
        return {labels[0]: math.log(share), labels[1]: math.log(1 - share)}

    return probe


def always_first(chain: TokenSequence, suffix: str, labels: tuple[str, ...]) -> Mapping[str, float]:
    return {labels[0]: math.log(0.9), labels[1]: math.log(0.1)}


def unreadable(chain: TokenSequence, suffix: str, labels: tuple[str, ...]) -> Mapping[str, float]:
    return dict.fromkeys(labels, math.log(0.01))


def at(margin: float) -> Calibration:
    """Stops wherever |margin| reaches `margin`."""
    sure = PlattScaler(intercept=0.0, slope=1.0)
    stage = PlattScalers(thinking_tokens=0, agree=sure, differ=sure)
    rule = Rule(agree=margin)
    return Calibration(
        source="by hand",
        stages=(stage,),
        lead=stage,
        both=stage,
        policies=(Policy(price=0.001, rules=(rule,), lead=rule),),
        chosen=0,
    )


def scripted(
    probe: object, texts: list[str], calibration: Calibration | None = None, **more: object
) -> PairwiseJudge:
    engine = ScriptedEngine(texts, probe, **more)  # type: ignore[arg-type]
    return PairwiseJudge(engine, RRM, calibration, ladder=(8, 16, 32, 64))


def judged(
    judge: PairwiseJudge, pair: Pair = PAIR, options: JudgeOptions = JudgeOptions()
) -> Verdict | Unscored:
    return asyncio.run(judge.judge(pair, options))


def verdict(
    judge: PairwiseJudge, pair: Pair = PAIR, options: JudgeOptions = JudgeOptions()
) -> Verdict:
    outcome = judged(judge, pair, options)
    assert isinstance(outcome, Verdict), outcome
    return outcome


LONG = "x" * 40 + "</think>"


def voting(probe: object, texts: list[str], most: int = 4) -> PairwiseJudge:
    """Stops nowhere before whole chains, and there from a margin of 3 on."""
    never = Policy(price=0.001, rules=(Rule(),), lead=Rule(), both=Rule(agree=3.0))
    calibration = at(1.5).model_copy(update={"policies": (never,), "most_votes": most})
    return scripted(probe, texts, calibration)


def audited(probe: object, share: float = 1.0) -> PairwiseJudge:
    made = scripted(probe, [LONG], at(1.5))
    watch = RiskMonitor(Expected(apart=0.05, spent=0.5), delta=0.1, fraction=share)
    return PairwiseJudge(made.engine, made.style, made.calibration, made.ladder, 0.0, watch)


def examples(n: int, seed: int = 11) -> list[data.Example]:
    rng = random.Random(seed)
    return [data.draw(rng) for _ in range(n)]


def nano_judge(nano: Engine, style: LabelStyle | ScoreStyle = RRM) -> PairwiseJudge:
    """The bundled judge with its thresholds."""
    calibration = load_calibration(CALIBRATION, style.name, style.prompt_hash)
    return PairwiseJudge(nano, style, calibration, nano.card.ladder)
