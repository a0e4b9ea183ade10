"""`materialize_model`: precompute a model's predictions for all known keys."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from headwater import settings
from headwater.connectors.snapshots import one_version
from headwater.definitions.checks import micros
from headwater.definitions.level import AS_DEFINED, ModelVariant
from headwater.definitions.model import Model
from headwater.errors import UsageError
from headwater.events.read_events import as_frame
from headwater.ingestion.clock_check import job_time
from headwater.jobs.last_commit import last_published
from headwater.jobs.precompute import (
    ActiveKeys,
    KeySelection,
    PrecomputeJob,
    PrecomputeResult,
    Sink,
)
from headwater.jobs.sinks import PredictionFiles, PredictionTable
from headwater.models.compatibility import check
from headwater.models.fit import Fitted
from headwater.models.registry import ModelRegistry
from headwater.models.serving_model import ServedModel
from headwater.stores import OnlineStore, opened
from headwater.training.resources import DEFAULT_RESOURCES, Resources

if TYPE_CHECKING:
    from headwater.definitions.connectors import TableLike


@one_version()
def materialize_model(
    variant: ModelVariant | Model,
    fitted: Fitted | ServedModel | None = None,
    *,
    version: str | None = None,
    store: OnlineStore | str | None = None,
    at: datetime | str | None = None,
    keys: TableLike | ActiveKeys | None = None,
    sinks: Sequence[PredictionTable | str | Path] = (),
    resources: Resources | None = None,
) -> PrecomputeResult:
    """Score all keys known at the current cut, and publish the scores atomically.

    Also those of the cut after it, where that can be computed. To be called once for every cut,
    after its `wait`: from cron, Airflow, or `headwater materialize MODEL --watch`. A cut that is
    there is not made again, unless by another version of the model, and a run that was killed is
    gone on with. One run at a time.

    Args:
        variant: which model, at which level; a model alone is as it is defined. Its predictions are
            `precomputed(...)`.
        fitted: what scores, trained at that level; None is the version that is served of the
            registry in headwater's home.
        version: what the fitted model is called; None is its number in the registry, or a name made
            of what it is.
        store: an online store, or its URL; None is that of the settings (HEADWATER_STORE).
        at: the moment of the job, tz-aware, or ISO 8601 with an offset; None is now.
        keys: score only these: a frame or files with the columns that `precomputed(keys=)` names,
            or `ActiveKeys("30d")`: those with an event in so long before the cut. None scores all.
        sinks: where the predictions go besides the store: a `PredictionTable` of PostgreSQL, whose
            rows are replaced, or a folder of parquet files.
        resources: what the call may use: threads, memory, progress.

    Raises:
        ClockError: without `at`, the wall clock differs by more than 5 minutes from that of the
            store's server, or is as much behind what it holds.
        UsageError: predictions on request, or that only a backtest can make; or `at` has not come.
        DataError: a history that cannot be read, no fitted model, or one that reads what a job does
            not know, or fresher features.
        StoreError: the store cannot be written, or another run is under way. ConnectError: the
            database cannot.

    >>> import headwater as hw
    >>> from headwater.definitions.checks import parse_timestamp
    >>> from headwater.testing.examples import churn, precomputed_variant, temporary_store
    >>> variant, fitted = precomputed_variant(
    ...     churn(), hw.precomputed(hw.batch("1d", delay="4h"), keys=["user"])
    ... )
    >>> with temporary_store() as store:
    ...     made = hw.operations.materialize_model(
    ...         variant, fitted, store=store, at="2024-05-10T04:00Z"
    ...     )
    ...     found = hw.operations.PrecomputedReader(variant, store).one(
    ...         {"user": 5}, parse_timestamp("2024-05-10T09:00Z", "at")
    ...     )
    >>> made.cut.keys, found.how, found.age / 3600
    (6, 'precomputed', 9.0)
    """
    variant = ModelVariant(AS_DEFINED, variant) if isinstance(variant, Model) else variant
    targets: list[Sink] = [
        sink
        if isinstance(sink, PredictionTable)
        else PredictionFiles(settings.on_disk(sink, "sinks="))
        for sink in sinks
    ]
    served = ModelRegistry().open(variant.model, variant.name) if fitted is None else fitted
    if isinstance(served, ServedModel):
        check(variant.model, variant.level, served)
        version, served = version or served.version, served.fitted
    with opened(store) as opened_store:
        t = job_time(at, opened_store.server_time, last_published(variant, opened_store))
        with (resources or DEFAULT_RESOURCES).shown() as used:
            return PrecomputeJob(
                variant,
                served,
                version or named(served),
                opened_store,
                _key_selection(keys),
                tuple(targets),
                used,
            ).run(t)


def _key_selection(keys: TableLike | ActiveKeys | None) -> KeySelection:
    if isinstance(keys, ActiveKeys):
        return KeySelection(micros(keys.within, "ActiveKeys"), None)
    return KeySelection(None, None if keys is None else as_frame(keys, "the list of keys"))


def named(fitted: Fitted) -> str:
    """A name for a fitted model that has none: the beginning of the SHA-256 of all that it is.

    Raises:
        UsageError: it cannot be pickled.
    """
    try:
        whole = pickle.dumps((fitted.estimator, fitted.encoding))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UsageError(
            f"{fitted.description} cannot be distinguished from other models: {error}; name it "
            "with version="
        ) from error
    return hashlib.sha256(whole).hexdigest()[:12]
