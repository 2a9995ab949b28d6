"""Are `rrm` and `judges` ours? Another project on PyPI installs a package called `judges`."""

from __future__ import annotations

import importlib


class NameClash(ImportError):
    """A package of ours is shadowed by another project's."""


def check_imports() -> None:
    """Raise NameClash if `rrm` or `judges` was installed by another project."""
    for name in ("rrm", "judges"):
        module = importlib.import_module(name)
        if getattr(module, "DISTRIBUTION", None) != "closecall":
            raise NameClash(
                f"the package {name!r} at {getattr(module, '__file__', None)} is not closecall's: "
                f"another distribution installs that name. Uninstall it (pip uninstall {name}) "
                "and reinstall closecall, or use a fresh virtual environment"
            )
