"""The exact reference engine: stock transformers, on a CPU or a GPU.

One worker thread owns the model. What callers ask meanwhile is put together: new prompts are
prefilled in one batch, probes answered in one, and growing sequences decoded in one, a few tokens a
tick, so that a sequence that ends leaves at once and a new one joins at the next tick.

Every sequence owns its key-value cache, complete up to its last token. A probe runs on a copy put
together for its batch and is dropped with it: the sequence's cache is only read.
"""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from rrm.engines.base import (
    EngineOptions,
    ExtendRequest,
    ProbeRequest,
    ProbeResult,
    Sampling,
    TokenSequence,
)
from rrm.engines.card import ModelCard
from rrm.engines.kv_cache import LocalSequence, draw, row_of, side_by_side
from rrm.engines.labels import LabelPlan
from rrm.engines.tokenizer import ChatTokenizer
from rrm.errors import EngineError
from rrm.style import Rendered

TICK = 8
"""tokens decoded between two looks at the queue"""
MAX_ROWS = 256
"""rows of one forward pass"""
MAX_PREFILL = 16_384
"""tokens of one prefill pass"""
FAILURES = 3
"""in a row, after which the engine calls itself broken"""
STUCK = 120.0
"""seconds of one forward pass, after which it calls itself hung"""


@dataclass(eq=False)
class _ProbeJob:
    """A row of a probe: logits after sequence + ids."""

    sequence: LocalSequence
    ids: tuple[int, ...]
    done: Future[torch.Tensor] = field(default_factory=Future)


@dataclass(eq=False)
class _ExtendJob:
    sequence: LocalSequence
    left: int
    stop: str | None
    done: Future[None] = field(default_factory=Future)


@dataclass
class _Batch:
    """Growing sequences with their caches side by side, padded on the left to one length."""

    rows: list[_ExtendJob]
    cache: Any
    mask: torch.Tensor
    """(rows, length): true where a row has a real token"""
    pads: list[int]


