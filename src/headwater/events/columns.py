"""Columns of polars as arrays of the kernel and back, and the statuses of values.

Between polars columns and the kernel's arrays.

The details of a feature's value: its status, and when the last event that it counts became
known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

import numpy as np
import polars as pl

from headwater.aggregations.base import Answers
from headwater.aggregations.run import FeatureSpec
from headwater.aggregations.table import TABLE
from headwater.definitions.feature_view import Feature
from headwater.errors import DataError
from headwater.events.read_events import KNOWN
from headwater.kernel.arrays import I64, Bool, Column, Events, ListColumn, Values
from headwater.kernel.as_of import NEVER
from headwater.kernel.hashes import hashes_of_strings
from headwater.kernel.layers import Use

_DIGITS: Final = 15  # significant ones, with which any two decimals are different floats


@dataclass(frozen=True)
class ColumnEncoding:
    """The encoding of a source's column for the kernel, and back.

    dtype: the polars dtype of the source's column. words: for strings, the sorted distinct strings
    that the codes number.
    """

    dtype: pl.DataType
    words: pl.Series | None = None


def check_values(series: pl.Series, subject: str) -> None:
    """Refuse a column that no feature is made of.

    Raises:
        DataError: infinite values, integers beyond int64, or a dtype that has no order.
    """
    dtype = series.dtype
    if dtype.is_float():
        infinite = 0 if _finite_sum(series) else int(series.is_infinite().sum())
        if infinite:
            raise DataError(
                f"{subject} has {infinite} infinite values; filter them out, or replace them in "
                "the source's select"
            )
    elif is_wide(dtype):
        if (beyond := series.filter(beyond_int64(series))).len():
            raise DataError(
                f"{subject} holds integers beyond int64, such as {beyond[0]}; cast it in the "
                "source's select, to a string where it is an id: "
                f"pl.col({_column(series)!r}).cast(pl.String), else to Float64"
            )
    elif not (
        dtype.is_numeric()
        or dtype.is_temporal()
        or dtype in (pl.Boolean, pl.String, pl.Categorical, pl.Enum, pl.Null)
    ):
        raise DataError(
            f"{subject} is {dtype}; features are computed from numbers, booleans, times and strings"
        )


def is_whole(dtype: pl.DataType) -> bool:
    """Whether values are integers, from which features are made in int64; decimals without a
    fraction are.
    """
    return dtype.is_integer() or (isinstance(dtype, pl.Decimal) and dtype.scale == 0)


def is_wide(dtype: pl.DataType) -> bool:
    """Whether values are integers that may lie beyond int64."""
    return is_whole(dtype) and (
        dtype in (pl.UInt64, pl.Int128, pl.UInt128) or isinstance(dtype, pl.Decimal)
    )


def beyond_int64(integers: pl.Series) -> pl.Series:
    """Which integers int64 does not hold."""
    return integers.is_not_null() & integers.cast(pl.Int64, strict=False).is_null()


def check_exact(function: str, series: pl.Series, subject: str) -> None:
    """Refuse decimals that a float cannot tell from others, where a function gives or compares the
    values themselves.

    Raises:
        DataError: a decimal of more than 15 significant digits.
    """
    if not reads_exactly(function):
        return
    long = series.filter(beyond_float(series))
    if long.len():
        raise DataError(
            f"{subject}: {function}() is exact, and holds decimals as floats, which have 15 "
            f"digits: {long[0]} has more. Take the column as a string in the source's select, "
            f"pl.col({_column(series)!r}).cast(pl.String), or as an integer of its least unit, "
            f"({_times(series)}).cast(pl.Int64)"
        )


def reads_exactly(function: str) -> bool:
    """Whether a function gives or compares the very values of its columns; others add them up."""
    entry = TABLE[function]
    return entry.gives in ("same", "list") or entry.hashes


def beyond_float(series: pl.Series) -> pl.Series:
    """Which values are decimals of more digits than a float tells apart."""
    if not isinstance(series.dtype, pl.Decimal) or series.dtype.scale == 0:
        return pl.Series([False]).new_from_index(0, len(series))
    digits = (
        series.to_physical().cast(pl.String).str.strip_chars_start("-").str.strip_chars_end("0")
    )
    return digits.str.len_chars().fill_null(0) > _DIGITS


def _finite_sum(floats: pl.Series) -> bool:
    """Whether the sum is finite, and so every value that is not null: one pass without an array of
    its own.
    """
    return math.isfinite(cast("float", floats.sum()))


def encode(series: pl.Series) -> tuple[pl.Series, ColumnEncoding]:
    """A column of checked values as Float64 or Int64 (nulls kept, NaN made null), and how to turn
    it back.
    """
    dtype = series.dtype
    if isinstance(dtype, pl.Decimal) and dtype.scale == 0:
        return series.cast(pl.Int64), ColumnEncoding(pl.Int64())
    if dtype.is_float() or dtype.is_decimal():
        floats = series.cast(pl.Float64)
        return floats if _finite_sum(floats) else floats.fill_nan(None), ColumnEncoding(
            pl.Float64() if dtype.is_decimal() else dtype
        )
    if dtype.is_integer() or dtype == pl.Boolean:
        return series.cast(pl.Int64), ColumnEncoding(dtype)
    if isinstance(dtype, pl.Datetime):
        return series.dt.cast_time_unit("us").to_physical(), ColumnEncoding(
            pl.Datetime("us", dtype.time_zone)
        )
    if dtype.is_temporal():
        return series.to_physical().cast(pl.Int64), ColumnEncoding(dtype)
    if dtype == pl.Null:
        return series.cast(pl.Float64), ColumnEncoding(pl.Float64())
    strings = series.cast(pl.String)
    words = strings.unique().drop_nulls().sort()
    return strings.cast(pl.Enum(words)).to_physical().cast(pl.Int64), ColumnEncoding(
        pl.String(), words
    )


def to_kernel(series: pl.Series) -> Column:
    """An encoded column as arrays."""
    if series.null_count() == 0:
        return Column(series.to_numpy())
    return Column(series.fill_null(0).to_numpy(), series.is_not_null().to_numpy())


def hashed(column: Column, coded: ColumnEncoding) -> Column:
    """The column with a hash of each text that its codes number."""
    return column if coded.words is None else replace(column, hashes=hashes_of_strings(coded.words))


def check_accepts(function: str, dtype: pl.DataType, subject: str) -> None:
    """Refuse a column that the function cannot be made of."""
    accepts = TABLE[function].accepts
    number = dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)
    if accepts == "number" and not number:
        raise DataError(
            f"{subject}: {function}() takes numbers or booleans, and the column is {dtype}; cast "
            "it in the source's select, or use last() or count()"
        )
    if accepts == "flag" and dtype not in (pl.Boolean, pl.Null):
        raise DataError(
            f"{subject}: {function}() takes a column of booleans, and the column is {dtype}; make "
            "one in the source's select, such as (pl.col('amount') > 0).alias('paid')"
        )
    if accepts == "time" and not isinstance(dtype, pl.Datetime):
        raise DataError(
            f"{subject}: {function}(until=) takes a timestamp, and the column is {dtype}; make it "
            "one in the source's select"
        )
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is None and accepts == "time":
        raise DataError(
            f"{subject}: {function}(until=) takes a timestamp with a time zone, and the column "
            "has none; give the source timezone='UTC' (or the zone it is in)"
        )


def check_where(function: str, where: str, dtype: pl.DataType, subject: str) -> None:
    """Refuse a `where=` that is not a column of booleans."""
    if dtype not in (pl.Boolean, pl.Null):
        raise DataError(
            f"{subject}: where={where!r} of {function}() takes a column of booleans, and it is "
            f"{dtype}; make one in the source's select, such as (pl.col({where!r}) > "
            f"0).alias('is_{where}')"
        )


def feature_dtype(feature: Feature, schema: Mapping[str, pl.DataType]) -> pl.DataType:
    """The dtype of a feature's values, from the dtypes of the source's columns.

    >>> import headwater as hw
    >>> events = hw.Source(
    ...     "pay",
    ...     timestamp_field="at",
    ...     stream=hw.push(schema={"user": str, "amount": int, "at": int}),
    ... )
    >>> view = hw.FeatureView(
    ...     "user",
    ...     source=events,
    ...     keys=["user"],
    ...     features=[hw.sum("amount"), hw.top_k("user", k=2)],
    ...     freshness=hw.streaming("2s"),
    ... )
    >>> [
    ...     feature_dtype(feature, {"user": pl.String(), "amount": pl.Int32()})
    ...     for feature in view.outputs
    ... ]
    [Int64, List(String)]
    """
    entry, split = TABLE[feature.aggregation.function], feature.aggregation.secondary
    column = schema[feature.columns[feature.column]] if feature.columns else pl.Null()
    values = pl.Series([], dtype=column)
    of_sum = pl.Int64() if is_whole(column) or column == pl.Boolean else pl.Float64()
    value_type = {"int": pl.Int64(), "float": pl.Float64(), "sum": of_sum}.get(
        entry.gives
    ) or encode(values)[1].dtype
    if entry.gives_list:
        value_type = pl.List(value_type)
    return (
        value_type
        if split is None
        else pl.Map(encode(pl.Series([], dtype=schema[split.column]))[1].dtype, value_type)
    )


def check_secondary(values: pl.Series, subject: str) -> None:
    """Refuse floats and decimals as a secondary key.

    Raises:
        DataError: such a column, with what to make of it.
    """
    if values.dtype.is_decimal() and not is_whole(values.dtype):
        raise DataError(
            f"{subject} is a secondary key and {values.dtype}, which features hold as a float; "
            "make it an integer of its least unit in the source's select, such as "
            f"({_times(values)}).cast(pl.Int64), or a string"
        )
    if values.dtype.is_float() and values.null_count() + int(values.is_nan().sum()) < len(values):
        raise DataError(
            f"{subject} is a secondary key and a float; floats that look equal may differ, so "
            "cast it to integers or strings"
        )


def _times(values: pl.Series) -> str:
    scale = values.dtype.scale if isinstance(values.dtype, pl.Decimal) else 0
    return f"pl.col({_column(values)!r}) * {10**scale}"


def _column(values: pl.Series) -> str:
    """The name of the source's column."""
    return values.name.removeprefix("__v_")


