"""How one family of judges is asked and read: the Style protocol, the fence, the template fill.

A style owns the text around the untrusted parts. Everything a stranger wrote (the prompt and the
responses) passes `defang` first, so that it can neither forge the style's markers nor speak the
model's control language.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Protocol

from rrm.errors import StyleMismatch
from rrm.parse import Reading
from rrm.types import Frozen

ENTRY_POINTS = "closecall.styles"


@dataclass(frozen=True)
class LabelLogprobs:
    """What a probe saw: natural-log probability of each label, among all continuations."""

    logprobs: Mapping[str, float]

    @property
    def mass(self) -> float:
        """Probability that all labels hold together, 0 to 1."""
        return min(1.0, sum(math.exp(value) for value in self.logprobs.values()))


Ask = Callable[[Sequence[str], Sequence[str]], Awaitable[list[LabelLogprobs]]]
"""ask(suffixes, labels): label log-probabilities after the chain plus each suffix."""


@dataclass(frozen=True)
class ProbeReading:
    """A verdict read by probe, seen from the first response of this order."""

    z: float
    """margin: log P(first better) - log P(second better), or a difference of expected scores"""
    mass: float
    scores: tuple[float, ...] | None = None
    spread: float = 0.0


class Turn(Frozen):
    """One turn of what a judge is shown. Some judges know roles of their own (`response_1`)."""

    role: str
    content: str


@dataclass(frozen=True)
class Rendered:
    """A question as the model's chat template takes it."""

    messages: tuple[Turn, ...]
    opening: str
    """text that begins the assistant's turn"""
    defanged: tuple[str, ...] = field(default=())
    """the control strings and markers that were neutralised, as they stood"""


class Style(Protocol):
    """The contract of one family of judges. Sources: see each style's module."""

    @property
    def name(self) -> str: ...
    @property
    def prompt_hash(self) -> str:
        """Hash of everything in the prompt that is not the user's."""
        ...

    @property
    def stop(self) -> str:
        """The text by which the model ends its chain."""
        ...

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many responses the style can be asked about at once."""
        ...

    def render(
        self, prompt: str, responses: Sequence[str], control: Iterable[str] = ()
    ) -> Rendered:
        """Messages for `responses` in this order; `control` are the model's special tokens."""
        ...

    def suffix(self, chain: str, ended: bool) -> str:
        """What to append to `chain` so that the verdict label comes next."""
        ...

    async def read(self, ask: Ask, suffix: str, n: int) -> ProbeReading:
        """Read the verdict over `n` responses after `suffix`."""
        ...

    def parse(self, text: str, n: int) -> Reading:
        """Read a finished reply. Never raises."""
        ...

    def check(self, special: Iterable[str]) -> None:
        """Raise StyleMismatch if a model with these special tokens is of another family."""
        ...


def open_style(name: str) -> Style:
    """The style registered under `name` (entry-point group `closecall.styles`).

    Raises StyleMismatch, naming the styles there are.
    """
    for point in entry_points(group=ENTRY_POINTS, name=name):
        style: Style = point.load()
        return style
    known = ", ".join(style_names()) or "none: is closecall installed?"
    raise StyleMismatch(f"no style called {name!r}; there are: {known}")


def style_names() -> tuple[str, ...]:
    """The names `open_style` knows."""
    return tuple(sorted({point.name for point in entry_points(group=ENTRY_POINTS)}))


# -- the fence ------------------------------------------------------------------------------------

_LOOKALIKE = str.maketrans(
    {"<": "‹", ">": "›", "[": "⟦", "]": "⟧", "#": "♯", "\\": "∖", "|": "¦", "{": "❴", "}": "❵"}
)
"""Each stand-in looks like its original, says something was changed, and no Unicode
normalisation turns it back."""

