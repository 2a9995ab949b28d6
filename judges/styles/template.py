"""What a judge is shown: turns with slots, filled with text that has been made harmless."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from judges.styles.sanitize import Sanitizer
from rrm.style import Rendered, Turn

USER_MARK = "=== user ==="
PAIR_SLOTS = ("{prompt}", "{response_1}", "{response_2}")


@dataclass(frozen=True)
class PromptTemplate:
    """Turns of a conversation with the slots {prompt} and {response_1}, {response_2}, …, or
    {responses} for any number of them, each in the form of `response`.

    constants: trusted text for slots of its own, such as {rubric}.
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
        """The same with the instruction text of a file: the user turn, or a system turn and a user
        turn with the line `=== user ===` between them. Raises ValueError if a slot is missing."""
        system, mark, user = text.rpartition(USER_MARK + "\n")
        turns = [Turn(role="user", content=user.rstrip("\n"))]
        missing = [slot for slot in slots if slot not in user]
        if missing:
            raise ValueError(f"prompt file for {name}: the user turn lacks {missing}")
        if mark:
            turns.insert(0, Turn(role="system", content=system.strip()))
        return replace(self, turns=tuple(turns))

    def render(
        self, opening: str, prompt: str, responses: Sequence[str], control: Iterable[str] = ()
    ) -> Rendered:
        """Fill every slot once; what strangers wrote is neutralised first."""
        words = tuple(control)
        question, changed = self.sanitizer.sanitize(prompt, words)
        values = {**self.constants, "prompt": question}
        blocks = []
        for number, response in enumerate(responses, start=1):
            clean, found = self.sanitizer.sanitize(response, words)
            changed += found
            values[f"response_{number}"] = clean
            blocks.append(fill(self.response, {"number": str(number), "response": clean}))
        values["responses"] = "\n".join(blocks)
        filled = (
            turn.model_copy(update={"content": fill(turn.content, values)}) for turn in self.turns
        )
        return Rendered(tuple(filled), opening, changed)

    def texts(self) -> tuple[str, ...]:
        """All of it that is not the user's, for a hash."""
        odd = tuple(t.role for t in self.turns if t.role not in ("system", "user"))
        constants = map(str, sorted(self.constants.items()))
        return (*(turn.content for turn in self.turns), *odd, *constants)


def fill(template: str, fields: Mapping[str, str]) -> str:
    """Put `fields` into `{name}` slots in one pass: text that is put in is never read again."""
    names = "|".join(re.escape(name) for name in fields)
    return re.sub(rf"\{{({names})\}}", lambda match: fields[match[1]], template)


def hash_prompt(*parts: str) -> str:
    """A short stable hash of a style's own text."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
