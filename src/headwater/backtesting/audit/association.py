"""How well one column by itself says the outcome."""

from __future__ import annotations

import numpy as np
import polars as pl

from headwater.backtesting.audit.thresholds import EQUAL, FEWEST, LEAK_REQUESTS, SAME
from headwater.definitions.model import TASKS, TaskType
from headwater.kernel.arrays import F64


def as_numbers(series: pl.Series, y: F64) -> F64 | None:
    """The feature as float64 (rows), NaN for missing; of a text, the mean outcome of its category
    in every second row, for the others.
    """
    if (
        series.dtype.is_numeric()
        or series.dtype in (pl.Boolean, pl.Date)
        or isinstance(series.dtype, pl.Datetime | pl.Duration)
    ):
        return series.to_physical().cast(pl.Float64).fill_null(np.nan).to_numpy()
    if series.dtype not in (pl.String, pl.Categorical, pl.Enum):
        return None
    rows = pl.DataFrame(
        {"text": series.cast(pl.String), "y": y, "taught": np.arange(len(y)) % 2 == 0}
    )
    taught = rows.filter("taught").group_by("text").agg(pl.col("y").mean().alias("mean"))
    means = rows.join(taught, on="text", how="left", maintain_order="left")
    return (
        means.select(pl.when(~pl.col("taught")).then("mean").fill_null(np.nan))
        .to_series()
        .to_numpy()
    )


def alone(value: F64, y: F64, task: TaskType, fewest: int = FEWEST) -> float:
    """The AUC, in whichever direction, or the absolute rank correlation of one feature; 0.5 or 0
    where it cannot be told.
    """
    if len(y) < fewest or np.ptp(value) == 0 or np.ptp(y) == 0:
        return 0.0
    if task.classes:
        return max(alone(value, (y == c) * 1.0, TASKS["binary"], fewest) for c in np.unique(y))
    rank = pl.Series(value).rank("average").to_numpy()
    if task.positives:
        positives = y.sum()
        # Mann and Whitney, 1947: the share of pairs of a positive and a negative row that the ranks
        # put in order.
        auc = (rank[y == 1].sum() - positives * (positives + 1) / 2) / (
            positives * (len(y) - positives)
        )
        return float(max(auc, 1 - auc))
    return abs(float(np.corrcoef(rank, pl.Series(y).rank("average").to_numpy())[0, 1]))


def strength(series: pl.Series, y: F64, task: TaskType, fewest: int = FEWEST) -> float:
    """How well a column orders outcomes, from 0 to 1: 2 AUC - 1 of the best class, or the absolute
    rank correlation.

    Rows without a value are left out; it is 0 where there are fewer others than `fewest`.
    """
    value = as_numbers(series, y)
    if value is None:
        return 0.0
    present = ~np.isnan(value)
    measured = alone(value[present], y[present], task, fewest)
    return max(0.0, 2 * measured - 1) if task.classes or task.positives else measured


def strength_error(y: F64, task: TaskType) -> float:
    """The standard error of a strength near 0: 2 AUC - 1 of n positives has about 1.15 / sqrt(n), a
    rank correlation 1 / sqrt(rows).
    """
    if not (task.classes or task.positives):
        return float(1 / np.sqrt(max(len(y), 1)))
    counts = np.unique(y, return_counts=True)[1]
    return float(1.15 / np.sqrt(max(int(counts.min()), 1)))


