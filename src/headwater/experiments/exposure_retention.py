"""How long exposures are kept: the exposures of one version of an experiment go together, once
nothing more can be learnt from them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from headwater import clock
from headwater.definitions.checks import Duration, micros
from headwater.errors import DataError
from headwater.journal.exposure_log import EXPOSURES
from headwater.journal.retention import repeated
from headwater.models.experiment_store import ExperimentStore, StartedExperiment

_EVERY: Final = 3600.0  # seconds


def expire_exposures(
    data_dir: str | Path, store: ExperimentStore, keep: Duration, now: int
) -> list[str]:
    """Remove the exposures of experiments whose last outcome was known more than `keep` before
    `now`; which: "checkout, version 1".

    An experiment that runs keeps its exposures, and so does one without a rule for when its
    outcomes are known. What was written later than `keep` before `now` stays too.

    Args:
        data_dir: they stand in its subfolder `exposures`.
        store: of started experiments.
        keep: how long they are kept.
        now: microseconds.

    Raises:
        DefinitionError: not a duration.
        DataError: the files of the store cannot be read.
        OSError: a folder cannot be removed.
    """
    limit = now - micros(keep, "exposures: keep")
    removed = []
    for started in store.started():
        plan = started.plan
        folder, known_at = (
            Path(data_dir) / EXPOSURES / plan.experiment / str(plan.version),
            _known_at(started),
        )
        if (
            known_at is not None
            and known_at < limit
            and folder.is_dir()
            and _written(folder) < limit
        ):
            with suppress(FileNotFoundError):  # another process was faster
                shutil.rmtree(folder)
                removed.append(f"{plan.experiment}, version {plan.version}")
    return removed


@contextmanager
def exposures_kept(
    data_dir: Path, store: ExperimentStore, keep: Duration, every: float = _EVERY
) -> Iterator[None]:
    """Expire exposures now and every so many seconds, in a thread, while the context lasts."""
    micros(keep, "exposures: keep")
    with repeated(
        "exposures",
        lambda: expire_exposures(data_dir, store, keep, clock.now_micros()),
        (OSError, DataError),
        every,
    ):
        yield


def _known_at(started: StartedExperiment) -> int | None:
    """When the last outcome of an experiment is known, microseconds, if nothing stops it before;
    None where no rule says when.
    """
    plan, stopped = started.plan, started.stopped_at
    end = plan.end if stopped is None else min(stopped, plan.end)
    return None if plan.matures is None else end + plan.matures


def _written(folder: Path) -> int:
    """When a file of the folder was last written, microseconds."""
    times = []
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            times.append(path.stat().st_mtime_ns // 1000)
    return max(times, default=0)
