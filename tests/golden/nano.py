"""Judgements on nano: pairs in two styles, each at two of twelve settings in rotation.

800 by the thresholds of version 1, kept as a fixture, and 120 by what is shipped.
"""

from __future__ import annotations

import asyncio
import gzip
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from judges.nano import CALIBRATION, WEIGHTS, data
from judges.nano.pairs import pair_of
from judges.options import JudgeOptions
from judges.pairwise import PairwiseJudge
from judges.styles.registry import open_style
from rrm.allocation.cost_model import CostModel
from rrm.allocation.meter import Compute
from rrm.budget import Budget
from rrm.calibration.artifact import Artifact
from rrm.calibration.calibration import Calibration
from rrm.calibration.monitor import Expected, RiskMonitor
from rrm.decision.thresholds import Rule
from rrm.engines import open_engine
from rrm.engines.base import Engine, EngineOptions
from rrm.types import Unscored, Verdict

STYLES = ("rrm", "rm-r1")
PAIRS = 200
N = 2 * PAIRS * len(STYLES)
N_PRICED = 120


@dataclass(frozen=True)
class Setting:
    """How a pair is judged."""

    options: JudgeOptions = JudgeOptions()
    change: Callable[[Calibration], Calibration | None] = lambda calibration: calibration
    monitor: Callable[[], RiskMonitor | None] = lambda: None
    budget: Callable[[], Budget | None] = lambda: None


def voting(calibration: Calibration) -> Calibration:
    """Up to three pairs of chains, where whole ones are not all but certain."""
    policies = tuple(
        policy.model_copy(update={"both": Rule(agree=25.0)}) for policy in calibration.policies
    )
    return calibration.model_copy(
        update={"policies": policies, "most_votes": 3, "vote_temperature": 0.7, "chosen": 0}
    )


def monitor() -> RiskMonitor:
    return RiskMonitor(Expected(apart=0.05, spent=0.5), 0.1)


def revoked() -> RiskMonitor:
    found = monitor()
    found.revoked = "pairs are not what they were"
    return found


SETTINGS: tuple[Setting, ...] = (
    Setting(JudgeOptions("none")),
    Setting(JudgeOptions("adaptive", return_chain=True)),
    Setting(JudgeOptions("full", return_chain=True)),
    Setting(JudgeOptions("full", trace=True)),
    Setting(JudgeOptions("adaptive", max_thinking_tokens=64)),
    Setting(JudgeOptions("full", max_thinking_tokens=40)),
    Setting(change=lambda calibration: None),
    Setting(monitor=monitor),
    Setting(budget=lambda: Budget(24, 1)),
    Setting(budget=lambda: Budget(6e8, 1, Compute(CostModel.of_directory(WEIGHTS), 6))),
    Setting(change=voting),
    Setting(monitor=revoked),
)


def open_nano() -> Engine:
    """In float64, where a verdict does not hang on what is computed beside it."""
    return open_engine(f"transformers:{WEIGHTS}", EngineOptions(dtype="float64"))


def version_1() -> Artifact:
    """The thresholds that nano came with before."""
    text = gzip.decompress((Path(__file__).parent / "stopper.v1.json.gz").read_bytes())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "stopper.json"
        file.write_bytes(text)
        return Artifact.read(file)


def shipped() -> Artifact:
    return Artifact.read(CALIBRATION)


async def judge_case(engine: Engine, number: int, known: Artifact) -> Verdict | Unscored:
    """The outcome of judgement `number`."""
    index, turn = divmod(number, 2)
    style = open_style(STYLES[index % len(STYLES)])
    which = index // len(STYLES)
    rng = random.Random(f"golden {style.name} {which}")
    pair = pair_of(data.draw(rng))
    setting = SETTINGS[(which + turn * len(SETTINGS) // 2) % len(SETTINGS)]
    calibration = known.of(style.name, style.prompt_hash)
    assert calibration is not None
    judge = PairwiseJudge(
        engine,
        style,
        setting.change(calibration),
        engine.card.ladder,
        monitor=setting.monitor(),
    )
    return await judge.judge(pair, setting.options, budget=setting.budget())


def judge_all(engine: Engine, count: int, known: Artifact) -> list[Verdict | Unscored]:
    """In float64 what is computed beside a judgement does not matter, so 32 at once."""

    async def all_of_them() -> list[Verdict | Unscored]:
        free = asyncio.Semaphore(32)

        async def one(number: int) -> Verdict | Unscored:
            async with free:
                return await judge_case(engine, number, known)

        return await asyncio.gather(*(one(number) for number in range(count)))

    return asyncio.run(all_of_them())
