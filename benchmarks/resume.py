"""A batch killed again and again ends with the same bytes: `python -m benchmarks.resume`.

Judges `n` nano rows without interruption, then again with SIGKILL at `--kills` random moments, and
compares the two files. Rows judged twice are those a kill took before they were written.
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
from judges.nano import data


def write_rows(path: Path, n: int, seed: int) -> None:
    """`n` labelled pairs as JSONL."""
    rng = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        for index in range(n):
            example = data.draw(rng)
            a, b = example.responses
            row = {"id": str(index), "prompt": example.question, "response_a": a, "response_b": b}
            file.write(json.dumps({**row, "label": "ab"[example.better]}) + "\n")


def command(source: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "serving.cli", "batch", str(source), "-o", str(out)]


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def killed(source: Path, out: Path, rows: int, kills: int, rng: random.Random) -> list[int]:
    """Run to the end, killed at `kills` random moments; returns the finished rows at each."""
    found: list[int] = []
    goals = sorted(rng.randrange(rows) for _ in range(kills))
    for goal in goals:
        with subprocess.Popen(command(source, out), stdout=subprocess.DEVNULL) as process:
            while lines(out) < goal and process.poll() is None:
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.5))
            process.kill()
        found.append(lines(out))
    subprocess.run(command(source, out), check=True, stdout=subprocess.DEVNULL)
    return found


def main() -> int:
    args = parser(__doc__, n=300, seed=13)
    args.add_argument("--kills", type=int, default=10)
    given = args.parse_args()
    rng = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        source, whole, torn = (Path(folder) / name for name in ("in.jsonl", "whole", "torn"))
        write_rows(source, given.n, given.seed)
        subprocess.run(command(source, whole), check=True, stdout=subprocess.DEVNULL)
        found = killed(source, torn, given.n, given.kills, rng)
        same = whole.read_bytes() == torn.read_bytes()
        summaries = [Path(f"{path}.summary.json").read_bytes() for path in (whole, torn)]
    print(f"rows finished at each kill: {found}")
    print(f"machine: {machine()}; model: nano, float64; seed {given.seed}, n {given.n} rows")
    print(f"killed {given.kills} times; bytes equal: {same}; summaries: {len(set(summaries)) == 1}")
    missed = [] if same and len(set(summaries)) == 1 else ["the files differ"]
    return finish({"killed_at": found, "same": same, "n": given.n}, missed, given.json)


if __name__ == "__main__":
    sys.exit(main())
