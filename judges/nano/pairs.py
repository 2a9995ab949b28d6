"""Labelled pairs for nano: `python -m judges.nano.pairs OUT.jsonl [--n 4000] [--seed 777]`.

One JSON line a pair: prompt, response_a, response_b, label, and group, how close it is.
`--closest 20` keeps only pairs whose errors differ by no more than that.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from judges.nano import data
from rrm.types import Pair


def pair_of(example: data.Example) -> Pair:
    """The first two responses of an example."""
    first, second = example.responses
    return Pair(prompt=example.question, response_a=first, response_b=second)


def label_of(example: data.Example) -> str:
    """The better of the two: a or b."""
    return "ab"[example.better]


def write_pairs(path: Path, n: int, seed: int, closest: int = data.LIMIT) -> None:
    """`n` labelled pairs whose errors differ by at most `closest`."""
    rng = random.Random(f"pairs {seed}")
    with path.open("w", encoding="utf-8") as file:
        while n > 0:
            example = data.draw(rng)
            if example.gap > closest:
                continue
            n -= 1
            band = next(name for name, least, most in data.BANDS if least <= example.gap <= most)
            record = {
                **pair_of(example).model_dump(exclude_defaults=True),
                "label": label_of(example),
                "group": band,
            }
            file.write(json.dumps(record) + "\n")


def main() -> None:
    """Write pairs as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--n", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=777)
    parser.add_argument("--closest", type=int, default=data.LIMIT)
    args = parser.parse_args()
    write_pairs(args.out, args.n, args.seed, args.closest)


if __name__ == "__main__":
    main()
