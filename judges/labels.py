"""Pairwise styles whose verdict is one label: what RRM and RM-R1 have in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files

from rrm.parse import Reading, Unread, after_thought, last_choice
from rrm.style import Ask, Fence, ProbeReading, Rendered, StyleMismatch, fill, hash_prompt
from rrm.types import Message

USER_MARK = "=== user ==="
SLOTS = ("{prompt}", "{response_1}", "{response_2}")
CLOSE_THOUGHT = "</think>"
FLOOR = -50.0
"""log-probability below which a label is as good as impossible; keeps margins finite"""


def prompt_file(name: str) -> str:
    """The text of one of our own prompts."""
    return (files("judges") / "prompts" / name).read_text(encoding="utf-8").rstrip("\n")


def close_thought(chain: str) -> str:
    """How a `<think>` chain is ended early."""
    return CLOSE_THOUGHT


@dataclass(frozen=True)
class LabelStyle:
    """A pairwise style: two responses, two labels, no tie."""

    name: str
    system: str | None
    user: str
    fence: Fence
    opening: str
    """begins the assistant's turn"""
    stop: str
    """ends a chain by itself"""
    verdict_opening: str
    """stands between a closed chain and the label"""
    labels: tuple[str, str]
    verdict: re.Pattern[str]
    menu: tuple[str, str]
    """what the verdict pattern captures, for the first and the second response"""
    close: Callable[[str], str] = close_thought
    thinks: bool | None = True
    """whether the model must own a `<think>` token (None: no matter)"""

    sizes = (2,)

    @property
    def prompt_hash(self) -> str:
        return hash_prompt(
            self.name, self.system or "", self.user, self.opening, self.close(""), self.stop
        )

    def with_prompt(self, text: str) -> LabelStyle:
        """The style with another instruction text, such as the authors' own.

        `text` is the user turn, or a system turn and a user turn with the line `=== user ===`
        between them. Raises ValueError unless each of {prompt}, {response_1} and {response_2}
        stands in the user turn.
        """
        system, mark, user = text.rpartition(USER_MARK + "\n")
        missing = [slot for slot in SLOTS if slot not in user]
        if missing:
            raise ValueError(f"prompt file for {self.name}: the user turn lacks {missing}")
        return replace(self, system=system.strip() if mark else None, user=user.rstrip("\n"))

    def render(
        self, prompt: str, responses: Sequence[str], control: Iterable[str] = ()
    ) -> Rendered:
        words = tuple(control)
        cleaned = [self.fence.defang(text, words) for text in (prompt, *responses)]
        values = dict(
            zip(("prompt", "response_1", "response_2"), (t for t, _ in cleaned), strict=True)
        )
        turns = [Message(role="user", content=fill(self.user, values))]
        if self.system is not None:
            turns.insert(0, Message(role="system", content=self.system))
        return Rendered(tuple(turns), self.opening, tuple(c for _, found in cleaned for c in found))

    def suffix(self, chain: str, ended: bool) -> str:
        return ("" if ended else self.close(chain)) + self.verdict_opening

    async def read(self, ask: Ask, suffix: str, n: int) -> ProbeReading:
        [seen] = await ask([suffix], self.labels)
        first, second = (seen.logprobs[label] for label in self.labels)
        return ProbeReading(z=_difference(first, second), mass=seen.mass)

    def parse(self, text: str, n: int) -> Reading:
        rest = after_thought(text, opened=self.opening.startswith("<think>"))
        if isinstance(rest, Unread):
            return rest
        return last_choice(rest, self.verdict, {self.menu[0]: 0, self.menu[1]: 1})

    def check(self, special: Iterable[str]) -> None:
        if self.thinks is None:
            return
        has = "<think>" in {token.strip() for token in special}
        if has != self.thinks:
            other = "rm-r1-instruct" if self.thinks else "rm-r1"
            raise StyleMismatch(
                f"style {self.name} is for models {'with' if self.thinks else 'without'} a "
                f"<think> token, and this model has {'one' if has else 'none'}; try {other}"
            )


def _difference(first: float, second: float) -> float:
    return max(first, FLOOR) - max(second, FLOOR)
