"""What callers see when things break: `python -m benchmarks.faults`.

Killed replicas: 24 callers, `n` requests, 3 replicas killed, on nano. Overload: for 10 seconds five
times the callers that there are slots and places in the queue, on a scripted engine. Drain: SIGTERM
while requests are under way. Promised: no failure; only 200 and 429, each with Retry-After; every
accepted request finishes.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.report import finish, machine, parser
from judges.nano import data
from judges.nano.pairs import pair_of
from serving.testing.load import SAME, Answers, callers, drain, replicas, scripted
from serving.testing.process import ServiceProcess

CALLERS = 24
KILLS = 3
SLOTS = QUEUE = 4
OVERLOAD = 5
SERVICE = 0.05
"""seconds of one scripted engine call"""


async def kills(service: ServiceProcess, n: int, seed: int) -> Answers:
    """`n` requests of 24 callers while three replicas are killed, one after the other."""
    rng = random.Random(seed)
    bodies = [pair_of(data.draw(rng)).model_dump() for _ in range(n)]
    as_facts = asyncio.create_task(callers(service.url, bodies, CALLERS))
    for _ in range(KILLS):
        await asyncio.sleep(1.5)
        alive = replicas(service)
        if alive and not as_facts.done():
            alive[0].kill()
    return await as_facts


def missed(
    n: int, killed: Answers, quiet: Answers, loaded: Answers, drained: tuple[list[int], int, int]
) -> list[str]:
    """Every promise that was not kept."""
    found = []
    if [status for status, _, _ in killed] != [200] * n:
        found.append("a killed replica cost an answer")
    if {status for status, _, _ in loaded} != {200, 429}:
        found.append("overload: not only 200 and 429")
    if not all(retry for status, _, retry in loaded if status == 429):
        found.append("overload: a 429 without Retry-After")
    if any(status != 200 for status, _, _ in quiet):
        found.append("refused although there was a slot for everybody")
    statuses, ready, code = drained
    if statuses != [200] * CALLERS or code != 0:
        found.append("SIGTERM: an accepted request did not finish")
    if ready != 503:
        found.append("SIGTERM: /ready did not say so")
    return found


def main() -> int:
    args = parser(__doc__, n=300, seed=7).parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with ServiceProcess(folder / "log", "--replicas", "2") as service:
            killed = asyncio.run(kills(service, args.n, args.seed))
        with scripted(folder, "overload", SERVICE, SLOTS, QUEUE) as service:
            quiet = asyncio.run(callers(service.url, [SAME] * 40, SLOTS))
            flood = OVERLOAD * (SLOTS + QUEUE)
            loaded = asyncio.run(callers(service.url, [SAME], flood, time.monotonic() + 10))
        with scripted(folder, "drain", 3.0, 32, 32) as service:
            drained = asyncio.run(drain(service, CALLERS))
    found = Counter(status for status, _, _ in killed)
    slowest = max(seconds for _, seconds, _ in killed)
    statuses = Counter(status for status, _, _ in loaded)
    hints = sum(retry for status, _, retry in loaded if status == 429)
    accepted = sorted(seconds for status, seconds, _ in loaded if status == 200)
    print(f"machine: {machine()}; model: nano (kills), scripted (the rest); seed {args.seed}")
    print(f"{KILLS} kills, n {args.n}, {CALLERS} callers: {dict(found)}, slowest {slowest:.1f} s")
    print(f"no overload, {SLOTS} callers: {dict(Counter(status for status, _, _ in quiet))}")
    print(
        f"{OVERLOAD} times overload, 10 s, {len(loaded)} answers: {dict(statuses)}, {hints} hints; "
        f"accepted: median {accepted[len(accepted) // 2]:.2f} s, worst {accepted[-1]:.2f} s"
    )
    ended, ready, code = drained
    print(f"SIGTERM under {CALLERS} requests: {dict(Counter(ended))}, /ready {ready}, exit {code}")
    figures = {
        "killed": dict(found),
        "slowest": slowest,
        "overload": dict(statuses),
        "drained": drained,
    }
    return finish(figures, missed(args.n, killed, quiet, loaded, drained), args.json)


if __name__ == "__main__":
    sys.exit(main())
