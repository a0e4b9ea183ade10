"""The distribution of each feature among training rows, as a manifest keeps it: at most ten bins or
categories, and a bin of nulls.

The bins are fixed at training, so that served values can be counted in the same ones. Numbers with
more than ten distinct values are cut at their deciles; fewer are bins of their own, as are the nine
most frequent strings, and all others are "other". A timestamp is counted as the seconds from it to
the request: the timestamp itself always moves. Of a list each row counts once, spread evenly over
its elements, so that the noise of the shares is at most that of as many single values.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import msgspec
import numpy as np
import polars as pl

from headwater.events.columns import status_name
from headwater.kernel.arrays import F64, I64
from headwater.models.feature_encoding import kind_of

BINS = 10
BinKind = Literal["quantiles", "values", "texts", "elements"]
AT, WEIGHT, BIN = "__at", "__weight", "__bin"
_ATOM = 0.05  # a share of one value that gets a bin of its own at the lower end


class ReferenceDistribution(msgspec.Struct, frozen=True, kw_only=True):
    """How a feature was distributed in training.

    bins: "quantiles" of numbers, with `edges`, each the upper end of its bin, included; single
    "values" of numbers; "texts"; "elements" of lists. before_request: whether the number is the
    seconds from a time to the request. categories: the values, strings or elements that have a bin
    of their own, numbers as text. shares: of the bins in order, then of "other" (not of quantiles)
    and of the empty list (of elements), then of null. rows: the effective number of training rows.
    statuses: the share of each status, where training computed them.
    """

    bins: BinKind
    shares: list[float]
    rows: float
    edges: list[float] = []
    categories: list[str] = []
    before_request: bool = False
    statuses: dict[str, float] = {}

    @property
    def labels(self) -> list[str]:
        """The bins in words, in the order of `shares`."""
        if self.bins == "quantiles":
            ends = [f"{edge:.6g}" for edge in self.edges]
            between = [f"{low} to {high}" for low, high in pairwise(ends)]
            return [
                *([f"up to {ends[0]}", *between, f"above {ends[-1]}"] if ends else ["any"]),
                "null",
            ]
        return [
            *self.categories,
            "other",
            *(["empty list"] if self.bins == "elements" else []),
            "null",
        ]

    def binned(self, name: str, dtype: pl.DataType) -> pl.Expr:
        """The bin of each value of a column: UInt8, the position in `shares`; not of elements. AT
        is the column of request times.
        """
        null, column = len(self.shares) - 1, pl.col(name)
        if self.bins == "texts":
            text = column.cast(pl.String)
            position = text.replace_strict(
                self.categories,
                list(range(len(self.categories))),
                default=null - 1,
                return_dtype=pl.UInt8,
            )
            return pl.when(text.is_null()).then(pl.lit(null, pl.UInt8)).otherwise(position)
        number = _number(column, dtype, before_request=self.before_request)
        if self.bins == "values":
            values = [float(text) for text in self.categories]
            position = number.replace_strict(
                values, list(range(len(values))), default=null - 1, return_dtype=pl.UInt8
            )
        else:
            position = pl.sum_horizontal(
                pl.lit(0, pl.UInt8), *((number > edge).cast(pl.UInt8) for edge in self.edges)
            )
        return (
            pl.when(number.is_null())
            .then(pl.lit(null, pl.UInt8))
            .otherwise(position)
            .cast(pl.UInt8)
        )

    def weights(self, rows: pl.LazyFrame, name: str, by: Sequence[str]) -> pl.LazyFrame:
        """The sum of weights in each bin: the columns `by`, BIN (its position in `shares`) and
        WEIGHT.

        rows: with the column, request times AT in microseconds, weights WEIGHT, and `by`.
        """
        dtype = rows.collect_schema()[name]
        if self.bins != "elements":
            binned = rows.select(*by, WEIGHT, self.binned(name, dtype).alias(BIN))
            return binned.group_by(*by, BIN).agg(pl.col(WEIGHT).sum())
        null = len(self.shares) - 1
        if not isinstance(dtype, pl.List):  # all are null
            return (
                rows.select(*by, WEIGHT, pl.lit(null, pl.UInt8).alias(BIN))
                .group_by(*by, BIN)
                .agg(pl.col(WEIGHT).sum())
            )
        length = pl.col(name).list.len()
        whole = rows.filter(pl.col(name).is_null() | (length == 0)).select(
            *by,
            WEIGHT,
            pl.when(pl.col(name).is_null())
            .then(null)
            .otherwise(null - 1)
            .cast(pl.UInt8)
            .alias(BIN),
        )
        spread = rows.filter(length > 0).select(
            *by, (pl.col(WEIGHT) / length).alias(WEIGHT), pl.col(name).cast(pl.List(pl.String))
        )
        elements = spread.explode(name, empty_as_null=True, keep_nulls=True)
        position = pl.col(name).replace_strict(
            self.categories,
            list(range(len(self.categories))),
            default=null - 2,
            return_dtype=pl.UInt8,
        )
        counted = elements.select(
            *by,
            WEIGHT,
            pl.when(pl.col(name).is_null())
            .then(pl.lit(null - 2, pl.UInt8))
            .otherwise(position)
            .alias(BIN),
        )
        return pl.concat([whole, counted]).group_by(*by, BIN).agg(pl.col(WEIGHT).sum())


def references(
    features: pl.DataFrame,
    t: I64,
    *,
    weights: F64 | None = None,
    rows: float | None = None,
    statuses: pl.DataFrame | None = None,
) -> dict[str, ReferenceDistribution]:
    """The distribution of each feature.

    Args:
        features: one row a training row.
        t: when each asked, int64 microseconds (rows).
        weights: float64 (rows); None is 1 each.
        rows: how many rows count as independent; None is the effective number by the weights.
        statuses: the columns `<feature>__status` of the same rows, where they are known.

    >>> spread = references(
    ...     pl.DataFrame({"amount": list(range(100)), "vip": [True] * 100}), np.zeros(100, np.int64)
    ... )
    >>> (
    ...     spread["amount"].edges[:2],
    ...     spread["amount"].shares[:2],
    ...     spread["vip"].categories,
    ...     spread["vip"].labels,
    ... )
    ([9.0, 19.0], [0.1, 0.1], ['1.0'], ['1.0', 'other', 'null'])
    """
    row_weights = np.ones(len(t)) if weights is None else weights
    independent = effective_rows(row_weights) if rows is None else rows
    by_feature = {}
    for series in features.get_columns():
        reference = _cut(series, t, row_weights)
        frame = pl.DataFrame([series, pl.Series(AT, t), pl.Series(WEIGHT, row_weights)])
        shares = shares_of(
            reference.weights(frame.lazy(), series.name, []).collect(), len(reference.shares)
        )
        column = status_name(series.name)
        known_statuses = (
            {}
            if statuses is None or column not in statuses.columns
            else _status_shares(statuses[column], row_weights)
        )
        by_feature[series.name] = msgspec.structs.replace(
            reference, shares=shares.tolist(), rows=independent, statuses=known_statuses
        )
    return by_feature


def effective_rows(weights: F64) -> float:
    """How many rows of equal weight say as much as these (Kish, 1965): (sum w)^2 / sum w^2."""
    squares = float(np.square(weights).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def shares_of(weights: pl.DataFrame, bins: int) -> F64:
    """The share of each bin, float64 (bins): 0 without any row."""
    out = np.zeros(bins)
    out[weights[BIN].to_numpy()] = weights[WEIGHT].to_numpy()
    total = out.sum()
    return out / total if total else out


def _cut(series: pl.Series, t: I64, weights: F64) -> ReferenceDistribution:
    """The bins of a feature, with empty shares."""
    kind = kind_of(series.name, series.dtype)
    if kind in ("text", "texts"):
        return _of_texts(series, weights, elements=kind == "texts")
    before = kind in ("time", "date")
    frame = pl.DataFrame([series, pl.Series(AT, t)])
    numbers = frame.select(
        _number(pl.col(series.name), series.dtype, before_request=before)
    ).to_series()
    present = numbers.is_not_null().to_numpy()
    values = numbers.drop_nulls().to_numpy()
    distinct = np.unique(values)
    if len(distinct) <= BINS:
        categories = [repr(float(value)) for value in distinct]
        return ReferenceDistribution(
            bins="values",
            shares=[0.0] * (len(categories) + 2),
            rows=0,
            categories=categories,
            before_request=before,
        )
    edges = _edges(values, weights[present])
    return ReferenceDistribution(
        bins="quantiles",
        shares=[0.0] * (len(edges) + 2),
        rows=0,
        edges=edges,
        before_request=before,
    )


def _edges(values: F64, weights: F64) -> list[float]:
    """The deciles; and where many values are the least one, an edge below it, so that lower ones
    have a bin.
    """
    order = np.argsort(values, kind="stable")
    ordered, passed = values[order], np.cumsum(weights[order])
    at = np.searchsorted(passed, passed[-1] * np.arange(1, BINS) / BINS * (1 - 1e-12))
    edges = np.unique(ordered[at])
    least = float(ordered[0])
    if weights[values == least].sum() >= _ATOM * passed[-1]:
        edges = np.unique(np.append(edges, np.nextafter(least, -np.inf)))
    return [float(edge) for edge in edges]


def _of_texts(series: pl.Series, weights: F64, *, elements: bool) -> ReferenceDistribution:
    frame = pl.DataFrame([series.alias("text"), pl.Series(WEIGHT, weights)])
    if elements:
        frame = frame.filter(pl.col("text").list.len() > 0).with_columns(
            pl.col(WEIGHT) / pl.col("text").list.len()
        )
        frame = frame.explode("text", empty_as_null=True, keep_nulls=True)
    counts = (
        frame.drop_nulls("text").group_by(pl.col("text").cast(pl.String)).agg(pl.col(WEIGHT).sum())
    )
    counts = counts.sort(WEIGHT, "text", descending=[True, False])
    categories = counts["text"][: BINS if counts.height <= BINS else BINS - 1].to_list()
    more = 3 if elements else 2
    return ReferenceDistribution(
        bins="elements" if elements else "texts",
        shares=[0.0] * (len(categories) + more),
        rows=0,
        categories=categories,
    )


def _number(column: pl.Expr, dtype: pl.DataType, *, before_request: bool) -> pl.Expr:
    """A number, boolean or time as float64; NaN is null."""
    if before_request:
        micros = (
            column.cast(pl.Datetime("us")).dt.epoch("us")
            if dtype.is_temporal()
            else column.cast(pl.Int64, strict=False)
        )
        return (pl.col(AT) - micros).cast(pl.Float64) / 1e6
    if isinstance(dtype, pl.Duration):
        return column.dt.total_microseconds().cast(pl.Float64) / 1e6
    return column.cast(pl.Float64, strict=False).fill_nan(None)


def _status_shares(statuses: pl.Series, weights: F64) -> dict[str, float]:
    counts = pl.DataFrame(
        [statuses.cast(pl.String).alias("status"), pl.Series(WEIGHT, weights)]
    ).drop_nulls("status")
    total = float(counts[WEIGHT].sum())
    by_status = counts.group_by("status").agg(pl.col(WEIGHT).sum()).sort("status")
    return {name: weight / total for name, weight in by_status.iter_rows()} if total else {}
