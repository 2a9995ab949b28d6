"""From labelled traces to a Calibration: curves, policies at rising prices, a certificate.

`arrays` replays policies on traces, `learn` makes them, `fit` puts all together, `bias` says what
the order of the responses alone does. Needs numpy and scipy, when called, and no model.
"""

from rrm.calibration.fit import COMPUTED, FEWEST, calibrated, shortfall

__all__ = ["COMPUTED", "FEWEST", "calibrated", "shortfall"]
