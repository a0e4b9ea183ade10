"""How old served values really were, as a freshness that a backtest can ask for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import reduce
from pathlib import Path

import numpy as np
import polars as pl

from headwater.connectors import to_polars
from headwater.definitions.connectors import ArrowFrame
from headwater.definitions.freshness import Freshness, measured, never
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.errors import DataError, nearest
from headwater.events.columns import status_name
from headwater.journal.serving_log_files import served
from headwater.journal.serving_log_rows import AT, LEVEL, REQUEST, ROW

_ROW = ("request", "row")
_SEQUENCE = "__sequence"


def ages(
    log: str | Path | pl.LazyFrame | pl.DataFrame, *, absent: Sequence[str] = ("fallback",)
) -> pl.DataFrame:
    """How old each view's values were in each request of a serving log: a table that
    `measured_level` takes.

    Columns: request, row, at (when it asked), view, age (t - K) and cut (t - T), durations; both
    null where the values were not there.

    Args:
        log: the folder of a serving log, or what `served` gave.
        absent: where all of a view's features have one of these statuses, its values count as not
            there. A status "missing" is the same offline (no event of the key was known), so it is
            excluded here unless the store evicts.

    Raises:
        DataError: nothing was served.
    """
    frame = (served(log) if isinstance(log, str | Path) else log).lazy()
    names = frame.collect_schema().names()
    views = [name.removesuffix(_SEQUENCE) for name in names if name.endswith(_SEQUENCE)]
    frames = []
    for view in views:
        status_columns = [
            name
            for name in names
            if name.startswith(f"{view}__") and name.endswith(status_name(""))
        ]
        missing = pl.all_horizontal(
            pl.col(name).is_null() | pl.col(name).cast(pl.String).is_in(list(absent))
            for name in status_columns
        )
        T, K = pl.col(f"{view}__T"), pl.col(f"{view}__K")
        there = ~missing if status_columns else pl.lit(value=True)
        frames.append(
            frame.filter(T.is_not_null()).select(
                pl.col(REQUEST).alias("request"),
                pl.col(ROW).alias("row"),
                pl.col(AT).alias("at"),
                pl.lit(view).alias("view"),
                *(
                    pl.when(there).then(_positive(pl.col(AT) - timestamp)).alias(name)
                    for name, timestamp in (("age", K), ("cut", T))
                ),
            )
        )
    if not frames:
        raise DataError(
            "the serving log has no features of a view; give a log of requests that read some"
        )
    return pl.concat(frames).sort("at", "request", "row", "view").collect()


def measured_level(
    model: Model,
    log: str | Path | pl.LazyFrame | pl.DataFrame | ArrowFrame,
    *,
    level: str | None = None,
    seed: int = 0,
    most: int = 10_000,
) -> Level:
    """A level at which each view is as old as it was in a serving log: `measured(ages)` for each,
    drawn a whole request at a time.

    So views that were late together are late together in the backtest too. Views that are not in
    the log stay as they are defined.

    Args:
        model: whose views; of a folder, what was served for it is read.
        log: the folder of a serving log, what `served` or `ages` gave, or any table of ages:
            columns view and age (a duration, or seconds; null or infinite where the value was not
            there), and perhaps cut, at, and request, which says whose ages belong together.
        level: of a folder, what was served at the level of that name; None is as each view defines.
        seed: of the draw.
        most: how many requests are kept, evenly over the log; draws repeat those.

    Raises:
        DataError: a view in it that the model does not read, or none that it does.

    >>> import headwater as hw, polars as pl
    >>> from headwater.testing.examples import churn
    >>> reads = pl.DataFrame({"view": ["user"] * 4, "age": [2.0, 3.0, 90_000.0, float("inf")]})
    >>> level = hw.operations.measured_level(churn(), reads)
    >>> level.describe(churn())
    'as old as 4 measured ages, the median 3s, 25.0% of them not there'
    """
    table = _table(log, model, level)
    views = {view.name: view for view in model.features.views}
    logged_views = table["view"].unique().to_list()
    unknown = sorted(set(logged_views) - set(views))
    if unknown or not logged_views:
        raise DataError(
            f"model {model.name!r} reads no view {unknown[0]!r}, which the ages are of; "
            f"{nearest(unknown[0], views)}"
            if unknown
            else (
                "the table of ages has no row; give the ages of some of the views "
                f"{', '.join(views)}"
            )
        )
    by_view = {
        name: table.filter(pl.col("view") == name).drop("view")
        for name in views
        if name in logged_views
    }
    if "request" in table.columns:
        by_view = _together(by_view, [name for name in _ROW if name in table.columns])
    features: dict[object, Freshness] = {
        views[name]: _freshness(ages_of_view, seed, most) for name, ages_of_view in by_view.items()
    }
    return Level(features)  # type: ignore[arg-type]


def _table(
    log: str | Path | pl.LazyFrame | pl.DataFrame | ArrowFrame, model: Model, level: str | None
) -> pl.DataFrame:
    """The ages: columns view, age and cut, durations that are null or at least nothing, and the
    columns that tell which ages belong together.
    """
    rows = (
        served(log, model=model.name).filter(pl.col(LEVEL).eq_missing(level))
        if isinstance(log, str | Path)
        else log
    )
    frame = rows if isinstance(rows, pl.LazyFrame | pl.DataFrame) else to_polars(rows)
    if REQUEST in frame.lazy().collect_schema():
        frame = ages(frame).filter(
            pl.col("view").is_in([view.name for view in model.features.views])
        )
    table = frame.lazy().collect()
    for name in ("view", "age"):
        if name not in table.columns:
            raise DataError(
                f"the table of ages has no column {name!r}; {nearest(name, table.columns)}"
            )
    cut = _duration(table, "cut") if "cut" in table.columns else pl.lit(timedelta()).alias("cut")
    return table.select(
        "view",
        _duration(table, "age"),
        cut,
        *(name for name in ("at", *_ROW) if name in table.columns),
    )


def _duration(table: pl.DataFrame, name: str) -> pl.Expr:
    dtype, column = table.schema[name], pl.col(name)
    if isinstance(dtype, pl.Duration):
        return _positive(column.cast(pl.Duration("us"))).alias(name)
    if not dtype.is_numeric() and dtype != pl.Null:
        raise DataError(
            f"the table of ages: the column {name!r} is {dtype}; give durations, or numbers of "
            "seconds"
        )
    seconds = column.cast(pl.Float64)
    there = pl.when(seconds.is_finite()).then(seconds)
    return _positive((there * 1e6).round().cast(pl.Int64).cast(pl.Duration("us"))).alias(name)


def _positive(duration: pl.Expr) -> pl.Expr:
    """A clock that is ahead of another makes ages below nothing."""
    return (
        pl.when(duration > pl.lit(timedelta()))
        .then(duration)
        .when(duration.is_not_null())
        .then(pl.lit(timedelta()))
    )


def _together(by_view: dict[str, pl.DataFrame], index: list[str]) -> dict[str, pl.DataFrame]:
    """The ages of the requests that have one of every view, in the same order for all."""
    single = {
        name: ages_of_view.unique(index, keep="first", maintain_order=True)
        for name, ages_of_view in by_view.items()
    }
    common = reduce(
        lambda a, b: a.join(b, on=index, how="semi", maintain_order="left"), single.values()
    )
    if common.height == 0:
        raise DataError(
            f"no request in the ages has one of every view ({', '.join(by_view)}); leave the "
            "column 'request' out to draw them apart"
        )
    return {
        name: common.select(index).join(ages_of_view, on=index, how="left", maintain_order="left")
        for name, ages_of_view in single.items()
    }


def _freshness(ages_of_view: pl.DataFrame, seed: int, most: int) -> Freshness:
    rows = ages_of_view[
        np.arange(min(most, ages_of_view.height))
        * ages_of_view.height
        // min(most, ages_of_view.height)
    ]
    ages_, cuts = rows["age"].to_list(), rows["cut"].fill_null(timedelta()).to_list()
    return (
        never()
        if rows["age"].null_count() == rows.height
        else measured(ages_, cuts=cuts, seed=seed)
    )
