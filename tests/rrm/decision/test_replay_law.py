"""The law: a policy replayed on a trace stops where the loop stops, on any pair and any rules."""

import asyncio
import math
import random
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from judges import rrm
from rrm.allocation.account import Unlimited
from rrm.chain import ChainPair
from rrm.decision.driver import decide
from rrm.decision.plan import Line
from rrm.decision.policy import Thresholds
from rrm.decision.run import JudgeRun
from rrm.engine import Chain
from rrm.engines.scripted import ScriptedEngine
from rrm.replay import Table, play
from rrm.stopping import Policy, Rule
from rrm.trace import Trace, trace
from rrm.types import StopReason
from tests.helpers.judging import PAIR, text_of

LADDER = (8, 16, 32)


def world(seed: int) -> ScriptedEngine:
    """Chains of any length, whose margins wander; the same engine again for the same seed.

    A chain that the model ends without closing it stands at the rung it was grown to, which a trace
    does not know; no judge does so by training.
    """
    rng = random.Random(seed)
    liking, base = rng.uniform(-1, 1), rng.uniform(-2, 2)
    steps = [rng.gauss(0, 1.5) for _ in range(100)]

    def probe(chain: Chain, suffix: str, labels: tuple[str, ...]) -> Mapping[str, float]:
        prompt = text_of(chain)
        first = prompt.index("good") < prompt.index("bad")
        odds = liking + (1 if first else -1) * (base + steps[len(chain.ids)])
        share = 1 / (1 + math.exp(-odds))
        return {labels[0]: math.log(share), labels[1]: math.log(1 - share)}

    lengths = [rng.randint(0, 60) for _ in range(6)]  # a third reach the limit and are cut there
    return ScriptedEngine(["x" * n + "</think>" for n in lengths], probe)


def rules(seed: int) -> Policy:
    rng = random.Random(f"rules {seed}")

    def rule() -> Rule:
        if rng.random() < 0.3:
            return Rule()
        return Rule(
            agree=rng.uniform(0, 4),
            differ=rng.choice((math.inf, rng.uniform(0, 4))),
            close=rng.choice((0.0, rng.uniform(0, 1))),
        )

    both = Rule(agree=rng.uniform(0, 4)) if rng.random() < 0.5 else Rule(agree=0.0, differ=0.0)
    made = tuple(rule() for _ in range(len(LADDER) + 1))
    return Policy(price=0.001, rules=made, lead=rule(), both=both)


@settings(max_examples=300)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 3))
def test_replaying_is_driving(seed: int, wanted: int, votes: int) -> None:
    made = rules(wanted)

    async def traced() -> Trace:
        return await trace(world(seed), rrm.STYLE, PAIR, "a", LADDER, votes=votes)

    async def driven() -> JudgeRun:
        engine = world(seed)

        async def start(vote: int) -> ChainPair:
            return ChainPair(engine, rrm.STYLE, PAIR, vote=vote)

        run = JudgeRun(await start(0), start, LADDER)
        plan = Line(LADDER, stepping=(run.chains.lead,), votes=votes)
        run_reason = await decide(run, plan, Thresholds(made), Unlimited(), lambda one: None)
        tied.append(run_reason.reason is StopReason.CLOSE)
        return run

    tied: list[bool] = []
    table = Table.of([asyncio.run(traced())], LADDER)
    played = play(table, made)
    run = asyncio.run(driven())
    last = run.path[-1]
    assert last.reading is not None
    place = int(played.place[0])
    names = {len(LADDER) + 1: "lead", table.both: "both", table.both + 1: "votes"}
    at = names.get(place, place)
    # Without more votes, whoever is put to the vote is told what both whole chains said.
    assert last.place == at or (last.place, at) == ("votes", "both")
    assert last.tokens == played.tokens[0]
    assert bool(played.tied[0]) == tied[0]
    assert abs(last.reading.margin) - float(table.margin[0, place]) < 1e-4
