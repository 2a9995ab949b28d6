"""Engines that need a heavy library; opened by rrm.engine.open_engine."""
