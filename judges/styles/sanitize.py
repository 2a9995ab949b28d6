"""Makes text harmless that strangers wrote.

Every prompt and response passes here before it is put into a style's template, so that it can
neither forge the style's markers nor speak the model's control language.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
class Sanitizer:
    """The markers of one style, which no untrusted text may contain."""

    markers: tuple[str, ...]

    def sanitize(self, text: str, control: Iterable[str] = ()) -> tuple[str, tuple[str, ...]]:
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
