"""One score a response: expected over 1 to 10, right on real weights, never made up."""

import asyncio
import random

import pytest

from judges.nano import data
from judges.options import JudgeOptions
from judges.pointwise import PointwiseJudge
from rrm.engines.base import Engine
from rrm.engines.scripted import ScriptedEngine
from rrm.errors import EngineError, StyleMismatch
from rrm.types import Candidates, Effort, Score, StopReason, Unscored
from tests.helpers.styles import GRM, RRM


def options(
    judge: PointwiseJudge, n: int, effort: JudgeOptions = JudgeOptions("full")
) -> Score | Unscored:
    candidates = Candidates(prompt="p", responses=("r",) * n)
    return asyncio.run(judge.score(candidates, effort))


def test_a_pairwise_style_cannot_score() -> None:
    with pytest.raises(StyleMismatch, match="use style grm"):
        PointwiseJudge(ScriptedEngine(), RRM)


def test_even_labels_give_the_middle_score() -> None:
    found = options(PointwiseJudge(ScriptedEngine(["x \\boxed{"]), GRM), 2)
    assert isinstance(found, Score)
    assert found.scores == pytest.approx((5.5, 5.5))
    assert found.reason is StopReason.ENDED


def test_too_many_responses_are_refused() -> None:
    with pytest.raises(StyleMismatch, match="16"):
        options(PointwiseJudge(ScriptedEngine(), GRM), 17)


def test_a_failed_engine_is_never_a_score() -> None:
    engine = ScriptedEngine(fault=EngineError("gone"))
    found = options(PointwiseJudge(engine, GRM), 1)
    assert isinstance(found, Unscored)
    assert found.reason == "engine_error"


def test_nothing_readable_is_unscored_and_written_scores_are_read() -> None:
    def unreadable(*_: object) -> dict[str, float]:
        return dict.fromkeys(GRM.labels, -9.0)

    good = options(PointwiseJudge(ScriptedEngine(["x \\boxed{3, 9}"], unreadable), GRM), 2)
    assert isinstance(good, Score)
    assert (good.scores, good.reason) == ((3.0, 9.0), StopReason.PARSED)
    bad = options(PointwiseJudge(ScriptedEngine(["x \\boxed{3}"], unreadable), GRM), 2)
    assert isinstance(bad, Unscored)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_nano_scores_by_the_distance_from_the_truth(nano: Engine, n: int) -> None:
    judge = PointwiseJudge(nano, GRM, nano.card.ladder)
    rng = random.Random(n)
    examples = [data.draw(rng, n) for _ in range(12)]

    async def run() -> list[Score | Unscored]:
        return list(
            await asyncio.gather(
                *(
                    judge.score(
                        Candidates(prompt=e.question, responses=e.responses), JudgeOptions("full")
                    )
                    for e in examples
                )
            )
        )

    near = 0
    for example, found in zip(examples, asyncio.run(run()), strict=True):
        assert isinstance(found, Score)
        truth = [data.score(error) for error in example.errors]
        near += sum(abs(one - two) < 0.6 for one, two in zip(found.scores, truth, strict=True))
    assert near >= 0.85 * 12 * n


@pytest.mark.parametrize("effort", ["none", "full"])
def test_an_empty_response_is_worth_less_than_a_wrong_one(nano: Engine, effort: Effort) -> None:
    """Alone, as a trainer asks for its reward: nothing, a key, a wrong number, the right one."""
    rng = random.Random(6)
    judge = PointwiseJudge(nano, GRM, ladder=nano.card.ladder)

    async def worth(example: data.Example) -> list[float]:
        truth = example.problem.truth
        wrong = str((truth + 40) % data.LIMIT)
        asked = [
            Candidates(prompt=example.question, responses=(text,))
            for text in ("", "Solution", wrong, str(truth))
        ]
        found = await asyncio.gather(*(judge.score(one, JudgeOptions(effort)) for one in asked))
        return [score.scores[0] for score in found if isinstance(score, Score)]

    async def all_of_them() -> list[list[float]]:
        return await asyncio.gather(*(worth(data.draw(rng)) for _ in range(20)))

    for empty, key, wrong, right in asyncio.run(all_of_them()):
        assert empty < 1.05
        assert key < 1.05
        assert empty < wrong
        assert effort == "none" or wrong < right
