"""What the running service takes: `python -m benchmarks.memory`.

Starts `closecall serve` on nano, judges `n` pairs over REST, then adds up the memory that belongs
to each of its processes alone (USS).
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import psutil

from benchmarks.report import finish, machine, parser
from judges.nano import data
from judges.nano.pairs import pair_of
from serving.testing.process import ServiceProcess

KINDS = ("Judge", "ServeController", "gcs_server", "raylet", "agent")


def kind_of(process: psutil.Process) -> str:
    """What part of the service a process is."""
    words = " ".join(process.cmdline())
    return next((kind for kind in KINDS if kind in words), "closecall serve and others")


def measure(root: int) -> dict[str, float]:
    """MiB by kind of process: the one with this process id and all that it started."""
    parent = psutil.Process(root)
    found: dict[str, float] = defaultdict(float)
    for process in [parent, *parent.children(recursive=True)]:
        try:
            found[kind_of(process)] += process.memory_full_info().uss / 2**20
        except psutil.NoSuchProcess:
            continue
    return dict(found)


def main() -> int:
    args = parser(__doc__, n=200, seed=5).parse_args()
    rng = random.Random(args.seed)
    with (
        tempfile.TemporaryDirectory() as folder,
        ServiceProcess(Path(folder) / "log") as service,
    ):
        idle = sum(measure(service.process.pid).values())
        for _ in range(args.n):
            service.judge(**pair_of(data.draw(rng)).model_dump()).raise_for_status()
        found = measure(service.process.pid)
    for kind, size in sorted(found.items(), key=lambda item: -item[1]):
        print(f"  {size:7.0f} MiB  {kind}")
    total = sum(found.values())
    print(f"machine: {machine()}; model: nano, 1 replica; seed {args.seed}, n {args.n} pairs")
    print(f"USS of all processes: {total:.0f} MiB (idle, before the first pair: {idle:.0f} MiB)")
    return finish({"mib": found, "total": total, "idle": idle, "n": args.n}, [], args.json)


if __name__ == "__main__":
    sys.exit(main())
