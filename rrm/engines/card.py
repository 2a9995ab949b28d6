"""The model card: what a service should know about a model, in a file beside its weights."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from rrm.prompt import Domain

CARD_FILE = "closecall.json"


class ModelCard(BaseModel):
    """`closecall.json` beside a model's weights: what the service should know about it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    styles: tuple[str, ...] = ()
    """the styles it was trained in; none: any"""
    ladder: tuple[int, ...] = ()
    """thinking tokens of each sequence at which it is probed"""
    searches: bool = False
    """it asks for searches unasked, so what it writes is looked at for queries"""
    reads: Domain | None = None
    """none: a general language model"""

    @classmethod
    def of(cls, directory: Path) -> ModelCard:
        """The card in `directory`, or one that only knows the directory's name."""
        path = directory / CARD_FILE
        if not path.is_file():
            return cls(name=directory.resolve().name)
        return cls.model_validate_json(path.read_text(encoding="utf-8"))
