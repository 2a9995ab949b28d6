"""A batch killed again and again ends with the same bytes: `python -m benchmarks.resume`.

Judges `n` nano rows without interruption, then again with SIGKILL at `--kills` random moments, and
compares the two files. Rows judged twice are those a kill took before they were written: what was
under way, and what waited for an earlier row.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import finish, machine, parser
from judges.nano.pairs import write_pairs
from rrm.types import Pair, Unscored, Verdict
from serving.batch import LocalJudge
from serving.cli import cli

COUNTING = "from benchmarks.resume import counting; counting()"


def counting() -> None:
    """`closecall` with a line in the file of its first word for every pair that was judged."""
    judged = Path(sys.argv.pop(1)).open("a", encoding="utf-8")  # noqa: SIM115 until killed
    judge = LocalJudge.judge

    async def counted(self: LocalJudge, pair: Pair) -> Verdict | Unscored:
        outcome = await judge(self, pair)
        judged.write(json.dumps(pair.model_dump()) + "\n")
        judged.flush()
        return outcome

    LocalJudge.judge = counted  # type: ignore[method-assign]
    cli()


def command(source: Path, out: Path) -> list[str]:
    words = [f"{out}.judged", "batch", str(source), "-o", str(out)]
    return [sys.executable, "-c", COUNTING, *words]


def lines(path: Path) -> int:
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


def main() -> int:
    args = parser(__doc__, n=300, seed=13)
    args.add_argument("--kills", type=int, default=10)
    given = args.parse_args()
    rng = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        source, whole, torn = (Path(folder) / name for name in ("in.jsonl", "whole", "torn"))
        write_pairs(source, given.n, given.seed)
        began = time.monotonic()
        subprocess.run(command(source, whole), check=True, stdout=subprocess.DEVNULL)
        life = (time.monotonic() - began) / given.kills
        found = killed(source, torn, life, given.kills, rng)
        same = whole.read_bytes() == torn.read_bytes()
        twice = lines(Path(f"{torn}.judged")) - given.n
        summaries = [Path(f"{path}.summary.json").read_bytes() for path in (whole, torn)]
    print(f"rows finished at each kill: {found}")
    print(f"machine: {machine()}; model: nano, float64; seed {given.seed}, n {given.n} rows")
    print(f"killed {len(found)} times; bytes equal: {same}; summaries: {len(set(summaries)) == 1}")
    print(f"rows judged twice: {twice}, {twice / max(1, len(found)):.1f} a kill")
    missed = [] if same and len(set(summaries)) == 1 else ["the files differ"]
    if len(found) < given.kills:
        missed.append(f"only {len(found)} kills met a running batch; take more rows (--n)")
    return finish(
        {"killed_at": found, "same": same, "twice": twice, "n": given.n}, missed, given.json
    )


if __name__ == "__main__":
    sys.exit(main())
