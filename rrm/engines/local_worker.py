"""The thread that owns a local model and works for many callers at once.

What callers ask meanwhile is put together: new prompts are prefilled in one batch, probes answered
in one, and growing sequences decoded in one, a few tokens a tick, so that a sequence that ends
leaves at once and a new one joins at the next tick.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from rrm.engines.local_model import DecodeBatch, ExtendJob, LocalModel, ProbeJob
from rrm.errors import EngineError

MAX_ROWS = 256
"""rows of one forward pass"""
FAILURES = 3
"""in a row, after which the engine calls itself broken"""
STUCK = 120.0
"""seconds of one forward pass, after which it calls itself hung"""


class ModelWorker:
    """Answers jobs from any event loop."""

    def __init__(self, model: LocalModel) -> None:
        self._model = model
        self._jobs: queue.SimpleQueue[ProbeJob | ExtendJob | None] = queue.SimpleQueue()
        self._failures = 0
        """in a row"""
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise EngineError if it can no longer answer."""
        if not self._thread.is_alive():
            raise EngineError("the engine is closed")
        if self._failures >= FAILURES:
            raise EngineError(f"the engine failed {self._failures} times in a row")
        began = self._model.pass_began
        if began is not None and time.monotonic() - began > STUCK:
            raise EngineError(f"the engine hangs: one pass has taken over {STUCK:g} s")

    def close(self) -> None:
        self._jobs.put(None)
        self._thread.join(timeout=30)

    async def answer(self, jobs: Sequence[ProbeJob] | Sequence[ExtendJob]) -> None:
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

    # -- the thread -------------------------------------------------------------------------------

    def _work(self) -> None:
        probing: list[ProbeJob] = []
        growing: list[ExtendJob] = []
        batch: DecodeBatch | None = None
        while True:
            try:
                if not self._collect(probing, growing):
                    return
                running = set() if batch is None else {id(job) for job in batch.rows}
                waiting: list[ProbeJob | ExtendJob] = [*probing, *growing]
                self._model.prefill([job.sequence for job in waiting if id(job) not in running])
                while probing:
                    self._probe(probing[:MAX_ROWS])
                    del probing[:MAX_ROWS]
                batch = self._grow(growing, batch)
            except Exception as failure:
                self._failures += 1
                jobs: list[ProbeJob | ExtendJob] = [*probing, *growing]
                for lost in jobs:
                    if lost.done.set_running_or_notify_cancel():
                        lost.done.set_exception(EngineError(f"{type(failure).__name__}: {failure}"))
                probing.clear()
                growing.clear()
                batch = None

    def _probe(self, jobs: list[ProbeJob]) -> None:
        logits = self._model.probe(jobs)
        self._failures = 0
        for row, job in enumerate(jobs):
            _finish(job.done, logits[row])

    def _grow(self, growing: list[ExtendJob], batch: DecodeBatch | None) -> DecodeBatch | None:
        """One tick for the first MAX_ROWS; returns the batch if it can go on as it is."""
        rows = growing[:MAX_ROWS]
        if batch is not None and batch.rows != rows:
            self._model.scatter(batch)
            batch = None
        if not rows:
            return None
        batch = batch or self._model.gather(rows)
        self._model.tick(batch)
        self._failures = 0
        done = [job for job in rows if job.left <= 0]
        if not done:
            return batch
        self._model.scatter(batch)
        for job in done:
            growing.remove(job)
            _finish(job.done, None)
        return None

    def _collect(self, probing: list[ProbeJob], growing: list[ExtendJob]) -> bool:
        """Take what has been queued; wait if there is nothing else to do. False to stop."""
        idle = not probing and not growing
        self._model.pass_began = None
        while True:
            try:
                job = self._jobs.get(block=idle)
            except queue.Empty:
                break
            if job is None:
                return False
            idle = False
            if isinstance(job, ProbeJob):
                probing.append(job)
            elif job.left > 0:
                growing.append(job)
            else:
                _finish(job.done, None)
        probing[:] = [job for job in probing if not job.done.cancelled()]
        growing[:] = [job for job in growing if not job.done.cancelled()]
        self._model.pass_began = time.monotonic()
        return True


def _finish(future: Future[Any], value: Any) -> None:
    if future.set_running_or_notify_cancel():
        future.set_result(value)
