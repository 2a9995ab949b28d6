"""Makes nano: `python -m judges.nano.train OUT [--steps 40000] [--seed 0] [--device cpu]`.

Two phases: 70 % of the steps at rate 1e-3 falling, whole chains first, then mostly cut ones, so
that a verdict can be read anywhere; 30 % from 4e-4 with heavier verdicts behind cut chains, since
estimating without a chain is what is learned last. A run that was stopped goes on where its last
checkpoint in OUT was written. README.md beside this file has the run that made the bundled weights.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.nn import functional
from torch.utils.data import DataLoader, Subset
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from judges.nano import tokenizer
from judges.nano.lessons import CHUNK, Batch, Lessons, Schedule

CHECKPOINT = "checkpoint.pt"
EVERY = 1_008
"""steps between two checkpoints; whole chunks"""


def new_model(words: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """0.86 million parameters. Llama: for qwen2, transformers ignores the saved tokenizer."""
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


def loss_of(model: LlamaForCausalLM, batch: Batch, device: str = "cpu") -> torch.Tensor:
    """Weighted mean cross-entropy of the tokens that have a weight.

    batch: (rows, length) ids and weights, on the CPU.
    """
    ids, weights = batch
    flat = weights[:, 1:].reshape(-1)
    places = flat.nonzero()[:, 0]
    target = ids[:, 1:].reshape(-1)[places].to(device, non_blocking=True)
    shares = flat[places].to(device, non_blocking=True)
    hidden = model.model(input_ids=ids.to(device, non_blocking=True)).last_hidden_state[:, :-1]
    chosen = hidden.reshape(-1, hidden.shape[-1])[places.to(device, non_blocking=True)]
    losses = functional.cross_entropy(model.lm_head(chosen), target, reduction="none")
    return (losses * shares).sum() / shares.sum()


def update(model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """One step down `loss`, its gradient clipped to a norm of 1."""
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def batches(lessons: Lessons, step: int, workers: int) -> Iterator[Batch]:
    """Those of `step` and on."""
    rest = Subset(lessons, range(step // CHUNK, len(lessons)))
    for chunk in DataLoader(rest, batch_size=None, num_workers=workers):
        yield from chunk


def train(
    out: Path,
    steps: int,
    seed: int = 0,
    device: str = "cpu",
    workers: int = 0,
) -> float:
    """Train for `steps` and write the model directory. Returns the smoothed loss.

    workers: processes that prepare batches beside the training.
    """
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    words = tokenizer.save(out)
    model = new_model(words)
    torch.nn.Module.to(model, device)
    schedule = Schedule(steps)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    step, mean = 0, torch.zeros((), device=device)
    checkpoint = out / CHECKPOINT
    if checkpoint.is_file():
        saved = torch.load(checkpoint, map_location=device)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        step, mean = saved["step"], saved["mean"]
    began, first = time.monotonic(), step
    for batch in batches(Lessons(words, seed, schedule), step, workers):
        if step >= steps:
            break
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        loss = loss_of(model, batch, device)
        update(model, optimizer, loss)
        step, mean = step + 1, 0.98 * mean + 0.02 * loss.detach()
        if step % 500 == 0:
            spent = time.monotonic() - began
            smoothed = mean.item() / (1 - 0.98**step)
            print(f"step {step}  loss {smoothed:.4f}  {spent:.0f} s", flush=True)
        if step % EVERY == 0:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**state, "step": step, "mean": mean}, fresh := out / f"{CHECKPOINT}.new")
            fresh.replace(checkpoint)  # a kill while it is written leaves the one before
    seconds = time.monotonic() - began
    print(f"{step - first} steps in {seconds:.0f} s on {device}", flush=True)
    torch.nn.Module.to(model, "cpu")
    model.save_pretrained(out)
    checkpoint.unlink(missing_ok=True)
    return mean.item() / (1 - 0.98**step) if step else float("nan")


def main() -> None:
    """Train as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--workers", type=int, default=0, help="processes that prepare batches")
    args = parser.parse_args()
    torch.set_num_threads(2)
    train(args.out, args.steps, args.seed, args.device, args.workers)


if __name__ == "__main__":
    main()