def decode(
    answers: Answers,
    function: str,
    coded: ColumnEncoding | None,
    name: str,
    secondary: ColumnEncoding | None = None,
) -> pl.Series:
    """Answers as the polars series that users see; `coded` is of the function's column, `secondary`
    of the keys of maps.
    """
    if isinstance(answers, ListColumn):
        return _lists(answers, function, coded, name, secondary)
    series = pl.Series(name, answers.values)
    if answers.valid is not None:
        series = series.set(pl.Series(~answers.valid), None)
    return _meant(series, coded) if TABLE[function].gives == "same" else series


def _lists(
    lists: ListColumn,
    function: str,
    coded: ColumnEncoding | None,
    name: str,
    secondary: ColumnEncoding | None,
) -> pl.Series:
    """Build every distinct list (or map) once, lists of one length as the rows of an array, and the
    answers from them.
    """
    sizes = np.diff(lists.starts)
    order = np.argsort(sizes, kind="stable")
    ends = np.cumsum(sizes[order])
    index = np.arange(len(lists.items)) + np.repeat(
        lists.starts[order] - (ends - sizes[order]), sizes[order]
    )
    items = pl.Series(name, lists.items[index])
    if lists.values is None:
        items = _meant(items, coded)
    else:
        keys, values = (
            _meant(items.alias("key"), secondary),
            decode(lists.values.take(index), function, coded, "value"),
        )
        items = pl.DataFrame([keys, values]).to_struct(name)
    parts = [pl.Series(name, [], pl.List(items.dtype))]
    for rows in np.split(np.arange(len(order)), np.flatnonzero(np.diff(sizes[order])) + 1):
        size = int(sizes[order[rows[0]]]) if len(rows) else 0
        if size:
            parts.append(
                items.slice(int(ends[rows[0]]) - size, len(rows) * size)
                .reshape((len(rows), size))
                .arr.to_list()
            )
        else:
            parts.append(
                pl.Series(name, [[]], pl.List(items.dtype)).gather(np.zeros(len(rows), np.int64))
            )
    every = pl.concat(parts, rechunk=True)  # gathering from one chunk is several times quicker
    if lists.values is not None:
        every = every.cast(pl.Map(keys.dtype, values.dtype))
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    list_index = pl.Series(back[lists.list_index])
    return every.gather(
        list_index if lists.valid is None else list_index.set(pl.Series(~lists.valid), None)
    )


