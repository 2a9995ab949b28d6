"""Whole batches under one budget: what is spent, who gets it, and what the verdicts say."""

import asyncio
import math
import random
import re
from collections.abc import Mapping, Sequence

import pytest

from judges.nano import WEIGHTS
from judges.options import JudgeOptions
from judges.pairwise import PairwiseJudge
from rrm.allocation.cost_model import CostModel
from rrm.allocation.meter import Compute
from rrm.budget import Budget
from rrm.calibration import calibrated
from rrm.calibration.arrays import TOKENS_ALONE
from rrm.calibration.calibration import Calibration
from rrm.calibration.trace import trace
from rrm.decision.thresholds import PROMPT_ONLY
from rrm.engines.base import TokenSequence
from rrm.engines.scripted import ScriptedEngine
from rrm.types import Pair, StopReason, Unscored, Verdict
from tests.helpers.judging import LONG, at, judged, prefers_good, scripted, text_of
from tests.helpers.styles import RRM
from tests.helpers.traces import BOND

LADDER = (8, 16, 32, 64)
WIDE = 6.0
"""log-odds that a pair of clarity 1 gains by the end of its chain"""


def lean(chain: TokenSequence, suffix: str, labels: tuple[str, ...]) -> Mapping[str, float]:
    """Each order starts with a leaning of its own and comes to the truth as fast as it is clear."""
    text = text_of(chain)
    found = re.search(r"clarity (\S+), seed (\d+)", text)
    assert found is not None
    clarity, seed = float(found[1]), int(found[2])
    first = text.index("good") < text.index("bad")
    start = random.Random(2 * seed + first).gauss(2 * clarity, 1)
    truth = start + WIDE * (0.3 + clarity) * len(chain.ids) / LADDER[-1]
    share = 1 / (1 + math.exp(-truth if first else truth))
    share = min(1 - 1e-9, max(1e-9, share))
    return {labels[0]: math.log(share), labels[1]: math.log(1 - share)}


def pairs(seed: int, n: int, hard: float = 0.5) -> list[Pair]:
    rng = random.Random(seed)
    made = []
    for _ in range(n):
        clarity = rng.uniform(0, 0.3) if rng.random() < hard else rng.uniform(0.5, 1.5)
        prompt = f"clarity {clarity:.3f}, seed {rng.getrandbits(40)}"
        made.append(Pair(prompt=prompt, response_a="good", response_b="bad"))
    return made


def texts(seed: int) -> list[str]:
    rng = random.Random(seed)
    return ["x" * rng.randint(20, 50) + "</think>" for _ in range(97)]


def judge_of(seed: int, calibration: Calibration | None) -> PairwiseJudge:
    return PairwiseJudge(ScriptedEngine(texts(seed), lean), RRM, calibration, ladder=LADDER)


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    engine = ScriptedEngine(texts(1), lean)

    async def traced() -> Calibration:
        made = [await trace(engine, RRM, pair, "a", LADDER) for pair in pairs(1, 1200)]
        return calibrated(made, LADDER, "scripted", BOND, epsilon=0.05, tokens=TOKENS_ALONE)

    return asyncio.run(traced())


def run(
    judge: PairwiseJudge, batch: Sequence[Pair], budget: Budget | None, concurrency: int = 16
) -> list[Verdict | Unscored]:
    async def all_of_them() -> list[Verdict | Unscored]:
        free = asyncio.Semaphore(concurrency)

        async def one(pair: Pair) -> Verdict | Unscored:
            async with free:
                return await judge.judge(pair, budget=budget)

        return await asyncio.gather(*(one(pair) for pair in batch))

    return asyncio.run(all_of_them())


def spent(outcomes: Sequence[Verdict | Unscored]) -> int:
    return sum(outcome.usage.thinking_tokens for outcome in outcomes)


def test_over_100_random_batches_it_is_never_exceeded_and_is_spent(
    calibration: Calibration,
) -> None:
    rng = random.Random(7)
    off = []
    for number in range(100):
        batch = pairs(100 + number, rng.randint(60, 200), hard=rng.uniform(0.3, 0.7))
        assert calibration.whole_tokens is not None
        total = round(len(batch) * calibration.whole_tokens * rng.uniform(0.1, 0.8))
        budget = Budget(total, len(batch))
        outcomes = run(judge_of(number, calibration), batch, budget, rng.choice((1, 8, 32)))
        assert spent(outcomes) == budget.spent
        assert budget.spent <= total
        assert budget.reserved == 0
        assert all(one.reason != "budget" for one in outcomes)
        off.append(1 - budget.spent / total)
    assert sum(off) / len(off) <= 0.05


