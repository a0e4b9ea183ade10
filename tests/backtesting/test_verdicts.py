"""Verdicts and their sentences on planted differences."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.backtesting.intervals import ResampledMetrics, evaluate, resample_weights
from headwater.backtesting.verdicts import compare_levels, holm, verdict_of
from headwater.metrics import Metric, resolve

AUC = resolve(["auc"], "binary")[0]


def planted(
    metric: Metric, value: float, delta: float, low: float, high: float, blocks: int = 10**9
) -> ResampledMetrics:
    """Two levels whose difference in the metric (not yet signed) has just this value and
    interval.
    """
    # 95 % of it: low to high
    draws = np.linspace(low - (high - low) / 38, high + (high - low) / 38, 1001)
    replicates = np.stack([np.zeros(1001), draws])[:, None, :]
    return ResampledMetrics(
        ("daily", "hourly"), (metric,), np.array([[value], [value + delta]]), replicates, blocks
    )


@pytest.mark.parametrize(
    ("low", "high", "min_lift", "verdict"),
    [
        (0.084, 0.121, 0.005, "LIFT"),
        (0.001, 0.0051, 0.005, "LIFT"),
        (0.001, 0.005, 0.005, "negligible"),
        (-0.005, 0.005, 0.005, "negligible"),
        (0.0, 0.0, 0.0, "negligible"),
        (-0.0051, 0.005, 0.005, "inconclusive"),
        (0.0, 0.1, 0.005, "inconclusive"),
        (-0.1, 0.0, 0.005, "inconclusive"),
        (-0.1, -0.001, 0.005, "harm"),
        (-0.004, -0.001, 0.005, "negligible"),
        (math.nan, math.nan, 0.005, "inconclusive"),
        (0.1, 0.2, math.nan, "LIFT"),
    ],
)
def test_verdict(low: float, high: float, min_lift: float, verdict: str) -> None:
    assert verdict_of(low, high, min_lift) == verdict


def test_the_mde_is_2_8_standard_errors_of_the_paired_resamples() -> None:
    found = planted(AUC, 0.6, 0.1, 0.05, 0.15)
    (step,) = compare_levels(found)
    assert step.mde == pytest.approx(2.8 * found.replicates[1, 0].std(ddof=1))
    assert (step.low, step.high) == pytest.approx((0.05, 0.15))


def three_levels() -> ResampledMetrics:
    y, days = np.zeros(60), np.arange(60) // 3
    scores = {"none": y + 3.0, "daily": y + 2.5, "hourly": y + 1.0}
    return evaluate(resolve(["mae", "rmse"], "regression"), y, scores, resample_weights(days, 50))


@pytest.mark.parametrize(
    ("baseline", "judged"),
    [
        (None, {("none", "daily"), ("none", "hourly")}),
        ("daily", {("daily", "hourly")}),
        ("hourly", set()),
    ],
)
def test_one_family_is_judged(baseline: str | None, judged: set[tuple[str, str]]) -> None:
    """Each fresher level against the baseline in the headline metric; all else has an interval and
    no verdict.
    """
    found = compare_levels(three_levels(), baseline=baseline)
    assert {(step.from_, step.to) for step in found if step.verdict != "not judged"} == judged
    assert all(
        step.metric == "mae" and step.family == len(judged)
        for step in found
        if step.verdict != "not judged"
    )
    others = [step for step in found if step.verdict == "not judged"]
    assert all(
        not step.verdict_words and math.isfinite(step.low) and math.isnan(step.p) for step in others
    )
    assert not any(
        word in step.sentence for step in others for word in ("LIFT", "harm", "proven", "worth")
    )


@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_test_of_bonferroni(p: list[float]) -> None:
    """The adjusted p-value is the largest over all subsets that hold it, of their size times their
    smallest.
    """
    adjusted = holm(p)
    for i, value in enumerate(adjusted):
        subsets = [
            s for size in range(1, len(p) + 1) for s in combinations(range(len(p)), size) if i in s
        ]
        assert value == pytest.approx(min(1.0, max(len(s) * min(p[j] for j in s) for s in subsets)))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_laws(seed: int, lift: float) -> None:
    rng = np.random.default_rng(seed)
    y, days = (rng.random(200) < 0.4).astype(float), rng.integers(0, 15, 200)
    one, other = rng.random(200), (rng.random(200) + lift * y) / (1 + lift)
    thresholds = {"a": 0.5, "b": 0.5}
    blocks = resample_weights(days, 60, seed)
    found = evaluate(resolve(None, "binary"), y, {"a": one, "b": other}, blocks, thresholds)
    for ahead, back in zip(
        compare_levels(found), compare_levels(found, levels=["b", "a"]), strict=True
    ):
        assert ahead.delta == pytest.approx(-back.delta, rel=0, abs=0, nan_ok=True)
        assert (ahead.low, ahead.high) == pytest.approx((-back.high, -back.low), nan_ok=True)
        assert ahead.mde == pytest.approx(back.mde, nan_ok=True)
    same = evaluate(resolve(None, "binary"), y, {"a": one, "b": one}, blocks, thresholds)
    assert {step.verdict for step in compare_levels(same, 0.0)} == {"negligible", "not judged"}
