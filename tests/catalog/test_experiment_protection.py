"""A running experiment keeps what it needs: what changes it is refused, what does not is
applied.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import headwater as hw
from headwater import clock
from headwater.errors import UsageError
from headwater.experiments.frozen_plan import freeze
from headwater.models.experiment_store import ExperimentStore
from headwater.models.registry import ModelRegistry
from tests.experiments.shop_history import project, requests

TABLE = requests(60)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    model = project(TABLE).models[0]
    hw.train(model, resources=hw.Resources(threads=1)).register(ModelRegistry(folder))
    daily = hw.train(
        model,
        level=hw.Level(hw.batch("1d")),
        level_name="fresher-daily",
        resources=hw.Resources(threads=1),
    )
    daily.register(ModelRegistry(folder))
    return folder


@pytest.fixture
def running(trained: Path, tmp_path: Path) -> tuple[ModelRegistry, str]:
    """The registry with the experiment running, and a catalog that the project was applied to."""
    import shutil

    shutil.copytree(trained, tmp_path / "models")
    registry, catalog = ModelRegistry(tmp_path / "models"), str(tmp_path / "catalog.sqlite")
    shop = project(TABLE)
    hw.apply(shop, catalog, registry=registry)
    now = clock.now_micros()
    ExperimentStore(registry.folder).start(
        freeze(shop, shop.experiment("fresher"), registry, now), now, "ann"
    )
    return registry, catalog


def _with(model: Callable[[hw.Model], hw.Model]) -> hw.Project:
    """The project with its model replaced."""
    shop = project(TABLE)
    changed = model(shop.models[0])
    experiment = shop.experiment("fresher")
    return replace(
        shop,
        models=[changed],
        experiments=[
            replace(experiment, arms=[replace(arm, model=changed) for arm in experiment.arms])
        ],
    )


def _without(arm: str) -> hw.Project:
    """The project with another arm in place of one."""
    shop = project(TABLE)
    experiment = shop.experiment("fresher")
    arms = [
        replace(known, name="weekly") if known.name == arm else known for known in experiment.arms
    ]
    return replace(shop, experiments=[replace(experiment, arms=arms)])


def _views(model: hw.Model) -> hw.Model:
    user, region = model.features.views
    return replace(
        model, features=replace(model.features, features=[replace(user, windows=["3d"]), region])
    )


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (
            lambda: project(TABLE, plan=hw.experiments.ExperimentPlan(min_lift=0.5)),
            "experiment fresher",
        ),
        (lambda: project(TABLE, unit="region"), "experiment fresher"),
        (lambda: _with(lambda model: replace(model, default=1.0)), "model spend"),
        (lambda: _with(_views), "view user"),
        (
            lambda: replace(project(TABLE), levels={"nightly": hw.Level(hw.batch("1d"))}),
            "level fresher-daily",
        ),
        (lambda: _without("hourly"), "arm hourly (removed), experiment fresher"),
        (lambda: replace(project(TABLE), experiments=[]), "does not define it"),
    ],
)
def test_what_it_needs_cannot_change(
    running: tuple[ModelRegistry, str], changed: Callable[[], hw.Project], named: str
) -> None:
    registry, catalog = running
    planned = hw.plan(changed(), catalog, registry=registry)
    assert len(planned.protected) == 1
    assert named in planned.protected[0]
    assert "headwater experiment stop fresher --reason" in str(planned)
    with pytest.raises(UsageError, match="experiment 'fresher', version 1, runs until"):
        hw.apply(changed(), catalog, registry=registry, allow_destroy=True, allow_breaking=True)
    ExperimentStore(registry.folder).stop("fresher", clock.now_micros(), "ann", "done")
    assert hw.plan(changed(), catalog, registry=registry).protected == ()
    hw.apply(changed(), catalog, registry=registry, allow_destroy=True, allow_breaking=True)


@pytest.mark.parametrize(
    "changed",
    [
        lambda: project(TABLE),
        lambda: _with(
            lambda model: replace(model, labels=replace(model.labels, table=requests(61)))
        ),
        lambda: replace(project(TABLE), levels={"instant": hw.Level(hw.on_request())}),
    ],
)
def test_what_it_does_not_need_may_change(
    running: tuple[ModelRegistry, str], changed: Callable[[], hw.Project]
) -> None:
    registry, catalog = running
    hw.apply(changed(), catalog, registry=registry, allow_breaking=True)


def test_experiments_are_entries_of_the_catalog(running: tuple[ModelRegistry, str]) -> None:
    registry, catalog = running
    ExperimentStore(registry.folder).stop("fresher", clock.now_micros(), "ann", "done")
    bigger = project(TABLE, plan=hw.experiments.ExperimentPlan(min_lift=0.5), version=2)
    (change,) = hw.plan(bigger, catalog, registry=registry).changes
    assert (change.kind, change.name, change.action) == ("experiment", "fresher", "changed")
    assert change.details == ("plan min_lift: 0.01 → 0.5", "version: 1 → 2")
