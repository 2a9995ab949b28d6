"""Rivals walk one line; what they cost is charged like ours."""

import numpy as np

from rrm.calibration import COMPUTED
from rrm.calibration.arrays import TraceArrays
from rrm.calibration.replay import whole
from rrm.calibration.rivals import LINES, ONE_WHOLE, settings
from tests.helpers.traces import LADDER, arrays, liking, simulated


def test_without_thresholds_a_line_is_walked_to_its_end() -> None:
    made = arrays(1, 100)
    both = LINES["both orders, look once"]
    found = both.walk(made, [np.inf] * 2, both.centres(made))
    assert (found.lost == 0).all()
    assert (found.spent.cost(COMPUTED) == whole(made).spent.cost(COMPUTED)).all()
    one = LINES["one order, look once"]
    found = one.walk(made, [np.inf], one.centres(made))
    assert (found.spent.thought == made.lead_tokens).all()
    assert (found.spent.other == 0).all()


def test_at_no_margin_everybody_stops_at_the_prompt() -> None:
    made = arrays(1, 100)
    for name, line in LINES.items():
        found = line.walk(made, [0.0] * 4, line.centres(made))
        assert (found.spent.thought == 0).all(), name
        assert (found.spent.probes == 1 + line.both_prompts).all()


def test_a_general_liking_is_taken_off_and_tuning_pays() -> None:
    plain = simulated(1, 2000)
    fair = TraceArrays.of(plain, LADDER)
    unfair = TraceArrays.of(liking(plain, 3.0, 0.0, seed=1), LADDER)
    for made in (fair, unfair):
        found = {name: fitted for name, fitted, _ in settings(made, made, COMPUTED)}
        assert found[ONE_WHOLE].right.mean() > 0.95
        inside = found["one order, looks inside"]
        assert inside.spent.cost(COMPUTED).mean() < whole(made).spent.cost(COMPUTED).mean()
