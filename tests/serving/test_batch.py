"""Batches: in order, each row once, the same bytes whatever happens on the way."""

import asyncio
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from judges.nano.pairs import write_pairs
from judges.options import JudgeOptions
from judges.pairwise import PairwiseJudge
from rrm.budget import Budget
from rrm.engines.scripted import ScriptedEngine
from rrm.errors import EngineError, UnreadableText
from rrm.search.registry import Given
from rrm.types import Pair, Provenance, Unscored, Verdict
from serving.batch import Judging, Run
from serving.datasets import read_dataset
from serving.errors import ServiceError, SettingsError
from serving.journal import JudgedRow
from serving.reports.batch import Tally, wilson
from serving.testing.kills import killed
from serving.testing.process import ServiceProcess
from tests.helpers.commands import closecall
from tests.helpers.styles import RRM


class Scripted:
    """A judge whose answers depend on the row alone, and take a random while."""

    def __init__(self, identity: str = "one", fail_after: int | None = None) -> None:
        self.inner = PairwiseJudge(ScriptedEngine(["I see.</think>"]), RRM)
        self.identity, self.fail_after = identity, fail_after
        self.options: list[str] = []
        self.running = self.most = 0

    async def identify(self) -> dict[str, Any]:
        return {"model": self.identity}

    async def judge(self, pair: Pair, evidence: Given = None) -> Verdict | Unscored:
        if self.fail_after is not None and len(self.options) >= self.fail_after:
            raise ServiceError("it went away")
        self.options.append(pair.response_a)
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(random.random() / 200)
        self.running -= 1
        if pair.response_a == "5":
            raise UnreadableText("not five")
        return await self.inner.judge(pair)

    def provenance(self) -> Provenance:
        return self.inner.provenance(JudgeOptions())


def rows(path: Path, n: int = 20) -> Path:
    path.write_text(
        "".join(
            json.dumps({"prompt": "?", "a": str(i), "b": "x", "label": "A"}) + "\n"
            for i in range(n)
        )
    )
    return path


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines()


def run(source: Path, out: Path, judge: Scripted, concurrency: int = 8) -> int:
    return asyncio.run(Run(read_dataset(source), out, Judging(judge), concurrency).go())


@pytest.mark.parametrize("concurrency", [1, 8, 64])
def test_the_output_is_in_order_whatever_the_concurrency(tmp_path: Path, concurrency: int) -> None:
    source, judge = rows(tmp_path / "in.jsonl"), Scripted()
    assert run(source, tmp_path / "out", judge, concurrency) == 20
    lines = [JudgedRow.model_validate_json(raw) for raw in lines_of(tmp_path / "out")]
    assert [line.index for line in lines] == list(range(20))
    assert judge.most <= concurrency
    refused = [line.index for line in lines if isinstance(line.outcome, Unscored)]
    assert refused == [5]
    assert lines[5].outcome.usage.seconds == 0