def test_a_late_hard_pair_outbids_an_early_easy_one(calibration: Calibration) -> None:
    easy, hard = pairs(2, 150, hard=0.0), pairs(3, 50, hard=1.0)
    total = 50 * 60
    outcomes = run(judge_of(1, calibration), [*easy, *hard], Budget(total, 200))
    early, late = spent(outcomes[:150]) / 150, spent(outcomes[150:]) / 50
    assert late > 2 * early
    equal = run(judge_of(1, None), [*easy, *hard], Budget(total, 200))
    assert spent(equal[150:]) / 50 < 1.5 * spent(equal[:150]) / 150


def test_what_it_says_when_nothing_is_left(calibration: Calibration) -> None:
    for outcome in run(judge_of(1, calibration), pairs(4, 20), Budget(0, 20)):
        assert isinstance(outcome, Verdict)
        assert outcome.reason is StopReason.BUDGET_SPENT
        assert outcome.usage.thinking_tokens == 0
        assert outcome.judge.certificate is None


def test_a_cut_chain_is_closed_where_it_is_and_has_no_certificate() -> None:
    judge = scripted(prefers_good(0.1), [LONG])
    [found] = run(judge, [Pair(prompt="?", response_a="good", response_b="bad")], Budget(40, 1))
    assert isinstance(found, Verdict)
    assert found.reason is StopReason.BUDGET_SPENT
    assert found.usage.thinking_tokens == 32  # 16 each; the next 16 each would have been too many
    assert found.margin == pytest.approx(1.6, rel=1e-3)
    assert found.path[-1].thinking_tokens == 32
    assert found.judge.certificate is None
    assert any("equal share" in note for note in found.judge.notes)


def test_compute_is_never_exceeded_and_pays_for_prompts_too(calibration: Calibration) -> None:
    cost = CostModel.of_directory(WEIGHTS)
    batch = pairs(5, 80)
    meter = Compute(cost, suffix=20)
    whole, none = Budget(1e15, len(batch), meter), Budget(1e15, len(batch), meter)
    run(judge_of(2, None), batch, whole)
    run(judge_of(2, at(0.0).model_copy(update={"policies": (PROMPT_ONLY,)})), batch, none)
    assert none.spent < whole.spent
    thought = whole.spent - none.spent
    for total in (0.4 * none.spent, none.spent, none.spent + 0.2 * thought):
        budget = Budget(total, len(batch), meter)
        outcomes = run(judge_of(2, calibration), batch, budget)
        assert 0.9 * total < budget.spent <= total
        lost = [one for one in outcomes if one.reason == "budget"]
        assert bool(lost) == (total < none.spent / 2)  # too little even for one prompt each


def test_a_failing_engine_gives_back_what_it_did_not_use(calibration: Calibration) -> None:
    judge = judge_of(1, calibration)
    assert isinstance(judge.engine, ScriptedEngine)
    judge.engine.fault = RuntimeError("gone")
    budget = Budget(1000, 10)
    outcomes = run(judge, pairs(6, 10), budget)
    assert all(isinstance(one, Unscored) and one.reason == "engine_error" for one in outcomes)
    assert (budget.spent, budget.reserved, budget.ended) == (0, 0, 10)


def test_time_that_is_over_decides_by_the_last_checkpoint(calibration: Calibration) -> None:
    now = 0.0
    budget = Budget(pairs=2, seconds=10, clock=lambda: now)
    judge, batch = judge_of(1, calibration), pairs(7, 2)
    assert isinstance(run(judge, batch[:1], budget)[0], Verdict)
    now = 11.0
    late = run(judge, batch[1:], budget)[0]
    assert isinstance(late, Unscored)
    assert late.reason == "budget"


def test_a_written_verdict_is_paid_for() -> None:
    """Labels that cannot be read by probe: the chain writes its verdict out."""

    def silent(chain: TokenSequence, suffix: str, labels: tuple[str, ...]) -> Mapping[str, float]:
        return dict.fromkeys(labels, -20.0)

    judge = scripted(silent, ["hm</think> \\boxed{Assistant 1}", "hm</think> \\boxed{Assistant 2}"])
    budget = Budget(10_000, 1)
    found = run(judge, [Pair(prompt="?", response_a="good", response_b="bad")], budget)[0]
    assert isinstance(found, Verdict)
    assert found.reason is StopReason.PARSED
    assert budget.spent == found.usage.thinking_tokens
    assert isinstance(judged(judge, options=JudgeOptions()), Verdict)


def test_a_pair_of_identical_responses_leaves_its_share_to_the_others(
    calibration: Calibration,
) -> None:
    same = Pair(prompt="clarity 1, seed 1", response_a="good", response_b="good")
    budget = Budget(1000, 4)
    [outcome] = run(judge_of(1, calibration), [same], budget)
    assert isinstance(outcome, Verdict)
    assert (outcome.reason, budget.spent, budget.pairs) == (StopReason.IDENTICAL, 0, 3)
