"""The real SGLang on a CPU, for tests and benchmarks: see requirements.txt beside this file.

`shim` stands in for two CUDA-only packages that SGLang imports; it belongs on the path of the
engine's own processes and nowhere else.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

from rrm.engines.base import EngineOptions

ENV = {"PYTHONPATH": str(Path(__file__).parent / "shim"), "OMP_NUM_THREADS": "1"}
ARGS = ("--max-total-tokens", "60000", "--mem-fraction-static", "0.2", "--enable-metrics")
OPTIONS = EngineOptions(dtype="float32", server_args=ARGS)
CONFIG = f'engine = "sglang"\ndevice = "cpu"\ndtype = "float32"\nserver_args = {json.dumps(ARGS)}\n'
"""the same as a file of settings"""
INSTALLED = find_spec("sglang") is not None
