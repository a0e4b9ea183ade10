"""Curves of lift over age in a world whose state lasts hours."""

import numpy as np
import pytest

import headwater as hw
from headwater.backtesting.age_curves import age_weights
from tests.backtesting.world import STALE_AND_FRESH, by_machine, day, model, world


@pytest.fixture(scope="module")
def found():
    made = world(effect=0.7, per_day=200)
    members = [
        by_machine(made.events, features=[hw.last("state")]),
        hw.RequestField("amount", float),
    ]
    how = hw.Evaluation(
        split=day(18), metrics=["auc"], resamples=200, ages=["1h", "6h", "2d"], refits=0
    )
    return hw.backtest(model(made, members=members), STALE_AND_FRESH, how)


def test_the_lift_falls_as_the_state_is_forgotten(found):
    """The state flips by an hourly chance of 12 %, so a state of age a agrees with today's to (1 -
    2 x 0.12)^a hours.
    """
    (curve,) = found.result.curves_of_age
    assert (curve.view, curve.metric, curve.fits) == ("machine", "auc", 5)
    lifts = [point.lift.value for point in curve.points]
    assert [point.age_seconds for point in curve.points] == [0, 3600, 21_600, 172_800]
    assert lifts[0] > 0.15 > lifts[2]
    assert lifts[1] / lifts[0] == pytest.approx(0.76, abs=0.12)
    assert lifts[2] / lifts[0] == pytest.approx(0.76**6, abs=0.15)
    assert abs(lifts[3]) < 0.03
    assert curve.points[0].lift.low > 0.1
    assert 3600 < curve.half_life_seconds < 21_600
    assert curve.half_life_seconds < curve.lost_90_seconds < 172_800


def test_a_level_averages_the_curve_over_its_ages(found):
    """Hourly features are 5 to 65 minutes old, daily ones 4 to 28 hours: retrained levels agree
    with the curve.
    """
    (curve,) = found.result.curves_of_age
    assert curve.levels["hourly"].value > 4 * curve.levels["daily"].value
    levels = {level.name: level.metrics["auc"].value for level in found.result.levels}
    step = levels["hourly"] - levels["daily"]
    assert curve.levels["hourly"].value - curve.levels["daily"].value == pytest.approx(
        step, abs=0.04
    )
    assert curve.others in STALE_AND_FRESH


def test_weights_interpolate_and_requests_that_read_nothing_have_none():
    points = np.array([0.0, 60.0, 3600.0])
    assert age_weights(points, np.array([60.0])).tolist() == [0, 1, 0]
    assert age_weights(points, np.array([1e9])).tolist() == [0, 0, 1]
    assert age_weights(points, np.array([np.nan, 0.0])).tolist() == [0.5, 0, 0]
    assert age_weights(points, np.array([600.0])).sum() == pytest.approx(1)
