"""The engines; opened by rrm.engine.open_engine, heavy libraries with them."""
