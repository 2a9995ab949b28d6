"""Makes nano: `python -m judges.nano.train OUT [--minutes 85] [--seed 0]`, on two CPU cores.

Two phases by time: 70 % at rate 1e-3, whole chains first, then mostly cut ones, so that a verdict
can be read anywhere; 30 % from 4e-4 with heavier verdicts behind cut chains, since estimating
without a chain is what is learned last. README.md beside this file has the run that made the
bundled weights.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from judges.nano import data, tokenizer
from judges.styles.hooks import STAND_IN
from judges.styles.registry import open_style
from rrm.style import Style

ROWS = 32
FIRST_PHASE = 0.7
"""share of the time"""
STYLES = ("rrm", "rm-r1", "grm")


@dataclass(frozen=True)
class Clock:
    """How far training has come, by time."""

    began: float
    seconds: float

    @property
    def spent(self) -> float:
        return (time.monotonic() - self.began) / self.seconds

    @property
    def progress(self) -> float:
        """Through the first phase."""
        return min(1.0, self.spent / FIRST_PHASE)

    @property
    def fine(self) -> bool:
        return self.spent > FIRST_PHASE

    @property
    def rate(self) -> float:
        """Learning rate: linear to a fiftieth of each phase's first."""
        if self.fine:
            return 4e-4 * max(0.02, (1 - self.spent) / (1 - FIRST_PHASE))
        return 1e-3 * max(0.02, 1 - self.progress)


class Teacher:
    """Examples -> token ids and loss weights."""

    def __init__(self, words: PreTrainedTokenizerFast) -> None:
        self.words = words
        self.styles: dict[str, Style] = {name: open_style(name) for name in STYLES}

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self.words(text, add_special_tokens=False).input_ids
        return ids

    def prompt(self, style: Style, example: data.Example) -> str:
        rendered = style.render(example.question, example.responses)
        turns = [turn.model_dump() for turn in rendered.messages]
        text = self.words.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        return str(text) + rendered.opening

    def row(self, rng: random.Random, progress: float, fine: bool) -> tuple[list[int], list[float]]:
        """One sequence: prompt, a whole or cut chain, the close, the verdict."""
        name = rng.choice(STYLES)
        style = self.styles[name]
        problem = data.draw_problem(rng, progress)
        n = rng.choices([1, 2, 3, 4], [2, 6, 1, 1])[0] if name == "grm" else 2
        example = data.respond(rng, problem, n)
        head = self.encode(STAND_IN) if name == "grm" else []
        prompt = self.encode(self.prompt(style, example)) + head
        chain = self.encode(data.chain(name, example))
        close = self.encode(style.suffix(STAND_IN, ended=False))
        verdict = [*self.encode(data.verdict(name, example.errors)), self.words.eos_token_id]
        whole = rng.random() < (0.25 if fine else 0.75 if progress < 0.35 else 0.34)
        cut = 0 if rng.random() < 0.5 else rng.randint(0, len(chain))
        kept = len(chain) if whole else cut
        done = kept == len(chain)
        label = 10.0 if fine and not done else 3.0
        weights = [0.0] * len(prompt) + [1.0] * kept + [float(done)] * len(close)
        weights += [label] * (len(verdict) - 2) + [1.0, 1.0]
        if head:
            weights[len(prompt) - 1] = 1.0
        return prompt + chain[:kept] + close + verdict, weights

    def batches(
        self, rng: random.Random, rows: int, clock: Clock
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """(rows, length) ids and weights; rows of like length together, so little is padding."""
        while True:
            made = (self.row(rng, clock.progress, clock.fine) for _ in range(rows * 16))
            ordered = sorted(made, key=lambda row: len(row[0]))
            chunks = [ordered[i : i + rows] for i in range(0, len(ordered), rows)]
            rng.shuffle(chunks)
            for chunk in chunks:
                width = max(len(ids) for ids, _ in chunk)
                ids = torch.full((rows, width), self.words.pad_token_id)
                weights = torch.zeros(rows, width)
                for index, (tokens, shares) in enumerate(chunk):
                    ids[index, : len(tokens)] = torch.tensor(tokens)
                    weights[index, : len(shares)] = torch.tensor(shares)
                yield ids, weights


def new_model(words: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """0.84 million parameters. Llama: for qwen2, transformers ignores the saved tokenizer."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words),
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
            attention_bias=True,
            bos_token_id=None,
            eos_token_id=words.eos_token_id,
            pad_token_id=words.pad_token_id,
        )
    )


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted mean cross-entropy of the tokens that have a weight."""
    hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]
    target, weights = ids[:, 1:].reshape(-1), weights[:, 1:].reshape(-1)
    weighted = weights > 0
    logits = model.lm_head(hidden.reshape(-1, hidden.shape[-1])[weighted])
    losses = functional.cross_entropy(logits, target[weighted], reduction="none")
    return (losses * weights[weighted]).sum() / weights[weighted].sum()


def train(out: Path, minutes: float, seed: int) -> float:
    """Train for `minutes` and write the model directory. Returns the smoothed loss."""
    torch.manual_seed(seed)
    rng = random.Random(seed + 1)
    out.mkdir(parents=True, exist_ok=True)
    words = tokenizer.save(out)
    model = new_model(words)
    clock = Clock(time.monotonic(), minutes * 60)
    batches = Teacher(words).batches(rng, ROWS, clock)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    step, mean = 0, 0.0
    while clock.spent < 1:
        for group in optimizer.param_groups:
            group["lr"] = clock.rate * min(1.0, (step + 1) / 300)
        loss = loss_of(model, *next(batches))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step, mean = step + 1, 0.98 * mean + 0.02 * loss.item()
        if step % 500 == 0:
            smoothed = mean / (1 - 0.98**step)
            print(f"step {step}  loss {smoothed:.4f}  {clock.spent * clock.seconds:.0f} s")
    model.save_pretrained(out)
    return mean / (1 - 0.98**step) if step else float("nan")


def main() -> None:
    """Train as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=85.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(2)
    train(args.out, args.minutes, args.seed)


if __name__ == "__main__":
    main()
