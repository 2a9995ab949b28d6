"""The page of a calibration stands by itself and says what was found."""

import re

from rrm.calibration import FEWEST, calibrated
from serving.reports.html import page
from tests.helpers.traces import BOND, LADDER, simulated


def test_a_certified_stopper_is_shown_with_all_it_rests_on() -> None:
    traces = simulated(1, 1200)
    calibration = calibrated(traces, LADDER, "1200 pairs", BOND, epsilon=0.05)
    shown = page(calibration, traces, LADDER, "a <judge>")
    assert "<h1>a &lt;judge&gt;</h1>" in shown
    assert "Certified: stopping early loses at most 0.05" in shown
    assert "productive: right 0." in shown
    assert shown.count("<svg") == shown.count("</svg>") == 2
    assert shown.count("<tr class=chosen>") == 1
    assert shown.count("<tr") == (1 + len(LADDER) + 1) * 3 + (1 + len(calibration.policies))
    assert not re.search(r"<script|<link|<img|src=", shown)


def test_few_labels_have_a_page_too() -> None:
    traces = simulated(1, FEWEST // 4)
    calibration = calibrated(traces, LADDER, "few", BOND)
    shown = page(calibration, traces, LADDER, "few")
    assert "No certificate: whole chains are thought." in shown
    assert "Every price" not in shown