def _meant(series: pl.Series, coded: ColumnEncoding | None) -> pl.Series:
    """Values of the kernel as values of the source's column."""
    name = series.name
    if coded is None:
        return series
    if coded.words is not None:
        if not len(coded.words):
            return pl.Series(name, [None] * len(series), pl.String)
        return coded.words.gather(series.cast(pl.UInt32)).alias(name)
    if coded.dtype == pl.Boolean:
        return series.cast(pl.Boolean)
    return (
        series.cast(coded.dtype)
        if coded.dtype.is_numeric()
        else _from_physical(series, coded.dtype)
    )


def _from_physical(series: pl.Series, dtype: pl.DataType) -> pl.Series:
    return (series.cast(pl.Int32) if dtype == pl.Date else series).cast(dtype)


STATUSES = ("present", "empty", "missing", "expired", "fallback", "overflow")

PRESENT, EMPTY, MISSING, EXPIRED, FALLBACK, OVERFLOW = range(6)


def status_name(feature: str) -> str:
    """The name of the column with the status of a feature's value."""
    return f"{feature}__status"


def status_series(name: str, codes: Values) -> pl.Series:
    """Statuses as the words that users see, from their places in `STATUSES`."""
    return pl.Series(name, STATUSES, pl.Enum(STATUSES)).gather(codes)


