"""The engines, and `open_engine`, which imports the one it opens and no other."""

from rrm.engines.registry import open_engine

__all__ = ["open_engine"]
