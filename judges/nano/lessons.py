"""What one step of training sees: rows of token ids with loss weights, drawn from a step's number.

Every batch hangs on the seed and the number of its step alone, so training can stop anywhere and go
on, and any number of workers may prepare what is next.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.utils.data import Dataset

from judges.nano import data
from judges.nano.lookups import draw_lookup
from judges.nano.tokenizer import STYLES
from judges.nano.tricks import draw_tricked
from judges.styles.hooks import STAND_IN
from judges.styles.registry import families, open_style
from rrm.style import Style

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

ROWS = 32
CHUNK = 16
"""batches that are drawn together, so that rows of like length share one"""
FIRST_PHASE = 0.7
"""share of the steps"""
WORDING_SHARES = (0.5, 0.25, 0.12, 0.06, 0.035, 0.02, 0.01, 0.005)
"""of the rows, by number of the instruction's wording: the last is one row in two hundred"""
STYLE_SHARES = (0.28, 0.28, 0.26, 0.18)
"""of the rows, by style"""
LOOKUPS, TRICKS = 0.2, 0.25
"""shares of the rows, once the first sums are learnt"""
SETTLED = 0.15
"""progress from which on there are any of them"""
Row = tuple[list[int], list[float]]
Batch = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Schedule:
    """How far training has come, by step."""

    steps: int

    def progress(self, step: int) -> float:
        """Through the first phase, 0 to 1."""
        return min(1.0, step / self.steps / FIRST_PHASE)

    def fine(self, step: int) -> bool:
        """The second phase: mostly cut chains, and heavier verdicts behind them."""
        return step >= self.steps * FIRST_PHASE

    def rate(self, step: int) -> float:
        """Learning rate: linear to a fiftieth of each phase's first, after 300 steps of warm-up."""
        if self.fine(step):
            rate = 4e-4 * max(0.02, (1 - step / self.steps) / (1 - FIRST_PHASE))
        else:
            rate = 1e-3 * max(0.02, 1 - self.progress(step))
        return rate * min(1.0, (step + 1) / 300)


def think_share(gap: int) -> float:
    """How often a pair of this difference of errors is taught to begin with `<think>`.

    .9 up to 3, .1 from 100 on, linear in the logarithm between.
    """
    along = math.log(max(gap, 1) / 3) / math.log(100 / 3)
    return 0.9 - 0.8 * min(1.0, max(0.0, along))


class Teacher:
    """Examples -> token ids and loss weights."""

    def __init__(
        self,
        words: PreTrainedTokenizerFast,
        shares: Sequence[float] = STYLE_SHARES,
        mode: Callable[[int], float] = think_share,
    ) -> None:
        """shares: of the rows, by style. mode: from a gap to how often a hybrid is to think."""
        self.words, self.shares, self.mode = words, shares, mode
        self.styles: dict[str, tuple[Style, ...]] = {
            name: tuple(
                open_style(name, wording) for wording in range(families()[name].wordings_count)
            )
            for name in STYLES
        }

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self.words.backend_tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def prompt(self, style: Style, example: data.Example) -> str:
        """The question in nano's chat template, up to where the chain begins."""
        rendered = style.render(example.question, example.responses)
        opening = "" if style.short else rendered.opening
        turns = [turn.model_dump() for turn in rendered.messages]
        text = self.words.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        return str(text) + opening

    def row(self, rng: random.Random, progress: float, fine: bool) -> Row:
        """One sequence: prompt, mode, a whole or cut chain, the close, the verdict."""
        [name] = rng.choices(STYLES, self.shares)
        wordings = self.styles[name]
        [style] = rng.choices(wordings, WORDING_SHARES[: len(wordings)])
        n = rng.choices([1, 2, 3, 4], [2, 6, 1, 1])[0] if name == "grm" else 2
        example = _draw(rng, n, progress)
        head = self.encode(STAND_IN) if name == "grm" else []
        ids = self.encode(self.prompt(style, example)) + head
        weights = [0.0] * len(ids)
        if head:
            weights[-1] = 1.0
        verdict = [*self.encode(data.verdict(name, example.errors)), self.words.eos_token_id]
        if style.short:
            chosen = rng.random() < 0.5  # else the mode is forced, and the model learns to follow
            think = rng.random() < (self.mode(example.gap) if chosen else 0.5)
            opening = style.render(example.question, example.responses).opening
            mode = self.encode(opening if think else style.short)
            ids += mode
            weights += [float(chosen)] * len(mode)
            if not think:
                close = self.encode(style.suffix("", ended=True))
                return self._end(ids, weights, close, verdict, 1.0, 10.0 if fine else 3.0)
        chain, written = [], []
        for text, own in data.chain_parts(name, example):
            piece = self.encode(text)
            chain += piece
            written += [float(own)] * len(piece)
        whole = rng.random() < (0.25 if fine else 0.75 if progress < 0.35 else 0.34)
        cut = 0 if rng.random() < 0.5 else rng.randint(0, len(chain))
        kept = len(chain) if whole else cut
        done = kept == len(chain)
        close = self.encode(style.suffix(STAND_IN, ended=False))
        ids += chain[:kept]
        weights += written[:kept]
        label = 10.0 if fine and not done else 3.0
        return self._end(ids, weights, close, verdict, float(done), label)

    @staticmethod
    def _end(
        ids: list[int],
        weights: list[float],
        close: list[int],
        verdict: list[int],
        closing: float,
        label: float,
    ) -> Row:
        weights = [*weights, *[closing] * len(close), *[label] * (len(verdict) - 2), 1.0, 1.0]
        return [*ids, *close, *verdict], weights

    def chunk(self, seed: int, number: int, schedule: Schedule) -> list[Batch]:
        """The batches of steps CHUNK * number and on: (rows, length) ids and weights."""
        rng = random.Random(f"nano {seed} {number}")
        first = number * CHUNK
        progress, fine = schedule.progress(first), schedule.fine(first)
        rows = sorted(
            (self.row(rng, progress, fine) for _ in range(ROWS * CHUNK)),
            key=lambda row: len(row[0]),
        )
        groups = [rows[i : i + ROWS] for i in range(0, len(rows), ROWS)]
        rng.shuffle(groups)
        return [padded(group, self.words.pad_token_id) for group in groups]


class Lessons(Dataset[list[Batch]]):
    """Chunks of batches by their number, for a DataLoader."""

    def __init__(self, words: PreTrainedTokenizerFast, seed: int, schedule: Schedule) -> None:
        self.teacher, self.seed, self.schedule = Teacher(words), seed, schedule

    def __len__(self) -> int:
        return math.ceil(self.schedule.steps / CHUNK)

    def __getitem__(self, number: int) -> list[Batch]:
        return self.teacher.chunk(self.seed, number, self.schedule)


def padded(rows: list[Row], pad: int) -> Batch:
    """(rows, length) token ids, `pad` behind each row, and loss weights."""
    width = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), width), pad)
    weights = torch.zeros(len(rows), width)
    for index, (tokens, shares) in enumerate(rows):
        ids[index, : len(tokens)] = torch.tensor(tokens)
        weights[index, : len(shares)] = torch.tensor(shares)
    return ids, weights


def _draw(rng: random.Random, n: int, progress: float) -> data.Example:
    kind = rng.random()
    if progress >= SETTLED:
        if kind < LOOKUPS:
            return data.respond(rng, draw_lookup(rng), n)
        if kind < LOOKUPS + TRICKS:
            return draw_tricked(rng, n, progress)
    return data.draw(rng, n, progress)
