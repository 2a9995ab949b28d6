"""Measurements: python -m benchmarks.NAME --n --seed --json."""
