"""The model card: what a service should know about a model, in a file beside its weights."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from rrm.errors import UnreadableText

CARD_FILE = "closecall.json"


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
    """thinking tokens of each sequence at which it is probed"""
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
