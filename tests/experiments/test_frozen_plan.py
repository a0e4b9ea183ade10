"""Freezing an experiment: what the plan holds, what it refuses, and what serving makes of an arm
that may be served staler.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import headwater as hw
from headwater.errors import DataError, HeadwaterWarning
from headwater.experiments.frozen_plan import freeze
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