# Spaces are matched possessively (`*+`): a run of them is never split, which took quadratic time.
_ANY_MODEL = (
    r"<\s*+\|[^|<>\n]{1,40}\|\s*+>",  # <|im_start|> and its like
    r"<｜[^｜<>\n]{1,40}｜>",  # the DeepSeek form
    r"<\s*+(?:/\s*+)?(?:think|answer|short|rubric|justify|eval|solution|type)\s*+>",
    r"<\s*+(?:/\s*+)?(?:start_of_turn|end_of_turn|bos|eos|s|unk|pad)\s*+>",
    r"\[\s*+\[\s*+[ABC]\s*+\]\s*+\]",
    r"\[\s*+(?:/\s*+)?INST\s*+\]",
    r"\\\s*+boxed\s*+\{",
)


_TWINS = str.maketrans(  # Cyrillic lookalikes and curly quotes
    "АВЕКМНОРСТХаеорсухіѕ‘’ʼ", "ABEKMHOPCTXaeopcyxis'''"
)


_SPACES = str.maketrans(
    {**dict.fromkeys("\r\x0b\x0c\x1c\x1d\x1e", "\n"), **dict.fromkeys("\t\x1f", " ")}
)


def _skeleton(text: str) -> tuple[str, Sequence[int]]:
    """`text` as a reader sees it, and for each of its characters the index it came from.

    Compatibility forms, lookalike Cyrillic, odd spaces and invisible characters all fold away, so
    that a marker spelt with them is still found.
    """
    if text.isascii():
        return text.translate(_SPACES), range(len(text))
    folded: list[str] = []
    origin: list[int] = []
    for index, char in enumerate(text):
        category = unicodedata.category(char)
        if category in ("Cf", "Mn", "Me") or char in "\u3164\u115f\u1160":
            continue
        plain = unicodedata.normalize("NFKC", char).translate(_TWINS)
        for piece in plain:
            if piece in "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029":
                piece = "\n"
            elif piece.isspace() and piece != "\n":
                piece = " "
            folded.append(piece)
            origin.append(index)
    return "".join(folded), origin


@dataclass(frozen=True)
class Fence:
    """The markers of one style, which no untrusted text may contain."""

    markers: tuple[str, ...]

    def defang(self, text: str, control: Iterable[str] = ()) -> tuple[str, tuple[str, ...]]:
        """`text` with markers and control strings made harmless, and what was changed.

        Harmless means that brackets, hashes and backslashes in them become lookalikes; the text
        stays readable. A marker is found whatever its case, spacing or Unicode spelling.
        """
        pattern = self._pattern(tuple(sorted(set(control))))
        skeleton, origin = _skeleton(text)
        changed: list[str] = []
        letters = list(text)
        for match in pattern.finditer(skeleton):
            start, end = origin[match.start()], origin[match.end() - 1] + 1
            changed.append(text[start:end])
            neutral = [_neutral(letter) for letter in letters[start:end]]
            if neutral == letters[start:end]:  # no sign in it to swap: break the word itself
                neutral[0] += "·"
            letters[start:end] = neutral
        return "".join(letters), tuple(changed)

    def _pattern(self, control: tuple[str, ...]) -> re.Pattern[str]:
        key = (self.markers, control)
        if key not in _PATTERNS:
            exact = [_loose(word) for word in (*self.markers, *control) if word.strip()]
            _PATTERNS[key] = re.compile("|".join((*exact, *_ANY_MODEL)), re.IGNORECASE)
        return _PATTERNS[key]


_PATTERNS: dict[tuple[tuple[str, ...], tuple[str, ...]], re.Pattern[str]] = {}


def _neutral(char: str) -> str:
    folded = unicodedata.normalize("NFKC", char).translate(_LOOKALIKE)
    return folded if folded != unicodedata.normalize("NFKC", char) else char


def _loose(marker: str) -> str:
    """A pattern for `marker` with any spacing between its words and signs."""
    skeleton, _ = _skeleton(marker)
    parts = re.findall(r"\w+|[^\w\s]", skeleton)
    return r"[ \n]*+".join(re.escape(part) for part in parts)


def fill(template: str, fields: Mapping[str, str]) -> str:
    """Put `fields` into `{name}` slots in one pass: text that is put in is never read again."""
    names = "|".join(re.escape(name) for name in fields)
    return re.sub(rf"\{{({names})\}}", lambda match: fields[match[1]], template)


def hash_prompt(*parts: str) -> str:
    """A short stable hash of a style's own text."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
