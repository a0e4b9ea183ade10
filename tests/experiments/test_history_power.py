"""Power, duration and the A/A test from history."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

import headwater as hw
from headwater.experiments.experiment_power import SequentialPlan
from headwater.experiments.history_power import history_power
from headwater.experiments.history_split import history_split
from headwater.experiments.unit_history import unit_history
from tests.experiments.shop_history import project, requests

TABLE = requests()


def _experiment(**options: object) -> hw.Experiment:
    return project(TABLE, **options).experiment("fresher")


def test_units_needed_are_those_of_the_plain_variance_without_a_covariate() -> None:
    experiment = _experiment(
        metrics=[hw.experiments.ExperimentMetric("spend", base="requests")],
        plan=hw.experiments.ExperimentPlan(min_lift=0.05, looks=1),
    )
    history = unit_history(experiment)
    found = history_power(history)
    values = history.values(experiment.metrics[0])
    ratio = values.value.sum() / values.base.sum()
    plain = (values.value - ratio * values.base).std() / values.value.mean()
    assert found.without_cuped == pytest.approx(plain, rel=0.1)
    assert found.variation < 0.65 * found.without_cuped  # users spend alike from week to week
    design = SequentialPlan(1, 0.05, 0.8)
    assert found.units_needed == pytest.approx(
        2 * found.variation**2 * (design.drift / math.log1p(0.05)) ** 2, abs=1
    )
    assert found.units_planned == 299
    assert found.mean == pytest.approx(ratio, rel=0.05)


@pytest.mark.parametrize(
    "kind", [hw.experiments.Switchback("region", length="7h"), hw.experiments.ClusterTest("region")]
)
def test_designs_of_regions_say_what_they_find(kind: object) -> None:
    found = history_power(unit_history(_experiment(kind=kind)))
    assert found.units_needed is None
    assert found.units == 12
    assert 0 < found.smallest_lift < 1
    assert 0 < found.power_planned <= 1
    assert [at.days for at in found.by_length] == pytest.approx([7, 14, 21, 28, 42, 56])
    assert [at.power for at in found.by_length] == sorted(at.power for at in found.by_length)
    assert found.by_length[1].power == pytest.approx(found.power_planned)
    split = history_split(unit_history(_experiment(kind=kind)))
    assert 0 < split.p <= 1
    assert split.rejected < 0.15


@pytest.mark.parametrize(
    ("kind", "lift"),
    [
        (hw.experiments.ABTest(), 0.08),
        (hw.experiments.Switchback("region", length="7h"), 0.08),
        (hw.experiments.ClusterTest("region", burn_in="2d"), 0.15),
    ],
)
def test_the_length_that_is_named_has_the_planned_power(kind: object, lift: float) -> None:
    experiment = _experiment(kind=kind, plan=hw.experiments.ExperimentPlan(min_lift=lift, looks=1))
    days = history_power(unit_history(experiment)).days
    assert days is not None
    planned = _experiment(
        kind=kind,
        plan=hw.experiments.ExperimentPlan(min_lift=lift, looks=1, duration=f"{int(days)}d"),
    )
    history = replace(unit_history(experiment), experiment=planned)
    # whole days and buckets
    assert history_power(history).power_planned == pytest.approx(0.8, abs=0.06)
