"""The share of predictions that came too late, from a serving log."""

import dataclasses

import polars as pl
import pytest
from msgspec import structs

import headwater as hw
from headwater.assessing.late_share import late_share, with_measured_late
from headwater.journal.serving_log_rows import LATENCY, PREDICTION, PREDICTION_HOW, REQUEST
from headwater.results.backtest_result import Value
from headwater.results.lift_result import Lift
from headwater.results.measurement import Missing, measured
from headwater.testing.examples import churn
from tests.backtesting.sample_result import flights

MODEL = dataclasses.replace(churn(), latency_budget="50ms")


def served(n=2000, slow=0, defaults=0, precomputed=0, rows=1):
    how = (
        ["default"] * defaults
        + ["precomputed"] * precomputed
        + ["on_request"] * (n - defaults - precomputed)
    )
    took = [10_000] * (n - slow) + [60_000] * slow
    frame = pl.DataFrame(
        {
            REQUEST: [str(k) for k in range(n)],
            PREDICTION: [0.5] * n,
            PREDICTION_HOW: how,
            LATENCY: took,
        }
    )
    return pl.concat([frame] * rows)


@pytest.mark.parametrize(
    ("log", "share"),
    [
        (served(slow=20), 0.01),
        (served(defaults=40), 0.02),
        (served(slow=20, defaults=40), 0.03),
        (served(slow=20, rows=3), 0.01),
        (served(4000, slow=20, precomputed=2000), 0.01),
    ],
    ids=["slow", "defaults", "both", "several rows a request", "looked up ones say nothing"],
)
def test_the_share(log, share):
    assert late_share(MODEL, log).value == pytest.approx(share)


@pytest.mark.parametrize(
    ("model", "log", "why"),
    [
        (churn(), served(), "has no latency_budget"),
        (MODEL, None, "no serving log"),
        (MODEL, served().drop(LATENCY), "no serving log of predictions"),
        (MODEL, served(999), "has 999 predictions on request"),
        (MODEL, served(2000, precomputed=1500), "has 500 predictions on request"),
    ],
)
def test_what_cannot_be_measured_is_missing_with_its_reason(model, log, why):
    assert why in late_share(model, log).reason


def test_a_given_share_takes_precedence():
    late = measured(0.1, "share", "the log")
    value = Value(10_000, 0.01, 100, 20)
    worth = [
        structs.replace(flights(), value=each)
        for each in (value, structs.replace(value, late=0.3), None)
    ]
    found = [with_measured_late(Lift(each), late).backtest.value for each in worth]
    assert [each and each.late for each in found] == [0.1, 0.3, None]
    nothing = Missing("none")
    assert with_measured_late(nothing, late) is nothing
    assert with_measured_late(Lift(worth[0]), nothing).backtest.value.late == 0
    assert hw.DecisionValue(10_000, 0.01, 100, 20, late=0.1).of_gain(0.1) == pytest.approx(
        0.9 * 1200
    )
