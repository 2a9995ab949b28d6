"""The bundled judge: weights, tokenizer, card (README.md), and the code that made it."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
"""a plain Hugging Face model directory, with `closecall.json` and `calibration.json` beside it"""
CALIBRATION = WEIGHTS / "calibration.json"
"""from `closecall calibrate`"""
