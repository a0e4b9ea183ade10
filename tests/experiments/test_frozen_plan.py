"""Freezing an experiment: what the plan holds, what it refuses, and what serving makes of an arm
that may be served staler.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import headwater as hw
from headwater.definitions.checks import DAY, HOUR
from headwater.errors import DataError, DefinitionError, HeadwaterWarning, UsageError
from headwater.experiments.frozen_plan import assignment_of, freeze
from headwater.models.experiment_store import ExperimentStore
from headwater.models.hot_reload import Reloading
from headwater.models.registry import ModelRegistry
from headwater.serving.model_loader import in_folder
from headwater.testing.examples import churn

AT = 1_800_000_000_000_000
MODEL = replace(churn(freshness=hw.streaming("2s")), outcomes="independent")
DAILY = hw.Level(hw.batch("1d"))


def _project(model: hw.Model = MODEL, **options: object) -> hw.Project:
    arms = [hw.experiments.Arm("daily", model, hw.batch("1d")), hw.experiments.Arm("live", model)]
    experiment = hw.Experiment(**({"name": "fresher", "arms": arms, "unit": "user"} | options))
    return hw.Project("shop", [model], experiments=[experiment], holdout=0.05)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> ModelRegistry:
    """The model trained at every level of the arms."""
    registry = ModelRegistry(tmp_path_factory.mktemp("models"))
    one = hw.Resources(threads=1)
    hw.train(MODEL, resources=one).register(registry)
    hw.train(MODEL, level=DAILY, level_name="fresher-daily", resources=one).register(registry)
    return registry


def test_the_plan_holds_arms_versions_and_columns(registry: ModelRegistry) -> None:
    project = _project(plan=hw.experiments.ExperimentPlan(enrolled=(0.02, 1.0), stage="2d"))
    plan = freeze(
        project, project.experiment("fresher"), registry, AT, units_needed=70, break_even=0.002
    )
    assert [
        (arm.name, arm.level, arm.version, arm.trained_level, arm.allow_staler) for arm in plan.arms
    ] == [
        ("daily", "fresher-daily", 1, "fresher-daily", False),
        ("live", "as defined", 1, "as defined", False),
    ]
    assert (plan.kind, plan.unit, plan.columns, plan.settings, plan.holdout) == (
        "ab",
        "user",
        {},
        {},
        0.05,
    )
    assert (plan.start, plan.stage, plan.enrolled, plan.units_needed, plan.break_even) == (
        AT,
        2 * DAY,
        (0.02, 1.0),
        70,
        0.002,
    )
    assert plan.fingerprint == project.experiment("fresher").fingerprint
    again = freeze(
        _project(plan=hw.experiments.ExperimentPlan(enrolled=(0.02, 1.0), stage="2d")),
        project.experiments[0],
        registry,
        AT,
        units_needed=70,
    )
    assert again.seed == plan.seed
    assert again.digest != plan.digest  # break_even differs


@pytest.mark.parametrize(
    ("kind", "name", "columns", "settings"),
    [
        (
            hw.experiments.Switchback("user", length="7h", washout="3h"),
            "switchback",
            {"region": "user"},
            {"length": 7 * HOUR, "washout": 3 * HOUR, "random_bounds": False},
        ),
        (
            hw.experiments.ClusterTest("user", burn_in="2d"),
            "cluster",
            {"cluster": "user"},
            {"burn_in": 2 * DAY},
        ),
        (hw.experiments.Shadow(), "shadow", {}, {}),
    ],
)
def test_each_kind_has_its_settings(
    registry: ModelRegistry, kind: object, name: str, columns: object, settings: object
) -> None:
    project = _project(kind=kind)
    plan = freeze(project, project.experiment("fresher"), registry, AT)
    assert (plan.kind, plan.columns, plan.settings) == (name, columns, settings)


def test_it_starts_when_the_plan_says(registry: ModelRegistry, tmp_path: Path) -> None:
    project = _project(plan=hw.experiments.ExperimentPlan(start="2027-02-01T00:00Z"))
    plan = freeze(project, project.experiment("fresher"), registry, AT)
    assert plan.start == 1_801_440_000_000_000
    # no start in the past
    assert (
        freeze(project, project.experiment("fresher"), registry, plan.start + 1).start
        == plan.start + 1
    )
    started = ExperimentStore(tmp_path).start(plan, AT, "ann")
    early, running, late = (
        assignment_of(started, at) for at in (plan.start - 1, plan.start, plan.end)
    )
    assert (early.enrolled, running.enrolled, late.enrolled) == (0.0, 1.0, 0.0)
    assert (running.salt, running.weights, running.holdout) == (
        "fresher/1",
        {"daily": 0.5, "live": 0.5},
        0.05,
    )
    assert {early.arm(str(unit)) for unit in range(50)} == {None}


def test_what_cannot_be_frozen_is_named_at_once(tmp_path: Path) -> None:
    project = _project(churn(freshness=hw.streaming("2s")))
    with pytest.raises(DataError) as refusal:
        freeze(project, project.experiment("fresher"), ModelRegistry(tmp_path), AT)
    said = str(refusal.value)
    assert "outcomes='independent'" in said
    assert "outcomes='censored'" in said
    assert "outcomes='caused'" in said
    assert (
        "arm 'daily': no fitted model; run: headwater train --model churn --level 'fresher-daily'"
        in said
    )
    assert "arm 'live': no fitted model; run: headwater train --model churn" in said


def test_a_staler_arm_needs_leave_and_is_named(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path)
    trained = hw.train(MODEL, resources=hw.Resources(threads=1))
    trained.register(registry)
    arms = [
        hw.experiments.Arm("daily", MODEL, hw.batch("1d"), allow_staler=True),
        hw.experiments.Arm("live", MODEL),
    ]
    project = _project(arms=arms)
    plan = freeze(project, project.experiment("fresher"), registry, AT)
    assert [(arm.level, arm.trained_level, arm.allow_staler) for arm in plan.arms] == [
        ("fresher-daily", "as defined", True),
        ("as defined", "as defined", False),
    ]
    variant = project.variant("churn", "fresher-daily")
    with pytest.warns(
        HeadwaterWarning, match="was trained streaming, 2s behind, and is served every 1d"
    ):
        served = in_folder(tmp_path)(variant)
    assert isinstance(served, Reloading)
    assert not served.moved
    trained.register(registry)
    assert served.moved
    strict = _project().variant("churn", "fresher-daily")
    with pytest.raises(DataError, match="holds no version"):
        in_folder(tmp_path)(strict)


def test_a_version_of_its_own_level_that_is_fresher_is_refused(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path)
    one = hw.Resources(threads=1)
    hw.train(MODEL, resources=one).register(registry)
    hw.train(
        MODEL, level=hw.Level(hw.batch("1h")), level_name="fresher-daily", resources=one
    ).register(registry)
    project = _project()
    with pytest.raises(DataError, match=r"arm .daily.: .* would be served staler features"):
        freeze(project, project.experiment("fresher"), registry, AT)


def test_names_and_holdouts() -> None:
    project = _project()
    with pytest.raises(UsageError, match="has no experiment 'fresh'; did you mean 'fresher'"):
        project.experiment("fresh")
    with pytest.raises(UsageError, match="defines no experiment"):
        hw.Project("shop", [MODEL]).experiment("fresh")
    with pytest.raises(DefinitionError, match=r"holdout is 1\.0"):
        hw.Project("shop", [MODEL], holdout=1.0)
    assert (
        hw.Project("shop", [MODEL], holdout=0.0).fingerprint
        == hw.Project("shop", [MODEL]).fingerprint
    )
