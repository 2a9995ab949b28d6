"""The exact reference engine: stock transformers in this process, on a CPU or a GPU.

`local_worker` puts together what callers ask, `local_model` computes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from rrm.engines.base import (
    EngineOptions,
    ExtendRequest,
    ProbeRequest,
    ProbeResult,
    TokenSequence,
)
from rrm.engines.kv_cache import LocalSequence
from rrm.engines.labels import LabelPlan
from rrm.engines.local_model import ExtendJob, LocalModel, ProbeJob
from rrm.engines.local_worker import ModelWorker
from rrm.engines.tokenizer import TokenEngine


class TransformersEngine(TokenEngine):
    """`transformers:DIR`: any decoder with full attention that stock transformers loads.

    Raises FileNotFoundError if DIR is no model directory, ValueError for a model whose cache
    cannot be cut (sliding windows, state-space layers).
    """

    sequence_type = LocalSequence

    def __init__(
        self,
        directory: Path,
        device: str = "cpu",
        dtype: str = "auto",
        threads: int | None = None,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        super().__init__("transformers", directory)
        self.local = LocalModel(directory, self.tokenizer, device, dtype)
        self._worker = ModelWorker(self.local)

    async def probe(self, requests: Sequence[ProbeRequest]) -> list[ProbeResult]:
        plans = [self.tokenizer.plan(q.suffix, q.labels) for q in requests]
        rows: list[list[ProbeJob]] = [
            [ProbeJob(_local(q.sequence), plan.forced + node) for node in plan.nodes]
            for q, plan in zip(requests, plans, strict=True)
        ]
        await self._worker.answer([row for of_question in rows for row in of_question])
        return [_combine(plan, row) for plan, row in zip(plans, rows, strict=True)]

    async def extend(self, requests: Sequence[ExtendRequest]) -> None:
        jobs = []
        for request in requests:
            sequence = _local(request.sequence)
            room = self.tokenizer.context - len(sequence.tokens) - 1
            left = min(request.tokens, room) if request.grows else 0
            jobs.append(ExtendJob(request, sequence, left, request.stops))
        await self._worker.answer(jobs)

    async def check(self) -> None:
        self._worker.check()

    def close(self) -> None:
        self._worker.close()


def open_engine(model: str, options: EngineOptions) -> TransformersEngine:
    """model: a directory. See `rrm.engines.registry`."""
    return TransformersEngine(Path(model), options.device, options.dtype, options.threads)


def _local(sequence: TokenSequence) -> LocalSequence:
    if not isinstance(sequence, LocalSequence):
        raise TypeError("this sequence was started by another engine")
    return sequence


def _combine(plan: LabelPlan, rows: Sequence[ProbeJob]) -> ProbeResult:
    after: dict[tuple[int, ...], Callable[[int], float]] = {}
    for node, row in zip(plan.nodes, rows, strict=True):
        logprobs = torch.log_softmax(row.done.result(), dim=-1)
        after[node] = lambda token, logprobs=logprobs: float(logprobs[token])  # type: ignore[misc]
    return ProbeResult(plan.combine(after), sum(len(row.ids) for row in rows))
