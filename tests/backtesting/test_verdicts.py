"""Verdicts and their sentences on planted differences."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.backtesting.intervals import Evaluation, evaluate, resample_weights
from headwater.backtesting.verdicts import min_lifts, paired, verdict_of
from headwater.errors import UsageError
from headwater.metrics import Metric, resolve
from headwater.results.estimate import Paired

AUC = resolve(["auc"], "binary")[0]
MAE = resolve(["mae"], "regression")[0]


def planted(metric: Metric, value: float, delta: float, low: float, high: float, blocks: int = 30) -> Evaluation:
    """Two levels whose difference in the metric (not yet signed) has just this value and interval."""
    draws = np.linspace(low - (high - low) / 38, high + (high - low) / 38, 1001)  # 95 % of it: low to high
    replicates = np.stack([np.zeros(1001), draws])[:, None, :]
    return Evaluation(("daily", "hourly"), (metric,), np.array([[value], [value + delta]]), replicates, blocks)


@pytest.mark.parametrize(
    ("low", "high", "min_lift", "verdict"),
    [
        (0.084, 0.121, 0.005, "LIFT"),
        (0.001, 0.0051, 0.005, "LIFT"),
        (0.001, 0.005, 0.005, "no lift worth having"),
        (-0.005, 0.005, 0.005, "no lift worth having"),
        (0.0, 0.0, 0.0, "no lift worth having"),
        (-0.0051, 0.005, 0.005, "not shown"),
        (0.0, 0.1, 0.005, "not shown"),
        (-0.1, 0.0, 0.005, "not shown"),
        (-0.1, -0.001, 0.005, "harm"),
        (-0.004, -0.001, 0.005, "no lift worth having"),
        (math.nan, math.nan, 0.005, "not shown"),
        (0.1, 0.2, math.nan, "LIFT"),
    ],
)
def test_verdict(low: float, high: float, min_lift: float, verdict: str) -> None:
    assert verdict_of(low, high, min_lift) == verdict


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (planted(AUC, 0.66, 0.104, 0.084, 0.121), "LIFT of +0.104 [+0.084, +0.121]"),
        (planted(AUC, 0.66, -0.012, -0.020, -0.006), "harm of -0.012 [-0.020, -0.006]"),
        (
            planted(AUC, 0.684, 0.004, -0.013, 0.021),
            "not shown: +0.004 [-0.013, +0.021], at most +0.021; a lift of 0.029 would have been detected",
        ),
        (
            planted(AUC, 0.776, 0.003, 0.001, 0.005),
            "no lift worth having: +0.003 [+0.001, +0.005] lies inside +-0.005",
        ),
        (
            planted(AUC, 0.776, -0.0001, -0.0004, 0.0001),
            "no lift worth having: +0.000 [+0.000, +0.000] lies inside +-0.005",
        ),
        (planted(MAE, 20.84, -1.98, -2.36, -1.61), "LIFT of +1.98 [+1.61, +2.36]"),
        (planted(MAE, 18.56, 0.0, -0.01, 0.01), "no lift worth having: +0.00 [-0.01, +0.01] lies inside +-0.09"),
        (planted(MAE, 2e6, 3e4, 1e4, 4e4), "harm of -30000 [-40000, -10000]"),
        (
            planted(AUC, 0.684, 0.1, 0.05, 0.15, blocks=5),
            "not shown: +0.100 without an interval: only 5 days have rows, and an interval needs 8",
        ),
        (
            planted(AUC, math.nan, 0.1, math.nan, math.nan),
            "not shown: auc is undefined on these rows (no rows, one class, or nothing flagged)",
        ),
        (
            planted(AUC, 0.6, 0.1, math.nan, math.nan),
            "not shown: +0.100 without an interval: auc is undefined on more than 5% of the resamples",
        ),
    ],
)
def test_sentence(found: Evaluation, sentence: str) -> None:
    (step,) = paired(found)
    assert step.sentence == sentence
    assert sentence.startswith(step.verdict)


def test_detectable_is_2_8_standard_errors_of_the_paired_resamples() -> None:
    found = planted(AUC, 0.6, 0.1, 0.05, 0.15)
    (step,) = paired(found)
    assert step.detectable == pytest.approx(2.8 * found.replicates[1, 0].std(ddof=1))
    assert (step.low, step.high) == pytest.approx((0.05, 0.15))


def three_levels() -> Evaluation:
    y, days = np.zeros(60), np.arange(60) // 3
    scores = {"none": y + 3.0, "daily": y + 2.5, "hourly": y + 1.0}
    return evaluate(resolve(["mae", "rmse"], "regression"), y, scores, resample_weights(days, 50))


def named(found: list[Paired]) -> list[tuple[str, str, str, float]]:
    return [(step.from_, step.to, step.metric, step.delta) for step in found]


def test_each_step_then_first_to_last_in_every_metric() -> None:
    expected = [("none", "daily", 0.5), ("daily", "hourly", 1.5), ("none", "hourly", 2.0)]
    assert named(paired(three_levels())) == [(a, b, m, delta) for a, b, delta in expected for m in ("mae", "rmse")]
    two = paired(three_levels(), levels=["daily", "hourly"])
    assert named(two) == [("daily", "hourly", "mae", 1.5), ("daily", "hourly", "rmse", 1.5)]
    assert paired(three_levels(), levels=["daily"]) == []


def test_min_lifts() -> None:
    found = three_levels()
    assert min_lifts(found) == pytest.approx({"mae": 0.015, "rmse": 0.015})  # 0.5 % of the first level's 3.0
    assert min_lifts(found, 0.6) == pytest.approx({"mae": 0.6, "rmse": 0.015})
    assert min_lifts(found, {"rmse": 0}) == pytest.approx({"mae": 0.015, "rmse": 0})
    assert paired(found, 0.6)[0].verdict == "no lift worth having"
    assert paired(found)[0].verdict == "LIFT"
    binary = evaluate(resolve(["auc", "calibration", "brier"], "binary"), [0, 1], {"a": [0, 0]}, resample_weights([1, 2]))
    assert min_lifts(binary) == pytest.approx({"auc": 0.005, "calibration": 0.005, "brier": 0.0025})


@pytest.mark.parametrize(
    ("given_lift", "message"),
    [
        ({"mea": 1}, "did you mean 'mae'"),
        (-0.1, "0 or more"),
        (math.nan, "0 or more"),
        ({"mae": math.inf}, "0 or more"),
    ],
)
def test_min_lifts_refuses(given_lift: dict[str, float] | float, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        min_lifts(three_levels(), given_lift)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_laws(seed: int, lift: float) -> None:
    rng = np.random.default_rng(seed)
    y, days = (rng.random(200) < 0.4).astype(float), rng.integers(0, 15, 200)
    one, other = rng.random(200), (rng.random(200) + lift * y) / (1 + lift)
    thresholds = {"a": 0.5, "b": 0.5}
    blocks = resample_weights(days, 60, seed)
    found = evaluate(resolve(None, "binary"), y, {"a": one, "b": other}, blocks, thresholds)
    for ahead, back in zip(paired(found), paired(found, levels=["b", "a"]), strict=True):
        assert ahead.delta == pytest.approx(-back.delta, rel=0, abs=0, nan_ok=True)
        assert (ahead.low, ahead.high) == pytest.approx((-back.high, -back.low), nan_ok=True)
        assert ahead.detectable == pytest.approx(back.detectable, nan_ok=True)
    same = evaluate(resolve(None, "binary"), y, {"a": one, "b": one}, blocks, thresholds)
    assert {step.verdict for step in paired(same, 0.0)} == {"no lift worth having"}