def test_a_tail_torn_at_any_byte_is_cut_and_done_again(tmp_path: Path) -> None:
    source, out = rows(tmp_path / "in.jsonl", 8), tmp_path / "out"
    run(source, out, Scripted())
    whole = out.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for cut in [*range(last, len(whole), 7), len(whole) - 1, 0, len(whole) // 2]:
        out.write_bytes(whole[:cut])
        judge = Scripted()
        judged = run(source, out, judge)
        assert out.read_bytes() == whole
        assert judged == len(judge.options) == 8 - whole[:cut].count(b"\n")


@pytest.mark.parametrize("spoilt", [0, 3, 7])
def test_a_line_that_cannot_be_read_is_set_aside_and_nothing_shrinks(
    tmp_path: Path, spoilt: int
) -> None:
    source, out = rows(tmp_path / "in.jsonl", 8), tmp_path / "out"
    run(source, out, Scripted())
    whole = out.read_bytes()
    lines = whole.splitlines(keepends=True)
    lines[spoilt] = lines[spoilt].replace(b'"kind"', b'"k\xffnd"')
    out.write_bytes(b"".join(lines))

    class Away(Scripted):
        async def judge(self, pair: Pair, evidence: Given = None) -> Verdict | Unscored:
            raise ServiceError("gone")

    for _ in range(2):
        with pytest.raises(ServiceError):
            run(source, out, Away())
        assert out.read_bytes() == b"".join(lines)
    on_line: list[int] = []
    aside: list[tuple[int, Path]] = []
    judge = Scripted()
    again = Run(
        read_dataset(source),
        out,
        Judging(judge),
        on_line=lambda line: on_line.append(line.index),
        on_unreadable=lambda n, where: aside.append((n, where)),
    )
    assert asyncio.run(again.go()) == len(judge.options) + (spoilt == 5) == 1
    assert out.read_bytes() == whole
    assert on_line == list(range(8))
    assert aside == [(1, tmp_path / "out.unreadable")]
    assert (tmp_path / "out.unreadable").read_bytes() == lines[spoilt]
    assert not (tmp_path / "out.early").exists()


def test_an_early_line_that_cannot_be_read_is_kept_too(tmp_path: Path) -> None:
    source, out = rows(tmp_path / "in.jsonl", 8), tmp_path / "out"
    run(source, out, Scripted())
    whole = out.read_bytes()
    lines = whole.splitlines(keepends=True)
    out.write_bytes(b"".join(lines[:2]))
    torn = lines[4].replace(b'"kind"', b'"k\xffnd"')
    (tmp_path / "out.early").write_bytes(torn + lines[5])
    judge = Scripted()
    run(source, out, judge)
    assert out.read_bytes() == whole
    assert "5" not in judge.options
    assert (tmp_path / "out.unreadable").read_bytes() == torn


def test_a_batch_begun_under_schema_1_goes_on(tmp_path: Path) -> None:
    source, out = rows(tmp_path / "in.jsonl", 8), tmp_path / "out"
    run(source, out, Scripted())
    lines = out.read_text().splitlines()
    old = []
    for line in lines[:5]:
        record = json.loads(line)
        del record["outcome"]["version"]
        for name in ("read_tokens", "generated_tokens"):
            del record["outcome"]["usage"][name]
        old.append(json.dumps(record))
    out.write_text("".join(f"{line}\n" for line in old))
    judge = Scripted()
    assert run(source, out, judge) == 3
    assert out.read_text().splitlines() == [*old, *lines[5:]]


def test_what_finished_early_is_kept_though_an_earlier_row_is_not(tmp_path: Path) -> None:
    source, out = rows(tmp_path / "in.jsonl"), tmp_path / "out"
    run(source, tmp_path / "whole", Scripted())

    class Stuck(Scripted):
        """Does not end the row "2"."""

        async def judge(self, pair: Pair, evidence: Given = None) -> Verdict | Unscored:
            if pair.response_a == "2":
                await asyncio.sleep(60)
            return await super().judge(pair)

    async def killed_soon() -> None:
        await asyncio.wait_for(Run(read_dataset(source), out, Judging(Stuck()), 8).go(), 1.0)

    with pytest.raises(TimeoutError):
        asyncio.run(killed_soon())
    assert len(lines_of(out)) == 2
    beside = tmp_path / "out.early"
    early = {JudgedRow.model_validate_json(raw).index for raw in lines_of(beside)}
    assert early - {0, 1} == set(range(3, 18))  # no more than 16 from row 2 on
    with beside.open("ab") as file:
        file.write(b'{"index": 19, "torn')
    judge = Scripted()
    assert run(source, out, judge) == 18
    assert sorted(judge.options, key=int) == ["2", "18", "19"]
    assert out.read_bytes() == (tmp_path / "whole").read_bytes()
    assert not beside.exists()


def test_a_service_that_goes_away_loses_nothing(tmp_path: Path) -> None:
    source, out = rows(tmp_path / "in.jsonl"), tmp_path / "out"
    with pytest.raises(ServiceError, match="went away"):
        run(source, out, Scripted(fail_after=12), concurrency=1)
    kept = out.read_bytes()
    assert kept.count(b"\n") == 12
    judge = Scripted()
    assert run(source, out, judge) == 8
    assert out.read_bytes().startswith(kept)
    assert len(judge.options) == 8


def test_what_changed_is_named_and_refused(tmp_path: Path) -> None:
    source, out = rows(tmp_path / "in.jsonl"), tmp_path / "out"
    run(source, out, Scripted())
    with pytest.raises(SettingsError, match="model: 'one', now 'two'"):
        run(source, out, Scripted("two"))
    rows(source, 21)
    with pytest.raises(SettingsError, match="rows: 20, now 21"):
        run(source, out, Scripted())
    other = tmp_path / "other"
    other.write_text("mine\n")
    with pytest.raises(SettingsError, match="is no batch's"):
        run(source, other, Scripted())
    assert other.read_text() == "mine\n"


def test_budgets_of_many_digits_are_told_apart(tmp_path: Path) -> None:
    assert Budget(20_000).description == "20000 thinking tokens"
    assert Budget(1_234_567).description != Budget(1_234_568).description
    assert Budget(seconds=0.1 + 0.2).description != Budget(seconds=0.3).description


def test_a_line_of_another_run_is_refused(tmp_path: Path) -> None:
    source, out = rows(tmp_path / "in.jsonl"), tmp_path / "out"
    run(source, out, Scripted())
    lines = out.read_text().splitlines(keepends=True)
    out.write_text("".join([lines[1], lines[0], *lines[2:]]))
    with pytest.raises(SettingsError, match="line 1 of"):
        run(source, out, Scripted())


def test_two_runs_cannot_write_one_file(tmp_path: Path) -> None:
    source, out = rows(tmp_path / "in.jsonl"), tmp_path / "out"

    async def both() -> list[Any]:
        runs = [Run(read_dataset(source), out, Judging(Scripted())).go() for _ in range(2)]
        return await asyncio.gather(*runs, return_exceptions=True)

    first, second = asyncio.run(both())
    assert first == 20
    assert isinstance(second, SettingsError)
    assert "another run" in str(second)


def test_shares_leave_the_unscored_out(tmp_path: Path) -> None:
    source, tally = rows(tmp_path / "in.jsonl"), Tally()
    broken = Scripted()
    broken.inner = PairwiseJudge(ScriptedEngine(fault=EngineError("gone")), RRM)
    run = Run(read_dataset(source), tmp_path / "out", Judging(broken), on_line=tally.add)
    asyncio.run(run.go())
    figures = tally.summary()
    assert figures["unscored"] == {"engine_error": 19, "refused": 1}
    assert figures["unscored_share"] == 1.0
    assert figures["accuracy"] is figures["win_rate_of_a"] is figures["order_flips"] is None


def test_wilson_is_the_published_interval() -> None:
    low, high = wilson(8, 10)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.slow
def test_a_nano_batch_killed_three_times_has_the_same_bytes(tmp_path: Path) -> None:
    source, whole, torn = tmp_path / "in.jsonl", tmp_path / "whole", tmp_path / "torn"
    write_pairs(source, 60, seed=3)
    done = closecall("batch", str(source), "-o", str(whole))
    assert done.returncode == 0, done.stderr
    for said in ("60 rows of", "prompt from 'prompt'", "accuracy", "orders read", "s left"):
        assert said in done.stdout
    killed(source, torn, 2.0, 3, random.Random(1))
    assert not torn.with_name("torn.early").exists()
    assert torn.read_bytes() == whole.read_bytes()
    summaries = [Path(f"{path}.summary.json").read_bytes() for path in (whole, torn)]
    assert summaries[0] == summaries[1]
    figures = json.loads(summaries[0])
    assert (figures["rows"], figures["verdicts"]) == (60, 60)
    assert figures["accuracy"]["share"] > 0.9


def test_a_service_judges_a_batch_and_refused_rows_set_the_returncode(
    service: ServiceProcess, tmp_path: Path
) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out"
    write_pairs(source, 12, seed=4)
    with source.open("a") as file:
        file.write('{"prompt": "Why?", "response_a": "x", "response_b": "y"}\n')
    words = ("batch", str(source), "-o", str(out), "--url", service.url, "--style", "rm-r1")
    done = closecall(*words)
    assert done.returncode == 3, done.stderr
    lines = [JudgedRow.model_validate_json(raw) for raw in lines_of(out)]
    assert [line.outcome.kind for line in lines] == ["verdict"] * 12 + ["unscored"]
    assert lines[0].outcome.judge.style == "rm-r1"
    assert "cannot read 'Why'" in lines[12].outcome.detail  # type: ignore[union-attr]
    assert closecall(*words, "--max-unscored", "0.2").returncode == 0
    assert closecall(*words, "--columns", "nonsense").returncode == 2


def thought(out: Path) -> int:
    lines = [JudgedRow.model_validate_json(raw) for raw in lines_of(out)]
    return sum(line.outcome.usage.thinking_tokens for line in lines)


def test_rows_bring_evidence_and_all_may_share_a_searcher(tmp_path: Path) -> None:
    ask = {"prompt": "What is 15 + k?", "response_a": "It is 52.", "response_b": "It is 61."}
    source, out = tmp_path / "pairs.jsonl", tmp_path / "out.jsonl"
    rows = [{**ask, "evidence": ["k is 037"]}, {**ask, "evidence": ["k is 046"]}, ask]
    source.write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "told.txt").write_text("k is 037")
    words = ["batch", str(source), "-o", str(out), "--effort", "full"]
    done = closecall(*words, "--searcher", f"bm25:{tmp_path}/told.txt")
    assert done.returncode == 0, done.stderr
    found = [
        Verdict.model_validate(json.loads(line)["outcome"]) for line in out.read_text().splitlines()
    ]
    assert [one.preferred for one in found] == ["a", "b", "a"]
    assert [one.judge.searches[0].found for one in found] == ["k is 037", "k is 046", "k is 037"]
    assert {one.judge.searches[0].seconds for one in found} == {0.0}
    other = closecall(*words)
    assert other.returncode == 2
    assert "searcher: " in other.stderr


