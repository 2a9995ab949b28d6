"""A dataset of pairs in, one line a row out, in order; killed at any moment, it goes on.

OUT grows line by line in input order (`serving.journal`). Beside it lie OUT.run.json, written
first: what is judged and by what; and OUT.summary.json, written last: if it is there, the run is
whole. A run that is started again checks that nothing changed, and judges what is missing.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from judges.options import JudgeOptions
from rrm.allocation.meter import PROBE_TOKENS, Tokens
from rrm.budget import Budget
from rrm.errors import RefusedText
from rrm.search.registry import Given
from rrm.types import SCHEMA, Pair, Provenance, Unscored, Usage, Verdict
from serving.client import AsyncClient
from serving.datasets import Dataset, Row
from serving.errors import SettingsError
from serving.journal import Finished, Journal, JudgedRow
from serving.model_host import ModelHost
from serving.schemas import JudgeInfo
from serving.weights import weights_digest

L = TypeVar("L", bound=Finished)
Made = TypeVar("Made", bound=Finished, covariant=True)
AHEAD = 2
"""rows that may be judged beyond the oldest unfinished one, in multiples of the concurrency"""


class RowJudge(Protocol):
    """Who judges the rows: this process, or a service."""

    async def identify(self) -> dict[str, Any]:
        """What the outcomes depend on, apart from the rows."""
        ...

    async def judge(self, pair: Pair, evidence: Given = None) -> Verdict | Unscored:
        """Raises RefusedText for a pair that cannot be judged, ServiceError if all must stop.

        evidence: of this pair alone; None: what all have.
        """
        ...

    def provenance(self) -> Provenance: ...


class Worker(Protocol[Made]):
    """What is done with each row."""

    @property
    def kind(self) -> type[Made]:
        """Of the lines it makes."""
        ...

    async def identify(self) -> dict[str, Any]:
        """What the lines depend on, apart from the rows."""
        ...

    async def line(self, row: Row, key: str) -> Made:
        """The row's line. Raises ServiceError if all must stop."""
        ...


class Judging:
    """Rows are judged."""

    kind = JudgedRow

    def __init__(self, judge: RowJudge) -> None:
        self.judge = judge

    async def identify(self) -> dict[str, Any]:
        return await self.judge.identify()

    async def line(self, row: Row, key: str) -> JudgedRow:
        outcome = untimed(await self._outcome(row))
        return JudgedRow(index=row.index, id=row.id, key=key, label=row.label, outcome=outcome)

    async def _outcome(self, row: Row) -> Verdict | Unscored:
        if row.pair is None:
            return self._refused(f"row {row.index + 1}: {row.fault}")
        try:
            return await self.judge.judge(row.pair, row.evidence)
        except RefusedText as refusal:
            return self._refused(str(refusal))

    def _refused(self, why: str) -> Unscored:
        return Unscored(
            version=SCHEMA,
            reason="refused",
            detail=why,
            usage=Usage(),
            judge=self.judge.provenance(),
        )


class LocalJudge:
    """The settings' model in this process. budget: for all rows together."""

    def __init__(
        self, host: ModelHost, options: JudgeOptions, budget: Budget | None = None
    ) -> None:
        self.host, self.options, self.budget = host, options, budget
        self._judge = host.pairwise(None)

    async def identify(self) -> dict[str, Any]:
        settings, provenance = self.host.settings, self.provenance()
        return {
            "model": provenance.model,
            "weights": weights_digest(settings.model)
            if self.host.local_weights
            else settings.model,
            "style": provenance.style,
            "prompt_hash": provenance.prompt_hash,
            "stopper": provenance.stopper,
            "ladder": list(self.host.ladder),
            "temperature": self._judge.temperature,
            "engine": settings.engine,
            "dtype": settings.dtype,
            **as_facts(self.options),
            **self.host.searchers.facts(),
            **({"budget": self.budget.description} if self.budget else {}),
        }

    async def judge(self, pair: Pair, evidence: Given = None) -> Verdict | Unscored:
        options = with_evidence(self.options, evidence)
        return await self._judge.judge(pair, options, budget=self.budget)

    def provenance(self) -> Provenance:
        return self._judge.provenance(self.options)


