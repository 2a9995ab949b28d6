"""The real SGLang for benchmarks on a machine without a GPU, as the tests have it."""

from __future__ import annotations

import os
from pathlib import Path

from rrm.engines.base import EngineOptions
from rrm.engines.sglang import SGLangEngine
from serving.testing.sglang_cpu import ENV, INSTALLED, OPTIONS


def sglang_on_cpu(
    directory: Path, options: EngineOptions = OPTIONS, threads: int = 1
) -> SGLangEngine:
    """A private server. For a model as small as nano one thread is faster than two.

    Raises SystemExit, with what to do, where SGLang is not installed.
    """
    if not INSTALLED:
        raise SystemExit("this needs SGLang, which `make test` installs")
    environment = {**ENV, "OMP_NUM_THREADS": str(threads)}
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        return SGLangEngine(directory, options)
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
