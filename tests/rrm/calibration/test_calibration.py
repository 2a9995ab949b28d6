"""A calibration's curves, rules and prices, and its bond to prompt and weights."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm.calibration.calibration import Calibration, PlattScaler, PlattScalers, uncalibrated
from rrm.decision.thresholds import Policy, Rule
from rrm.types import Certificate

SLOPES = st.floats(0.0, 20.0)
INTERCEPTS = st.floats(-5.0, 5.0)


def stage(tokens: int, slope: float) -> PlattScalers:
    curve = PlattScaler(intercept=0.0, slope=slope)
    return PlattScalers(
        thinking_tokens=tokens, agree=curve, differ=PlattScaler(intercept=0.0, slope=0.0)
    )


def policy(price: float, least: float) -> Policy:
    return Policy(
        price=price, rules=(Rule(agree=least), Rule(agree=least / 2)), lead=Rule(agree=0.1)
    )


CERTIFICATE = Certificate(
    epsilon=0.01, delta=0.1, n=9, lost=0, gained=0, price=0.2, data="d", model="m", prompt_hash="h"
)


def calibration() -> Calibration:
    return Calibration(
        source="test",
        stages=(stage(0, 0.5), stage(8, 1.0)),
        lead=stage(8, 4.0),
        both=stage(8, 9.0),
        policies=(policy(0.1, 4.0), policy(0.2, 3.0), policy(0.4, 2.0)),
        chosen=1,
        certificate=CERTIFICATE,
    )


@given(INTERCEPTS, SLOPES, st.floats(0, 30), st.floats(0, 30))
def test_a_wider_margin_is_never_less_sure(
    intercept: float, slope: float, one: float, other: float
) -> None:
    curve = PlattScaler(intercept=intercept, slope=slope)
    assert curve(min(one, other)) <= curve(max(one, other))
    assert curve(one) == curve(-one)


@given(st.floats(0, 9), st.floats(-30, 30))
def test_a_rule_stops_from_its_margin_on_in_either_direction(least: float, margin: float) -> None:
    rule = Rule(agree=least)
    assert rule.stops(margin, agree=True) == (abs(margin) >= least)
    assert rule.stops(margin, agree=True) == rule.stops(-margin, agree=True)
    assert not rule.stops(margin, agree=False)


def test_a_rule_that_never_stops_does_not_look() -> None:
    assert not Rule().looks
    assert Rule(differ=3.0).looks
    assert not Rule().stops(1e9, agree=True)


def test_each_checkpoint_has_its_own_rule() -> None:
    found = calibration().policy
    assert isinstance(found, Policy)
    assert not found.rule(0).stops(2.0, agree=True)
    assert found.rule(1).stops(-2.0, agree=True)
    assert found.rule(7).stops(2.0, agree=True)  # beyond the ladder: the last one
    assert found.rule("lead").stops(0.1, agree=True)
    assert found.rule("both").stops(0.0, agree=False)  # no votes unless they were fitted


def test_probability_is_of_the_side_preferred() -> None:
    assert calibration().probability(0, 0.0, agree=False) == 0.5
    assert calibration().probability(1, -3.0, agree=True) == calibration().probability(
        1, 3.0, agree=True
    )
    assert calibration().probability("both", 1.0, agree=True) > 0.99
    assert 0.9 < calibration().probability("lead", 1.0, agree=True) < 0.99
    assert uncalibrated(-2.0) == uncalibrated(2.0) > 0.5


@pytest.mark.parametrize(
    ("price", "chosen", "certified"),
    [(0.05, None, True), (0.1, 0, True), (0.3, 1, True), (0.4, 2, False), (9, 2, False)],
)
def test_a_certificate_covers_its_price_and_lower_ones(
    price: float, chosen: int | None, certified: bool
) -> None:
    found = calibration().at_price(price)
    assert found.chosen == chosen
    assert (found.certificate == CERTIFICATE) is certified


def test_without_a_certificate_no_price_has_one() -> None:
    bare = calibration().model_copy(update={"chosen": None, "certificate": None})
    assert bare.policy is None
    assert bare.at_price(0.1).policy == bare.policies[0]
    assert bare.at_price(0.1).certificate is None
