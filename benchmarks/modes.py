"""Does a judge learn by reward when to think? `python -m benchmarks.modes [--sweep]`.

From one copy of nano that chooses its mode by a coin, DeGRPO and GRPO are trained over `n` seeds
each (`judges.nano.degrpo`), and told by held-out pairs: how often they think, by closeness; how
sure a verdict in short is where they think and where they do not; what accuracy and thought that
makes. Beside them, with the same prompt: nano's own choice as it was taught, and our policy. How
likely thought is, is a readout of closeness that comes free with the prompt: it is compared with
the margin. `--sweep` trains one seed at each of several alphas instead. Exits 1 if a figure that is
promised is missed.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from scipy.stats import mannwhitneyu, spearmanr

from benchmarks.attacks import judge_of
from benchmarks.report import finish, interval, machine, parser
from judges.nano import WEIGHTS, data, tokenizer
from judges.nano.pairs import pair_of
from judges.options import JudgeOptions
from judges.pairwise import PairwiseJudge
from judges.styles.registry import open_style
from rrm.engines import open_engine
from rrm.types import Effort, Verdict

STYLE = "thinkless"
ALPHA = 1.0
"""the authors' .001 was set for chains of thousands of tokens; see `--sweep`"""
SWEPT = (0.001, 0.01, 0.1, 0.3, 1.0)
STEPS = 28
RETEACH = 200
"""steps of supervised training by which the copy comes to choose by a coin"""
HELD = 400
CLOSE, FAR = 3, 20
LEAST_SHARE, MOST_SHARE, LEAST_APART = 0.05, 0.95, 0.3


def held_out(n: int, seed: int) -> list[data.Example]:
    rng = random.Random(f"modes held {seed}")
    return [data.draw(rng) for _ in range(n)]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def modes_of(
    thinks: Sequence[float], margins: Sequence[float], some: Sequence[data.Example]
) -> dict[str, Any]:
    """How often it thinks, by closeness, and |margin| in short where it would and would not."""
    rows = list(zip(thinks, margins, some, strict=True))
    close = mean([think for think, _, one in rows if one.gap <= CLOSE])
    far = mean([think for think, _, one in rows if one.gap > FAR])
    return {
        "think": mean(thinks),
        "close": close,
        "far": far,
        "apart": close - far,
        "bands": {
            name: mean([think for think, _, one in rows if low <= one.gap <= high])
            for name, low, high in data.BANDS
        },
        "margin_think": mean([margin for think, margin, _ in rows if think > 0.5]),
        "margin_short": mean([margin for think, margin, _ in rows if think <= 0.5]),
    }