@dataclass(frozen=True)
class BudgetOptions:
    """What all rows of a batch may cost together; one of the three, or none."""

    tokens: int | None = None
    flops: float | None = None
    seconds: float | None = None

    @property
    def given(self) -> bool:
        return any(one is not None for one in (self.tokens, self.flops, self.seconds))

    def budget(self, host: ModelHost, dataset: Dataset) -> Budget | None:
        """Raises SettingsError for two of them, or operations of a model that is not here."""
        if not self.given:
            return None
        if sum(one is not None for one in (self.tokens, self.flops, self.seconds)) > 1:
            raise SettingsError("give one budget: in tokens, in FLOPs or in seconds")
        pairs = sum(row.pair is not None for row in dataset.rows)
        search = host.settings.search_tokens
        if self.seconds is not None:
            return Budget(pairs=pairs, meter=Tokens(PROBE_TOKENS, search), seconds=self.seconds)
        if self.tokens is not None:
            return Budget(self.tokens, pairs, Tokens(search_tokens=search))
        return Budget(self.flops or 0.0, pairs, host.compute())

    def known(self, budget: Budget, dataset: Dataset) -> Callable[[JudgedRow], None]:
        """Charges what earlier runs have spent."""

        def charge(line: JudgedRow) -> None:
            if dataset.rows[line.index].pair is not None:
                budget.charge(line.outcome.usage)

        return charge


class RemoteJudge:
    """A running service."""

    def __init__(self, client: AsyncClient, options: JudgeOptions) -> None:
        self.client, self.options = client, options
        self._info: JudgeInfo | None = None

    async def identify(self) -> dict[str, Any]:
        judges = (await self.client.judges()).judges
        wanted = self.client.style
        fitting = [j for j in judges if (j.default if wanted is None else j.style == wanted)]
        if not fitting:
            spoken = ", ".join(judge.style for judge in judges)
            raise SettingsError(f"the service speaks {spoken}, not {wanted!r}")
        self._info = fitting[0]
        facts = self._info.model_dump(mode="json", exclude={"default", "reads", "scores"})
        return {**facts, **as_facts(self.options)}

    async def judge(self, pair: Pair, evidence: Given = None) -> Verdict | Unscored:
        return await self.client.judge(pair, with_evidence(self.options, evidence))

    def provenance(self) -> Provenance:
        info = self._info
        return Provenance(
            model=info.model if info else "unknown",
            style=info.style if info else "unknown",
            prompt_hash=info.prompt_hash if info else "unknown",
            effort=self.options.effort,
            stopper="none: refused before it was judged",
        )


def with_evidence(options: JudgeOptions, evidence: Given) -> JudgeOptions:
    """The options for one pair, which may have its own."""
    return options if evidence is None else replace(options, evidence=evidence)


def as_facts(options: JudgeOptions) -> dict[str, Any]:
    """What outcomes depend on of how a caller wants them."""
    return {
        "effort": options.effort,
        "max_thinking_tokens": options.max_thinking_tokens,
        "return_chain": options.return_chain,
        **({} if options.evidence is None else {"evidence": options.evidence}),
        **({} if options.max_searches is None else {"max_searches": options.max_searches}),
    }


