"""Stands in for SGLang's kernels, whose wheels are for CUDA.

On a CPU without AMX, SGLang imports some names from here and calls none of them. What is called
all the same says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn


def __getattr__(name: str) -> Callable[..., NoReturn]:
    if name.startswith("__"):
        raise AttributeError(name)

    def missing(*_: object, **__: object) -> NoReturn:
        raise NotImplementedError(f"sgl_kernel.{name}: there are no SGLang kernels for this CPU")

    return missing
