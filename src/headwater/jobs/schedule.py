"""Every job of a project in one process: each cut of each batch view, and of precomputed
predictions, as soon as it is due.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headwater import clock
from headwater.definitions.freshness import Batch
from headwater.definitions.level import ModelVariant, at_level
from headwater.definitions.project import Project, StoredView, served
from headwater.errors import UsageError
from headwater.ingestion.clock_check import job_time
from headwater.jobs.last_commit import last_commit
from headwater.jobs.materialize import Materialized, batch_views, materialize_view
from headwater.jobs.materialize_model import materialize_model
from headwater.jobs.precompute import PrecomputeResult
from headwater.kernel.as_of import due_after
from headwater.models.registry import ModelRegistry
from headwater.retries import Backoff
from headwater.stores import OnlineStore
from headwater.stores.keyspace import own_views, scoped
from headwater.training.resources import QUIET, Resources

_BACKOFF: Final = Backoff(first=5.0, longest=300.0)  # before what failed is tried again
_NAP: Final = 30.0  # seconds at most, since a machine may sleep meanwhile


@dataclass(frozen=True)
class JobResult:
    """What a job made of a view or of a model's predictions; or why it failed, and in how many
    seconds it is tried again.
    """

    name: str
    outcome: Materialized | PrecomputeResult | None = None
    error: Exception | None = None
    again: float = 0.0


class _ScheduledJob:
    """Something to make at every cut of a freshness."""

    def __init__(
        self, name: str, batch: Batch, make: Callable[[], Materialized | PrecomputeResult]
    ) -> None:
        self.name, self._batch, self._make = name, batch, make
        self.due = 0
        self._pauses = iter(_BACKOFF)

    def run(self) -> JobResult:
        begun = clock.now_micros()
        try:
            outcome = self._make()
        except Exception as error:  # noqa: BLE001 (a job that fails must not stop the others)
            again = next(self._pauses)
            self.due = clock.now_micros() + round(again * 1e6)
            return JobResult(self.name, error=error, again=again)
        self._pauses, self.due = iter(_BACKOFF), due_after(self._batch, begun)
        return JobResult(self.name, outcome)


def schedule(
    project: Project,
    store: OnlineStore,
    *,
    models: str | Path | None = None,
    resources: Resources = QUIET,
    allow_pickle: bool = False,
    stop: threading.Event,
) -> Iterator[JobResult]:
    """Make everything that is due, views before the predictions that may read them, and wait for
    the next; until `stop` is set.

    A job that fails is tried again, later each time, and holds up no other one. Predictions are
    made by the version of the model that is current when they are.

    Args:
        project: its batch views, and the models with precomputed predictions, at each level that
            can be served.
        store: an online store.
        models: the folder of fitted models; None is `models` in headwater's home.
        resources: as for `materialize`.
        allow_pickle: as for `hw.operations.Service`.
        stop: ends it after the job under way.

    Raises:
        UsageError: the project has nothing to make.
    """
    store = scoped(store, project.name, write=True)

    def now() -> int:
        return job_time(None, store.server_time, last_commit(project, store))

    jobs = [
        _of_view(stored_view, store, resources, now)
        for stored_view in own_views(store, _views(project))
    ]
    registry = ModelRegistry(models)
    jobs += [
        _of_model(variant, store, registry, resources, now, allow_pickle=allow_pickle)
        for variant in served(project)
        if variant.precomputed is not None
    ]
    if not jobs:
        raise UsageError(
            f"project {project.name!r} has no batch view, and no model with precomputed "
            "predictions: there is nothing to schedule"
        )
    while not stop.is_set():
        for job in jobs:
            if job.due <= clock.now_micros() and not stop.is_set():
                yield job.run()
        seconds = (min(job.due for job in jobs) - clock.now_micros()) / 1e6 + 0.001
        clock.wait(min(max(seconds, 0.0), _NAP), stop)


def _views(project: Project) -> list[StoredView]:
    try:
        return batch_views(project)
    except UsageError:
        return []


def _of_view(
    stored_view: StoredView, store: OnlineStore, resources: Resources, now: Callable[[], int]
) -> _ScheduledJob:
    schedule = stored_view.view.freshness.schedule
    assert schedule is not None
    return _ScheduledJob(
        stored_view.name,
        schedule,
        lambda: materialize_view(stored_view.view, store, now(), resources=resources),
    )


def _of_model(
    variant: ModelVariant,
    store: OnlineStore,
    registry: ModelRegistry,
    resources: Resources,
    now: Callable[[], int],
    *,
    allow_pickle: bool,
) -> _ScheduledJob:
    assert variant.precomputed is not None
    assert variant.precomputed.freshness.schedule is not None

    def make() -> PrecomputeResult:
        now()
        fitted = registry.open(variant.model, variant.name, allow_pickle=allow_pickle)
        return materialize_model(variant, fitted, store=store, resources=resources)

    return _ScheduledJob(
        at_level(variant.model.name, variant.name), variant.precomputed.freshness.schedule, make
    )
