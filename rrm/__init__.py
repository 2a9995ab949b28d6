"""The reasoning reward model: candidates in, outcome out.

Public: Pair, Candidates, Verdict, Score, Unscored, Usage, Calibration, open_engine.
"""

from typing import TYPE_CHECKING

from rrm.lazy import lazily

if TYPE_CHECKING:
    from rrm.calibration.calibration import Calibration
    from rrm.engines.registry import open_engine
    from rrm.types import Candidates, Pair, Score, Unscored, Usage, Verdict

__version__ = "0.1.0"
__all__ = [
    "Calibration",
    "Candidates",
    "Pair",
    "Score",
    "Unscored",
    "Usage",
    "Verdict",
    "open_engine",
]
DISTRIBUTION = "closecall"
"""marks this package as ours; `serving.import_check` looks for it"""
__getattr__ = lazily(
    __name__,
    {
        **dict.fromkeys(
            ("Candidates", "Pair", "Score", "Unscored", "Usage", "Verdict"), "rrm.types"
        ),
        "Calibration": "rrm.calibration.calibration",
        "open_engine": "rrm.engines.registry",
    },
)
