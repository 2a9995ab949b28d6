"""What goes wrong around a service: a start, a request, an answer."""

from __future__ import annotations

from rrm.errors import RefusedText
from serving.schemas import Problem


class SettingsError(ValueError):
    """The service cannot start like this; the message says what to change."""


class ServiceError(RuntimeError):
    """The service gave no outcome: not reachable, overloaded, out of time, or the key is wrong.

    status: of the last answer, None if there was none. retry_after: seconds, if it said so.
    """

    def __init__(self, detail: str, status: int | None = None, retry_after: float | None = None):
        super().__init__(detail)
        self.status, self.retry_after = status, retry_after


class RefusedRequest(RefusedText):
    """The service cannot judge this text or these options (400, 413, 422)."""


class ProblemError(Exception):
    """Becomes a problem+json answer."""

    def __init__(
        self, status: int, title: str, detail: str, retry_after: int | None = None
    ) -> None:
        super().__init__(detail)
        self.problem = Problem(status=status, title=title, detail=detail)
        self.retry_after = retry_after