def test_all_rows_share_a_budget_and_a_run_that_goes_on_has_what_is_left(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out"
    write_pairs(source, 40, seed=9)
    words = ("batch", str(source), "-o", str(out), "--budget-tokens", "500")
    done = closecall(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    first = thought(out)
    assert 400 < first <= 500
    assert f"budget: {first:,} spent of 500 thinking tokens" in done.stdout
    kept = lines_of(out)[:20]
    out.write_text("".join(line + "\n" for line in kept))
    again = closecall(*words)
    assert again.returncode == 0, again.stderr
    assert lines_of(out)[:20] == kept
    assert 400 < thought(out) <= 500
    more = closecall("batch", str(source), "-o", str(out), "--budget-tokens", "2000")
    assert more.returncode == 2
    assert "begun with something else (budget: '500 thinking tokens'" in " ".join(
        more.stderr.split()
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--budget-tokens", "9", "--effort", "full"), "adaptive effort"),
        (("--budget-tokens", "9", "--url", "http://127.0.0.1:9"), "tokens_per_pair"),
        (("--budget-tokens", "9", "--budget-seconds", "9"), "give one budget"),
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    source = rows(tmp_path / "in.jsonl", 2)
    done = closecall("batch", str(source), "-o", str(tmp_path / "out"), *words)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())


def test_a_budget_of_operations_is_counted_from_the_models_config(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out"
    write_pairs(source, 20, seed=10)
    done = closecall("batch", str(source), "-o", str(out), "--budget-flops", "4e9")
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"budget: (\S+) spent of 4e\+09 FLOPs", done.stdout)
    assert found is not None
    assert 3e9 < float(found[1].replace(",", "")) <= 4e9


def test_seconds_end_a_batch(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out"
    write_pairs(source, 300, seed=11)
    done = closecall(
        "batch", str(source), "-o", str(out), "--budget-seconds", "1", "--max-unscored", "1"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    reasons = {JudgedRow.model_validate_json(raw).outcome.reason for raw in lines_of(out)}
    assert "budget" in reasons
