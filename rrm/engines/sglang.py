"""SGLang as an engine, by its native `/generate` on token ids.

A probe asks for no new token: `max_new_tokens` 0 with `token_ids_logprob` gives the log-probability
of each label after sequence and suffix, and the radix cache holds all but the suffix. Labels of
more than one token are read along their own ids through `logprob_start_len`. A sequence grows by
its ids; a caller that leaves has its requests aborted. The server keeps nothing of a sequence but
its cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrm.engines.base import (
    EngineOptions,
    ExtendRequest,
    ProbeRequest,
    ProbeResult,
    TokenSequence,
)
from rrm.engines.batching import ProbeBatcher
from rrm.engines.labels import LabelPlan, TokenPath
from rrm.engines.sglang_client import Answer, SGLangClient
from rrm.engines.sglang_server import PrivateServer, RunningServer, Server
from rrm.engines.tokenizer import TokenEngine
from rrm.errors import EngineError


@dataclass
class TokenCount:
    """What the server computed, by its own counters: tokens since the engine was opened."""

    prompt: int = 0
    """of prompts and sequences that were not in the cache"""
    probe: int = 0
    """prefilled for probes beyond their sequences"""
    cached: int = 0
    """served from the radix cache"""
    generated: int = 0

    @property
    def computed(self) -> int:
        return self.prompt + self.probe + self.generated

    @property
    def probe_share(self) -> float:
        """Tokens computed for probes, as a share of all computed tokens."""
        return self.probe / self.computed if self.computed else 0.0


@dataclass(frozen=True)
class _Row:
    """One row of a probe: the ids to read through, and which nodes of the plan lie on the way."""

    ids: list[int]
    nodes: tuple[TokenPath, ...]
    """longest first; the row ends with it"""
    tokens: list[int]
    """whose log-probabilities are asked for"""
    appended: int
    """ids behind the sequence"""

    @property
    def start(self) -> int:
        """`logprob_start_len`: -1 if only what follows the last id matters."""
        if len(self.nodes) == 1:
            return -1
        return len(self.ids) - (len(self.nodes[0]) - len(self.nodes[-1])) - 1

    def read(self, answer: Answer) -> dict[TokenPath, Callable[[int], float]]:
        """Next-token log-probabilities after each node. Raises EngineError if one is missing."""
        meta = answer["meta_info"]
        rows = [meta["output_token_ids_logprobs"]]
        rows = [row[0] if row else None for row in rows]
        if len(self.nodes) > 1:
            # Entry i of the input stands before the id at start + i.
            shortest = len(self.nodes[-1])
            before = meta["input_token_ids_logprobs"]
            rows += [before[len(node) - shortest + 1] for node in self.nodes[1:]]
        found = {}
        for node, row in zip(self.nodes, rows, strict=True):
            if row is None:
                raise EngineError("SGLang gave no log-probabilities for a probe")
            found[node] = {token: float(value) for value, token, _ in row}.__getitem__
        return found


class SGLangEngine(TokenEngine):
    """`sglang:DIR`: a private server, or with `options.base_url` one that runs already.

    DIR holds the tokenizer either way. Raises FileNotFoundError if it is no model directory,
    EngineError if the server does not come up or has another model's tokenizer.
    """

    def __init__(self, directory: Path, options: EngineOptions) -> None:
        super().__init__("sglang", directory)
        self.count = TokenCount()
        self.server: Server
        if options.base_url is None:
            self.server = PrivateServer(directory, options)
        else:
            self.server = RunningServer(options.base_url.rstrip("/"), options.api_key)
        self._client = SGLangClient(self.server)
        self._batcher: ProbeBatcher[_Row, Answer] = ProbeBatcher(self._probe)
        try:
            self._client.loop.wait(self._meet())
        except BaseException:
            self.close()
            raise

    # -- the protocol -----------------------------------------------------------------------------

    async def probe(self, requests: Sequence[ProbeRequest]) -> list[ProbeResult]:
        plans = [self.tokenizer.plan(q.suffix, q.labels) for q in requests]
        rows = [_rows(q.sequence, plan) for q, plan in zip(requests, plans, strict=True)]
        every = [row for some in rows for row in some]
        answers = iter(await self._client.loop.run(self._batcher.read(every)))
        probed = []
        for request, plan, some in zip(requests, plans, rows, strict=True):
            after: dict[TokenPath, Callable[[int], float]] = {}
            for row in some:
                answer = next(answers)
                after.update(row.read(answer))
                self._note(request.sequence, answer)
            probed.append(
                ProbeResult(
                    plan.combine(after), sum(len(plan.forced + node) for node in plan.nodes)
                )
            )
        return probed

    async def extend(self, requests: Sequence[ExtendRequest]) -> None:
        growing = [(request, room) for request in requests if (room := self._room(request)) > 0]
        if not growing:
            return
        body = {
            "input_ids": [
                request.sequence.prompt_ids + request.sequence.ids for request, _ in growing
            ],
            "sampling_params": [self._sampling(*one) for one in growing],
        }
        answers = await self._client.loop.run(self._continue(body, len(growing)))
        for (request, _), answer in zip(growing, answers, strict=True):
            self._note(request.sequence, answer)
            self._grow(request, answer)

    async def check(self) -> None:
        await self._client.check()

    def close(self) -> None:
        self._client.close()

    # -- probing ----------------------------------------------------------------------------------

    async def _probe(self, rows: list[_Row]) -> list[Answer]:
        body = {
            "input_ids": [row.ids for row in rows],
            "sampling_params": {"max_new_tokens": 0, "temperature": 0},
            "return_logprob": True,
            "token_ids_logprob": [row.tokens for row in rows],
            "logprob_start_len": [row.start for row in rows],
        }
        answers = await self._client.generate(body, len(rows))
        for row, answer in zip(rows, answers, strict=True):
            computed = len(row.ids) - answer["meta_info"]["cached_tokens"]
            own = min(computed, row.appended + 1)  # the sequence's last token is never cached
            self.count.probe += own
            self.count.prompt += computed - own
        return answers

    # -- growing ----------------------------------------------------------------------------------

    async def _continue(self, body: dict[str, Any], n: int) -> list[Answer]:
        async with self._batcher.growing():
            return await self._client.generate(body, n)

    def _room(self, request: ExtendRequest) -> int:
        """Tokens this sequence may grow by."""
        sequence = request.sequence
        if not request.grows:
            return 0
        return min(
            request.tokens,
            self.tokenizer.context - len(sequence.prompt_ids) - len(sequence.ids) - 1,
        )

    def _sampling(self, request: ExtendRequest, room: int) -> dict[str, Any]:
        how = request.sequence.sampling
        # For a stop string SGLang decodes the text of every row after every token.
        tokens = {stop: self.tokenizer.one_token(stop) for stop in request.stops}
        stops: dict[str, list[Any]] = {
            "stop": [stop for stop, token in tokens.items() if token is None],
            "stop_token_ids": [token for token in tokens.values() if token is not None],
        }
        return {
            "max_new_tokens": room,
            "temperature": how.temperature,
            "no_stop_trim": True,
            "skip_special_tokens": False,
            "sampling_seed": how.seed % 2**31,
            **{name: some for name, some in stops.items() if some},
        }

    def _grow(self, request: ExtendRequest, answer: Answer) -> None:
        sequence, new = request.sequence, list(answer["output_ids"])
        reason = answer["meta_info"]["finish_reason"]
        if reason["type"] == "abort":
            raise EngineError(f"SGLang gave a sequence up: {reason.get('message') or 'aborted'}")
        self.count.generated += len(new)
        self.count.prompt += (
            len(sequence.prompt_ids) + len(sequence.ids) - answer["meta_info"]["cached_tokens"]
        )
        if reason["type"] == "stop" and new and new[-1] in self.tokenizer.ends:
            new.pop()
            sequence.finish = "eos"
        old = len(sequence.ids)
        sequence.ids += new
        ends = [
            (end, stop)
            for stop in request.stops
            if (end := self._first_end(sequence, old, stop)) is not None
        ]
        if ends:
            end, stop = min(ends)
            sequence.ids, sequence.text = self.tokenizer.cut(sequence.ids[:end], stop)
            request.met(stop)
        else:
            sequence.text = self.tokenizer.decode(sequence.ids)

    def _first_end(self, sequence: TokenSequence, old: int, stop: str) -> int | None:
        """How many of its ids say `stop` for the first time since text was put in, if they do.

        SGLang looks at new tokens only, and the stop string may have begun before them.
        """
        ids, tail = sequence.ids, max(sequence.resumed, old - 4 * len(stop))
        if stop not in self.tokenizer.decode(ids[tail:]):
            return None
        return next(
            end for end in range(old, len(ids) + 1) if stop in self.tokenizer.decode(ids[tail:end])
        )

    async def _meet(self) -> None:
        """Wait for the server, and make sure it reads ids as we write them."""
        text = "Compare 1 and 2: <think>\n</think> \\boxed{"
        answer = await self._client.post("/tokenize", {"prompt": text, "add_special_tokens": False})
        if answer["tokens"] != self.tokenizer.encode(text):
            raise EngineError(
                f"the server at {self.server.url} has another tokenizer than {self.url}; "
                "pass the directory of the model that it serves"
            )

    def _note(self, sequence: TokenSequence, answer: Answer) -> None:
        cached: int = answer["meta_info"]["cached_tokens"]
        self.count.cached += cached
        if sequence.cached_tokens is None:
            sequence.cached_tokens = min(cached, len(sequence.prompt_ids))


def open_engine(model: str, options: EngineOptions) -> SGLangEngine:
    """model: a directory. See `rrm.engines.registry`."""
    return SGLangEngine(Path(model), options)


def _rows(sequence: TokenSequence, plan: LabelPlan) -> list[_Row]:
    """A row for each node that does not lie on the way to another."""
    head = sequence.prompt_ids + sequence.ids + list(plan.forced)
    made = []
    for node in plan.nodes:
        if any(len(other) > len(node) and other[: len(node)] == node for other in plan.nodes):
            continue
        way = [node[:depth] for depth in range(len(node), -1, -1)]
        after = [one for one in way if one in plan.nodes]
        tokens = {
            path[len(one)]
            for one in after
            for path in plan.paths.values()
            if len(path) > len(one) and path[: len(one)] == one
        }
        appended = len(plan.forced) + len(node)
        made.append(_Row([*head, *node], tuple(after), sorted(tokens), appended))
    return made
