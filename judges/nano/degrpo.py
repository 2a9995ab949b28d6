"""Teaches a copy of nano to choose its mode by reward alone: DeGRPO (Thinkless, arXiv 2505.13379).

The copy first forgets what it was taught about its mode (`reteach`: a coin for every pair). Then
groups of replies are sampled, a right one in short is worth more than a right one with thought, and
the policy gradient is decoupled: the first token, which chooses the mode, has a loss of its own, so
that long chains do not drown it. `alpha=None` is GRPO as it was, in the same harness.

As in the authors' code (`verl/trainer/ppo/core_algos.py`) a mean runs over all masked tokens of a
mini-batch; the paper divides by each reply's length instead. Left out: their KL term, whose weight
is .001.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from judges.nano import data
from judges.nano.lessons import Teacher, padded
from judges.nano.train import loss_of, update
from judges.styles.label import LabelStyle
from judges.styles.registry import family_style
from rrm.parse import Choice

SHORT_RIGHT, THINK_RIGHT, WRONG, MALFORMED = 1.0, 0.5, -1.0, -1.0
"""rewards of a right reply in short, of one with thought, of a wrong one, of one in no mode"""
GROUP = 8
"""replies to one question"""
QUESTIONS = 16
"""a step"""
MINI_BATCH = 64
"""replies an update"""
CLIP = 0.2
LONGEST = 150
"""tokens of a reply"""
RATE = 2e-4


@dataclass(frozen=True)
class Settings:
    """One training. alpha: weight of the mode's own loss; None: GRPO without one."""

    alpha: float | None
    steps: int
    seed: int


@dataclass(frozen=True)
class Replies:
    """Sampled replies, prompts padded on the left.

    ids, mask: (rows, length), mask true for what was written; old: (rows, length - 1) its
    log-probabilities; advantages: (rows,); thinks: share that began with thought.
    """

    ids: torch.Tensor
    attention: torch.Tensor
    mask: torch.Tensor
    old: torch.Tensor
    advantages: torch.Tensor
    rewards: torch.Tensor
    thinks: float

    def rows(self, chosen: torch.Tensor) -> Replies:
        """Some of the rows."""
        return Replies(
            self.ids[chosen],
            self.attention[chosen],
            self.mask[chosen],
            self.old[chosen],
            self.advantages[chosen],
            self.rewards[chosen],
            self.thinks,
        )


def policy_loss(
    logprobs: torch.Tensor,
    old: torch.Tensor,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    alpha: float | None,
) -> torch.Tensor:
    """DeGRPO's loss (arXiv 2505.13379, equation 5, means as in the code); alpha=None: GRPO's.

    logprobs, old: (rows, tokens) log-probabilities of what was written, now and when it was
    sampled. advantages: (rows,). mask: (rows, tokens), true for what was written; each row's first
    such token is its mode.
    """
    ratio = torch.exp(logprobs - old)
    gain = advantages[:, None]
    losses = torch.maximum(-gain * ratio, -gain * ratio.clamp(1 - CLIP, 1 + CLIP))
    if alpha is None:
        return _masked_mean(losses, mask)
    first = mask & (mask.cumsum(1) == 1)
    return alpha * _masked_mean(losses, first) + _masked_mean(losses, mask & ~first)


def _masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return (values * mask).sum() / mask.sum().clamp(min=1)


def advantages_of(rewards: torch.Tensor) -> torch.Tensor:
    """(rows,) rewards in groups of GROUP, less each group's mean; no division by its spread.

    A group whose rewards are all equal has nothing to teach: zero.
    """
    groups = rewards.reshape(-1, GROUP)
    return (groups - groups.mean(1, keepdim=True)).reshape(-1)