class TransformersEngine:
    """`transformers:DIR`: any decoder with full attention that stock transformers loads.

    Raises FileNotFoundError if DIR is no model directory, ValueError for a model whose cache
    cannot be cut (sliding windows, state-space layers).
    """

    can_probe = True

    def __init__(
        self,
        directory: Path,
        device: str = "cpu",
        dtype: str = "auto",
        threads: int | None = None,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.tokenizer = ChatTokenizer(directory)
        self.control = self.tokenizer.control
        self.card = ModelCard.of(directory)
        self.url = f"transformers:{directory}"
        logging.disable_progress_bar()
        model: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype)
        self.model = model.to(device).eval()
        # Renamed in transformers 5.20 or so; SGLang pins an older one.
        parameters = inspect.signature(self.model.forward).parameters
        self._cache_argument = "cache" if "cache" in parameters else "past_key_values"
        kinds = set(getattr(self.model.config, "layer_types", None) or ["full_attention"])
        if kinds != {"full_attention"}:
            raise ValueError(f"{directory}: layers of kind {kinds} keep no cache that can be cut")
        self.device = torch.device(device)
        self._jobs: queue.SimpleQueue[_ProbeJob | _ExtendJob | None] = queue.SimpleQueue()
        self._failures = 0
        """in a row"""
        self._pass_began: float | None = None
        """monotonic seconds; None while there is nothing to do"""
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    # -- the protocol -----------------------------------------------------------------------------

    def start(self, rendered: Rendered, sampling: Sampling = Sampling()) -> TokenSequence:
        ids = self.tokenizer.prompt(rendered)
        generator = None
        if sampling.temperature > 0:
            generator = torch.Generator().manual_seed(sampling.seed)
        return LocalSequence(prompt_ids=ids, sampling=sampling, generator=generator)

    async def probe(self, requests: Sequence[ProbeRequest]) -> list[ProbeResult]:
        plans = [self.tokenizer.plan(q.suffix, q.labels) for q in requests]
        rows: list[list[_ProbeJob]] = [
            [_ProbeJob(_local(q.sequence), plan.forced + node) for node in plan.nodes]
            for q, plan in zip(requests, plans, strict=True)
        ]
        await self._answer([row for of_question in rows for row in of_question])
        return [_combine(plan, row) for plan, row in zip(plans, rows, strict=True)]

    async def extend(self, requests: Sequence[ExtendRequest]) -> None:
        jobs = []
        for request in requests:
            sequence = _local(request.sequence)
            room = self.tokenizer.context - len(sequence.tokens) - 1
            jobs.append(_ExtendJob(sequence, min(request.tokens, room), request.stop))
        await self._answer(jobs)

    async def check(self) -> None:
        if not self._thread.is_alive():
            raise EngineError("the engine is closed")
        if self._failures >= FAILURES:
            raise EngineError(f"the engine failed {self._failures} times in a row")
        began = self._pass_began
        if began is not None and time.monotonic() - began > STUCK:
            raise EngineError(f"the engine hangs: one pass has taken over {STUCK:g} s")

    def close(self) -> None:
        self._jobs.put(None)
        self._thread.join(timeout=30)

    async def _answer(self, jobs: Sequence[_ProbeJob] | Sequence[_ExtendJob]) -> None:
        """Queue the jobs and wait for all; a caller that leaves takes its jobs with it."""
        if not self._thread.is_alive():
            raise EngineError("the engine is closed")
        for job in jobs:
            self._jobs.put(job)
        waiting = [asyncio.wrap_future(job.done) for job in jobs]
        try:
            await asyncio.gather(*waiting)
        except asyncio.CancelledError:
            for job in jobs:
                job.done.cancel()
            raise

    # -- the worker -------------------------------------------------------------------------------

    def _work(self) -> None:
        probing: list[_ProbeJob] = []
        growing: list[_ExtendJob] = []
        batch: _Batch | None = None
        while True:
            try:
                if not self._collect(probing, growing):
                    return
                running = set() if batch is None else {id(job) for job in batch.rows}
                waiting: list[_ProbeJob | _ExtendJob] = [*probing, *growing]
                self._prefill([job.sequence for job in waiting if id(job) not in running])
                while probing:
                    self._read(probing[:MAX_ROWS])
                    del probing[:MAX_ROWS]
                batch = self._grow(growing, batch)
            except Exception as failure:
                self._failures += 1
                jobs: list[_ProbeJob | _ExtendJob] = [*probing, *growing]
                for lost in jobs:
                    if lost.done.set_running_or_notify_cancel():
                        lost.done.set_exception(EngineError(f"{type(failure).__name__}: {failure}"))
                probing.clear()
                growing.clear()
                batch = None

    def _grow(self, growing: list[_ExtendJob], batch: _Batch | None) -> _Batch | None:
        """One tick for the first MAX_ROWS; returns the batch if it can go on as it is."""
        rows = growing[:MAX_ROWS]
        if batch is not None and batch.rows != rows:
            self._scatter(batch)
            batch = None
        if not rows:
            return None
        batch = batch or self._gather(rows)
        self._tick(batch)
        self._failures = 0
        done = [job for job in rows if job.left <= 0]
        if not done:
            return batch
        self._scatter(batch)
        for job in done:
            growing.remove(job)
            _finish(job.done, None)
        return None

    def _collect(self, probing: list[_ProbeJob], growing: list[_ExtendJob]) -> bool:
        """Take what has been queued; wait if there is nothing else to do. False to stop."""
        idle = not probing and not growing
        self._pass_began = None
        while True:
            try:
                job = self._jobs.get(block=idle)
            except queue.Empty:
                break
            if job is None:
                return False
            idle = False
            if isinstance(job, _ProbeJob):
                probing.append(job)
            elif job.left > 0 and _can_grow(job):
                growing.append(job)
            else:
                _finish(job.done, None)
        probing[:] = [job for job in probing if not job.done.cancelled()]
        growing[:] = [job for job in growing if not job.done.cancelled()]
        self._pass_began = time.monotonic()
        return True

    @torch.inference_mode()
    def _prefill(self, sequences: Sequence[LocalSequence]) -> None:
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
    def _read(self, jobs: list[_ProbeJob]) -> None:
        logits, _ = self._forward([job.sequence for job in jobs], [job.ids for job in jobs])
        self._failures = 0
        for row, job in enumerate(jobs):
            _finish(job.done, logits[row])

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
        self._pass_began = time.monotonic()
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

    def _gather(self, rows: list[_ExtendJob]) -> _Batch:
        cache, pads = side_by_side([job.sequence for job in rows], self.device)
        length = max(job.sequence.cached for job in rows)
        mask = torch.arange(length)[None] >= torch.tensor(pads)[:, None]
        return _Batch(list(rows), cache, mask, pads)

    def _scatter(self, batch: _Batch) -> None:
        """Give each sequence its own cache back."""
        for row, (job, pad) in enumerate(zip(batch.rows, batch.pads, strict=True)):
            sequence = job.sequence
            sequence.kv = row_of(batch.cache, row, pad, pad + len(sequence.tokens))
        torn = [job.sequence for job in batch.rows if _trim(job.sequence, job.stop, self.tokenizer)]
        if torn:
            self._prefill(torn)

    @torch.inference_mode()
    def _tick(self, batch: _Batch) -> None:
        """Decode up to TICK tokens for every row that is still growing."""
        for _ in range(min(TICK, max(job.left for job in batch.rows))):
            tokens = [self._step(job) for job in batch.rows]
            if all(token is None for token in tokens):
                return
            new = torch.tensor([[0 if token is None else token] for token in tokens])
            grown = torch.tensor([[token is not None] for token in tokens])
            batch.mask = torch.cat([batch.mask, grown], dim=1)
            positions = torch.tensor([[max(0, len(job.sequence.tokens) - 1)] for job in batch.rows])
            self._pass_began = time.monotonic()
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

    def _step(self, job: _ExtendJob) -> int | None:
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
            # A token may be a single byte, so this many surely hold the stop string.
            if (
                job.stop
                and job.stop[-1] in self.tokenizer.piece(token)
                and job.stop in self.tokenizer.decode(sequence.ids[-4 * len(job.stop) :])
            ):
                sequence.finish, job.left = "stop", 0
        if job.left == 0:
            sequence.text = self.tokenizer.decode(sequence.ids)
        return None if sequence.finish == "eos" else token


