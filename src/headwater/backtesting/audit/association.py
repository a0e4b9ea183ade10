"""How well one column by itself says the outcome."""

from __future__ import annotations

import numpy as np
import polars as pl

from headwater.backtesting.audit.thresholds import FEWEST
from headwater.definitions.tasks import TASKS, TaskType
from headwater.kernel.arrays import F64


def as_numbers(series: pl.Series, y: F64) -> F64 | None:
    """The feature as float64 (rows), NaN for missing; of a text, the mean outcome of its category in every second row, for the others."""
    if series.dtype.is_numeric() or series.dtype in (pl.Boolean, pl.Date) or isinstance(series.dtype, pl.Datetime | pl.Duration):
        return series.to_physical().cast(pl.Float64).fill_null(np.nan).to_numpy()
    if series.dtype not in (pl.String, pl.Categorical, pl.Enum):
        return None
    rows = pl.DataFrame({"text": series.cast(pl.String), "y": y, "taught": np.arange(len(y)) % 2 == 0})
    taught = rows.filter("taught").group_by("text").agg(pl.col("y").mean().alias("mean"))
    means = rows.join(taught, on="text", how="left", maintain_order="left")
    return means.select(pl.when(~pl.col("taught")).then("mean").fill_null(np.nan)).to_series().to_numpy()


def alone(value: F64, y: F64, task: TaskType) -> float:
    """The AUC, in whichever direction, or the absolute rank correlation of one feature; 0.5 or 0 where it cannot be told."""
    if len(y) < FEWEST or np.ptp(value) == 0 or np.ptp(y) == 0:
        return 0.0
    if task.classes:
        return max(alone(value, (y == c) * 1.0, TASKS["binary"]) for c in np.unique(y))
    rank = pl.Series(value).rank("average").to_numpy()
    if task.positives:
        positives = y.sum()
        # Mann and Whitney, 1947: the share of pairs of a positive and a negative row that the ranks put in order.
        auc = (rank[y == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(y) - positives))
        return float(max(auc, 1 - auc))
    return abs(float(np.corrcoef(rank, pl.Series(y).rank("average").to_numpy())[0, 1]))


def strength(series: pl.Series, y: F64, task: TaskType) -> float:
    """How well a column orders outcomes, from 0 to 1: 2 AUC - 1 of the best class, or the absolute rank correlation.

    Rows without a value are left out.
    """
    value = as_numbers(series, y)
    if value is None:
        return 0.0
    known = ~np.isnan(value)
    measured = alone(value[known], y[known], task)
    return max(0.0, 2 * measured - 1) if task.classes or task.positives else measured


def strength_error(y: F64, task: TaskType) -> float:
    """The standard error of a strength near 0: 2 AUC - 1 of n positives has about 1.15 / sqrt(n), a rank correlation 1 / sqrt(rows)."""
    if not (task.classes or task.positives):
        return float(1 / np.sqrt(max(len(y), 1)))
    counts = np.unique(y, return_counts=True)[1]
    return float(1.15 / np.sqrt(max(int(counts.min()), 1)))
