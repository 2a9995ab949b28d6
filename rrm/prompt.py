"""What a judge is shown: turns with slots, filled with text that was made harmless, or refused.

Every text that a stranger wrote, the prompt and the responses, passes here once. What the model
cannot read is refused (`Domain`); what could forge a style's markers or speak the model's control
language is neutralised (`Sanitizer`); then it is put into a style's turns (`PromptTemplate`).
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydantic import BaseModel, ConfigDict

from rrm.errors import UnreadableText
from rrm.types import Frozen


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
    sanitized: tuple[str, ...] = field(default=())
    """the control strings and markers that were neutralised, as they stood"""


@dataclass(frozen=True)
class SearchMarkers:
    """How a judge asks for a search inside its chain, and how it is answered there."""

    opening: str = "<search>"
    close: str = "</search>"
    result_opening: str = "<result>"
    result_close: str = "</result>"
    nothing: str = "not found"
    """stands for the result of a search that found nothing"""
    refused: str = "refused"
    """the same where there was no search, or it failed"""
    invitation: str = ""
    """tells a judge that was not trained to search that it may; stands behind the question"""

    def query(self, chain: str) -> str:
        """What a chain that ends with `close` asks for; "" if it opened no query."""
        asked = chain.removesuffix(self.close)
        _, opened, query = asked.rpartition(self.opening)
        return query.strip() if opened and self.close not in query else ""

    def result(self, text: str) -> str:
        """What is appended for a result."""
        return f"{self.result_opening}{text}{self.result_close}"


_PIECE = re.compile(r"[0-9]+(?:[.,][0-9]+)*|[^\W\d_]+|\S")


class Domain(BaseModel):
    """What a narrow model can read: its words, its signs, whole numbers of so many digits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    describe: str
    words: tuple[str, ...]
    signs: str
    digits: int
    names: tuple[str, ...] = ()
    """words that only a search can tell it about"""

    def refuse(self, model: str, texts: Iterable[str], searching: bool = False) -> None:
        """Raise UnreadableText if one of `texts` is outside of it.

        searching: there is evidence to search in, so names may stand in them.
        """
        known = {*self.words, *self.signs, *(self.names if searching else ())}
        pieces = dict.fromkeys(piece for text in texts for piece in _PIECE.findall(text))
        outside = [one for one in pieces if one not in known and not self._number(one)]
        if outside and set(outside) <= set(self.names):
            raise UnreadableText(
                f"the model '{model}' must search for {', '.join(map(repr, outside))}: give "
                "evidence, texts that tell it"
            )
        if outside:
            shown = ", ".join(repr(piece[:40]) for piece in outside[:8])
            raise UnreadableText(
                f"the model '{model}' cannot read {shown}{', ...' if len(outside) > 8 else ''}. "
                f"It reads {self.describe}. To judge any text, start a real judge: "
                "closecall serve --model DIR_OR_HUB_ID --style rm-r1"
            )

    def _number(self, piece: str) -> bool:
        return piece.isascii() and piece.isdigit() and len(piece) <= self.digits


# -- made harmless -------------------------------------------------------------------------------

_LOOKALIKE = str.maketrans(
    {"<": "‹", ">": "›", "[": "⟦", "]": "⟧", "#": "♯", "\\": "∖", "|": "¦", "{": "❴", "}": "❵"}
)
"""Each stand-in looks like its original, says something was changed, and no Unicode
normalisation turns it back."""

# Spaces are matched possessively (`*+`): a run of them is never split, which took quadratic time.
_ANY_MODEL = (
    r"<\s*+\|[^|<>\n]{1,40}\|\s*+>",  # <|im_start|> and its like
    r"<｜[^｜<>\n]{1,40}｜>",  # the DeepSeek form
    r"<\s*+(?:/\s*+)?(?:think|answer|short|search|result|rubric|justify|eval|solution|type)\s*+>",
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


# -- put into turns ------------------------------------------------------------------------------

USER_MARK = "=== user ==="
PAIR_SLOTS = ("{prompt}", "{response_1}", "{response_2}")


@dataclass(frozen=True)
class PromptTemplate:
    """Turns of a conversation with slots.

    {prompt} and {response_1}, {response_2}, …, or {responses} for any number of them, each in the
    form of `response`. constants: trusted text for slots of its own, such as {rubric}.
    """

    turns: tuple[Turn, ...]
    sanitizer: Sanitizer
    response: str = "{response}"
    """one response in {responses}, with {number} and {response}"""
    constants: Mapping[str, str] = field(default_factory=dict)

    def missing(self, slots: Iterable[str]) -> list[str]:
        """Which of `slots` no turn has."""
        text = "".join(turn.content for turn in self.turns)
        return [slot for slot in slots if slot not in text]

    def rewritten(self, text: str, slots: Iterable[str], name: str) -> PromptTemplate:
        """The same with the instruction text of a file.

        text: the user turn, or a system turn and a user turn with the line `=== user ===` between
        them. Raises ValueError if a slot is missing.
        """
        system, mark, user = text.rpartition(USER_MARK + "\n")
        turns = [Turn(role="user", content=user.rstrip("\n"))]
        missing = [slot for slot in slots if slot not in user]
        if missing:
            raise ValueError(f"prompt file for {name}: the user turn lacks {missing}")
        if mark:
            turns.insert(0, Turn(role="system", content=system.strip()))
        return replace(self, turns=tuple(turns))

    def texts(self) -> tuple[str, ...]:
        """All of it that is not the user's, for a hash."""
        odd = tuple(t.role for t in self.turns if t.role not in ("system", "user"))
        constants = map(str, sorted(self.constants.items()))
        return (*(turn.content for turn in self.turns), *odd, *constants)


class Templated:
    """A style whose questions are a template and the opening of the assistant's turn."""

    template: PromptTemplate
    opening: str
    short: str = ""
    search: SearchMarkers | None = None

    def clean(self, text: str, control: Iterable[str] = ()) -> tuple[str, tuple[str, ...]]:
        return self.template.sanitizer.sanitize(text, control)

    def render(
        self, prompt: str, responses: Sequence[str], control: Iterable[str] = ()
    ) -> Rendered:
        """The question about `responses`, in this order; every slot is filled once.

        control: the model's special tokens. What strangers wrote is made harmless first.
        """
        template, words = self.template, tuple(control)
        question, changed = template.sanitizer.sanitize(prompt, words)
        values = {**template.constants, "prompt": question}
        blocks = []
        for number, response in enumerate(responses, start=1):
            clean, more = template.sanitizer.sanitize(response, words)
            changed += more
            values[f"response_{number}"] = clean
            blocks.append(fill(template.response, {"number": str(number), "response": clean}))
        values["responses"] = "\n".join(blocks)
        filled = (
            turn.model_copy(update={"content": fill(turn.content, values)})
            for turn in template.turns
        )
        return Rendered(tuple(filled), self.opening, changed)


def fill(template: str, fields: Mapping[str, str]) -> str:
    """Put `fields` into `{name}` slots in one pass: text that is put in is never read again."""
    names = "|".join(re.escape(name) for name in fields)
    return re.sub(rf"\{{({names})\}}", lambda match: fields[match[1]], template)


def invited(search: SearchMarkers | None) -> tuple[str, ...]:
    """What of a style's search stands in its prompt, for a hash."""
    return (search.invitation,) if search is not None and search.invitation else ()


def hash_prompt(*parts: str) -> str:
    """A short stable hash of a style's own text."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