def trained(
    coin: str, alpha: float | None, steps: int, seed: int, n: int, keep: str | None
) -> dict[str, Any]:
    """One training in a process of its own. keep: where to write the model, if anywhere."""
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    from judges.nano import degrpo

    torch.set_num_threads(1)
    words = PreTrainedTokenizerFast.from_pretrained(WEIGHTS)
    model = LlamaForCausalLM.from_pretrained(coin).eval()
    trainer = degrpo.ModeTrainer(words)
    rewards: list[float] = []
    began = time.monotonic()
    model = trainer.train(
        model,
        degrpo.Settings(alpha, steps, seed),
        lambda step, replies: rewards.append(float(replies.rewards.mean())),
    )
    some = held_out(n, 0)
    right, tokens = trainer.decide(model, some)
    if keep:
        tokenizer.save(Path(keep))
        model.save_pretrained(keep)
    fifth = max(1, len(rewards) // 5)
    return {
        "alpha": alpha,
        "seed": seed,
        "accuracy": mean(right),
        "tokens": mean(tokens),
        "rewards": [mean(rewards[:fifth]), mean(rewards[-fifth:])],
        "seconds": time.monotonic() - began,
        **modes_of(*trainer.modes(model, some), some),
    }


def coin_of(folder: str, n: int, seed: int) -> dict[str, Any]:
    """Write the copy that every training begins from; returns its figures."""
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    from judges.nano import degrpo

    torch.set_num_threads(2)
    words = PreTrainedTokenizerFast.from_pretrained(WEIGHTS)
    model = LlamaForCausalLM.from_pretrained(WEIGHTS).eval()
    coin = degrpo.reteach(model, words, RETEACH, seed)
    coin.save_pretrained(folder)
    some = held_out(n, 0)
    trainer = degrpo.ModeTrainer(words)
    right, tokens = trainer.decide(coin, some)
    return {
        "accuracy": mean(right),
        "tokens": mean(tokens),
        **modes_of(*trainer.modes(coin, some), some),
    }


def of_column(key: str) -> Callable[[Sequence[dict[str, Any]]], float]:
    return lambda rows: mean([row[key] for row in rows])


async def judged(
    judge: PairwiseJudge, effort: Effort, some: Sequence[data.Example]
) -> list[dict[str, Any]]:
    """Each pair's outcome by the service's own judge: right, thought, computed tokens, think."""

    async def one(example: data.Example) -> dict[str, Any]:
        outcome = await judge.judge(pair_of(example), JudgeOptions(effort))
        verdict = outcome if isinstance(outcome, Verdict) else None
        thinks = [o.think for o in verdict.orders if o.think is not None] if verdict else []
        return {
            "right": verdict is not None and verdict.preferred == "ab"[example.better],
            "tokens": outcome.usage.thinking_tokens,
            "computed": outcome.usage.read_tokens + outcome.usage.generated_tokens,
            "think": mean(thinks),
            "margin": abs(verdict.margin) if verdict else 0.0,
            "gap": example.gap,
        }

    return list(await asyncio.gather(*map(one, some)))


def compared(
    folders: dict[str, tuple[Path, Effort, bool]], some: Sequence[data.Example], seed: int
) -> dict[str, Any]:
    """Print and return what each judge makes of the same pairs, in both orders."""
    found: dict[str, Any] = {}
    print(f"\nthe same {len(some)} pairs, style {STYLE}, by the service's own judge:")
    for name, (folder, effort, calibrated) in folders.items():
        engine = open_engine(f"transformers:{folder}")
        try:
            judge = judge_of(engine, STYLE, folder)
            if not calibrated:
                judge = PairwiseJudge(engine, open_style(STYLE), ladder=engine.card.ladder)
            rows = asyncio.run(judged(judge, effort, some))
        finally:
            engine.close()
        cells: dict[str, Any] = {}
        for key in ("right", "tokens", "computed"):
            figure = of_column(key)
            cells[key], cells[f"{key}_95"] = figure(rows), interval(rows, figure, seed)
        found[name] = cells
        low, high = cells["right_95"]
        print(
            f"  {name:<34} right {cells['right']:.3f} [{low:.3f}, {high:.3f}], thought "
            f"{cells['tokens']:6.1f}, computed {cells['computed']:6.1f}"
        )
        if effort == "none":
            found["readout"] = readout(rows, seed)
    return found


def readout(rows: Sequence[dict[str, Any]], seed: int) -> dict[str, Any]:
    """How well thought's likelihood, and the margin, tell a verdict in short that is wrong."""

    def auroc(key: str, sign: float) -> Any:
        def figure(part: Sequence[dict[str, Any]]) -> float:
            wrong = [sign * row[key] for row in part if not row["right"]]
            right = [sign * row[key] for row in part if row["right"]]
            if not wrong or not right:
                return 0.5
            return float(mannwhitneyu(wrong, right).statistic) / len(wrong) / len(right)

        return figure

    found: dict[str, Any] = {}
    for name, figure in (("think", auroc("think", 1.0)), ("margin", auroc("margin", -1.0))):
        found[name] = figure(rows)
        found[f"{name}_95"] = interval(rows, figure, seed)
        low, high = found[f"{name}_95"]
        print(
            f"    AUROC of {name} against wrong short verdicts: {found[name]:.3f} "
            f"[{low:.3f}, {high:.3f}]"
        )
    gaps = [-row["gap"] for row in rows]
    found["closeness"] = float(spearmanr(gaps, [row["think"] for row in rows]).statistic)
    print(f"    rank correlation of think with closeness: {found['closeness']:.3f}")
    return found


def line(name: str, found: dict[str, Any]) -> str:
    bands = ", ".join(f"{band} {share:.2f}" for band, share in found["bands"].items())
    return (
        f"  {name:<22} think {found['think']:.2f} ({bands}); apart {found['apart']:+.2f}; "
        f"|margin| {found['margin_think']:.1f} where it thinks, {found['margin_short']:.1f} where "
        f"not; right {found['accuracy']:.3f}, thought {found['tokens']:.1f}"
    )


def missed(runs: Sequence[dict[str, Any]]) -> list[str]:
    """Which promises DeGRPO's seeds did not hold."""
    lines = []
    for run in runs:
        if not LEAST_SHARE < run["think"] < MOST_SHARE:
            lines.append(f"seed {run['seed']}: it thinks for {run['think']:.2f} of the pairs")
        if run["apart"] < LEAST_APART:
            lines.append(f"seed {run['seed']}: close and far differ by {run['apart']:.2f}")
        if not run["margin_think"] < run["margin_short"]:
            lines.append(f"seed {run['seed']}: it is surer where it thinks")
    return lines


def main() -> int:
    args = parser(__doc__, n=3, seed=0)
    args.add_argument("--steps", type=int, default=STEPS)
    args.add_argument("--alpha", type=float, default=ALPHA)
    args.add_argument("--sweep", action="store_true", help="one seed at each of several alphas")
    given = args.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    began = time.monotonic()
    seeds = range(given.seed, given.seed + given.n)
    wanted: list[tuple[float | None, int]] = [
        (alpha, seed) for seed in seeds for alpha in (given.alpha, None)
    ]
    if given.sweep:
        wanted = [(alpha, given.seed) for alpha in (*SWEPT, None)]
    with tempfile.TemporaryDirectory() as folder:
        coin, kept = f"{folder}/coin", f"{folder}/degrpo"
        start = coin_of(coin, HELD, given.seed)
        print(line("a coin (the start)", start), flush=True)
        runs = []
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            futures = [
                pool.submit(
                    trained,
                    coin,
                    alpha,
                    given.steps,
                    seed,
                    HELD,
                    kept if (alpha, seed) == wanted[0] else None,
                )
                for alpha, seed in wanted
            ]
            for future in futures:
                runs.append(run := future.result())
                name = "GRPO" if run["alpha"] is None else f"DeGRPO {run['alpha']:g}"
                print(line(f"{name}, seed {run['seed']}", run), flush=True)
        beside = {}
        if not given.sweep:
            beside = compared(
                {
                    "always short": (WEIGHTS, "none", False),
                    "nano's own mode, as taught": (WEIGHTS, "adaptive", False),
                    f"DeGRPO's own mode, seed {given.seed}": (Path(kept), "adaptive", False),
                    "our policy": (WEIGHTS, "adaptive", True),
                    "whole chains": (WEIGHTS, "full", False),
                },
                held_out(HELD, 1),
                given.seed,
            )
    ours = [run for run in runs if run["alpha"] == given.alpha]
    plain = [run for run in runs if run["alpha"] is None]
    print(
        f"\nmachine: {machine()}; model: nano; seeds {seeds}, {given.steps} steps, "
        f"{HELD} held-out pairs"
    )
    print(f"took {time.monotonic() - began:.0f} s")
    for name, some in (("DeGRPO", ours), ("GRPO", plain)):
        shares = ", ".join(f"{run['think']:.2f}" for run in some)
        apart = ", ".join(f"{run['apart']:.2f}" for run in some)
        print(f"{name}: thinks {shares}; more at gaps of 1 to {CLOSE} than over {FAR} by {apart}")
    print(
        f"goals for every seed of DeGRPO: share in ({LEAST_SHARE}, {MOST_SHARE}), "
        f"apart by {LEAST_APART}"
    )
    figures = {"start": start, "runs": runs, "beside": beside, "alpha": given.alpha}
    return finish(figures, [] if given.sweep else missed(ours), given.json)


if __name__ == "__main__":
    sys.exit(main())
