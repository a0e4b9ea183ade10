"""Experiments that were started: their frozen plans, and what was done since, as files of the model
registry.

    FOLDER/running-experiments/NAME/1/plan.json        written once, when version 1 of the
                                                       experiment starts; it never changes
    FOLDER/running-experiments/NAME/1/changes.jsonl    started, stage raised, stopped: a line each,
                                                       with time, author and reason

A line is appended by one write and synced; a last line that is cut off by a kill is not read.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Literal

import msgspec

from headwater import disk
from headwater.disk import sync
from headwater.errors import DataError, UsageError, nearest
from headwater.models.registry import EXPERIMENTS, ModelRegistry

PLAN, CHANGES = "plan.json", "changes.jsonl"

Change = Literal["started", "enrolled", "stopped"]


class FrozenArm(msgspec.Struct, frozen=True):
    """An arm as it is served.

    level: the name of the level that requests of this arm are answered at. weight: its share of the
    enrolled units. version: the number of the fitted model that this arm was started with; versions
    trained later by the same definitions may replace it. allow_staler: it was trained at a fresher
    level than it is served at. trained_level: the level that its fitted model is of.
    """

    name: str
    model: str
    level: str
    weight: float
    version: int | None = None
    allow_staler: bool = False
    trained_level: str = ""


class FrozenPlan(msgspec.Struct, frozen=True):
    """What an experiment was started with.

    experiment, version: which. fingerprint: of its definition in the project. arms: the control
    first. unit: the request's column. kind: "shadow", "ab", "switchback", "cluster" or
    "interleaving". columns: further columns of the request that assignment needs, by role ("region"
    or "cluster"). settings: of the kind, durations in microseconds. metrics, guardrails: their
    names, the deciding one first. layer, span, holdout: as `experiments.assignment.Assignment`.
    start, duration, stage: microseconds. enrolled: the share of each stage.
    units_needed: of each arm, by the power computed from history; None where there was no history.
    seed: of schedules and shuffles.
    project: whose experiment it is. clusters: the arm of each cluster known at the start, by a
    stratified shuffle; one that is not among them gets its arm by the hash of its name. needs: a
    fingerprint of each definition that must stay while the experiment runs. matures: microseconds
    from an exposure until its last outcome is known; None where no rule says when.
    """

    experiment: str
    version: int
    fingerprint: str
    arms: tuple[FrozenArm, ...]
    unit: str
    kind: str
    columns: Mapping[str, str]
    settings: Mapping[str, int | bool]
    metrics: tuple[str, ...]
    guardrails: tuple[str, ...]
    layer: str | None
    span: tuple[float, float]
    holdout: float
    start: int
    duration: int
    stage: int
    enrolled: tuple[float, ...]
    looks: int
    alpha: float
    power: float
    min_lift: float
    units_needed: int | None = None
    break_even: float = 0.0
    seed: int = 0
    project: str = ""
    clusters: Mapping[str, str] = {}
    needs: Mapping[str, str] = {}
    matures: int | None = None

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that name the plan: of its JSON with sorted keys, without `start`
        and `matures`.

        A start that is planned is in the definition, hence in the fingerprint; any other is when
        the plan was started, and the plan that was looked at before has the same digest. What
        matures when follows from the metrics, which are in the fingerprint too.
        """
        named = {
            name: value for name, value in msgspec.structs.asdict(self).items() if name != "matures"
        }
        return sha256(msgspec.json.encode(named | {"start": 0}, order="sorted")).hexdigest()[:16]

    @property
    def salt(self) -> str:
        """What assignment hashes units with."""
        return f"{self.experiment}/{self.version}"

    @property
    def end(self) -> int:
        """When enrolment ends, microseconds."""
        return self.start + self.duration


class ExperimentChange(msgspec.Struct, frozen=True):
    """One thing that was done: what, when (microseconds), by whom, why; the share of units enrolled
    from then on.
    """

    change: Change
    at: int
    by: str = ""
    reason: str = ""
    enrolled: float = 1.0


class StartedExperiment(msgspec.Struct, frozen=True):
    """A plan, and all that was done since, in order."""

    plan: FrozenPlan
    changes: tuple[ExperimentChange, ...]

    @property
    def stopped_at(self) -> int | None:
        """When it was stopped, microseconds; None where it was not."""
        return next((change.at for change in self.changes if change.change == "stopped"), None)

    def enrolled_at(self, at: int) -> float:
        """The share of units that take part at a time; 0 before the start, after the stop and after
        the planned end.
        """
        if not self.plan.start <= at < self.plan.end:
            return 0.0
        share = 0.0
        for change in self.changes:
            if change.at <= at:
                share = 0.0 if change.change == "stopped" else change.enrolled
        return share


