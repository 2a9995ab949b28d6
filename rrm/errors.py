"""What goes wrong, where more than one package tells of it."""


class EngineError(RuntimeError):
    """The engine failed; the judgement becomes `Unscored`, never a score."""


class RefusedText(ValueError):
    """The text cannot be judged by this model. The message says why and what to do."""


class UnreadableText(RefusedText):
    """The text holds words or numbers that the model never learned."""


class PromptTooLong(RefusedText):
    """The rendered prompt does not fit the model's context."""


class UnknownSearcher(RefusedText):
    """The caller names a searcher that is not here."""


class SearchError(RuntimeError):
    """A search failed, or a searcher cannot be opened. It costs the evidence, not the verdict."""


class StyleMismatch(ValueError):
    """This style and this model do not belong together, or no such style exists."""


def install_hint(extra: str | None) -> str:
    """How the packages of an extra are installed. closecall is on no index, only in its clone."""
    return f".venv/bin/pip install -e '.[{extra}]' in the clone of closecall"
