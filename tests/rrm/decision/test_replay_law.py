"""The law: a policy replayed on a trace stops where the loop stops, on any pair and any rules."""

import asyncio
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from rrm.allocation.account import Unlimited
from rrm.calibration.arrays import TraceArrays
from rrm.calibration.replay import Walked, replay
from rrm.calibration.trace import Trace, trace
from rrm.decision.chains import ORDERS, Order, SwapPair
from rrm.decision.driver import decide
from rrm.decision.plan import LadderPlan
from rrm.decision.policy import Policy, Priced, Thresholds
from rrm.decision.run import JudgeRun
from rrm.decision.thresholds import Policy as Rules
from rrm.decision.thresholds import Rule
from rrm.engines.base import TokenSequence
from rrm.engines.scripted import ScriptedEngine
from rrm.prompt import SearchMarkers
from rrm.search.base import SearchLimits
from rrm.search.evidence import Evidence
from rrm.types import StopReason
from tests.helpers.judging import PAIR, text_of
from tests.helpers.policies import any_policy
from tests.helpers.styles import RRM
from tests.rrm.search.test_evidence import Told

LADDER = (8, 16, 32)


SEARCHING = replace(RRM, search=SearchMarkers("{", "}", "[", "]"))


def world(seed: int, queries: int = 0) -> ScriptedEngine:
    """Chains of any length, whose margins wander; the same engine again for the same seed.

    queries: that each chain may make, from a few that all share.

    A chain that the model ends without closing it stands at the rung it was grown to, which a trace
    does not know; no judge does so by training.
    """
    rng = random.Random(seed)
    liking, base = rng.uniform(-1, 1), rng.uniform(-2, 2)
    steps = [rng.gauss(0, 1.5) for _ in range(100)]

    def probe(chain: TokenSequence, suffix: str, labels: tuple[str, ...]) -> Mapping[str, float]:
        prompt = text_of(chain)
        first = prompt.index("good") < prompt.index("bad")
        odds = liking + (1 if first else -1) * (base + steps[len(chain.ids)])
        share = 1 / (1 + math.exp(-odds))
        return {labels[0]: math.log(share), labels[1]: math.log(1 - share)}

    lengths = [rng.randint(0, 60) for _ in range(6)]  # a third reach the limit and are cut there
    texts = ["x" * n for n in lengths]
    for _ in range(queries):
        places = [rng.randint(0, len(text)) for text in texts]
        texts = [
            f"{text[:at]}{{{rng.choice('kmn')}}}{text[at:]}" if "{" not in text[at:] else text
            for text, at in zip(texts, places, strict=True)
        ]
    return ScriptedEngine([f"{text}</think>" for text in texts], probe)


def rules(seed: int) -> Rules:
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
    return Rules(price=0.001, rules=made, lead=rule(), both=both)


@settings(max_examples=300)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 3))
def test_replaying_thresholds_is_driving_them(seed: int, wanted: int, votes: int) -> None:
    made = rules(wanted)
    found = replay(TraceArrays.of([traced(seed, votes)], LADDER), made)
    run, reason = driven(
        seed, lambda lead: LadderPlan(LADDER, stepping=(lead,), votes=votes), Thresholds(made)
    )
    last = run.path[-1].reading
    assert last is not None
    compare(found, run, reason, last.margin)


@settings(max_examples=500)
@given(
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
)
def test_replaying_a_priced_policy_is_driving_it(
    seed: int, wanted: int, votes: int, at_end: bool, together: bool
) -> None:
    made = any_policy(wanted, len(LADDER), at_end, together)
    found = replay(TraceArrays.of([traced(seed, votes)], LADDER), made)

    def plan(lead: Order) -> LadderPlan:
        first = ORDERS if made.together else (lead,)
        return LadderPlan(LADDER, stepping=(lead,), first=first, votes=votes)

    run, reason = driven(seed, plan, Priced(made))
    weighed = made.weigh(run.path[-1])
    last = run.path[-1].reading
    assert last is not None
    compare(found, run, reason, last.margin if weighed is None else weighed.log_odds)
    opened = [one for one in run.chains.by_order.values() if one.opened]
    assert len(opened) == found.orders[0]


@settings(max_examples=500)
@given(
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 3),
    st.booleans(),
    st.booleans(),
)
def test_replaying_a_policy_that_searches_is_driving_it(
    seed: int, wanted: int, queries: int, at_end: bool, together: bool
) -> None:
    """Also one that knows of fewer searches than are made, or of none."""
    known = 0 if at_end else wanted % 4
    made = any_policy(wanted, len(LADDER), at_end, together, known)
    found = replay(TraceArrays.of([traced(seed, 1, queries)], LADDER), made)

    def plan(lead: Order) -> LadderPlan:
        first = ORDERS if made.together else (lead,)
        return LadderPlan(LADDER, stepping=(lead,), first=first)

    run, reason = driven(seed, plan, Priced(made), queries)
    weighed = made.weigh(run.path[-1])
    last = run.path[-1].reading
    assert last is not None
    compare(found, run, reason, last.margin if weighed is None else weighed.log_odds)
    assert run.usage.searches == found.spent.searches[0]


def evidence() -> Evidence:
    return Evidence(Told("it"), SearchLimits(rounds=2))


def traced(seed: int, votes: int, queries: int = 0) -> Trace:
    engine = world(seed, queries)
    style, found = (SEARCHING, evidence()) if queries else (RRM, None)
    return asyncio.run(trace(engine, style, PAIR, "a", LADDER, votes=votes, evidence=found))


def driven(
    seed: int, plan: Callable[[Order], LadderPlan], policy: Policy, queries: int = 0
) -> tuple[JudgeRun, StopReason]:
    async def go() -> tuple[JudgeRun, StopReason]:
        engine, style = world(seed, queries), SEARCHING if queries else RRM

        async def start(vote: int) -> SwapPair:
            return SwapPair(engine, style, PAIR, vote=vote, searching=queries > 0)

        found = evidence() if queries else None
        run = JudgeRun(await start(0), start, LADDER, evidence=found)
        decided = await decide(
            run, plan(run.chains.lead), policy, Unlimited(), lambda readout: None
        )
        return run, decided.reason

    return asyncio.run(go())


def compare(found: Walked, run: JudgeRun, reason: StopReason, margin: float) -> None:
    """The same verdict at the same place, for the same tokens, read and generated."""
    last, spent = run.path[-1], found.spent
    towards = 1 if run.chains.lead == "ab" else -1
    assert math.isclose(margin, towards * found.value[0], rel_tol=1e-3, abs_tol=1e-3)
    assert bool(found.tied[0]) == (reason is StopReason.TOO_CLOSE)
    [where] = [key for key, some in found.stopped.items() if some[0]]
    # Without more votes, whoever is put to the vote is told what both whole chains said.
    if isinstance(where, str):
        assert (last.place, where) in (("both", "both"), ("votes", "votes"), ("votes", "both"))
    else:
        depth = "end" if last.place in ("lead", len(LADDER)) else last.place
        assert depth == where.depth
    assert run.usage.thinking_tokens == spent.thought[0]
    suffix = len(RRM.suffix("", ended=False))
    closed = len(RRM.suffix("", ended=True))
    prompts = spent.first[0] + spent.other[0] + spent.votes[0] + spent.evidence[0]
    probes = spent.probes[0]
    assert closed * probes <= run.usage.read_tokens - prompts <= suffix * probes
