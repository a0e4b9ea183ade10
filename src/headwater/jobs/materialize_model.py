"""`materialize_model`: precompute a model's predictions for all known keys."""

from __future__ import annotations

import hashlib
import pickle
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from headwater import settings
from headwater.definitions.arm import AS_DEFINED, Arm
from headwater.definitions.durations import Duration, micros
from headwater.definitions.memory_sizes import Size
from headwater.definitions.model import Model
from headwater.definitions.timestamps import parse_timestamp
from headwater.errors import UsageError
from headwater.ingestion.clock_check import present
from headwater.jobs.last_commit import last_published
from headwater.jobs.precompute import KeySelection, Scored, ScoringJob, Sink
from headwater.jobs.sinks import ScoreFiles, ScoreTable
from headwater.models.compatibility import check
from headwater.models.fit import Fitted
from headwater.models.registry import ModelRegistry
from headwater.models.serving_model import ServedModel
from headwater.online_stores import OnlineStore, opened
from headwater.training.requests import as_frame
from headwater.training.resources import Tick

if TYPE_CHECKING:
    from headwater.definitions.connectors import TableLike


def materialize_model(  # noqa: PLR0913 (all but the first have a default)
    arm: Arm | Model,
    fitted: Fitted | ServedModel | None = None,
    *,
    version: str | None = None,
    store: OnlineStore | str | None = None,
    at: datetime | str | None = None,
    active: Duration | None = None,
    keys: TableLike | None = None,
    table: ScoreTable | None = None,
    files: str | Path | None = None,
    memory: Size | None = None,
    threads: int | None = None,
    tick: Tick | None = None,
) -> Scored:
    """Score all keys known at the current cut, and publish the scores atomically.

    Also those of the cut after it, where that can be computed. To be called once for every cut, after its `wait`: from cron, Airflow, or
    `headwater materialize MODEL --watch`. A cut that is there is not made again, unless by another version of the model, and a run that was
    killed is gone on with. One run at a time.

    Args:
        arm: which model, at which level; a model alone is as it is defined. Its predictions are `precomputed(...)`.
        fitted: what scores, trained at that level; None is the version that is served of the registry in headwater's home.
        version: what the fitted model is called; None is its number in the registry, or a name made of what it is.
        store: an online store, or its URL; None is that of the settings (HEADWATER_STORE).
        at: the moment of the job, tz-aware, or ISO 8601 with an offset; None is now.
        active: score only keys with an event in so long before the cut, such as "30d".
        keys: score only these: a frame or files with the columns that `precomputed(keys=)` names.
        table: besides, replace the rows of a PostgreSQL table.
        files: besides, write parquet files into this folder.
        memory: the limit for computing features, such as "4GB"; None is no limit.
        threads: how many to use.
        tick: called with the current step, the amount done, and the total.

    Raises:
        ClockError: without `at`, the wall clock differs by more than 5 minutes from that of the store's server, or is as much
            behind what it holds.
        UsageError: predictions on request, or that only a backtest can make.
        DataError: a history that cannot be read, no fitted model, or one that reads what a job does not know, or fresher features.
        StoreError: the store cannot be written, or another run is under way. ConnectError: the database cannot.

    >>> import headwater as hw
    >>> from headwater.definitions.timestamps import parse_timestamp
    >>> from headwater.testing.examples import churn, scoring, temporary_store
    >>> arm, fitted = scoring(churn(), hw.precomputed(hw.batch("1d", delay="4h"), keys=["user"]))
    >>> with temporary_store() as store:
    ...     made = hw.materialize_model(arm, fitted, store=store, at="2024-05-10T04:00Z")
    ...     found = hw.MadeAhead(arm, store).one({"user": 5}, parse_timestamp("2024-05-10T09:00Z", "at"))
    >>> made.cut.keys, found.how, found.age / 3600
    (6, 'precomputed', 9.0)
    """
    variant = Arm(AS_DEFINED, arm) if isinstance(arm, Model) else arm
    if active is not None and keys is not None:
        raise UsageError("give active= or keys=: a list of keys is scored whole")
    which = KeySelection(None if active is None else micros(active, "active"), None if keys is None else as_frame(keys, "the list of keys"))
    sinks: list[Sink] = [] if table is None else [table]
    if files is not None:
        sinks.append(ScoreFiles(settings.on_disk(files, "files=")))
    served = ModelRegistry().open(variant.model, variant.name) if fitted is None else fitted
    if isinstance(served, ServedModel):
        check(variant.model, variant.level, served)
        version, served = version or served.version, served.fitted
    with opened(store) as mine:
        t = present(mine.server_time, last_published(variant, mine)) if at is None else parse_timestamp(at, "at")
        return ScoringJob(variant, served, version or named(served), mine, which, tuple(sinks), memory, threads, tick).run(t)


def named(fitted: Fitted) -> str:
    """A name for a fitted model that has none: the beginning of the SHA-256 of all that it is.

    Raises:
        UsageError: it cannot be pickled.
    """
    try:
        whole = pickle.dumps((fitted.estimator, fitted.encoding))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UsageError(f"{fitted.description} cannot be told from other models: {error}; name it with version=") from error
    return hashlib.sha256(whole).hexdigest()[:12]