class ExperimentStore:
    """The started experiments of a model registry; several processes may use it.

    Args:
        folder: of the registry; None is `models` in headwater's home.

    >>> import tempfile
    >>> ExperimentStore(tempfile.mkdtemp()).started()
    []
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = ModelRegistry(folder).folder / EXPERIMENTS

    def start(self, plan: FrozenPlan, at: int, by: str) -> StartedExperiment:
        """Freeze a plan and start it.

        Raises:
            UsageError: this version was started before, by another plan; or one of the same
                experiment is running.
            DataError: the folder cannot be written.
        """
        folder = self._version_folder(plan.experiment, plan.version)
        try:
            disk.make_folder(folder)
            # of two starts at the same time, the second one finds the first
            with _locked(folder.parent):
                return self._started(plan, folder, at, by)
        except OSError as error:
            raise DataError(f"{folder} cannot be written: {error.strerror}") from error

    def _started(self, plan: FrozenPlan, folder: Path, at: int, by: str) -> StartedExperiment:
        for started in self.started(plan.experiment):
            if started.plan.version == plan.version and started.plan.digest != plan.digest:
                raise UsageError(
                    f"experiment {plan.experiment!r}, version {plan.version}, was started by "
                    f"another plan ({started.plan.digest}); a plan never changes: stop it, and "
                    "give "
                    f"the experiment version={plan.version + 1}"
                )
            if started.stopped_at is None and started.plan.version != plan.version:
                raise UsageError(
                    f"version {started.plan.version} of experiment {plan.experiment!r} is running; "
                    "stop it first"
                )
            if started.plan.version == plan.version:
                return started
        disk.replace_file(
            folder / PLAN,
            msgspec.json.format(msgspec.json.encode(plan, order="sorted"), indent=1) + b"\n",
        )
        self._append(folder, ExperimentChange("started", at, by, enrolled=plan.enrolled[0]))
        return self.one(plan.experiment, plan.version)

    def enrol(
        self, name: str, share: float, at: int, by: str, reason: str = ""
    ) -> StartedExperiment:
        """Raise the share of units that take part.

        Raises:
            UsageError: it does not run, or the share is not larger than the present one.
        """
        running = self.running(name)
        present = running.enrolled_at(at)
        if not present < share <= 1:
            raise UsageError(
                f"experiment {name!r} enrols {present:.0%} of units; enrolment only widens, up to "
                f"100 %: {share!r} is refused"
            )
        self._append(
            self._version_folder(name, running.plan.version),
            ExperimentChange("enrolled", at, by, reason, share),
        )
        return self.one(name, running.plan.version)

    def stop(self, name: str, at: int, by: str, reason: str) -> StartedExperiment:
        """Stop the running version: its units get the default from now on.

        Raises:
            UsageError: it does not run.
        """
        running = self.running(name)
        self._append(
            self._version_folder(name, running.plan.version),
            ExperimentChange("stopped", at, by, reason, 0.0),
        )
        return self.one(name, running.plan.version)

    def running(self, name: str) -> StartedExperiment:
        """The version of an experiment that was started and not stopped.

        Raises:
            UsageError: there is none.
        """
        for started in reversed(self.started(name)):
            if started.stopped_at is None:
                return started
        if self.started(name):
            raise UsageError(
                f"experiment {name!r} is not running: its version {self.one(name).plan.version} "
                "was stopped"
            )
        raise UsageError(
            f"experiment {name!r} is not running; "
            f"{nearest(name, [e.plan.experiment for e in self.started()])}"
        )

    def one(self, name: str, version: int | None = None) -> StartedExperiment:
        """A version of an experiment, the latest one where none is named.

        Raises:
            UsageError: it was not started.
        """
        every = [
            started for started in self.started(name) if version in (None, started.plan.version)
        ]
        if not every:
            started = [e.plan.experiment for e in self.started()]
            others = f"; {nearest(name, started)}" if started else ""
            raise UsageError(
                f"experiment {name!r}{'' if version is None else f', version {version},'} was not "
                f"started; run: headwater experiment start {name}{others}"
            )
        return every[-1]

    def started(self, name: str | None = None) -> list[StartedExperiment]:
        """Every version that was ever started, by name and version.

        Raises:
            DataError: a file cannot be read.
        """
        names: Sequence[str] = (
            sorted(p.name for p in self.folder.iterdir()) if self.folder.is_dir() else []
        )
        experiments: list[StartedExperiment] = []
        for experiment in names if name is None else [n for n in names if n == name]:
            versions = sorted(
                int(p.name) for p in (self.folder / experiment).iterdir() if p.name.isdecimal()
            )
            experiments += filter(
                None, (self._read(self.folder / experiment / str(version)) for version in versions)
            )
        return experiments

    @property
    def stamp(self) -> tuple[tuple[str, int, int], ...]:
        """What changes whenever an experiment is started, enrolled or stopped; costs no reading of
        files.
        """
        paths = sorted(self.folder.glob(f"*/*/{CHANGES}")) if self.folder.is_dir() else []
        return tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in paths)

    def _version_folder(self, name: str, version: int) -> Path:
        return self.folder / name / str(version)

    def _read(self, folder: Path) -> StartedExperiment | None:
        try:
            plan = msgspec.json.decode((folder / PLAN).read_bytes(), type=FrozenPlan)
            lines = (folder / CHANGES).read_bytes().split(b"\n")[:-1]
            return StartedExperiment(
                plan, tuple(msgspec.json.decode(line, type=ExperimentChange) for line in lines)
            )
        except FileNotFoundError:
            return None  # a writer was killed before the start
        except msgspec.MsgspecError as error:
            raise DataError(
                f"{folder} is not an experiment of this version of headwater: {error}"
            ) from error

    def _append(self, folder: Path, change: ExperimentChange) -> None:
        try:
            with _locked(folder), disk.open_private(folder / CHANGES, "a+b") as file:
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)  # what a kill cut off
                file.write(msgspec.json.encode(change) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            sync(folder)
        except OSError as error:
            raise DataError(f"{folder / CHANGES} cannot be written: {error.strerror}") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
