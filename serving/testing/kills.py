"""A batch that is killed at random moments and started again."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

from rrm.search.registry import Given
from rrm.types import Pair, Unscored, Verdict
from serving.batch import LocalJudge
from serving.cli import cli

COUNTING = "from serving.testing.kills import counting; counting()"


def counting() -> None:
    """`closecall` with a line in the file of its first word for every pair that was judged."""
    judged = Path(sys.argv.pop(1)).open("a", encoding="utf-8")  # noqa: SIM115 until killed
    judge = LocalJudge.judge

    async def counted(self: LocalJudge, pair: Pair, evidence: Given = None) -> Verdict | Unscored:
        outcome = await judge(self, pair, evidence)
        judged.write(json.dumps(pair.model_dump()) + "\n")
        judged.flush()
        return outcome

    LocalJudge.judge = counted  # type: ignore[method-assign]
    cli()


def command(source: Path, out: Path) -> list[str]:
    """A batch that writes what it judges into a file of its own."""
    words = [f"{out}.judged", "batch", str(source), "-o", str(out)]
    return [sys.executable, "-c", COUNTING, *words]


def lines(path: Path) -> int:
    """Whole lines of a file; none if it is not there."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def killed(source: Path, out: Path, life: float, kills: int, rng: random.Random) -> list[int]:
    """Run to the end, killed `kills` times; returns the finished rows at each.

    A kill comes up to `life` seconds after the first pair of its run was judged.
    """
    found: list[int] = []
    judged = Path(f"{out}.judged")
    for _ in range(kills):
        begun = lines(judged)
        with subprocess.Popen(command(source, out), stdout=subprocess.DEVNULL) as process:
            while lines(judged) == begun and process.poll() is None:
                time.sleep(0.005)
            time.sleep(rng.uniform(0, life))
            if process.poll() is None:
                found.append(lines(out))
            process.kill()
    subprocess.run(command(source, out), check=True, stdout=subprocess.DEVNULL)
    return found
