"""`materialize_model`: the predictions of a model, made ahead for all keys that are known, as a call."""

from __future__ import annotations

import hashlib
import pickle
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from headwater import settings
from headwater.definitions.arm import AS_DEFINED, Arm
from headwater.definitions.durations import Duration, micros
from headwater.definitions.model import Model
from headwater.definitions.moments import parse_moment
from headwater.definitions.sizes import Size
from headwater.errors import UsageError
from headwater.models.check import check
from headwater.models.fit import Fitted
from headwater.models.registry import ModelRegistry
from headwater.models.served import ServedModel
from headwater.online_stores import OnlineStore, opened
from headwater.pipelines.clock_check import present
from headwater.pipelines.last_commit import last_published
from headwater.pipelines.means import Tick
from headwater.pipelines.requests import as_frame
from headwater.pipelines.score import Job, Scored, Sink, Which
from headwater.pipelines.score_tables import ScoreFiles, ScoreTable

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
    """Score all keys that are known at the cut that is to be read now, and publish the scores at once.

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
        memory: what features may take while they are computed, such as "4GB"; None is whatever they take.
        threads: how many to use.
        tick: called with what is being done, how much is done, and of how much.

    Raises:
        ClockError: without `at`, the wall clock differs by more than 5 minutes from that of the store's server, or is as much
            behind what it holds.
        UsageError: predictions on request, or that only a backtest can make.
        DataError: a history that cannot be read, no fitted model, or one that reads what a job does not know, or fresher features.
        StoreError: the store cannot be written, or another run is under way. ConnectError: the database cannot.

    >>> import headwater as hw
    >>> from headwater.definitions.moments import parse_moment
    >>> from headwater.testing.examples import churn, scoring, temporary_store
    >>> arm, fitted = scoring(churn(), hw.precomputed(hw.batch("1d", delay="4h"), keys=["user"]))
    >>> with temporary_store() as store:
    ...     made = hw.materialize_model(arm, fitted, store=store, at="2024-05-10T04:00Z")
    ...     found = hw.MadeAhead(arm, store).one({"user": 5}, parse_moment("2024-05-10T09:00Z", "at"))
    >>> made.cut.keys, found.how, found.age / 3600
    (6, 'precomputed', 9.0)
    """
    made = Arm(AS_DEFINED, arm) if isinstance(arm, Model) else arm
    if active is not None and keys is not None:
        raise UsageError("give active= or keys=: a list of keys is scored whole")
    which = Which(None if active is None else micros(active, "active"), None if keys is None else as_frame(keys, "the list of keys"))
    sinks: list[Sink] = [] if table is None else [table]
    if files is not None:
        sinks.append(ScoreFiles(settings.on_disk(files, "files=")))
    served = ModelRegistry().open(made.model, made.name) if fitted is None else fitted
    if isinstance(served, ServedModel):
        check(made.model, made.level, served)
        version, served = version or served.version, served.fitted
    with opened(store) as mine:
        t = present(mine.server_time, last_published(made, mine)) if at is None else parse_moment(at, "at")
        return Job(made, served, version or named(served), mine, which, tuple(sinks), memory, threads, tick).run(t)


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
