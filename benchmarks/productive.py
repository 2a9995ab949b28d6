"""Does a pretrained model judge better by thinking, and does a service act on the answer?
`python -m benchmarks.productive --model DIR --data FILE`.

`n` pairs of a JSONL file are calibrated on, which tells whether thought is productive; a service
with what came out judges some of them, and has to behave accordingly: no thought where thought was
found not to help, whole chains where nothing could be proved. Where the data has several
annotators' votes, thought on split votes is compared with thought on unanimous ones, replayed from
the traces. Nothing is promised of the accuracy. `python -m benchmarks.models smollm2 DIR` makes a
model.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.models import smollm2
from benchmarks.report import finish, interval, machine, parser
from judges.options import JudgeOptions
from rrm.calibration.arrays import TraceArrays
from rrm.calibration.calibration import Calibration
from rrm.calibration.replay import replay
from rrm.types import Pair, StopReason, Unscored, Verdict
from serving.calibrate import CalibrationOptions, TraceLine, calibrate
from serving.client import AsyncClient
from serving.datasets import read_dataset
from serving.reports.console import console
from serving.settings import load_settings
from serving.testing.process import ServiceProcess

LADDER = (16, 32)
CONCURRENCY = 8
SECONDS = 280.0
"""that one pair may take"""


def sample(data: Path, n: int, seed: int, out: Path) -> list[dict[str, Any]]:
    """Write `n` rows of `data`, drawn by `seed`, to `out`; returns them."""
    rows = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
    chosen = random.Random(seed).sample(rows, min(n, len(rows)))
    out.write_text("".join(json.dumps(row) + "\n" for row in chosen), encoding="utf-8")
    return chosen


async def served(service: ServiceProcess, pairs: Sequence[Pair]) -> list[Verdict | Unscored]:
    gate = asyncio.Semaphore(CONCURRENCY)
    async with AsyncClient(service.url) as client:

        async def one(pair: Pair) -> Verdict | Unscored:
            async with gate:
                return await client.judge(pair, JudgeOptions(seconds=SECONDS))

        return list(await asyncio.gather(*(one(pair) for pair in pairs)))


def missed(calibration: Calibration, outcomes: Sequence[Verdict | Unscored]) -> list[str]:
    """Where the service does not do what the calibration found."""
    lines = []
    for number, outcome in enumerate(outcomes):
        if isinstance(outcome, Unscored):
            lines.append(f"pair {number} is unscored: {outcome.detail}")
        elif outcome.reason is StopReason.IDENTICAL:
            continue
        elif not calibration.thinks:
            if outcome.reason is not StopReason.UNPRODUCTIVE or outcome.usage.thinking_tokens:
                lines.append(f"pair {number} was thought about, which does not help this judge")
        elif calibration.certificate is None:
            if outcome.reason not in (StopReason.ENDED, StopReason.TOKEN_LIMIT):
                lines.append(f"pair {number} was stopped early, without any certificate")
        elif outcome.judge.certificate is None:
            lines.append(f"pair {number} has lost its certificate")
    return lines


def by_votes(
    rows: Sequence[Mapping[str, Any]], thought: Sequence[float], seed: int
) -> dict[str, Any]:
    """Mean thinking tokens on pairs whose annotators were split, and on the others."""
    tokens: dict[str, list[float]] = {"split": [], "unanimous": []}
    for row, spent in zip(rows, thought, strict=True):
        if row.get("votes"):
            kind = "unanimous" if len(set(row["votes"])) == 1 else "split"
            tokens[kind].append(spent)
    return {
        kind: {
            "n": len(some),
            "mean": statistics.mean(some),
            "interval": interval(some, lambda one: float(statistics.mean(one)), seed),
        }
        for kind, some in tokens.items()
        if some
    }


def main() -> int:
    made = parser(__doc__, n=40, seed=15)
    made.add_argument("--model", required=True, help="a directory, made if there is none; or nano")
    made.add_argument("--data", type=Path, required=True, help="JSONL, one labelled pair a row")
    made.add_argument("--style", default="rrm")
    made.add_argument("--served", type=int, default=12, help="pairs that the service judges too")
    args = made.parse_args()
    began = time.monotonic()
    if args.model != "nano":
        smollm2(Path(args.model))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, out = folder / args.data.name, folder / "stopper.json"
        rows = sample(args.data, args.n, args.seed, data)
        dataset = read_dataset(data)
        lines = [
            f'model = "{args.model}"',
            f'style = "{args.style}"',
            'dtype = "float32"',
            "temperature = 0.0",
        ]
        if args.model != "nano":
            lines.append(f"ladder = {list(LADDER)}")
        config = folder / "closecall.toml"
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        calibration = calibrate(
            console(),
            load_settings(config),
            dataset,
            folder / "traces.jsonl",
            out,
            CalibrationOptions(epsilon=0.01, delta=0.1),
        )
        calibrated = time.monotonic() - began
        config.write_text("\n".join([*lines, f'stopper = "{out}"']) + "\n", encoding="utf-8")
        pairs = [row.pair for row in dataset.rows if row.pair is not None][: args.served]
        lines_of_traces = (folder / "traces.jsonl").read_text(encoding="utf-8").splitlines()
        kept = [TraceLine.model_validate_json(line) for line in lines_of_traces]
        with ServiceProcess(folder / "log", "--config", str(config)) as service:
            outcomes = asyncio.run(served(service, pairs))
    report = calibration.productivity
    assert report is not None
    reasons = statistics.multimode([one.reason for one in outcomes])
    traced = [(rows[line.index], line.trace) for line in kept if line.trace is not None]
    arrays = TraceArrays.of([trace for _, trace in traced], calibration.ladder)
    spent = [float(one) for one in replay(arrays, calibration.policy).spent.thought]
    thought = by_votes([row for row, _ in traced], spent, args.seed)
    figures = {
        "n": len(rows),
        "verdict": report.conclusion,
        "finding": report.finding,
        "gain": report.whole.model_dump(),
        "certified": calibration.certificate is not None,
        "reasons": [str(one) for one in reasons],
        "thinking_tokens": statistics.mean(one.usage.thinking_tokens for one in outcomes),
        "by_votes": thought,
    }
    print(
        f"the service judged {len(outcomes)} pairs, mostly ending by {', '.join(reasons)}, with "
        f"{figures['thinking_tokens']:.1f} thinking tokens a pair"
    )
    for kind, some in thought.items():
        low, high = some["interval"]
        print(f"votes {kind}: {some['mean']:.1f} [{low:.1f}, {high:.1f}] tokens, {some['n']} pairs")
    shown = Path(args.model).name
    print(f"\nmachine: {machine()}; model: {shown}; data: {args.data.name}; style {args.style};")
    print(f"seed {args.seed}, n {len(rows)}; calibrated in {calibrated:.0f} s, ", end="")
    print(f"took {time.monotonic() - began:.0f} s")
    print(
        f"gain of thought {report.whole.value:+.3f} [{report.whole.low:+.3f}, "
        f"{report.whole.high:+.3f}]: {report.conclusion}"
    )
    return finish(figures, missed(calibration, outcomes), args.json)


if __name__ == "__main__":
    sys.exit(main())
