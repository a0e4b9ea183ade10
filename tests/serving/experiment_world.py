"""An experiment on the shop: two levels of a model, by user."""

import dataclasses
from contextlib import contextmanager

import headwater as hw
from headwater.experiments.assigners import assigner_of
from headwater.jobs.materialize import materialize_view
from headwater.models.experiment_store import ExperimentStore, FrozenArm
from tests.experiments.frozen_plans import frozen_plan
from tests.serving.world import (
    ASKED_AT,
    MODELS,
    NOW,
    PROJECT,
    asking,
    churn,
    filled,
    nightly,
)

EXPERIMENTED = dataclasses.replace(
    PROJECT,
    experiments=[
        hw.Experiment(
            "fresh",
            [hw.experiments.Arm("hourly", churn), hw.experiments.Arm("nightly", churn, nightly)],
            unit="user",
        )
    ],
)
T = int(ASKED_AT.timestamp()) * 1_000_000
DAY = 86_400_000_000
ARMS = (
    FrozenArm("hourly", "churn", "as defined", 0.5),
    FrozenArm("nightly", "churn", "nightly", 0.5),
)


def plan(**changes):
    return frozen_plan(**{"experiment": "fresh", "arms": ARMS, "start": T - DAY, **changes})


def started(folder, **changes) -> ExperimentStore:
    """A store with an experiment that runs."""
    store = ExperimentStore(folder)
    own = plan(**changes)
    store.start(own, own.start, "test")
    return store


def both_levels(store):
    """A store with the views of the shop at both levels."""
    filled(store)
    for name in ("churn", "plain", "feed"):
        for service in PROJECT.variant(name, "nightly").services:
            for view in service.views:
                materialize_view(view, store, int(NOW.timestamp()) * 1_000_000)
    return store


def expected(store, unit, group=None, t=T, name="fresh"):
    """The arm of a unit, by the store."""
    assigned = assigner_of(
        next(
            known
            for known in store.started()
            if known.stopped_at is None and known.plan.experiment == name
        )
    )(str(unit), group, t)
    return None if assigned is None else assigned.arm


@contextmanager
def serving(filled_store, data_dir, store, **options):
    """A client of the shop during experiments."""
    with asking(
        filled_store,
        EXPERIMENTED,
        models=MODELS,
        data_dir=data_dir,
        experiments=store,
        levels=("nightly",),
        **options,
    ) as client:
        yield client
