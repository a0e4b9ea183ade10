"""The experiments that a process serves, once their arms are loaded. They are polled outside of
requests.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from headwater import clock
from headwater.catalog.experiment_protection import check_served, difference
from headwater.definitions.level import AS_DEFINED, ModelVariant
from headwater.definitions.project import Project
from headwater.errors import DataError, HeadwaterError, UsageError
from headwater.experiments.assigners import Assigner, assigner_of
from headwater.journal.exposure_log import ExposureLog
from headwater.models.experiment_store import ExperimentStore, FrozenArm, StartedExperiment
from headwater.serving.arm_choice import RunningExperiment
from headwater.serving.loaded_models import Key

_RETRY: Final = 5.0  # seconds until an experiment that could not be served is tried again
LOOK: Final = 0.5
"""Seconds between two looks at what was started and stopped."""


class RunningExperiments:
    """The started experiments of a project. Threads may share one; what it holds is replaced as a
    whole.

    Args:
        project: whose experiments they are.
        store: what was started; None where nothing can be.
        folder: where exposures are logged.
        prepare: loads and checks a model at a level, so that no request waits for it.

    Attributes:
        by_model: the experiments of each model, by its name.
        started: what runs, served or not.
        assigners: what runs and its assigner, by name; without kinds that are not known here.
        refused: why an experiment that was started is not served by this process, by its name; its
            units get the default.
        log: of exposures; None as long as nothing was served.

    Raises:
        UsageError: the project would serve something else than its running experiments were started
            with.
    """

    def __init__(
        self,
        project: Project,
        store: ExperimentStore | None,
        folder: Path,
        prepare: Callable[[str, str | None], ModelVariant],
    ) -> None:
        if store is not None:
            # unreadable files are tried again; until then no experiment is served
            with suppress(DataError):
                check_served(project, store, clock.now_micros())
        self._project, self._store, self._prepare = project, store, prepare
        self._stamp: object = None
        self._served: dict[tuple[str, int], RunningExperiment] = {}
        self._looked = self._tried = float("-inf")
        self._unread = ""
        self._lock = threading.Lock()
        self.by_model: Mapping[str, tuple[RunningExperiment, ...]] = {}
        self.started: Sequence[StartedExperiment] = ()
        self.assigners: Mapping[str, tuple[StartedExperiment, Assigner]] = {}
        self.refused: Mapping[str, str] = {}
        self.log = ExposureLog(folder)

    @property
    def room(self) -> bool:
        """Whether exposures can be logged."""
        return self.log.room

    @property
    def warnings(self) -> list[str]:
        """Why experiments that run are not served as they are now, in sentences."""
        return [*self.refused.values(), *filter(None, [self._unread])]

    def look(self) -> None:
        """`refresh`, if the last look is long enough ago."""
        if self._store is not None and clock.stopwatch() - self._looked > LOOK:
            self.refresh()

    def refresh(self) -> None:
        """Take over what was started, enrolled and stopped.

        Raises:
            DataError: the files of the store cannot be read; what was served before is still
                served.
        """
        if self._store is None:
            return
        with self._lock:
            now = self._looked = clock.stopwatch()
            stamp = self._store.stamp
            if stamp == self._stamp and not (self.refused and now - self._tried > _RETRY):
                return
            self._tried = now
            try:
                started = self._store.started()
            except DataError as error:
                self._unread = (
                    f"experiments were not read, and what was served before is served: {error}"
                )
                raise
            self._take(started)
            self._stamp, self._unread = stamp, ""

    def collect(self) -> Iterator[Metric]:
        """Metrics of experiments: the collector interface of prometheus_client."""
        rows = CounterMetricFamily(
            "headwater_experiment_rows",
            "rows of experiments, by what became of them",
            labels=["experiment", "outcome"],
        )
        for (name, _), experiment in self._served.items():
            for outcome, count in experiment.counts.items():
                rows.add_metric([name, outcome], count)
        served = GaugeMetricFamily(
            "headwater_experiment_served",
            "whether a running experiment is served",
            labels=["experiment"],
        )
        for started in self.started:
            served.add_metric(
                [started.plan.experiment], float(started.plan.experiment not in self.refused)
            )
        yield from (rows, served)
        if self._served:
            yield GaugeMetricFamily(
                "headwater_exposure_room",
                "1 while exposures can be logged",
                value=float(self.log.room),
            )
            yield CounterMetricFamily(
                "headwater_exposures_unlogged",
                "exposures flagged 'no room' that were not kept",
                value=self.log.unlogged,
            )

    def plans(self, at: int) -> list[dict[str, object]]:
        """What other processes need to assign as this one does, at a time in microseconds; see `GET
        /v1/experiments`.
        """
        return [_plan(experiment, at) for experiment in self.started]

    def close(self) -> None:
        """Write all exposures, and close the log."""
        self.log.close()

    def _take(self, started: list[StartedExperiment]) -> None:
        refused, served = dict[str, str](), dict[tuple[str, int], RunningExperiment]()
        current = [
            experiment
            for experiment in started
            if experiment.stopped_at is None and experiment.plan.project in ("", self._project.name)
        ]
        for started_experiment in current:
            plan = started_experiment.plan
            try:
                served[plan.experiment, plan.version] = self._ready(started_experiment)
            except HeadwaterError as error:
                refused[plan.experiment] = f"experiment {plan.experiment!r} is not served: {error}"
            except OSError as error:
                refused[plan.experiment] = (
                    f"experiment {plan.experiment!r} is not served: no exposure can be logged: "
                    f"{error}"
                )
        by_model: dict[str, tuple[RunningExperiment, ...]] = {}
        for experiment in served.values():
            for model in dict.fromkeys(arm.model for arm in experiment.plan.arms):
                by_model[model] = (*by_model.get(model, ()), experiment)
        self._served, self.refused, self.by_model, self.started = served, refused, by_model, current
        assigners: dict[str, tuple[StartedExperiment, Assigner]] = {}
        for one in current:
            with suppress(HeadwaterError):  # `refused` has the reason
                assigners[one.plan.experiment] = one, assigner_of(one)
        self.assigners = assigners

    def _ready(self, started: StartedExperiment) -> RunningExperiment:
        """An experiment whose arms are loaded and whose exposures can be logged.

        Raises:
            HeadwaterError: an arm cannot be served. OSError: the log cannot be opened.
        """
        plan = started.plan
        changed = difference(self._project, started)
        if changed is not None and clock.now_micros() < plan.end:
            raise UsageError(
                f"{changed}; serve the definitions that it was started with, or stop it"
            )
        variants = {arm.name: self._prepare(*key_of(arm)) for arm in plan.arms}
        services = {variant.model.features.name for variant in variants.values()}
        asks = any(variant.model.features.http_features for variant in variants.values())
        if asks and (len(services) > 1 or plan.kind == "interleaving"):
            raise UsageError(
                "its arms have third-party features, and "
                + (
                    "they are interleaved"
                    if plan.kind == "interleaving"
                    else f"they read {len(services)} feature services"
                )
                + (
                    "; third parties are called once for a request: give the arms one feature "
                    "service, and another kind"
                )
            )
        self.log.prepare()
        before = self._served.get((plan.experiment, plan.version))
        promised = {arm: _promised(variant) for arm, variant in variants.items()}
        running = RunningExperiment(
            plan, {arm.name: key_of(arm) for arm in plan.arms}, promised, assigner_of(started)
        )
        return (
            running
            if before is None
            else RunningExperiment(plan, running.keys, promised, running.assign, before.counts)
        )


def _plan(started: StartedExperiment, at: int) -> dict[str, object]:
    plan = started.plan
    arms = [
        {"name": arm.name, "model": arm.model, "level": arm.level, "weight": arm.weight}
        for arm in plan.arms
    ]
    return {
        "experiment": plan.experiment,
        "version": plan.version,
        "kind": plan.kind,
        "unit": plan.unit,
        "columns": dict(plan.columns),
        "settings": dict(plan.settings),
        "arms": arms,
        "salt": plan.salt,
        "seed": plan.seed,
        "clusters": dict(plan.clusters),
        "enrolled": started.enrolled_at(at),
        "layer": plan.layer,
        "span": list(plan.span),
        "holdout": plan.holdout,
        "start": clock.timestamp(plan.start),
        "end": clock.timestamp(plan.end),
        "digest": plan.digest,
    }


def key_of(arm: FrozenArm) -> Key:
    """The model and level that answer an arm's requests."""
    return arm.model, None if arm.level == AS_DEFINED else arm.level


def _promised(variant: ModelVariant) -> float:
    """Seconds: the age that a variant's oldest value may have."""
    precomputed = variant.precomputed
    ages = [] if precomputed is None else [precomputed.freshness.worst_age]
    if precomputed is None or precomputed.on_request:
        ages += [view.freshness.worst_age for service in variant.services for view in service.views]
    return max(ages, default=0) / 1e6
