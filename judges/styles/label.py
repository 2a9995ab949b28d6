"""Pairwise styles whose verdict is one label: a letter, a name, a point on a scale."""

from __future__ import annotations

import asyncio
import math
import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from rrm.errors import StyleMismatch
from rrm.parse import ParsedVerdict, Unread, after_thought, last_choice
from rrm.prompt import PAIR_SLOTS, PromptTemplate, SearchMarkers, Templated, hash_prompt, invited
from rrm.style import Ask, LabelLogprobs, ProbeReadout

CLOSE_THOUGHT = "</think>"
FLOOR = -50.0
"""log-probability below which a label is as good as impossible; keeps margins finite"""


def close_thought(chain: str) -> str:
    """How a `<think>` chain is ended early."""
    return CLOSE_THOUGHT


def close_sections(names: Iterable[str]) -> Callable[[str], str]:
    """A way to close every tagged section that a chain has left open, innermost first."""
    section = re.compile(rf"<(/?)({'|'.join(map(re.escape, names))})>")

    def close(chain: str) -> str:
        still_open: dict[int, str] = {}
        places: defaultdict[str, deque[int]] = defaultdict(deque)  # of each tag that is open
        for match in section.finditer(chain):
            if not match[1]:
                still_open[match.start()] = match[2]
                places[match[2]].append(match.start())
            elif places[match[2]]:
                del still_open[places[match[2]].popleft()]
        return "".join(f"\n</{tag}>" for tag in reversed(still_open.values()))

    return close


@dataclass(frozen=True)
class LabelStyle(Templated):
    """A pairwise style: two responses, one label.

    Several labels may speak for one side, as on a scale; the margin is then the log-odds of the
    sides. With `short` it is for hybrids, which choose by their first token whether to think
    (Thinkless, arXiv 2505.13379).
    """

    name: str
    template: PromptTemplate
    opening: str
    """begins the assistant's turn"""
    stop: str
    """ends a chain by itself"""
    verdict_opening: str
    """stands between a closed chain and the label"""
    first: tuple[str, ...]
    """labels that prefer the first response"""
    second: tuple[str, ...]
    verdict: re.Pattern[str]
    menu: Mapping[str, int | None]
    """what the verdict pattern captures, in lower case: 0, 1, or None for even"""
    even: tuple[str, ...] = ()
    """labels that prefer neither"""
    forced_suffix: Callable[[str], str] = close_thought
    """from a chain that is cut early to the text that closes it"""
    thinks: bool | None = True
    """whether the model must own a `<think>` token (None: no matter)"""
    instead: str | None = None
    """the style for models that differ in that"""
    temperature: float = 0.0
    short: str = ""
    """begins the turn of a hybrid model that answers without thought, by its own choice"""
    search: SearchMarkers | None = None

    sizes = (2,)

    @property
    def labels(self) -> tuple[str, ...]:
        return (*self.first, *self.second, *self.even)

    @property
    def prompt_hash(self) -> str:
        system = () if self.template.turns[0].role == "system" else ("",)
        return hash_prompt(
            self.name,
            *system,
            *self.template.texts(),
            self.opening,
            self.forced_suffix(""),
            self.stop,
            *((self.short,) if self.short else ()),
            *invited(self.search),
        )

    def with_prompt(self, text: str) -> LabelStyle:
        """The style with another instruction text, such as the authors' own.

        `text` is the user turn, or a system turn and a user turn with the line `=== user ===`
        between them. Raises ValueError unless each of {prompt}, {response_1} and {response_2}
        stands in the user turn.
        """
        return replace(self, template=self.template.rewritten(text, PAIR_SLOTS, self.name))

    def suffix(self, chain: str, ended: bool) -> str:
        if self.short and not chain and not ended:
            return self.short + self.verdict_opening
        return ("" if ended else self.forced_suffix(chain)) + self.verdict_opening

    async def read(self, ask: Ask, suffix: str, n: int) -> ProbeReadout:
        if self.short and suffix.startswith(self.short):
            return await self._read_mode(ask, suffix)
        return self._readout(*await ask([suffix], self.labels))

    async def _read_mode(self, ask: Ask, suffix: str) -> ProbeReadout:
        """A hybrid before its first token: its verdict in short, and whether it would think."""
        [seen], [mode] = await asyncio.gather(
            ask([suffix], self.labels), ask([""], (self.opening, self.short))
        )
        think, short = (max(mode.logprobs[one], FLOOR) for one in (self.opening, self.short))
        readout = self._readout(seen)
        return replace(readout, think=1 / (1 + math.exp(min(short - think, -FLOOR))))

    def _readout(self, seen: LabelLogprobs) -> ProbeReadout:
        first, second = (
            _any([max(seen.logprobs[label], FLOOR) for label in side])
            for side in (self.first, self.second)
        )
        return ProbeReadout(z=first - second, mass=seen.mass)

    def parse(self, text: str, n: int) -> ParsedVerdict:
        opened = self.opening.startswith("<think>")
        if self.short and text.lstrip().startswith(self.short):
            text, opened = text.lstrip().removeprefix(self.short), False
        rest = after_thought(text, opened)
        if isinstance(rest, Unread):
            return rest
        return last_choice(rest, self.verdict, self.menu)

    def check(self, special: Iterable[str]) -> None:
        check_think_token(self.name, self.thinks, special, self.instead)


def check_think_token(
    style: str, thinks: bool | None, special: Iterable[str], instead: str | None = None
) -> None:
    """Raise StyleMismatch for a model that owns no `<think>` where it must, or the other way round.

    special: the model's special tokens. instead: the style to try.
    """
    has = "<think>" in {token.strip() for token in special}
    if thinks is not None and has != thinks:
        raise StyleMismatch(
            f"style {style} is for models {'with' if thinks else 'without'} a <think> token, and "
            f"this model has {'one' if has else 'none'}{f'; try {instead}' if instead else ''}"
        )


def _any(logprobs: Sequence[float]) -> float:
    """Log-probability that one of these labels comes."""
    top = max(logprobs)
    if len(logprobs) == 1 or math.isinf(top) or math.isnan(top):
        return top
    return top + math.log(sum(math.exp(value - top) for value in logprobs))