@dataclass
class Run(Generic[L]):
    """One output file and what is done of it."""

    dataset: Dataset
    out: Path
    worker: Worker[L]
    concurrency: int = 64
    on_line: Callable[[L], None] = lambda line: None
    """told every line of the output, those of earlier runs too, in order"""
    on_resume: Callable[[], None] = lambda: None
    """told once the lines of earlier runs have been"""
    known: Callable[[L], None] = lambda line: None
    """told every line of earlier runs, those too that wait for an earlier row"""
    on_unreadable: Callable[[int, Path], None] = lambda lines, where: None
    """told how many lines could not be read, and the file that keeps them"""

    @property
    def manifest(self) -> Path:
        return self.out.with_name(f"{self.out.name}.run.json")

    @property
    def summary(self) -> Path:
        return self.out.with_name(f"{self.out.name}.summary.json")

    async def go(self) -> int:
        """Do what is missing. Returns how many lines this run wrote.

        Raises SettingsError if OUT belongs to another run or is in use, ServiceError if the
        service went away; what is finished is kept either way.
        """
        identity = await self.worker.identify()
        hashed = json.dumps(identity, sort_keys=True).encode()
        keys = [row.key(hashlib.sha256(hashed).hexdigest()) for row in self.dataset.rows]
        self.out.parent.mkdir(parents=True, exist_ok=True)
        with self.out.open("a+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise SettingsError(f"another run writes {self.out}; wait for it") from None
            self._check(identity)
            with Journal(
                file, self.out, self.worker.kind, keys, self.on_line, self.known
            ) as journal:
                if journal.unreadable:
                    self.on_unreadable(len(journal.unreadable), journal.aside)
                self.on_resume()
                return await self._rest(journal, keys)

    def _check(self, identity: Mapping[str, Any]) -> None:
        """Refuse to go on with what another input or judge began, else note what this is."""
        now: dict[str, Any] = {
            "input": self.dataset.path.name,
            "sha256": self.dataset.sha256,
            "rows": len(self.dataset.rows),
            "columns": dict(self.dataset.columns),
            "judge": dict(identity),
        }
        if not self.manifest.is_file():
            if self.out.stat().st_size:
                raise SettingsError(f"{self.out} exists and is no batch's; name another file")
            write_whole(self.manifest, now)
            return
        then = json.loads(self.manifest.read_text(encoding="utf-8"))
        flat: list[dict[str, Any]] = [{**was, **was["judge"]} for was in (then, now)]
        for old in flat:
            old.pop("judge")
            old.pop("input")
        changed = [
            f"{name}: {flat[0].get(name)!r}, now {flat[1].get(name)!r}"
            for name in {**flat[0], **flat[1]}
            if flat[0].get(name) != flat[1].get(name)
        ]
        if changed:
            raise SettingsError(
                f"{self.out} was begun with something else ({'; '.join(changed)}). Finish it as "
                f"it was begun, name another file, or delete it with {self.manifest.name}"
            )

    async def _rest(self, journal: Journal[L], keys: list[str]) -> int:
        """Work on rows concurrently; their lines are written in order."""
        begun = journal.written
        moved = asyncio.Condition()
        free = asyncio.Semaphore(self.concurrency)

        async def one(row: Row) -> None:
            try:
                line = await self.worker.line(row, keys[row.index])
            finally:
                free.release()
            async with moved:
                journal.add(line)
                moved.notify_all()

        ahead = AHEAD * self.concurrency
        try:
            async with asyncio.TaskGroup() as tasks:
                for row in self.dataset.rows:
                    if journal.has(row.index):
                        continue
                    async with moved:
                        await moved.wait_for(lambda row=row: row.index < journal.written + ahead)  # type: ignore[misc]
                    await free.acquire()
                    tasks.create_task(one(row))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return journal.written - begun + journal.replaced


def untimed(outcome: Verdict | Unscored) -> Verdict | Unscored:
    """Without the seconds, which no second run would repeat."""
    usage = outcome.usage.model_copy(update={"seconds": 0.0})
    searches = tuple(one.model_copy(update={"seconds": 0.0}) for one in outcome.judge.searches)
    judge = outcome.judge.model_copy(update={"searches": searches})
    return outcome.model_copy(update={"usage": usage, "judge": judge})


def write_whole(path: Path, content: Any) -> None:
    """Write JSON so that the file is there whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(path)
