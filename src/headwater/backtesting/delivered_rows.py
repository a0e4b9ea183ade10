"""Served predictions with their outcomes: what production delivered, row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl

from headwater.backtesting.table_outcomes import REPEATED, table_outcomes
from headwater.definitions.definition import counted
from headwater.definitions.labels import Outcome
from headwater.definitions.level import AS_DEFINED
from headwater.definitions.model import Model
from headwater.errors import DataError
from headwater.journal.serving_log_files import read
from headwater.journal.serving_log_rows import (
    AT,
    LEVEL,
    MODEL,
    PREDICTION,
    PREDICTION_HOW,
    REQUEST,
    ROW,
    VERSION,
)
from headwater.kernel.arrays import F64, I64, Bool
from headwater.metrics.places import places
from headwater.models.outcomes import outcomes
from headwater.training.from_log import TOO_LATE, FromLog, with_outcomes
from headwater.training.resources import Resources


@dataclass(frozen=True)
class DeliveredRows:
    """Served predictions, in the order of their requests; every array is (rows) long.

    Attributes:
        t: when each asked, int64 microseconds.
        known: whether its outcome is known, bool.
        y: the outcome as metrics take it, float64, NaN where it is not known.
        score: float64, (rows) or of a multiclass task (rows, classes).
        default: whether it was answered with the model's default, bool.
        version: of the model that answered.
        frame: the request's own columns and the log's.
        left_out: rows that are not among them, by reason.
        groups: of a ranking, the list that each row is returned in: int64. score is then its place,
            1 the first. None of other tasks.
        from_table: rows by how the labels' table has their outcome; empty where every outcome was
            posted or is made of events.
    """

    t: I64
    known: Bool
    y: F64
    score: F64
    default: Bool
    version: pl.Series
    frame: pl.DataFrame
    left_out: Counter[str]
    from_table: Counter[str] = field(default_factory=Counter)
    groups: I64 | None = None

    def chosen(self, mask: Bool) -> DeliveredRows:
        """The rows of a mask, bool (n); the counts of left-out rows do not change."""
        rows = pl.Series(mask)
        return replace(
            self,
            t=self.t[mask],
            known=self.known[mask],
            y=self.y[mask],
            score=self.score[mask],
            default=self.default[mask],
            version=self.version.filter(rows),
            frame=self.frame.filter(rows),
            groups=None if self.groups is None else self.groups[mask],
        )


@dataclass(frozen=True)
class ServedAs:
    """Which rows of a serving log count: of a model at a level, by some of its versions (None: by
    any), requested before `until`.

    since: and from then on, microseconds; None is from the first on.
    classes: of a multiclass model, in the order of its scores.
    """

    model: Model
    level: str
    versions: Sequence[str] | None
    until: int
    classes: Sequence[str | int] = ()
    since: int | None = None


def delivered_rows(
    served: ServedAs, folder: str | Path | None, resources: Resources
) -> DeliveredRows:
    """The predictions that were served, with the outcomes that are known by `served.until`: as
    posted or made of events, else of the labels' table.

    Raises:
        DataError: nothing was served so, or the labels' table cannot be read.
    """
    model = served.model
    files = FromLog.find(folder, model, posted=False)
    logged = read(files.served)
    if served.since is not None:
        logged = logged.filter(pl.col(AT).dt.epoch("us") >= served.since)
    every = logged.collect()
    left_out: Counter[str] = Counter()
    rows = _chosen(served, every, left_out)
    if not rows.height:
        by = served.versions
        version = "" if by is None else f" by version {' or '.join(by) or 'none'}"
        raise DataError(
            f"model {model.name!r}: none of the {every.height:,} served rows is a prediction at "
            f"{served.level!r}{version}; left out: {counted(left_out)}"
        )
    rows = rows.sort(AT, REQUEST, ROW)
    y, has_outcome, from_table = (
        np.full(rows.height, np.nan),
        np.zeros(rows.height, np.bool_),
        Counter[str](),
    )
    if files.outcomes or isinstance(model.labels.label, Outcome):
        rows, label, known_at = with_outcomes(model, rows, files, served.until, left_out, resources)
        has_outcome = np.asarray(known_at <= served.until, np.bool_)
        y = _outcomes(served, rows, label, has_outcome)
    if not isinstance(model.labels.label, Outcome) and not has_outcome.all():
        rows, y, has_outcome, from_table = _with_table(
            served, rows, (y, has_outcome), left_out, resources
        )
    new = has_outcome & np.isnan(y)
    if new.any():
        left_out["of a class that the model does not know"] += int(new.sum())
        has_outcome &= ~new
    groups = (
        rows[REQUEST].rank("dense").cast(pl.Int64).to_numpy() if model.task_type.lists else None
    )
    score = _scores(rows[PREDICTION])
    return DeliveredRows(
        rows[AT].dt.epoch("us").to_numpy(),
        has_outcome,
        y,
        score if groups is None else places(groups, score, rows[ROW].cast(pl.Int64).to_numpy()),
        (rows[PREDICTION_HOW] == "default").fill_null(value=False).to_numpy(),
        rows[VERSION],
        rows,
        +left_out,
        from_table,
        groups,
    )


def _outcomes(served: ServedAs, rows: pl.DataFrame, label: pl.Series, has_outcome: Bool) -> F64:
    """The outcomes as metrics take them, NaN where they are not known."""
    y, labelled, model = np.full(rows.height, np.nan), np.flatnonzero(has_outcome), served.model
    if len(labelled):
        values = label[labelled] if model.task_type.classes else label[labelled].cast(pl.Float64)
        frame = rows[labelled]
        # no feature reads it: a request is a list
        if model.ranking is not None and model.ranking.group not in frame.columns:
            frame = frame.with_columns(pl.col(REQUEST).alias(model.ranking.group))
        y[labelled] = outcomes(model, values, frame, served.classes or None).y
    return y


def _with_table(
    served: ServedAs,
    rows: pl.DataFrame,
    posted: tuple[F64, Bool],
    left_out: Counter[str],
    resources: Resources,
) -> tuple[pl.DataFrame, F64, Bool, Counter[str]]:
    """The rows and outcomes; rows without a posted outcome take theirs from the labels' table."""
    y, has_outcome = posted
    lacking = np.flatnonzero(~has_outcome)
    table = table_outcomes(served.model, rows[lacking], served.until, resources)
    request_times = rows[AT].dt.epoch("us").to_numpy()[lacking]
    by_then = table.has_row & (table.known_at <= served.until)
    late = table.has_row & (table.known_at <= request_times)
    y[lacking[by_then]] = _outcomes(served, rows[lacking], table.label, by_then)[by_then]
    has_outcome[lacking[by_then]] = True
    left_out[TOO_LATE] += int(late.sum())
    left_out[REPEATED] += table.counts.pop(REPEATED, 0)
    counted = np.ones(rows.height, np.bool_)
    counted[lacking[late | table.again]] = False
    return rows.filter(pl.Series(counted)), y[counted], has_outcome[counted], table.counts


def _chosen(served: ServedAs, rows: pl.DataFrame, left_out: Counter[str]) -> pl.DataFrame:
    """The predictions of the model at the level and by the versions; others are counted."""
    at_level = pl.col(LEVEL).eq_missing(None if served.level == AS_DEFINED else served.level)
    by_version = (
        pl.lit(value=True)
        if served.versions is None
        else pl.col(VERSION).fill_null("").is_in([*served.versions, ""])
    )
    conditions = {
        "features that were served without a prediction": pl.col(PREDICTION).is_not_null()
        & (pl.col(MODEL) == served.model.name),
        "served at another level": at_level,
        "served by a version without this promise": by_version,
        "asked after this time": pl.col(AT).dt.epoch("us") < served.until,
    }
    for reason, condition in conditions.items():
        matching = rows.filter(condition)
        left_out[reason] += rows.height - matching.height
        rows = matching
    return rows


def _scores(predictions: pl.Series) -> F64:
    """The predictions as float64: (rows), or of lists (rows, classes)."""
    if isinstance(predictions.dtype, pl.List | pl.Array):
        return np.array(predictions.to_list(), np.float64)
    return predictions.cast(pl.Float64).to_numpy()
