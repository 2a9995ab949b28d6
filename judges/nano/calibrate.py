"""Fits nano's stoppers: `python -m judges.nano.calibrate [--n 3000] [--seed 777]`.

Judges `n` validation pairs a style, reading every checkpoint of the leading order and then both
whole chains, chooses the thresholds, and writes `stopper.json` beside the weights. `--traces DIR`
keeps the traces, one JSON line each.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import random
from pathlib import Path

from judges.nano import WEIGHTS, data
from judges.pairwise import Asked, PairwiseJudge
from rrm.calibration import Trace, choose_stopper, replay_stopper
from rrm.engine import Engine
from rrm.engines import open_engine
from rrm.stopping import STOPPER_FILE, Stoppers
from rrm.style import open_style
from rrm.types import Pair, Verdict

MOST_LOST = 0.005
"""accuracy that stopping early may cost, on validation pairs"""


def pair_of(example: data.Example) -> Pair:
    first, second = example.responses
    return Pair(prompt=example.question, response_a=first, response_b=second)


async def trace(judge: PairwiseJudge, examples: list[data.Example]) -> list[Trace]:
    """Every example with the full ladder. Raises RuntimeError if nano does not decide."""

    async def one(example: data.Example) -> Trace:
        outcome = await judge.judge(pair_of(example), Asked(trace=True))
        if not isinstance(outcome, Verdict):
            raise RuntimeError(f"{example.question}: {outcome.reason}, {outcome.detail}")
        return Trace.of(outcome, "b" if example.better else "a")

    return list(await asyncio.gather(*map(one, examples)))


def calibrate(engine: Engine, n: int, seed: int, keep: Path | None) -> Stoppers:
    """One stopper for each style of the engine's card."""
    stoppers, hashes = {}, {}
    for name in engine.card.styles:
        style = open_style(name)
        rng = random.Random(f"{seed} {name}")
        examples = [data.draw(rng) for _ in range(n)]
        judge = PairwiseJudge(engine, style, ladder=engine.card.ladder)
        traces = asyncio.run(trace(judge, examples))
        if keep:
            lines = "".join(one.model_dump_json() + "\n" for one in traces)
            (keep / f"{name}.jsonl").write_text(lines, encoding="utf-8")
        source = f"{n} validation pairs of {engine.card.name}, seed {seed}"
        stopper = choose_stopper(traces, engine.card.ladder, MOST_LOST, source)
        stoppers[name], hashes[name] = stopper, style.prompt_hash
        played = [replay_stopper(one, stopper) for one in traces]
        spent = sum(one.thinking_tokens for one in played)
        full = sum(one.path[-1].thinking_tokens for one in traces)
        print(
            f"{name}: confidence {stopper.confidence}, right "
            f"{sum(one.right for one in played) / n:.4f} of "
            f"{sum(one.right(len(one.path) - 1) for one in traces) / n:.4f} with whole chains, "
            f"{spent / full:.1%} of their tokens; looks after "
            f"{[s.thinking_tokens for s in stopper.stages if s.look]} tokens",
            flush=True,
        )
    return Stoppers(stoppers=stoppers, prompt_hashes=hashes)


def model_digest(directory: Path) -> str:
    """sha256 of the weights that the thresholds belong to."""
    return hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, default=WEIGHTS)
    parser.add_argument("--n", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=777)
    parser.add_argument("--traces", type=Path, help="a directory for the traces")
    args = parser.parse_args()
    engine = open_engine(f"transformers:{args.directory}")
    try:
        stoppers = calibrate(engine, args.n, args.seed, args.traces)
    finally:
        engine.close()
    stoppers = stoppers.model_copy(update={"model_digest": model_digest(args.directory)})
    text = stoppers.model_dump_json(indent=1) + "\n"
    (args.directory / STOPPER_FILE).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
