"""Point-in-time training data: what each feature would have been, had it been asked for then."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from headwater.connectors.snapshots import one_version
from headwater.definitions.definition import stack_level
from headwater.definitions.feature_service import FeatureService, Member, as_service
from headwater.definitions.freshness import Freshness
from headwater.definitions.labels import Labels
from headwater.definitions.level import Level, as_level
from headwater.definitions.project import checked_call
from headwater.errors import DataError, HeadwaterWarning, RowsLeftOutWarning
from headwater.events.columns import status_name
from headwater.events.read_events import Notes
from headwater.training.feature_frames import feature_frames
from headwater.training.label_rows import read_labels
from headwater.training.no_events import warn_of_no_events
from headwater.training.requests import joined, read_rows
from headwater.training.resources import DEFAULT_RESOURCES, Resources

if TYPE_CHECKING:
    import polars as pl

    from headwater.definitions.connectors import TableLike


@checked_call
@one_version()
def get_historical_features(
    features: FeatureService | Member | Sequence[Member],
    rows: TableLike | Labels,
    *,
    timestamp_field: str = "timestamp",
    level: Level | Freshness | None = None,
    timezone: str | None = None,
    statuses: bool = False,
    resources: Resources | None = None,
) -> pl.DataFrame:
    """The rows with every feature as of each row's own time: one row out for each row in, in order.

    Args:
        features: a feature service, or features, views and request features.
        rows: a frame with an Arrow interface, a LazyFrame of polars, a path, `parquet(path)`,
            `csv(path)`, or `Labels` (whose times, filter and selection are used, and whose rows
            without an outcome are left out).
        timestamp_field: the column of `rows` with the time each row asks at; for `Labels` its own
            is used.
        level: how fresh the features are, a Level or a freshness; as defined where None.
        timezone: the IANA zone of naive timestamps in `rows`.
        statuses: add the status of each feature's value, in a column `<feature>__status`: present,
            empty (no event of the window counts), missing (no event of the key in any window of the
            view), expired (older than the view's ttl), fallback, or overflow (a sum left int64, or
            a float float64).
        resources: what the call may use: threads, memory, a cache, progress.

    Features of a third party without `history=` are left out, with a warning that names them.

    Returns:
        The columns of `rows`, then one column for each feature: counts int64, sums int64 or
        float64, means and ages float64, and first, last, min, max, latest in their column's dtype
        (of decimals int64, or float64 with a fraction). Then the statuses, where asked for. The
        frame's attribute `left_out` says how many rows of sources and labels were left out, by
        reason.

    Warns:
        RowsLeftOutWarning: rows that cannot be used, such as those without an event time: how many,
            their source, and why. Duplicates are counted in `left_out` alone.
        NoEventsWarning: no event of a source is known before any of the rows, or none of their keys
            is one of the source.

    Raises:
        DataError: a column is missing, of a wrong dtype, or named like a feature.

    >>> import headwater as hw, polars as pl
    >>> from datetime import datetime, UTC
    >>> at = lambda hour: datetime(2024, 5, 1, hour, tzinfo=UTC)
    >>> visits = hw.Source(
    ...     "visits",
    ...     history=pl.DataFrame({"user": [1, 1], "at": [at(8), at(9)]}),
    ...     timestamp_field="at",
    ... )
    >>> view = hw.FeatureView(
    ...     "user",
    ...     source=visits,
    ...     keys=["user"],
    ...     features=[hw.count()],
    ...     windows=["1d"],
    ...     freshness=hw.on_request(),
    ... )
    >>> rows = pl.DataFrame({"user": [1, 1, 2], "timestamp": [at(9), at(10), at(10)]})
    >>> hw.get_historical_features(view, rows)["user__count_1d"].to_list()
    [1, 2, 0]
    >>> hw.get_historical_features(view, rows, statuses=True)["user__count_1d__status"].to_list()
    ['present', 'present', 'missing']
    """
    service = in_training(features)
    resources = resources or DEFAULT_RESOURCES
    requests = (
        read_labels(rows, resources, strings=True)
        if isinstance(rows, Labels)
        else read_rows(rows, timestamp_field, timezone)
    )
    check_names(service, requests.frame.columns, statuses=statuses)
    notes = Notes(Counter(requests.left_out))
    with resources.shown() as shown:
        values = feature_frames(
            service,
            requests,
            {"": Level() if level is None else as_level(level)},
            notes,
            shown,
            statuses=statuses,
        )[""]
    warn_of_left_out(notes)
    warn_of_no_events(requests, notes)
    answered = joined(service, requests, values)
    vars(answered)["left_out"] = dict(notes.left_out)
    return answered


def in_training(features: FeatureService | Member | Sequence[Member]) -> FeatureService:
    """The service that a user gave, without features of third parties that have no history; a
    warning names them.
    """
    requested = as_service(features)
    service = requested.in_training
    if service is not requested:
        warnings.warn(
            "not in training, because they come from a third party without history=: "
            f"{', '.join(requested.not_in_training)}",
            HeadwaterWarning,
            stacklevel=stack_level(),
        )
    return service


def check_names(service: FeatureService, columns: Sequence[str], *, statuses: bool) -> None:
    """Refuse a column of the rows that is named like a feature.

    Raises:
        DataError: there is one.
    """
    names = {
        *service.feature_names,
        *(status_name(name) for name in service.feature_names if statuses),
    }
    clash = sorted(names & set(columns) - {f.name for f in service.request_fields})
    if clash:
        raise DataError(
            f"the column {clash[0]!r} of the rows is named like a feature; rename it, so that "
            "neither shadows the other"
        )


def warn_of_left_out(notes: Notes) -> None:
    """Warn of rows that cannot be used, with the number of each reason."""
    if notes.unusable:
        reasons = "; ".join(f"{rows:,} rows of {reason}" for reason, rows in notes.unusable.items())
        warnings.warn(
            RowsLeftOutWarning(
                f"left out: {reasons}. Filter them out, or fill the missing values", notes.left_out
            ),
            stacklevel=stack_level(),
        )
