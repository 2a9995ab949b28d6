"""One JSON line a request."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import structlog

from serving.settings import Settings


def open_log(settings: Settings) -> Any:
    """A structlog logger of JSON lines: to the settings' file, else to standard error."""
    out = sys.stderr if settings.log_file is None else Path(settings.log_file).open("a")  # noqa: SIM115
    return structlog.wrap_logger(
        structlog.WriteLogger(out),
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.BoundLogger,
    )