def open_engine(model: str, options: EngineOptions) -> TransformersEngine:
    """model: a directory. See `rrm.engines.registry`."""
    return TransformersEngine(Path(model), options.device, options.dtype, options.threads)


def _can_grow(job: _ExtendJob) -> bool:
    """A sequence that closed by itself may still write its verdict out (stop None)."""
    finish = job.sequence.finish
    return finish is None or (finish == "stop" and job.stop is None)


def _local(sequence: TokenSequence) -> LocalSequence:
    if not isinstance(sequence, LocalSequence):
        raise TypeError("this sequence was started by another engine")
    return sequence


def _finish(future: Future[Any], value: Any) -> None:
    if future.set_running_or_notify_cancel():
        future.set_result(value)


def _combine(plan: LabelPlan, rows: Sequence[_ProbeJob]) -> ProbeResult:
    after: dict[tuple[int, ...], Callable[[int], float]] = {}
    for node, row in zip(plan.nodes, rows, strict=True):
        logprobs = torch.log_softmax(row.done.result(), dim=-1)
        after[node] = lambda token, logprobs=logprobs: float(logprobs[token])  # type: ignore[misc]
    return ProbeResult(plan.combine(after), sum(len(row.ids) for row in rows))


def _trim(sequence: LocalSequence, stop: str | None, tokenizer: ChatTokenizer) -> bool:
    """Cut what a last token says beyond the stop string; true if the cache lags behind then."""
    if sequence.finish != "stop" or stop is None or sequence.text.endswith(stop):
        return False
    before = len(sequence.ids) - 1
    sequence.ids, sequence.text = tokenizer.cut(sequence.ids, stop)
    if sequence.kv is not None:
        sequence.kv = sequence.kv[:, :, : len(sequence.prompt_ids) + before]
    return True
