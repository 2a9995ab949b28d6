"""Where tokens come from: the Engine protocol.

An engine does two things to a token sequence. `probe` reads the log-probabilities of given labels
after the sequence and a suffix; it generates nothing and leaves the sequence as it was. `extend`
grows it. Both take many at once, and an engine is free to batch what different callers ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from rrm.engines.card import ModelCard
from rrm.prompt import Rendered
from rrm.style import LabelLogprobs


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn: greedy at temperature 0, else by a stream seeded for one sequence."""

    temperature: float = 0.0
    seed: int = 0


class Pause(NamedTuple):
    """A query between these two texts pauses a sequence; both stay in it."""

    opening: str
    close: str


@dataclass
class TokenSequence:
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
    paused: bool = False
    """it wrote a query, and grows again once text is appended"""
    appended: int = 0
    """of `ids`, how many were put in, not generated"""
    resumed: int = 0
    """length of `ids` when text was last put in"""

    @property
    def generated(self) -> int:
        """How many tokens the model generated."""
        return len(self.ids) - self.appended

    @property
    def ended(self) -> bool:
        """The model closed it by itself; it will not grow."""
        return self.finish is not None


@dataclass(frozen=True)
class ProbeRequest:
    """Read `labels` after `sequence` and `suffix`."""

    sequence: TokenSequence
    suffix: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class ProbeResult:
    """The answer to a ProbeRequest; `tokens` were appended to read it, then dropped."""

    labels: LabelLogprobs
    tokens: int


@dataclass(frozen=True)
class ExtendRequest:
    """Grow `sequence` by up to `tokens`, until the text `stop` or the model's end of turn.

    The stop string stays in the sequence. With `stop=None` only the end of turn stops it, and a
    sequence that has closed by itself goes on to write its verdict out. A sequence that is paused
    stays as it is.
    """

    sequence: TokenSequence
    tokens: int
    stop: str | None
    pause: Pause | None = None

    @property
    def grows(self) -> bool:
        """Whether there is anything to do."""
        sequence = self.sequence
        open_ = sequence.finish is None or (sequence.finish == "stop" and self.stop is None)
        return open_ and not sequence.paused and self.tokens > 0

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts at which it ends, or pauses."""
        ends = () if self.stop is None else (self.stop,)
        return ends if self.pause is None else (*ends, self.pause.close)

    def met(self, stop: str) -> None:
        """Note that the sequence now ends with one of `stops`."""
        if stop == self.stop:
            self.sequence.finish = "stop"
        else:
            self.sequence.paused = True


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
        """Whether `probe` works. Without it, sequences can only be grown whole, once."""
        ...

    def start(self, rendered: Rendered, sampling: Sampling = Sampling()) -> TokenSequence:
        """An empty sequence after `rendered`. Raises RefusedText."""
        ...

    def begin(self, sequence: TokenSequence, opening: str) -> None:
        """Put `opening` behind the prompt of a sequence that has not grown yet."""
        ...

    def append(self, sequence: TokenSequence, text: str) -> None:
        """Put `text` behind what a sequence has grown by: it is read, not generated.

        A paused sequence grows again. Raises PromptTooLong, and leaves it as it was.
        """
        ...

    async def probe(self, requests: Sequence[ProbeRequest]) -> list[ProbeResult]:
        """Answer all requests, in order. Raises EngineError."""
        ...

    async def extend(self, requests: Sequence[ExtendRequest]) -> None:
        """Grow all sequences in place. Raises EngineError."""
        ...

    async def check(self) -> None:
        """Raise EngineError if the engine can no longer answer."""
        ...

    def close(self) -> None:
        """Give back memory and threads."""
        ...


@dataclass(frozen=True)
class Capabilities:
    """What is known of an engine before one is opened; `rrm.engines.registry` has the table."""

    local_weights: bool
    """the model's files lie on this machine: its config, its digest, its calibration"""
    needs_gpu: bool = False
    """unless another device is named"""
    probes: bool | None = None
    """reads labels without generating; None: found out when it is opened"""
    token_ids: bool = False
    """takes and gives token ids, so that the model's special tokens are known"""
    prefix_cache: bool = False
    """keeps what prompts share from request to request"""
    exact_dtype: str | None = None
    """in which, on a CPU, a result does not depend on what else is in the batch"""


@dataclass(frozen=True)
class EngineOptions:
    """Where and how an engine computes.

    device: `cpu` or `cuda` (`cuda:1`, …). dtype: `auto` (as stored), `float32`, `float64`, …
    threads: of the CPU; None: the library's own number. base_url, api_key: of a server that runs
    already. tensor_parallel: GPUs that hold one copy of the model. memory_share: of a GPU's
    memory, for weights and cache. server_args: more arguments for SGLang's own launcher.
    logprobs, prefill: what an OpenAI-compatible endpoint can do; None: found out.
    """

    device: str = "cpu"
    dtype: str = "auto"
    threads: int | None = None
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    tensor_parallel: int = 1
    memory_share: float | None = None
    server_args: tuple[str, ...] = ()
    logprobs: bool | None = None
    prefill: bool | None = None
