"""The real SGLang for benchmarks on a machine without a GPU, as the tests have it."""

from __future__ import annotations

import os
from pathlib import Path

from rrm.engine import EngineOptions
from rrm.engines.sglang import SGLangEngine
from tests.sglang_cpu import ENV, INSTALLED, OPTIONS


def sglang_on_cpu(directory: Path, options: EngineOptions = OPTIONS) -> SGLangEngine:
    """A private server. Raises SystemExit, with what to do, where SGLang is not installed."""
    if not INSTALLED:
        raise SystemExit("this needs SGLang, which `make test` installs")
    before = {name: os.environ.get(name) for name in ENV}
    os.environ.update(ENV)
    try:
        return SGLangEngine(directory, options)
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
