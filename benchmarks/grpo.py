"""TRL's GRPO with nano as its judge: `python -m benchmarks.grpo [--plot FILE]`.

A tiny policy (a Llama of 2 layers with nano's tokenizer) first learns to answer small sums in the
right form but with random numbers. Then `GRPOTrainer` trains it with `CloseCallReward` alone. Its
reward is relative to its own group, so progress is told by what the judge never says: how far the
answers are from the truth, and how often they are exact.
"""

from __future__ import annotations

import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PrinterCallback
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from benchmarks.report import finish, interval, machine, parser
from judges.nano import CALIBRATION, WEIGHTS
from judges.pairwise import PairwiseJudge
from judges.styles.registry import open_style
from rrm.calibration.artifact import load_calibration
from rrm.engines import open_engine
from serving.rlhf.trl import CloseCallReward

TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"
SUMS = [(a, b) for a in range(11, 15) for b in range(21, 23)]
GENERATIONS = 8
LEAST = 0.25
"""of the distance from the truth that training has to take away"""


def question(a: int, b: int) -> str:
    return f"What is {a} + {b}?"


def make_policy(words: Any, seed: int, steps: int) -> LlamaForCausalLM:
    """A policy that says `It is N.` with N anywhere within 40 of the truth."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        eos_token_id=words.eos_token_id,
        bos_token_id=words.bos_token_id,
        pad_token_id=words.pad_token_id,
    )
    policy = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=3e-3)
    for _ in range(steps):
        texts = []
        for _ in range(32):
            a, b = rng.choice(SUMS)
            texts.append(f"{question(a, b)} It is {a + b + rng.randint(-30, 40)}.")
        ids = words([text + words.eos_token for text in texts], padding=True, return_tensors="pt")
        labels = ids.input_ids.masked_fill(ids.attention_mask == 0, -100)
        loss = policy(
            input_ids=ids.input_ids, attention_mask=ids.attention_mask, labels=labels
        ).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return policy


class Watched(CloseCallReward):
    """Keeps what was said and how it was rewarded."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.steps: list[list[tuple[str, str, float | None]]] = []

    async def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], *rest: Any, **columns: Any
    ) -> list[float | None]:
        rewards = await super().__call__(prompts, completions, *rest, **columns)
        self.steps.append(list(zip(prompts, completions, rewards, strict=True)))
        if len(self.steps) % 5 == 1:
            step = distances(self.steps[-1])
            print(f"  step {len(self.steps)}: distance {sum(step) / len(step):.1f}", flush=True)
        return rewards


def train(
    reward: CloseCallReward, steps: int, seed: int, folder: str, warm_up: int = 400
) -> GRPOTrainer:
    """GRPO on the sums; returns the trainer with its log history."""
    words = AutoTokenizer.from_pretrained(WEIGHTS)
    words.chat_template = TEMPLATE
    words.padding_side = "left"
    config = GRPOConfig(
        output_dir=folder,
        per_device_train_batch_size=4 * GENERATIONS,
        num_generations=GENERATIONS,
        max_completion_length=10,
        max_steps=steps,
        learning_rate=3e-4,
        temperature=1.0,
        beta=0.0,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        seed=seed,
        disable_tqdm=True,
    )
    trainer = GRPOTrainer(
        model=make_policy(words, seed, warm_up),
        reward_funcs=reward,  # type: ignore[arg-type]  # its annotation knows no async one
        args=config,
        train_dataset=Dataset.from_list([{"prompt": question(a, b)} for a, b in SUMS * 40]),
        processing_class=words,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return trainer


def distances(step: Sequence[tuple[str, str, float | None]]) -> list[float]:
    """How far each answer is from the truth, at most 100; no number counts as 100."""
    found = []
    for prompt, completion, _ in step:
        truth = sum(int(number) for number in re.findall(r"\d+", prompt))
        said = re.search(r"\d+", completion)
        found.append(min(100.0, abs(int(said[0]) - truth)) if said else 100.0)
    return found


def plot(path: Path, means: Sequence[float], exact: Sequence[float]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.2))
    left.plot(means)
    left.set(xlabel="GRPO step", ylabel="mean distance from the truth", ylim=(0, None))
    right.plot(exact, color="tab:green")
    right.set(xlabel="GRPO step", ylabel="share of exact answers", ylim=(0, 1))
    figure.suptitle("TRL's GRPO, rewarded by nano's comparisons alone")
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main() -> int:
    args = parser(__doc__, n=60, seed=3)
    args.add_argument("--plot", type=Path, help="write a picture to this file")
    given = args.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    style = open_style("rrm")
    engine = open_engine(f"transformers:{WEIGHTS}")
    calibration = load_calibration(CALIBRATION, "rrm", style.prompt_hash)
    reward = Watched(PairwiseJudge(engine, style, calibration, engine.card.ladder))
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        trainer = train(reward, given.n, given.seed, folder)
    took = time.monotonic() - began
    engine.close()
    steps = [distances(step) for step in reward.steps]
    means = [sum(step) / len(step) for step in steps]
    exact = [sum(d == 0 for d in step) / len(step) for step in steps]
    every = max(1, len(steps) // 10)
    for index in range(0, len(steps), every):
        log = trainer.state.log_history[index]
        print(
            f"  step {index:3}: distance {means[index]:5.1f}, exact {exact[index]:.2f}, "
            f"spread of the reward {float(log['reward_std'] or 0):.2f}, "
            f"thinking tokens a pair {float(log['closecall/thinking_tokens_per_pair']):.0f}"
        )
    fifth = max(1, len(steps) // 5)
    ends = [list(chain.from_iterable(part)) for part in (steps[:fifth], steps[-fifth:])]
    shown = [
        (sum(end) / len(end), *interval(end, lambda x: sum(x) / len(x), given.seed)) for end in ends
    ]
    if given.plot:
        plot(given.plot, means, exact)
    lost = sum(r is None for step in reward.steps for _, _, r in step)
    print(f"machine: {machine()}; judge: nano; seed {given.seed}, n {given.n} steps, {took:.0f} s")
    print(f"rewards that were None: {lost} of {sum(map(len, steps))}")
    for name, (mean, low, high) in zip(("first", "last"), shown, strict=True):
        print(f"distance from the truth, {name} fifth: {mean:.1f} [{low:.1f}, {high:.1f}]")
    missed = []
    if shown[1][0] > (1 - LEAST) * shown[0][0]:
        missed.append(f"distance fell by less than {LEAST:.0%}")
    figures = {"distance": means, "exact": exact, "none": lost, "ends": shown, "n": given.n}
    return finish(figures, missed, given.json)


if __name__ == "__main__":
    sys.exit(main())