class ModeTrainer:
    """Samples replies of a hybrid and learns from their rewards."""

    def __init__(self, words: PreTrainedTokenizerFast) -> None:
        style = family_style("thinkless")
        if not isinstance(style, LabelStyle):
            raise TypeError("the style thinkless has no labels")
        self.words, self.style = words, style
        self.teacher = Teacher(words)
        [self.think], [self.short] = map(self.teacher.encode, (style.opening, style.short))
        self.short_start = self.teacher.encode(style.suffix("", ended=False))
        """how a reply in short begins: its mode, then where the verdict's label stands"""

    def train(
        self,
        model: LlamaForCausalLM,
        settings: Settings,
        watch: Callable[[int, Replies], None] | None = None,
    ) -> LlamaForCausalLM:
        """A copy of `model`, trained. watch: told each step's replies."""
        trained = copy.deepcopy(model)
        trained.train()
        torch.manual_seed(settings.seed)
        rng = random.Random(f"degrpo {settings.seed}")
        optimizer = torch.optim.AdamW(trained.parameters(), lr=RATE, weight_decay=0.0)
        for step in range(settings.steps):
            examples = [data.draw(rng) for _ in range(QUESTIONS)]
            replies = self.sample(trained, examples)
            if watch is not None:
                watch(step, replies)
            useful = replies.advantages.reshape(-1, GROUP).any(1).repeat_interleave(GROUP)
            order = useful.nonzero()[:, 0]
            order = order[torch.randperm(len(order))]
            for start in range(0, len(order), MINI_BATCH):
                chosen = replies.rows(order[start : start + MINI_BATCH])
                loss = self.loss(trained, chosen, settings.alpha)
                update(trained, optimizer, loss)
        trained.eval()
        return trained

    def loss(self, model: LlamaForCausalLM, replies: Replies, alpha: float | None) -> torch.Tensor:
        """The policy loss of some replies."""
        keep = replies.attention.any(0).nonzero()[0, 0]  # all rows are padded up to here
        ids, attention = replies.ids[:, keep:], replies.attention[:, keep:]
        written = replies.mask[:, keep + 1 :]
        positions = (attention.cumsum(1) - 1).clamp(min=0)
        logits = model(input_ids=ids, attention_mask=attention, position_ids=positions).logits
        logprobs = torch.log_softmax(logits[:, :-1], -1)
        logprobs = logprobs.gather(2, ids[:, 1:, None])[..., 0]
        return policy_loss(logprobs, replies.old[:, keep:], replies.advantages, written, alpha)

    @torch.no_grad()
    def sample(self, model: LlamaForCausalLM, examples: Sequence[data.Example]) -> Replies:
        """GROUP replies to each question at temperature 1, and what they are worth."""
        prompts = [
            self.teacher.encode(self.teacher.prompt(self.style, example)) for example in examples
        ]
        rows = [prompt for prompt in prompts for _ in range(GROUP)]
        ids, attention = left_padded(rows, self.words.pad_token_id)
        generating: Any = model.eval()
        made = generating.generate(
            input_ids=ids,
            attention_mask=attention,
            max_new_tokens=LONGEST,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            pad_token_id=self.words.pad_token_id,
            eos_token_id=self.words.eos_token_id,
            output_logits=True,
            return_dict_in_generate=True,
        )
        model.train()
        written = made.sequences[:, ids.shape[1] :]
        logprobs = torch.log_softmax(torch.stack(made.logits, 1), -1)
        logprobs = logprobs.gather(2, written[..., None])[..., 0]
        ended = (written == self.words.eos_token_id).cumsum(1)
        own = (ended == 0) | ((ended == 1) & (written == self.words.eos_token_id))
        rewards = torch.tensor(
            [
                self.reward(reply[kept].tolist(), examples[row // GROUP])
                for row, (reply, kept) in enumerate(zip(written, own, strict=True))
            ]
        )
        before = torch.zeros(len(rows), ids.shape[1] - 1)
        return Replies(
            ids=made.sequences,
            attention=torch.cat([attention, own.long()], 1),
            mask=torch.cat([torch.zeros_like(ids, dtype=torch.bool), own], 1),
            old=torch.cat([before, logprobs], 1),
            advantages=advantages_of(rewards),
            rewards=rewards,
            thinks=float((written[:, 0] == self.think).float().mean()),
        )

    def reward(self, reply: Sequence[int], example: data.Example) -> float:
        """What one reply, as token ids, is worth.

        It thinks and closes its thought, or gives its verdict at once. Anything else is malformed:
        a policy finds out soon that thought behind another first token would pass for none.
        """
        text = str(self.words.decode(list(reply), skip_special_tokens=True))
        verdict = self.style.parse(text, 2)
        thought = reply[0] == self.think
        in_short = list(reply[: len(self.short_start)]) == self.short_start
        if not isinstance(verdict, Choice) or not (thought or in_short):
            return MALFORMED
        if verdict.index != example.better:
            return WRONG
        return THINK_RIGHT if thought else SHORT_RIGHT

    @torch.no_grad()
    def modes(
        self, model: LlamaForCausalLM, examples: Sequence[data.Example]
    ) -> tuple[list[float], list[float]]:
        """Of each example: how likely it is to think, and |margin| of its verdict in short."""
        prompts = [
            self.teacher.encode(self.teacher.prompt(self.style, example)) for example in examples
        ]
        logits = self._after(model, prompts)
        think = torch.sigmoid(logits[:, self.think] - logits[:, self.short]).tolist()
        first, second = (self.teacher.encode(label)[0] for label in self.style.labels)
        logits = self._after(model, [prompt + self.short_start for prompt in prompts])
        return think, (logits[:, first] - logits[:, second]).abs().tolist()

    @torch.no_grad()
    def decide(
        self, model: LlamaForCausalLM, examples: Sequence[data.Example]
    ) -> tuple[list[bool], list[int]]:
        """Of each example, in one order: whether the likeliest reply is right, and its thought.

        Thought is counted in tokens, 0 where it answers in short.
        """
        right, tokens = [], []
        stop = self.teacher.encode(self.style.stop)[0]
        for start in range(0, len(examples), 128):
            some = examples[start : start + 128]
            ids, attention = left_padded(
                [self.teacher.encode(self.teacher.prompt(self.style, one)) for one in some],
                self.words.pad_token_id,
            )
            generating: Any = model
            made = generating.generate(
                input_ids=ids,
                attention_mask=attention,
                max_new_tokens=LONGEST,
                do_sample=False,
                pad_token_id=self.words.pad_token_id,
                eos_token_id=self.words.eos_token_id,
            )
            for reply, example in zip(made[:, ids.shape[1] :].tolist(), some, strict=True):
                right.append(self.reward(reply, example) > 0)
                thought = reply[0] == self.think
                end = reply.index(stop) if stop in reply else len(reply)
                tokens.append(end - 1 if thought else 0)
        return right, tokens

    def _after(self, model: LlamaForCausalLM, rows: Sequence[list[int]]) -> torch.Tensor:
        """(rows, vocabulary) next-token logits."""
        found = []
        for start in range(0, len(rows), 128):
            ids, attention = left_padded(rows[start : start + 128], self.words.pad_token_id)
            positions = (attention.cumsum(1) - 1).clamp(min=0)
            output = model(
                input_ids=ids, attention_mask=attention, position_ids=positions, logits_to_keep=1
            )
            found.append(output.logits[:, -1])
        return torch.cat(found)


def reteach(
    model: LlamaForCausalLM, words: PreTrainedTokenizerFast, steps: int, seed: int
) -> LlamaForCausalLM:
    """A copy that chooses its mode by a coin, whatever the pair; else as it was taught."""
    copied = copy.deepcopy(model)
    copied.train()
    teacher = Teacher(words, shares=(0.0, 0.0, 0.0, 1.0), mode=lambda gap: 0.5)
    rng = random.Random(f"reteach {seed}")
    optimizer = torch.optim.AdamW(copied.parameters(), lr=RATE, weight_decay=0.0)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - step / steps)
        rows = [teacher.row(rng, 1.0, fine=True) for _ in range(32)]
        loss = loss_of(copied, padded(rows, words.pad_token_id))
        update(copied, optimizer, loss)
    copied.eval()
    return copied


def left_padded(rows: Sequence[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows, length) ids, `pad` before each row, and 1 where a row has a token of its own."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad)
    attention = torch.zeros(len(rows), width, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, width - len(row) :] = torch.tensor(row)
        attention[index, width - len(row) :] = 1
    return ids, attention
