"""Power, duration and the A/A test from history."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import headwater as hw
from headwater.errors import DataError
from headwater.experiments.assignment import Assignment
from headwater.experiments.experiment_power import SequentialPlan
from headwater.experiments.history_power import history_power
from headwater.experiments.history_split import history_split
from headwater.experiments.unit_history import unit_history
from tests.experiments.shop_history import DAYS, project, requests

TABLE = requests()


def _experiment(**options: object) -> hw.Experiment:
    return project(TABLE, **options).experiment("fresher")


def test_the_period_is_the_later_half_of_a_short_history() -> None:
    history = unit_history(_experiment())
    assert history.days == pytest.approx(DAYS / 2, abs=0.1)
    assert history.end - history.start < 14.1 * 86_400e6
    assert len(history.units()) == 598  # two ask in the first half only
    week = unit_history(_experiment(plan=hw.experiments.ExperimentPlan(duration="7d")))
    assert week.days == 7.0


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


@pytest.mark.slow
def test_a_smaller_lift_needs_more_units_and_a_ramp_more_days() -> None:
    slow = hw.experiments.ExperimentPlan(min_lift=0.08, enrolled=(0.1, 1.0), stage="3d")
    now, ramped = (
        history_power(unit_history(_experiment(plan=plan)))
        for plan in (hw.experiments.ExperimentPlan(min_lift=0.08), slow)
    )
    assert now.days is not None
    assert ramped.days is not None
    assert ramped.days > now.days
    small = history_power(
        unit_history(_experiment(plan=hw.experiments.ExperimentPlan(min_lift=0.001)))
    )
    assert small.units_needed > now.units_needed
    assert small.power_planned < 0.3
    assert history_power(unit_history(_experiment()), share=0.5).units_planned == pytest.approx(
        150, abs=2
    )


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


def test_washout_and_burn_in_cost_power() -> None:
    plan = hw.experiments.ExperimentPlan(min_lift=0.1)
    for short, long in (
        (
            hw.experiments.Switchback("region", length="7h"),
            hw.experiments.Switchback("region", length="7h", washout="5h"),
        ),
        (hw.experiments.ClusterTest("region"), hw.experiments.ClusterTest("region", burn_in="12d")),
    ):
        whole, less = (
            history_power(unit_history(_experiment(kind=kind, plan=plan))) for kind in (short, long)
        )
        assert less.smallest_lift > whole.smallest_lift
        assert less.power_planned < whole.power_planned
    assert (
        "; the first 5h of each are left out"
        in history_power(
            unit_history(
                _experiment(
                    kind=hw.experiments.Switchback("region", length="7h", washout="5h"), plan=plan
                )
            )
        ).design
    )


def test_clusters_that_differ_for_good_need_no_longer_time_but_more_clusters() -> None:
    """Half of the regions spend thrice as much: no length finds a lift of 1 %."""
    rich = requests(planted=lambda user: 40.0 if int(user) % 12 < 6 else 0.0)
    found = history_power(
        unit_history(project(rich, kind=hw.experiments.ClusterTest("region")).experiment("fresher"))
    )
    assert found.days is None
    assert found.by_length[-1].smallest_lift > 0.5 * found.by_length[0].smallest_lift


def test_a_split_that_starts_with_a_difference_is_seen() -> None:
    assert not history_split(unit_history(_experiment())).differs
    split = Assignment("fresher/1", {"daily": 0.5, "hourly": 0.5})
    planted = requests(planted=lambda user: 3.0 if split.arm(user) == "hourly" else 0.0)
    history = unit_history(
        project(planted, metrics=[hw.experiments.ExperimentMetric("spend")]).experiment("fresher")
    )
    no_cuped = history_split(
        type(history)(
            history.experiment, history.source, history.period, history.start, history.end
        )
    )
    assert no_cuped.differs
    assert not no_cuped.unsound
    again = project(
        planted, metrics=[hw.experiments.ExperimentMetric("spend")], version=2
    ).experiment("fresher")
    # the next version shuffles all units again
    assert not history_split(unit_history(again)).differs


def test_outcomes_of_events_are_metrics_too() -> None:
    visits = hw.Source(
        "visits", history=TABLE.select("user", "spent", at="asked"), timestamp_field="at"
    )
    orders = hw.experiments.ExperimentMetric(
        "orders", value=hw.outcome(visits, hw.sum("spent"), keys=["user"], within="3d")
    )
    history = unit_history(_experiment(metrics=[orders]))
    first = history.first_requests.row(0, named=True)
    user = first["user"]
    in_window = TABLE.filter(
        (TABLE["user"] == user)
        & TABLE["asked"]
        .dt.epoch("us")
        .is_between(first["__at"], first["__at"] + 3 * 86_400_000_000, closed="left")
    )
    assert history.values(orders).value[0] == pytest.approx(in_window["spent"].sum())
    assert history_power(history).units_needed > 0


def test_what_history_cannot_show_is_named() -> None:
    mixed = _experiment()
    # which the definition allows for rankings
    object.__setattr__(mixed, "kind", hw.experiments.Interleaving())
    with pytest.raises(DataError, match="interleaving says which"):
        history_power(unit_history(mixed))
    negative = TABLE.with_columns(spent=-TABLE["spent"])
    with pytest.raises(DataError, match="positive means"):
        history_power(
            unit_history(
                project(negative, metrics=[hw.experiments.ExperimentMetric("spend")]).experiment(
                    "fresher"
                )
            )
        )
    with pytest.raises(DataError, match="has 1 requests"):
        unit_history(project(TABLE.head(1)).experiment("fresher"))
    assert np.isfinite(
        history_power(unit_history(project(TABLE.head(200)).experiment("fresher"))).smallest_lift
    )


def test_a_metric_without_variation_is_named() -> None:
    with pytest.raises(DataError, match="spend has one value for all units of history"):
        history_power(unit_history(project(TABLE.with_columns(spent=1.0)).experiment("fresher")))