def counted(feature: Feature) -> Use:
    """The events that a feature counts: its secondary key is not null, nor are its columns, where
    the function skips nulls.
    """
    a = feature.aggregation
    secondary = () if a.secondary is None else (a.secondary.column,)
    return Use((*secondary, *(feature.columns if a.skips_null else ())), a.where)


def finite(value: Answers) -> tuple[Answers, Bool | None]:
    """Floats beyond float64 as null; and which have, bool (l), None where none has. Values
    of maps are made null too.
    """
    if isinstance(value, ListColumn):
        return (
            value
            if value.values is None
            else replace(value, values=cast("Column", finite(value.values)[0]))
        ), None
    if value.values.dtype != np.float64:
        return value, None
    within = np.isfinite(value.values)
    if within.all():
        return value, None
    there = within if value.valid is None else value.valid & within
    return Column(
        np.where(within, value.values, 0.0), there
    ), ~within if value.valid is None else value.valid & ~within


def statuses(
    features: Sequence[Feature],
    values: Sequence[Answers],
    counts: Sequence[I64],
    retained: Sequence[I64],
    old: Sequence[Bool | None],
    overflown: Sequence[Bool | None],
) -> list[Column]:
    """The status of each feature, as places in `STATUSES`.

    Args:
        features: of one view.
        values: theirs, int64 or float64 (l) or lists.
        counts: how many events each feature counts, int64 (l). retained: how many there are in each
            window of the view, int64 (l).
        old: which values are expired. overflown: which have left float64.
    """
    any_event = np.logical_or.reduce([n > 0 for n in retained])
    columns = []
    for feature, value, n, expired, over in zip(
        features, values, counts, old, overflown, strict=True
    ):
        code = np.where(n > 0, PRESENT, np.where(any_event, EMPTY, MISSING))
        word = TABLE[feature.aggregation.function].null
        if word != "present" and isinstance(value, Column) and value.valid is not None:
            code = np.where((n > 0) & ~value.valid, STATUSES.index(word), code)
        code = code if over is None else np.where(over, OVERFLOW, code)
        columns.append(Column(code if expired is None else np.where(expired, EXPIRED, code)))
    return columns


def with_known(events: Events) -> Events:
    """The events with the time at which each became known as one more column, to be aggregated."""
    known_at = events.known if len(events.known) else events.t + events.delay
    return replace(events, columns={**events.columns, KNOWN: Column(known_at)})


def last_known(features: Sequence[Feature]) -> Iterator[FeatureSpec]:
    """For each feature, when the last event that it counts became known, of events `with_known`."""
    for feature in features:
        use = counted(feature)
        yield FeatureSpec("max", Use((KNOWN, *use.columns), use.where), feature.window)


def latest(features: Sequence[Feature], known_answers: Sequence[Answers], K: I64) -> I64:
    """When the last of all inputs became known: int64 (l), NEVER where nothing is counted.

    For a queue it is K: an end that was known by K, or the lack of one, is an input too.
    """
    last = np.full(len(K), NEVER)
    for feature, answers in zip(features, known_answers, strict=True):
        assert isinstance(answers, Column)
        known_at = K if feature.aggregation.facts.queue else answers.values
        last = np.where(
            True if answers.valid is None else answers.valid, np.maximum(last, known_at), last
        )
    return last
