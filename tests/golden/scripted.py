"""Random judgements on scripts, each made anew from its number alone.

2,000 by thresholds, or by none, and 1,000 by priced policies.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Mapping
from typing import get_args

from judges.options import JudgeOptions
from judges.pairwise import PairwiseJudge
from rrm.allocation.cost_model import CostModel
from rrm.allocation.meter import Compute
from rrm.budget import Budget
from rrm.calibration.calibration import Calibration, PlattScaler, PlattScalers
from rrm.calibration.monitor import Expected, RiskMonitor
from rrm.decision.thresholds import Policy, Rule
from rrm.engines.base import TokenSequence
from rrm.engines.scripted import ProbeScript, ScriptedEngine
from rrm.types import Effort, Pair, Unscored, Verdict
from tests.helpers.policies import any_policy
from tests.helpers.styles import RRM

N, N_PRICED = 2000, 1000
LADDER = (8, 16, 32, 64)
LIMITS = (None, None, None, None, None, 0, 1, 15, 16, 17, 40, 64, 100, 1000)
COST = CostModel(
    matrix_weights=1000, weights=1000, layers=2, attention_width=16, kv_width=32, full_layers=2
)
PAIR = Pair(prompt="Which?", response_a="good", response_b="bad")
MIRROR = PAIR.swapped()
REPLIES = ("\\boxed{Assistant 1}", "\\boxed{Assistant 2}", "\\boxed{Assistant 3}", "no idea")


def _probe(rng: random.Random) -> ProbeScript:
    """Log-odds that start somewhere, like one place, and move with every token."""
    strength, liking = rng.uniform(-0.3, 0.3), rng.uniform(-1, 1)
    base = rng.uniform(-2, 2)
    silent = rng.random() < 0.15  # one order says nothing without thought
    mute = rng.random() < 0.12  # nobody ever says anything by label

    def probe(chain: TokenSequence, suffix: str, labels: tuple[str, ...]) -> Mapping[str, float]:
        prompt = "".join(map(chr, chain.prompt_ids))
        first = prompt.index("good") < prompt.index("bad")
        if mute or (silent and not chain.ids and first):
            return dict.fromkeys(labels, math.log(0.01))
        odds = liking + (1 if first else -1) * (base + strength * len(chain.ids))
        share = 1 / (1 + math.exp(-max(-27.0, min(27.0, odds))))
        return {labels[0]: math.log(share), labels[1]: math.log(1 - share)}

    return probe


def _texts(rng: random.Random) -> list[str]:
    made, steady = [], rng.random() < 0.6  # the same response in both orders
    for index in range(rng.choice((2, 3, 5))):
        text = "x" * rng.randint(0, rng.choice((3, 20, 40, 90)))
        if rng.random() < 0.8:
            text += "</think>"
            if rng.random() < 0.7:
                text += REPLIES[index % 2] if steady else rng.choice(REPLIES)
        made.append(text)
    return made


def _rule(rng: random.Random) -> Rule:
    if rng.random() < 0.35:
        return Rule()
    return Rule(
        agree=rng.uniform(0, 6),
        differ=rng.choice((math.inf, rng.uniform(0, 6))),
        close=rng.choice((0.0, 0.0, rng.uniform(0, 0.5))),
    )


def _stage(rng: random.Random) -> PlattScalers:
    """No two alike, so that the probability tells which one was asked."""
    curves = [
        PlattScaler(intercept=rng.uniform(-0.5, 0.5), slope=rng.uniform(0.1, 1.5)) for _ in range(2)
    ]
    return PlattScalers(thinking_tokens=0, agree=curves[0], differ=curves[1])


def _calibration(rng: random.Random) -> Calibration:
    policies = []
    tokens = 90.0
    for price in (0.0001, 0.001, 0.01):
        both = {"both": Rule(agree=rng.uniform(0, 8))} if rng.random() < 0.5 else {}
        tokens *= rng.uniform(0.3, 0.9)
        rules = tuple(_rule(rng) for _ in range(rng.randint(1, len(LADDER) + 1)))
        policies.append(
            Policy(price=price, rules=rules, lead=_rule(rng), tokens=tokens, looks=1.0, **both)
        )
    return Calibration(
        source="by chance",
        stages=tuple(_stage(rng) for _ in range(len(LADDER) + 1)),
        lead=_stage(rng),
        both=_stage(rng),
        votes=_stage(rng),
        most_votes=4,
        vote_temperature=0.7,
        policies=tuple(policies),
        whole_tokens=100.0,
        chosen=rng.choice((0, 1, 1, 1, 2)),
    )


def _priced(rng: random.Random) -> Calibration:
    policies = []
    tokens = 90.0
    for price in (0.0001, 0.001, 0.01):
        tokens *= rng.uniform(0.3, 0.9)
        made = any_policy(rng.getrandbits(32), len(LADDER), rng.random() < 0.1)
        spent = {"price": price, "tokens": tokens, "probes": 2.0, "orders": 1.3}
        policies.append(made.model_copy(update=spent))
    return _calibration(rng).model_copy(update={"policies": tuple(policies)})


def _budget(rng: random.Random) -> Budget:
    """In thinking tokens, in FLOPs, or a stream's."""
    kind = rng.choice(("tokens", "tokens", "flops", "stream"))
    if kind == "flops":
        return Budget(rng.uniform(0.2, 3) * 1e6, 1, Compute(COST, suffix=20))
    if kind == "stream":
        return Budget(per_pair=rng.uniform(0, 120))
    return Budget(rng.choice((0, 5, 20, 40, 80, 120, 400)), rng.choice((1, 1, 3)))


def judge_case(number: int) -> Verdict | Unscored:
    """The outcome of judgement `number`."""
    rng = random.Random(f"golden {number}")
    probe, texts = _probe(rng), _texts(rng)
    return _judge(rng, probe, texts, None if rng.random() < 0.2 else _calibration(rng))


def judge_priced(number: int) -> Verdict | Unscored:
    """The outcome of judgement `number` of those by a priced policy."""
    rng = random.Random(f"golden priced {number}")
    return _judge(rng, _probe(rng), _texts(rng), _priced(rng))


def _judge(
    rng: random.Random, probe: ProbeScript, texts: list[str], calibration: Calibration | None
) -> Verdict | Unscored:
    engine = ScriptedEngine(texts, probe)
    engine.can_probe = rng.random() > 0.2
    budget = _budget(rng) if rng.random() < 0.25 else None
    monitor = None
    if calibration is not None and rng.random() < 0.3:
        monitor = RiskMonitor(Expected(apart=0.05, spent=0.5), 0.1)
        if rng.random() < 0.3:
            monitor.revoked = "pairs are not what they were"
    effort: Effort = rng.choice((*get_args(Effort), "adaptive", "adaptive"))
    options = JudgeOptions(
        effort, rng.choice(LIMITS), return_chain=rng.random() < 0.5, trace=rng.random() < 0.5
    )
    if budget is not None:
        options = JudgeOptions(return_chain=options.return_chain)
    pair = PAIR if rng.random() < 0.5 else MIRROR
    judge = PairwiseJudge(engine, RRM, calibration, LADDER, monitor=monitor)
    return asyncio.run(judge.judge(pair, options, budget=budget))
