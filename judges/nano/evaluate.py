"""Measures nano: `python -m judges.nano.evaluate [--n 1000] [--seed 12345] [--json FILE]`.

Pairs from a seed that training did not use, in one order only: the share of right verdicts by
difference of the two errors, at no thought, at each checkpoint, and after nano's own whole chain.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path

from judges.nano import WEIGHTS, data
from judges.styles.registry import open_style
from rrm.decision.chain import JudgeChain
from rrm.engines import open_engine
from rrm.engines.base import Engine
from rrm.style import Style

WHOLE = 160
"""more tokens than any chain of nano's"""
GRM_MOST = 400


@dataclass(frozen=True)
class Judged:
    """One example in one order: whether the verdict was right at each checkpoint, and whole."""

    gap: int
    right: tuple[bool, ...]
    tokens: int
    exact: bool
    """the chain is word for word the one it was taught"""


@dataclass(frozen=True)
class Table:
    """Accuracy of one style: a row a band, a column a checkpoint, the whole chain last."""

    style: str
    n: int
    seed: int
    exact: float
    tokens: float
    checkpoints: tuple[int, ...]
    rows: dict[str, tuple[int, tuple[float, ...]]]

    def __str__(self) -> str:
        heads = [str(point) for point in self.checkpoints] + ["whole"]
        lines = [
            f"{self.style}: n {self.n}, seed {self.seed}, own chain exact {self.exact:.3f}, "
            f"mean {self.tokens:.1f} tokens",
            " " * 16 + "".join(f"{head:>7}" for head in heads),
        ]
        for band, (count, shares) in self.rows.items():
            lines.append(f"{band:>9} {count:5d} " + "".join(f"{share:7.3f}" for share in shares))
        return "\n".join(lines)


async def judge(engine: Engine, style: Style, example: data.Example) -> Judged:
    """Grow one chain, reading the verdict at every checkpoint of the card."""
    chain = JudgeChain(engine, style, example.question, example.responses, 0.0)
    right = []
    for point in (0, *engine.card.ladder, WHOLE):
        await engine.extend([chain.growth(point)])
        reading = await chain.read()
        right.append((reading.z < 0) == (example.better == 1))
    text = chain.sequence.text.removesuffix(style.stop)
    return Judged(
        gap=example.gap,
        right=tuple(right),
        tokens=len(chain.sequence.ids),
        exact=text.endswith(data.chain(style.name, example)),
    )


async def measure(engine: Engine, style: Style, n: int, seed: int) -> Table:
    """The table of a pairwise style."""
    rng = random.Random(seed)
    examples = [data.draw(rng) for _ in range(n)]
    judged = await asyncio.gather(*(judge(engine, style, example) for example in examples))
    rows = {}
    for band, low, high in (*data.BANDS, ("all", 1, data.LIMIT)):
        chosen = [one for one in judged if low <= one.gap <= high]
        columns = zip(*(one.right for one in chosen), strict=True)
        rows[band] = (len(chosen), tuple(sum(column) / len(chosen) for column in columns))
    return Table(
        style=style.name,
        n=n,
        seed=seed,
        exact=sum(one.exact for one in judged) / n,
        tokens=sum(one.tokens for one in judged) / n,
        checkpoints=(0, *engine.card.ladder),
        rows=rows,
    )


async def exact_scores(engine: Engine, style: Style, n: int, seed: int) -> float:
    """Share of pairs for which GRM's written reply has both scores right."""
    rng = random.Random(seed)

    async def one(example: data.Example) -> bool:
        chain = JudgeChain(engine, style, example.question, example.responses, 0.0)
        await chain.finish(WHOLE)
        return chain.sequence.text.endswith(data.verdict(style.name, example.errors))

    examples = [data.draw(rng) for _ in range(n)]
    return sum(await asyncio.gather(*map(one, examples))) / n


async def run(directory: Path, n: int, seed: int) -> dict[str, object]:
    """Measure and print every style; returns the figures."""
    engine = open_engine(f"transformers:{directory}")
    found: dict[str, object] = {}
    try:
        for name in ("rrm", "rm-r1"):
            table = await measure(engine, open_style(name), n, seed)
            print(table, flush=True)
            found[name] = asdict(table)
        count = min(n, GRM_MOST)
        exact = await exact_scores(engine, open_style("grm"), count, seed)
        print(f"grm: n {count}, seed {seed}, both scores exact {exact:.3f}")
        found["grm"] = {"n": count, "seed": seed, "exact": exact}
    finally:
        engine.close()
    return found


def main() -> None:
    """Evaluate as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, default=WEIGHTS)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=12345)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    args = parser.parse_args()
    found = asyncio.run(run(args.directory, args.n, args.seed))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
