"""Where tokens come from: the Engine protocol. `rrm.engines` opens one.

An engine does two things to a chain. `probe` reads the log-probabilities of given labels after the
chain and a suffix; it generates nothing and leaves the chain as it was. `extend` grows the chain.
Both take many chains at once, and an engine is free to batch what different callers ask.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

from rrm.style import LabelLogprobs, Rendered

CARD_FILE = "closecall.json"


class EngineError(RuntimeError):
    """The engine failed; the judgement becomes `Unscored`, never a score."""


class RefusedText(ValueError):
    """The text cannot be judged by this model. The message says why and what to do."""


class UnreadableText(RefusedText):
    """The text holds words or numbers that the model never learned."""


class PromptTooLong(RefusedText):
    """The rendered prompt does not fit the model's context."""


class Domain(BaseModel):
    """What a narrow model can read: its words, its signs, whole numbers of so many digits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    describe: str
    words: tuple[str, ...]
    signs: str
    digits: int

    def unreadable(self, text: str) -> tuple[str, ...]:
        """The pieces of `text` outside this domain, each once, in order."""
        known = {*self.words, *self.signs}
        pieces = dict.fromkeys(re.findall(r"[0-9]+(?:[.,][0-9]+)*|[^\W\d_]+|\S", text))
        return tuple(piece for piece in pieces if piece not in known and not self._number(piece))

    def _number(self, piece: str) -> bool:
        return piece.isascii() and piece.isdigit() and len(piece) <= self.digits


class ModelCard(BaseModel):
    """`closecall.json` beside a model's weights: what the service should know about it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    styles: tuple[str, ...] = ()
    """the styles it was trained in; none: any"""
    ladder: tuple[int, ...] = ()
    """thinking tokens of each chain at which it is probed"""
    reads: Domain | None = None
    """none: a general language model"""

    @classmethod
    def of(cls, directory: Path) -> ModelCard:
        """The card in `directory`, or one that only knows the directory's name."""
        path = directory / CARD_FILE
        if not path.is_file():
            return cls(name=directory.resolve().name)
        return cls.model_validate_json(path.read_text(encoding="utf-8"))

    def refuse_unreadable(self, *texts: str) -> None:
        """Raise UnreadableText if a text is outside what the model can read."""
        if self.reads is None:
            return
        found = dict.fromkeys(piece for text in texts for piece in self.reads.unreadable(text))
        if found:
            shown = ", ".join(repr(piece[:40]) for piece in list(found)[:8])
            raise UnreadableText(
                f"the model '{self.name}' cannot read {shown}{', ...' if len(found) > 8 else ''}. "
                f"It reads {self.reads.describe}. To judge any text, start a real judge: "
                "closecall serve --model DIR_OR_HUB_ID --style rm-r1"
            )


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn: greedy at temperature 0, else by a stream seeded for one chain."""

    temperature: float = 0.0
    seed: int = 0


@dataclass
class Chain:
    """One chain of thought after its prompt. Only its engine changes it."""

    prompt_ids: list[int]
    sampling: Sampling = Sampling()
    ids: list[int] = field(default_factory=list)
    """generated token ids"""
    text: str = ""
    """the same as text, the stop string included"""
    finish: Literal["stop", "eos"] | None = None
    cached_tokens: int | None = None
    """prompt tokens that a cache already held when the prompt was first read"""

    @property
    def ended(self) -> bool:
        """The model closed it by itself; it will not grow."""
        return self.finish is not None


@dataclass(frozen=True)
class Question:
    """Read `labels` after `chain` and `suffix`."""

    chain: Chain
    suffix: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Probed:
    """The answer to a Question; `tokens` were appended to read it, then dropped."""

    seen: LabelLogprobs
    tokens: int


@dataclass(frozen=True)
class Growth:
    """Grow `chain` by up to `tokens`, until the text `stop` or the model's end of turn.

    The stop string stays in the chain. With `stop=None` only the end of turn stops it, and a
    chain that has closed by itself goes on to write its verdict out.
    """

    chain: Chain
    tokens: int
    stop: str | None


class Engine(Protocol):
    """A model that can be probed and extended. Methods may be called by many tasks at once."""

    @property
    def card(self) -> ModelCard: ...
    @property
    def url(self) -> str:
        """What `open_engine` was given."""
        ...

    @property
    def control(self) -> frozenset[str]:
        """Special tokens of the model, which untrusted text must not speak; none: not known."""
        ...

    @property
    def can_probe(self) -> bool:
        """Whether `probe` works. Without it, chains can only be grown whole, once."""
        ...

    def start(self, rendered: Rendered, sampling: Sampling = Sampling()) -> Chain:
        """An empty chain after `rendered`. Raises RefusedText."""
        ...

    async def probe(self, questions: Sequence[Question]) -> list[Probed]:
        """Answer all questions, in order. Raises EngineError."""
        ...

    async def extend(self, growths: Sequence[Growth]) -> None:
        """Grow all chains in place. Raises EngineError."""
        ...

    async def check(self) -> None:
        """Raise EngineError if the engine can no longer answer."""
        ...

    def close(self) -> None:
        """Give back memory and threads."""
        ...


@dataclass(frozen=True)
class EngineOptions:
    """Where and how an engine computes.

    device: `cpu` or `cuda` (`cuda:1`, …). dtype: `auto` (as stored), `float32`, `float64`, …
    base_url, api_key: of a server that runs already. tensor_parallel: GPUs that hold one copy of
    the model. memory_share: of a GPU's memory, for weights and cache. server_args: more words for
    SGLang's own launcher. logprobs, prefill: what an OpenAI-compatible endpoint can do; None:
    found out.
    """

    device: str = "cpu"
    dtype: str = "auto"
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    tensor_parallel: int = 1
    memory_share: float | None = None
    server_args: tuple[str, ...] = ()
    logprobs: bool | None = None
    prefill: bool | None = None


# -- labels of any number of tokens ---------------------------------------------------------------

Path_ = tuple[int, ...]


@dataclass(frozen=True)
class LabelPlan:
    """How a question about labels is put to a model that reads token ids.

    forced: ids that every label shares, to be appended to the chain. paths: each label's own ids
    after them. nodes: the id prefixes (the empty one first) after which next-token
    log-probabilities are needed. Most labels are one token, and the empty prefix is the only node.
    """

    forced: tuple[int, ...]
    paths: Mapping[str, Path_]
    nodes: tuple[Path_, ...]

    def combine(self, after: Mapping[Path_, Callable[[int], float]]) -> LabelLogprobs:
        """Log-probability of each label, given next-token log-probabilities after each node.

        A label that begins another ("1" and "10") counts only where the other does not follow.
        """
        found: dict[str, float] = {}
        for label, path in self.paths.items():
            total = sum(after[path[:depth]](path[depth]) for depth in range(len(path)))
            longer = {
                other[len(path)]
                for other in self.paths.values()
                if len(other) > len(path) and other[: len(path)] == path
            }
            if longer:
                rest = 1.0 - sum(math.exp(after[path](token)) for token in longer)
                total += math.log(rest) if rest > 0 else -math.inf
            found[label] = total
        return LabelLogprobs(found)


def plan_labels(
    encode: Callable[[str], list[int]], suffix: str, labels: Sequence[str]
) -> LabelPlan:
    """Tokenise `suffix` with each label. Raises ValueError if two labels have the same ids."""
    whole = {label: tuple(encode(suffix + label)) for label in labels}
    if len(set(whole.values())) < len(labels):
        raise ValueError(f"this tokenizer cannot tell the labels {labels} apart")
    shared = min(len(ids) for ids in whole.values()) - 1
    first = next(iter(whole.values()))
    common = next(
        (k for k in range(shared) if any(ids[k] != first[k] for ids in whole.values())), shared
    )
    paths = {label: ids[common:] for label, ids in whole.items()}
    nodes: dict[Path_, None] = {(): None}
    for path in paths.values():
        for depth in range(1, len(path)):
            nodes[path[:depth]] = None
        if any(len(other) > len(path) and other[: len(path)] == path for other in paths.values()):
            nodes[path] = None
    return LabelPlan(tuple(first[:common]), paths, tuple(nodes))
