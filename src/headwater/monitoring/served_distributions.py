"""The distribution of each served feature by day, from the serving log, in the bins of training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from headwater.definitions.level import AS_DEFINED
from headwater.definitions.model import Model
from headwater.definitions.source import ExpectRows
from headwater.events.columns import status_name
from headwater.events.expected_values import of_days
from headwater.journal.sample_rates import rate_of
from headwater.journal.serving_log_files import read, segments
from headwater.journal.serving_log_rows import AT as LOG_AT
from headwater.journal.serving_log_rows import LEVEL, MODEL, REQUEST
from headwater.kernel.arrays import F64
from headwater.models import reference_distribution
from headwater.models.reference_distribution import WEIGHT, ReferenceDistribution, shares_of
from headwater.results.expectation_result import ExpectationCheck
from headwater.training.history_expectations import checks_of

_DAY, _STATUS, _SQUARE, _ROWS = "__day", "__status", "__square", "__rows"
_TOGETHER = 16  # features whose columns are read together, which bounds the memory


@dataclass(frozen=True)
class ServedFeatureDay:
    """One feature on one day. independent: the effective number of rows, of a ranking of requests;
    the others as in `DriftDay`.
    """

    day: str
    rows: int
    weight: float
    independent: float
    shares: F64
    statuses: Mapping[str, float]


@dataclass(frozen=True)
class ServedPeriod:
    """The rows of a serving log that are of a model at a level, and that asked from `since` on and
    before `until`, in microseconds.
    """

    model: Model
    level: str
    since: int
    until: int


def served_distributions(
    served: ServedPeriod, references: Mapping[str, ReferenceDistribution], folder: Path
) -> Iterator[tuple[str, list[ServedFeatureDay] | None]]:
    """Each feature with its days from early to late; None where no row of the period was served
    with the feature.

    Raises:
        DataError: nothing was served.
    """
    rows = _rows(served, folder)
    columns = rows.collect_schema().names()
    absent = [
        name for name in references if name not in columns or status_name(name) not in columns
    ]
    yield from ((name, None) for name in absent)
    ranking = served.model.task_type.lists
    served_names = [name for name in references if name not in absent]
    for first in range(0, len(served_names), _TOGETHER):
        names = served_names[first : first + _TOGETHER]
        answers = pl.collect_all(
            [
                query
                for name in names
                for query in _queries(rows, name, references[name], ranking=ranking)
            ]
        )
        for at, name in enumerate(names):
            bins, statuses, independent = answers[3 * at : 3 * at + 3]
            yield name, _days(bins, statuses, independent, len(references[name].shares)) or None


def served_expectations(served: ServedPeriod, folder: Path) -> list[ExpectationCheck]:
    """What comes of the expectations of the views that the model reads, over its served rows by
    day, UTC.

    Raises:
        DataError: nothing was served.
    """
    views = [view for view in served.model.features.views if view.expectations]
    if not views:
        return []
    rows = _rows(served, folder)
    names, checks = set(rows.collect_schema().names()), []
    for view in views:
        columns = [
            feature.name for feature in view.outputs if f"{view.name}__{feature.name}" in names
        ]
        age = f"{view.name}__age"
        if age not in names:
            continue
        applicable = [
            expected
            for expected in view.expectations
            if isinstance(expected, ExpectRows) or expected.column in columns
        ]
        view_rows = rows.filter(pl.col(age).is_not_null()).select(
            _DAY, *(pl.col(f"{view.name}__{name}").alias(name) for name in columns)
        )
        checks += checks_of(
            f"view {view.name}", applicable, of_days(view_rows, _DAY, applicable), whole=True
        )
    return checks


def _rows(served: ServedPeriod, folder: Path) -> pl.LazyFrame:
    """The rows with their day, weight and time in microseconds."""
    since, until = (pl.lit(t).cast(pl.Datetime("us", "UTC")) for t in (served.since, served.until))
    by_rate: dict[float, list[Path]] = {}
    for path in segments(folder, model=served.model.name):
        by_rate.setdefault(rate_of(path), []).append(path)
    frames = [
        read(paths).with_columns(pl.lit(1 / rate).alias(WEIGHT)) for rate, paths in by_rate.items()
    ]
    rows = pl.concat(frames, how="diagonal_relaxed")
    names = rows.collect_schema().names()
    level = (
        pl.col(LEVEL).eq_missing(None if served.level == AS_DEFINED else served.level)
        if LEVEL in names
        else True
    )
    rows = rows.filter(
        (pl.col(MODEL) == served.model.name)
        & level
        & (pl.col(LOG_AT) >= since)
        & (pl.col(LOG_AT) < until)
    )
    return rows.with_columns(
        pl.col(LOG_AT).dt.date().cast(pl.String).alias(_DAY),
        pl.col(LOG_AT).dt.epoch("us").alias(reference_distribution.AT),
    )


def _queries(
    rows: pl.LazyFrame, name: str, reference: ReferenceDistribution, *, ranking: bool
) -> Sequence[pl.LazyFrame]:
    """Of one feature the weights of its bins, its statuses, and the independent rows of each
    day.
    """
    feature_rows = rows.select(
        _DAY,
        reference_distribution.AT,
        WEIGHT,
        REQUEST,
        name,
        pl.col(status_name(name)).cast(pl.String).alias(_STATUS),
    ).filter(pl.col(_STATUS).is_not_null())
    statuses = feature_rows.group_by(_DAY, _STATUS).agg(pl.col(WEIGHT).sum(), pl.len().alias(_ROWS))
    units = feature_rows.unique([_DAY, REQUEST]) if ranking else feature_rows
    independent = units.group_by(_DAY).agg(
        pl.col(WEIGHT).sum(), pl.col(WEIGHT).pow(2).sum().alias(_SQUARE)
    )
    return reference.weights(feature_rows, name, [_DAY]), statuses, independent


def _days(
    bins: pl.DataFrame, statuses: pl.DataFrame, independent: pl.DataFrame, width: int
) -> list[ServedFeatureDay]:
    by_day = {str(day): frame for (day,), frame in bins.group_by(_DAY)}
    of_status = {str(day): frame.sort(_STATUS) for (day,), frame in statuses.group_by(_DAY)}
    days = []
    for day, weight, square in independent.sort(_DAY).iter_rows():
        counts = of_status[day]
        total = float(counts[WEIGHT].sum())
        shares = dict(
            zip(counts[_STATUS].to_list(), (counts[WEIGHT] / total).to_list(), strict=True)
        )
        rows = int(counts[_ROWS].sum())
        days.append(
            ServedFeatureDay(
                day, rows, total, weight**2 / square, shares_of(by_day[day], width), shares
            )
        )
    return days
