"""The real SGLang on a CPU, for tests: see requirements.txt beside this file.

`shim` stands in for two CUDA-only packages that SGLang imports; it belongs on the path of the
engine's own processes and nowhere else.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from rrm.engine import EngineOptions

HERE = Path(__file__).parent
ENV = {"PYTHONPATH": str(HERE / "shim")}
ARGS = ("--max-total-tokens", "60000", "--mem-fraction-static", "0.2")
OPTIONS = EngineOptions(dtype="float32", server_args=ARGS)
CI = "CLOSECALL_CI" in os.environ


def require_sglang() -> None:
    """Skip without SGLang, except where it must be there."""
    if find_spec("sglang") is None:
        assert not CI, "continuous integration installs SGLang; it is not there"
        pytest.skip("SGLang is not installed here; `make test` installs it")
