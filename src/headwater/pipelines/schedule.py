"""Every job of a project in one process: each cut of each batch view, and of predictions made ahead, as soon as it can be made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from headwater import clock
from headwater.definitions.arm import Arm
from headwater.definitions.freshness import Batch
from headwater.definitions.project import Project
from headwater.definitions.sizes import Size
from headwater.errors import UsageError
from headwater.models.registry import ModelRegistry
from headwater.online_stores import OnlineStore
from headwater.online_stores.ownership import scoped
from headwater.pipelines.arms import Stored, served
from headwater.pipelines.clock_check import present
from headwater.pipelines.cuts import due_after
from headwater.pipelines.last_commit import last_commit
from headwater.pipelines.materialize import Materialized, batch_views, materialize_view
from headwater.pipelines.materialize_model import materialize_model
from headwater.pipelines.score import Scored

_FIRST: Final = 5.0  # seconds before what failed is tried again
_LONGEST: Final = 300.0
_NAP: Final = 30.0  # seconds at most, since a machine may sleep meanwhile


@dataclass(frozen=True)
class Done:
    """What a job made of a view or of a model's predictions; or why it failed, and in how many seconds it is tried again."""

    name: str
    made: Materialized | Scored | None = None
    error: Exception | None = None
    again: float = 0.0


class _Job:
    """Something to make at every cut of a freshness."""

    def __init__(self, name: str, batch: Batch, make: Callable[[], Materialized | Scored]) -> None:
        self.name, self._batch, self._make = name, batch, make
        self.due = 0
        self._wait = _FIRST

    def run(self) -> Done:
        begun = clock.now_micros()
        try:
            made = self._make()
        except Exception as error:  # noqa: BLE001 (one job that fails, for whatever reason, ends no other)
            again, self._wait = self._wait, min(2 * self._wait, _LONGEST)
            self.due = clock.now_micros() + round(again * 1e6)
            return Done(self.name, error=error, again=again)
        self._wait, self.due = _FIRST, due_after(self._batch, begun)
        return Done(self.name, made)


def schedule(
    project: Project,
    store: OnlineStore,
    *,
    models: str | Path | None = None,
    memory: Size | None = None,
    trust: bool = False,
    stop: threading.Event,
) -> Iterator[Done]:
    """Make everything that is due, views before the predictions that may read them, and wait for the next; until `stop` is set.

    A job that fails is tried again, later each time, and holds up no other one. Predictions are made by the version of the model that is
    current when they are.

    Args:
        project: its batch views, and the models whose predictions are made ahead, at each level that can be served.
        store: an online store.
        models: the folder of fitted models; None is `models` in headwater's home.
        memory: as for `materialize`.
        trust: as for `materialize_model`.
        stop: ends it after the job under way.

    Raises:
        UsageError: the project has nothing to make.
    """
    store = scoped(store, project.name, write=True)

    def now() -> int:
        return present(store.server_time, last_commit(project, store))

    jobs = [_of_view(one, store, memory, now) for one in _views(project)]
    registry = ModelRegistry(models)
    jobs += [_of_model(arm, store, registry, memory, now, trust=trust) for arm in served(project) if arm.scoring is not None]
    if not jobs:
        raise UsageError(
            f"project {project.name!r} has no batch view, and no model whose predictions are made ahead: there is nothing to make"
        )
    while not stop.is_set():
        for job in jobs:
            if job.due <= clock.now_micros() and not stop.is_set():
                yield job.run()
        left = (min(job.due for job in jobs) - clock.now_micros()) / 1e6 + 0.001
        stop.wait(min(max(left, 0.0), _NAP))


def _views(project: Project) -> list[Stored]:
    try:
        return batch_views(project)
    except UsageError:
        return []


def _of_view(one: Stored, store: OnlineStore, memory: Size | None, now: Callable[[], int]) -> _Job:
    return _Job(one.name, cast("Batch", one.view.freshness), lambda: materialize_view(one.view, store, now(), memory=memory))


def _of_model(arm: Arm, store: OnlineStore, registry: ModelRegistry, memory: Size | None, now: Callable[[], int], *, trust: bool) -> _Job:
    assert arm.scoring is not None

    def make() -> Scored:
        now()
        fitted = registry.open(arm.model, arm.name, trust=trust)
        return materialize_model(arm, fitted, store=store, memory=memory)

    return _Job(f"{arm.model.name} at {arm.name}", cast("Batch", arm.scoring.freshness), make)