def is_outcome(series: pl.Series, y: F64, task: TaskType) -> bool:
    """Whether a column is the outcome: in 99 % of the rows of each outcome, of 50 or more, its
    value says which it is.

    A value says the outcome that most rows with this value have; of many numbers, of two outcomes
    the side of one limit, and of more the outcome of the next row in their order. Of numbers as
    outcomes, both must have the same order. Rows without a value are left out.
    """
    present = series.is_not_null().to_numpy()
    series, y = series.filter(pl.Series(present)), y[present]
    if not (task.classes or task.positives):
        return len(y) >= FEWEST and strength(series, y, task) >= SAME
    outcomes, counts = np.unique(y, return_counts=True)
    if (counts >= LEAK_REQUESTS).sum() < 2:
        return False
    if series.n_unique() <= len(y) // FEWEST + len(outcomes):
        return _by_value(series, y)
    value = as_numbers(series, y)
    if value is None:
        return False
    value, y = value[~np.isnan(value)], y[~np.isnan(value)]
    return (
        _by_limit(value, y) if task.positives else series.dtype.is_numeric() and _by_order(value, y)
    )


def _by_value(series: pl.Series, y: F64) -> bool:
    """Whether the commonest outcome of each value is that of nearly all rows, of each outcome."""
    rows = pl.DataFrame({"value": series, "y": y})
    said = (
        rows.group_by("value", "y")
        .len()
        .sort("len", "y")
        .group_by("value", maintain_order=True)
        .agg(pl.col("y").last().alias("said"))
    )
    right = (
        rows.join(said, on="value", how="left")
        .group_by("y")
        .agg((pl.col("y") == pl.col("said")).mean().alias("right"), pl.len())
    )
    common = right.filter(pl.col("len") >= LEAK_REQUESTS)
    return common.height > 1 and float(common["right"].to_numpy().min()) >= EQUAL


def _by_limit(value: F64, y: F64) -> bool:
    """Whether one limit of the value parts the two outcomes: float64 (rows), outcomes 0 and 1."""
    positives, negatives = float(y.sum()), float(len(y) - y.sum())
    if min(positives, negatives) < LEAK_REQUESTS:
        return False
    order = np.argsort(value, kind="stable")
    last = np.append(value[order][1:] != value[order][:-1], True)  # equal values lie on one side
    low = np.cumsum(y[order])[last] / positives  # share of positives up to each limit
    high = 1 - np.cumsum(1 - y[order])[last] / negatives  # share of negatives beyond it
    return bool(max(np.minimum(low, high).max(), np.minimum(1 - low, 1 - high).max()) >= EQUAL)


def _by_order(value: F64, y: F64) -> bool:
    """Whether nearly all rows, of each outcome, have a neighbour of the same outcome in the order
    of their values: float64 (rows).
    """
    sorted_y = y[np.argsort(value, kind="stable")]
    same = sorted_y[1:] == sorted_y[:-1]
    near = np.append(same, False) | np.append(False, same)
    shares = [near[sorted_y == outcome] for outcome in np.unique(y)]
    common = [near_share for near_share in shares if len(near_share) >= LEAK_REQUESTS]
    return len(common) > 1 and all(near_share.mean() >= EQUAL for near_share in common)


def are_equal(series: pl.Series, other: pl.Series, y: F64, task: TaskType) -> bool:
    """Whether two columns are equal in 99 % of the rows of each outcome that have both, of 50 or
    more.
    """
    numbers = series.dtype.is_numeric() and other.dtype.is_numeric()
    present = (series.is_not_null() & other.is_not_null()).to_numpy()
    if not present.any() or not (numbers or series.dtype == other.dtype):
        return False
    values, theirs, y = (
        series.filter(pl.Series(present)),
        other.filter(pl.Series(present)),
        y[present],
    )
    same = (
        np.isclose(values.to_numpy(), theirs.to_numpy())
        if numbers
        else (values == theirs).to_numpy()
    )
    if not (task.classes or task.positives):
        return len(y) >= FEWEST and theirs.n_unique() > 1 and bool(same.mean() >= EQUAL)
    of_outcomes = [same[y == outcome] for outcome in np.unique(y)]
    common = [equal_rows for equal_rows in of_outcomes if len(equal_rows) >= LEAK_REQUESTS]
    return len(common) > 1 and all(equal_rows.mean() >= EQUAL for equal_rows in common)
