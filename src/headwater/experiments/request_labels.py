"""The labels of exposed requests: posted, made of events, or of the labels' table, joined as
`backtesting.delivered_rows` does.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from headwater import settings
from headwater.backtesting.table_outcomes import table_outcomes
from headwater.definitions.labels import Outcome
from headwater.definitions.model import Model
from headwater.errors import DataError
from headwater.experiments.typed_units import text_of, typed
from headwater.journal import serving_log_rows as log
from headwater.journal.exposure_rows import AT, REQUEST, UNIT
from headwater.journal.outcome_journal import OUTCOMES, closed_outcomes
from headwater.journal.serving_log_files import read
from headwater.training.from_log import FromLog, with_outcomes
from headwater.training.label_rows import read_labels
from headwater.training.requests import Requests
from headwater.training.resources import Resources

LABEL, KNOWN, MATURES = "label", "known", "matures"
ITEM, POSITION = "item", "position"
NEVER_KNOWN = 2**62
# quantile of the delays of labels, where no definition says how long they may take
_LONGEST = 0.999
_ROW = "__label_row"


@dataclass(frozen=True)
class LabelsOf:
    """Whose labels: a model's, by the request's column of the unit, from a data folder, as known at
    a time (microseconds).

    history: the labels' rows, None where their table cannot be read.
    """

    model: Model
    unit: str
    folder: str | Path | None
    until: int
    history: Requests | None
    resources: Resources

    @staticmethod
    def with_history(
        model: Model, unit: str, folder: str | Path | None, until: int, resources: Resources
    ) -> LabelsOf:
        """With the labels' table, where it can be read."""
        try:
            history = read_labels(model.labels, resources, strings=model.task_type.classes)
        except DataError:
            history = None
        return LabelsOf(model, unit, folder, until, history, resources)

    @property
    def window(self) -> int:
        """How long after a request its label may come, in microseconds: as declared, else as long
        as nearly all labels took.
        """
        declared = self.model.labels.maturity
        if declared is not None:
            return declared
        if self.history is None or self.history.known_at is None or not len(self.history.t):
            raise DataError(
                f"labels {self.model.labels.name!r} do not say how long a label may take, and no "
                "table shows it; give known_after="
            )
        return max(
            int(np.quantile(self.history.known_at - self.history.t, _LONGEST, method="higher")), 0
        )


def request_labels(
    labels: LabelsOf, exposures: pl.DataFrame, left_out: Counter[str]
) -> pl.DataFrame:
    """The label of each exposed request.

    Args:
        labels: whose.
        exposures: unit, request and at of requests, each once; of interleaved lists a row an item,
            with item and position.
        left_out: gets the number of requests that are not in the serving log, by whose keys no
            label can be found.

    Returns:
        A row for each served row: unit, request, item where the exposures have it, at (int64
        microseconds), label (float64, null where there is none), known (int64, when it was known)
        and matures (int64, when its window closes).
    """
    model, counts = labels.model, Counter[str]()
    files = _files(labels)
    rows = (
        _served(labels, files, exposures, left_out).sort(log.AT, log.REQUEST).with_row_index(_ROW)
    )
    values, known = np.full(rows.height, np.nan), np.full(rows.height, NEVER_KNOWN, np.int64)
    if rows.height and (files.outcomes or isinstance(model.labels.label, Outcome)):
        labelled, label, known_at = with_outcomes(
            model, rows, files, labels.until, counts, labels.resources
        )
        by_then = (known_at <= labels.until) & label.is_not_null().to_numpy()
        places = labelled[_ROW].to_numpy()[by_then]
        values[places], known[places] = (
            label.cast(pl.Float64, strict=False).to_numpy()[by_then],
            known_at[by_then],
        )
    lacking = np.flatnonzero(known == NEVER_KNOWN)
    if len(lacking) and not isinstance(model.labels.label, Outcome) and labels.history is not None:
        table = table_outcomes(model, rows[lacking], labels.until, labels.resources)
        by_then = (
            table.has_row & (table.known_at <= labels.until) & table.label.is_not_null().to_numpy()
        )
        values[lacking[by_then]] = table.label.cast(pl.Float64, strict=False).to_numpy()[by_then]
        known[lacking[by_then]] = table.known_at[by_then]
    label = pl.Series(LABEL, values).fill_nan(None)
    known = np.where(label.is_null().to_numpy(), NEVER_KNOWN, known)
    at = rows[log.AT].dt.epoch("us")
    window = labels.window if rows.height else 0
    return rows.select(
        UNIT, pl.col(log.REQUEST).alias(REQUEST), *([ITEM] if ITEM in exposures.columns else [])
    ).with_columns(
        at.alias(AT), label, pl.Series(KNOWN, known, pl.Int64), (at + window).alias(MATURES)
    )


def _files(labels: LabelsOf) -> FromLog:
    """The serving log and the posted outcomes; either may be missing."""
    try:
        return FromLog.find(labels.folder, labels.model, posted=False)
    except DataError:
        home = settings.home() if labels.folder is None else Path(labels.folder)
    posted = home / OUTCOMES / labels.model.labels.name
    if isinstance(labels.model.labels.label, Outcome) or not posted.is_dir():
        return FromLog(home, (), ())
    return FromLog(home, (), closed_outcomes(home, labels.model.labels.name))


def _served(
    labels: LabelsOf, files: FromLog, exposures: pl.DataFrame, left_out: Counter[str]
) -> pl.DataFrame:
    """The exposed requests with the columns that they were served with; by the unit alone where a
    request has no other column, or no request was logged.
    """
    ranking = labels.model.ranking if ITEM in exposures.columns else None
    named = [UNIT, log.REQUEST, *([ITEM] if ranking else [])]
    position = pl.col(POSITION) if ranking else pl.lit(0, pl.Int64)
    exposed = (
        exposures.rename({REQUEST: log.REQUEST, AT: log.AT})
        .with_columns(position.alias(log.ROW))
        .select(*named, log.AT, log.ROW)
    )
    exposed_rows = exposed.with_columns(
        typed(exposed[UNIT], _dtype(labels, labels.unit)).alias(labels.unit)
    )
    if ranking is not None:
        exposed_rows = exposed_rows.with_columns(
            typed(exposed_rows[ITEM], _dtype(labels, ranking.item)).alias(ranking.item)
        )
    if not files.served:
        return exposed_rows
    logged = (
        read(files.served)
        .filter(pl.col(log.REQUEST).is_in(exposed[log.REQUEST].implode()))
        .collect()
    )
    columns = {UNIT: labels.unit, **({ITEM: ranking.item} if ranking else {})}
    if any(column not in logged.columns for column in columns.values()):
        return exposed_rows
    logged = logged.with_columns(
        text_of(column, logged.schema[column]).alias(name) for name, column in columns.items()
    )
    logged = logged.unique([log.REQUEST, log.ROW, UNIT], keep="first", maintain_order=True)
    served = logged.join(exposed.select(named), on=named, how="inner")
    missing = exposed.join(served, on=named, how="anti")
    if set(labels.model.features.needed_by()) <= {labels.unit}:
        return pl.concat(
            [served, exposed_rows.join(missing, on=named, how="semi")], how="diagonal_relaxed"
        )
    if missing.height:
        left_out["requests that are not in the serving log, so that no label can be found"] += (
            missing.height
        )
    return served


def _dtype(labels: LabelsOf, column: str) -> pl.DataType:
    """The dtype of a column of the request as the labels' table has it; text where it has none."""
    if labels.history is not None and column in labels.history.frame.columns:
        return labels.history.frame.schema[column]
    return pl.String()
