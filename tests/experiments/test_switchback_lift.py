"""Switchbacks: two-way effects by hand, with and without a washout, nominal error in dependent
data, and what carries over.
"""

from __future__ import annotations

import numpy as np
import pytest

from headwater.errors import DataError
from headwater.experiments.switchback_lift import (
    SwitchbackBuckets,
    carry_over,
    switchback_lift,
    switchback_randomisation_p,
)


def _dependent(
    random: np.random.Generator, regions: int, buckets: int, effect: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    state = np.zeros((regions, buckets))
    for bucket in range(1, buckets):
        state[:, bucket] = 0.7 * state[:, bucket - 1] + random.standard_normal(regions)
    treated = random.random((regions, buckets)) < 0.5
    mean = (
        50
        + random.standard_normal((regions, 1))
        + 0.5 * state
        + random.standard_normal((regions, buckets)) / np.sqrt(10)
    )
    return mean * (1 + effect * treated) * 10, np.full((regions, buckets), 10.0), treated


def test_it_is_the_regression_with_region_and_bucket_dummies() -> None:
    random = np.random.default_rng(1)
    value, base, treated = _dependent(random, 6, 15, 0.05)
    kept = random.random((6, 15)) < 0.8
    for mask in (None, kept):
        rows = SwitchbackBuckets(value, base, treated, mask)
        found = switchback_lift(rows)
        used = np.ones((6, 15), bool) if mask is None else mask
        control = value[used & ~treated].sum() / base[used & ~treated].sum()
        outcome = ((value - control * base) / base[used].mean())[used]
        region, bucket = np.nonzero(used)
        table = np.column_stack([treated[used], np.eye(6)[region], np.eye(15)[bucket][:, 1:]])
        coefficients, *_ = np.linalg.lstsq(table, outcome, rcond=None)
        assert found.lift == pytest.approx(coefficients[0] / control, rel=1e-6)
        residuals = outcome - table @ coefficients
        bread = np.linalg.pinv(table.T @ table)
        meat = sum(
            np.outer(s, s)
            for s in (table[region == r].T @ residuals[region == r] for r in range(6))
        )
        rows_left = (len(outcome) - 1) / (len(outcome) - table.shape[1])
        se = np.sqrt((bread @ meat @ bread)[0, 0] * 6 / 5 * rows_left)
        assert found.se * (1 + found.lift) * control == pytest.approx(se, rel=1e-6)
        assert found.degrees == 5


@pytest.mark.parametrize(("regions", "buckets"), [(20, 48), (6, 48)])
def test_an_aa_switchback_rejects_at_its_level(regions: int, buckets: int) -> None:
    random = np.random.default_rng(regions)
    runs = [SwitchbackBuckets(*_dependent(random, regions, buckets)) for _ in range(400)]
    rejected = np.mean([switchback_lift(rows).p_value < 0.05 for rows in runs])
    assert 0.017 <= rejected <= 0.083  # 5 % and three standard errors
    naive = [abs(_naive(rows)) > 1.96 for rows in runs]
    assert np.mean(naive) > 0.15  # rows counted as independent


def _naive(rows: SwitchbackBuckets) -> float:
    rates = rows.value / rows.base
    both = [rates[rows.treated], rates[~rows.treated]]
    return float(
        (both[0].mean() - both[1].mean()) / np.sqrt(1 / both[0].size / 10 + 1 / both[1].size / 10)
    )


def test_the_randomisation_test_agrees() -> None:
    random = np.random.default_rng(4)
    schedules = [random.random((8, 40)) < 0.5 for _ in range(199)]
    effect = SwitchbackBuckets(*_dependent(random, 8, 40, 0.03))
    nothing = SwitchbackBuckets(*_dependent(random, 8, 40))
    assert switchback_randomisation_p(effect, schedules) <= 0.01
    assert switchback_randomisation_p(nothing, schedules) > 0.05


def test_what_the_bucket_before_still_does_is_seen() -> None:
    random = np.random.default_rng(5)
    seen = {}
    for left in (0.0, 0.03):
        alarms = 0
        for _ in range(100):
            value, base, treated = _dependent(random, 20, 48, 0.05)
            before = np.concatenate([treated[:, :1], treated[:, :-1]], axis=1)
            low, high = carry_over(
                SwitchbackBuckets(value * (1 + left * before), base, treated), before
            ).interval()
            alarms += not low <= 0 <= high
        seen[left] = alarms
    assert seen[0.0] <= 12
    assert seen[0.03] >= 95


def test_designs_that_cannot_tell_arm_from_time_are_refused() -> None:
    ones = np.ones((4, 6))
    throughout = np.repeat([[True], [True], [False], [False]], 6, axis=1)
    together = np.tile([True, False] * 3, (4, 1))
    for treated in (throughout, together):
        with pytest.raises(DataError, match="cannot be told from time"):
            switchback_lift(SwitchbackBuckets(ones, ones, treated))
    with pytest.raises(DataError, match="both arms"):
        SwitchbackBuckets(ones, ones, np.zeros((4, 6), bool))
    with pytest.raises(DataError, match="at least 2"):
        SwitchbackBuckets(ones[:1], ones[:1], together[:1])
    with pytest.raises(DataError, match="positive"):
        switchback_lift(
            SwitchbackBuckets(np.zeros((4, 6)), ones, np.random.default_rng(1).random((4, 6)) < 0.5)
        )
