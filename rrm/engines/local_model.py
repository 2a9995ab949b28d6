"""Forward passes of one model in this process: prefill, probes and decoding, many rows at once.

Every sequence owns its key-value cache, complete up to its last token. A probe runs on a copy put
together for its batch and is dropped with it: the sequence's cache is only read.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from rrm.engines.base import ExtendRequest
from rrm.engines.kv_cache import LocalSequence, draw, row_of, side_by_side
from rrm.engines.tokenizer import ChatTokenizer

TICK = 8
"""tokens decoded between two looks at the queue"""
MAX_PREFILL = 16_384
"""tokens of one prefill pass"""


@dataclass(eq=False)
class ProbeJob:
    """A row of a probe: logits after sequence + ids."""

    sequence: LocalSequence
    ids: tuple[int, ...]
    done: Future[torch.Tensor] = field(default_factory=Future)


@dataclass(eq=False)
class ExtendJob:
    """A sequence that grows by up to `left` tokens, or until one of `stops`."""

    request: ExtendRequest
    sequence: LocalSequence
    left: int
    stops: tuple[str, ...]
    done: Future[None] = field(default_factory=Future)


@dataclass
class DecodeBatch:
    """Growing sequences with their caches side by side, padded on the left to one length."""

    rows: list[ExtendJob]
    cache: Any
    mask: torch.Tensor
    """(rows, length): true where a row has a real token"""
    pads: list[int]


class LocalModel:
    """A model loaded by stock transformers. Belongs to one thread.

    Raises ValueError for a model whose cache cannot be cut (sliding windows, state-space layers).
    """

    def __init__(self, directory: Path, tokenizer: ChatTokenizer, device: str, dtype: str) -> None:
        logging.disable_progress_bar()
        model: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype)
        self.model = model.to(device).eval()
        # Renamed in transformers 5.20 or so; SGLang pins an older one.
        parameters = inspect.signature(self.model.forward).parameters
        self._cache_argument = "cache" if "cache" in parameters else "past_key_values"
        kinds = set(getattr(self.model.config, "layer_types", None) or ["full_attention"])
        if kinds != {"full_attention"}:
            raise ValueError(f"{directory}: layers of kind {kinds} keep no cache that can be cut")
        self.device, self.tokenizer = torch.device(device), tokenizer
        self.pass_began: float | None = None
        """monotonic seconds; None while there is nothing to do"""

    @torch.inference_mode()
    def prefill(self, sequences: Sequence[LocalSequence]) -> None:
        """Bring every sequence's cache up to its last token."""
        todo = list({id(c): c for c in sequences if c.cached < len(c.tokens)}.values())
        todo.sort(key=lambda sequence: len(sequence.tokens))
        while todo:
            longest = len(todo[0].tokens)
            count = 0
            for sequence in todo:
                longest = max(longest, len(sequence.tokens))
                if count and (count + 1) * longest > MAX_PREFILL:
                    break
                count += 1
            self._feed(todo[:count])
            del todo[:count]

    def _feed(self, sequences: list[LocalSequence]) -> None:
        """One pass over what the caches lack; keeps keys, values and the last logits."""
        before = [sequence.cached for sequence in sequences]
        logits, cache = self._forward(sequences, [tuple(c.tokens[c.cached :]) for c in sequences])
        pad = max(before)
        for row, sequence in enumerate(sequences):
            lacked = len(sequence.tokens) - before[row]
            sequence.kv = row_of(cache, row, pad - before[row], pad + lacked)
            sequence.logits = logits[row].clone()

    @torch.inference_mode()
    def probe(self, jobs: list[ProbeJob]) -> torch.Tensor:
        """Logits after each job's ids, (jobs, vocabulary) float32."""
        logits, _ = self._forward([job.sequence for job in jobs], [job.ids for job in jobs])
        return logits

    def _forward(
        self, sequences: Sequence[LocalSequence], extra: Sequence[tuple[int, ...]]
    ) -> tuple[torch.Tensor, Any]:
        """Run `extra` behind each sequence's cache.

        Returns the logits after each row's last id, (rows, vocabulary) float32, and the cache,
        rows padded on the left of the old part and on the right of the new one. A row with no
        extra ids gets the sequence's own stored logits.
        """
        cache, pads = side_by_side(sequences, self.device)
        width = max(1, *(len(ids) for ids in extra))
        ids = torch.zeros(len(sequences), width, dtype=torch.long)
        length = max(sequence.cached for sequence in sequences)
        mask = torch.zeros(len(sequences), length + width, dtype=torch.long)
        for row, (new, pad) in enumerate(zip(extra, pads, strict=True)):
            ids[row, : len(new)] = torch.tensor(new, dtype=torch.long)
            mask[row, pad : length + max(1, len(new))] = 1
        starts = torch.tensor([[sequence.cached] for sequence in sequences])
        last = torch.tensor([max(0, len(new) - 1) for new in extra], device=self.device)
        # Only the columns some row ends in: logits of a whole prefill would not fit in memory.
        kept, column = torch.unique(last, return_inverse=True)
        self.pass_began = time.monotonic()
        output = self.model(
            input_ids=ids.to(self.device),
            attention_mask=mask.to(self.device),
            position_ids=(starts + torch.arange(width)[None]).to(self.device),
            **{self._cache_argument: cache},
            use_cache=True,
            logits_to_keep=kept,
        )
        picked = (
            output.logits[torch.arange(len(sequences), device=self.device), column].float().cpu()
        )
        for row, (sequence, new) in enumerate(zip(sequences, extra, strict=True)):
            if not new and sequence.logits is not None:
                picked[row] = sequence.logits
        return picked, cache

    # -- decoding ---------------------------------------------------------------------------------

    def gather(self, rows: list[ExtendJob]) -> DecodeBatch:
        cache, pads = side_by_side([job.sequence for job in rows], self.device)
        length = max(job.sequence.cached for job in rows)
        mask = torch.arange(length)[None] >= torch.tensor(pads)[:, None]
        return DecodeBatch(list(rows), cache, mask, pads)

    def scatter(self, batch: DecodeBatch) -> None:
        """Give each sequence its own cache back."""
        for row, (job, pad) in enumerate(zip(batch.rows, batch.pads, strict=True)):
            sequence = job.sequence
            sequence.kv = row_of(batch.cache, row, pad, pad + len(sequence.tokens))
        torn = [job.sequence for job in batch.rows if _trim(job, self.tokenizer)]
        if torn:
            self.prefill(torn)

    @torch.inference_mode()
    def tick(self, batch: DecodeBatch) -> None:
        """Decode up to TICK tokens for every row that is still growing."""
        for _ in range(min(TICK, max(job.left for job in batch.rows))):
            tokens = [self._step(job) for job in batch.rows]
            if all(token is None for token in tokens):
                return
            new = torch.tensor([[0 if token is None else token] for token in tokens])
            grown = torch.tensor([[token is not None] for token in tokens])
            batch.mask = torch.cat([batch.mask, grown], dim=1)
            positions = torch.tensor([[max(0, len(job.sequence.tokens) - 1)] for job in batch.rows])
            self.pass_began = time.monotonic()
            output = self.model(
                input_ids=new.to(self.device),
                attention_mask=batch.mask.long().to(self.device),
                position_ids=positions.to(self.device),
                **{self._cache_argument: batch.cache},
                use_cache=True,
            )
            logits = output.logits[:, -1].float().cpu()
            for row, (job, token) in enumerate(zip(batch.rows, tokens, strict=True)):
                if token is not None:
                    job.sequence.logits = logits[row]

    def _step(self, job: ExtendJob) -> int | None:
        """Draw one token for a row and note whether it ends; None once it has ended."""
        sequence = job.sequence
        if job.left <= 0 or sequence.logits is None:
            return None
        token = draw(sequence)
        if token in self.tokenizer.ends:
            sequence.finish, job.left = "eos", 0
        else:
            sequence.ids.append(token)
            job.left -= 1
            for stop in job.stops:
                if stop[-1] not in self.tokenizer.piece(token):
                    continue
                # A token may be a single byte, so this many surely hold the stop string.
                tail = max(sequence.resumed, len(sequence.ids) - 4 * len(stop))
                if stop in self.tokenizer.decode(sequence.ids[tail:]):
                    job.request.met(stop)
                    job.left = 0
                    break
        if job.left == 0:
            sequence.text = self.tokenizer.decode(sequence.ids)
        return None if sequence.finish == "eos" else token


def _trim(job: ExtendJob, tokenizer: ChatTokenizer) -> bool:
    """Cut what a last token says beyond the stop string; true if the cache lags behind then."""
    sequence = job.sequence
    met = sequence.paused or (sequence.finish == "stop" and job.request.stop is not None)
    if not met or sequence.text.endswith(job.stops):
        return False
    stop = job.stops[-1] if sequence.paused else job.stops[0]
    before = len(sequence.ids) - 1
    sequence.ids, sequence.text = tokenizer.cut(sequence.ids, stop)
    if sequence.kv is not None:
        sequence.kv = sequence.kv[:, :, : len(sequence.prompt_ids) + before]
    return True
