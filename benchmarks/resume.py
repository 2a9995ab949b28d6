"""A batch killed again and again ends with the same bytes: `python -m benchmarks.resume`.

Judges `n` nano rows without interruption, then again with SIGKILL at `--kills` random moments, and
compares the two files. Rows judged twice are those a kill took before they were written: what was
under way, and what waited for an earlier row.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import finish, machine, parser
from judges.nano.pairs import write_pairs
from serving.testing.kills import command, killed, lines


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
