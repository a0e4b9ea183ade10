"""Check: fields of the request that are made of what comes after it, by definition or by data, or that predict like outcomes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from headwater.backtesting.audit import thresholds
from headwater.backtesting.audit.association import alone, as_numbers, strength
from headwater.backtesting.audit.inputs import AuditInputs, NotRun
from headwater.backtesting.audit.own_label_rows import carried, roots_of
from headwater.kernel.arrays import F64, I64
from headwater.results.audit_result import AuditFinding

NAME = "request fields"


def check(inputs: AuditInputs) -> list[AuditFinding] | NotRun:
    """LEAK: made of a timestamp that comes later. SUSPECT: made of the label's columns, or is the outcome itself but for 1 %."""
    names = [name for name in request_names(inputs) if name in inputs.frame.columns]
    if not names:
        return NotRun("the model has no request field")
    later = later_timestamps(inputs)
    return [finding for name in names if (finding := _finding(inputs, name, later)) is not None]


def request_names(inputs: AuditInputs) -> list[str]:
    """The features of the model that come with the request or are computed from it alone."""
    features = inputs.model.features
    return [field.name for field in features.request_fields] + [made.name for made in features.request_features if not made.inputs]


def later_timestamps(inputs: AuditInputs) -> Mapping[str, I64]:
    """The timestamps of the sampled label rows that are known only after the request: int64 microseconds, the smallest int64 for null."""
    rows, asked, later = inputs.label_rows[inputs.sample], inputs.requests.t[inputs.sample], {}
    known = carried(inputs.model)
    for series in rows.get_columns():
        if not isinstance(series.dtype, pl.Datetime) or series.name in known:
            continue
        stamps = series.dt.epoch("us")
        offset = (stamps - pl.Series(asked)).drop_nulls().to_numpy()
        fixed = len(offset) > 0 and (offset == np.median(offset)).mean() >= thresholds.DERIVED
        if len(offset) and (offset > 0).mean() >= thresholds.AFTER and not fixed:
            later[series.name] = stamps.fill_null(np.iinfo(np.int64).min).to_numpy()
    return later


def _finding(inputs: AuditInputs, name: str, later: Mapping[str, I64]) -> AuditFinding | None:
    labels, task = inputs.model.labels, inputs.model.task_type
    remedy = f"Take {name!r} from what the request really carries, or leave it out"
    roots = roots_of(labels.select, name)
    if made := sorted(roots & ({*later} | ({labels.known_at_field} if labels.known_at_field else set()))):
        return AuditFinding(NAME, "LEAK", name, f"The request field {name!r} is made of {', '.join(made)}, known only after it", remedy)
    if span := _span(inputs, name, later):
        return AuditFinding(NAME, "LEAK", name, f"The request field {name!r} is {span}, known only after the request", remedy)
    rows = inputs.training
    if len(rows) < thresholds.FEWEST:
        return None
    series, y = inputs.frame[name][rows], inputs.y[rows]
    stamps = {column for column, dtype in inputs.label_rows.schema.items() if dtype.is_temporal()}
    if (shared := sorted((roots & labels.label_roots) - stamps)) and strength(series, y, task) >= thresholds.PREDICTS:
        return AuditFinding(NAME, "SUSPECT", name, f"The request field {name!r} is made of {', '.join(shared)}, as the label is", remedy)
    value = as_numbers(series, y)
    there = series.is_not_null().to_numpy().astype(np.float64)
    reached = max(alone(there, y, task), 0.0 if value is None else alone(value[~np.isnan(value)], y[~np.isnan(value)], task))
    if reached < thresholds.ALONE:
        return None
    measure = "AUC" if task.separates else "rank correlation"
    evidence = f"The request field {name!r} reaches {measure} {reached:.3f} by itself, as an outcome does"
    return AuditFinding(NAME, "SUSPECT" if reached >= thresholds.LIKE_AN_OUTCOME else "question", name, evidence, remedy)


def _span(inputs: AuditInputs, name: str, later: Mapping[str, I64]) -> str:
    """Which later timestamp, or span that ends at one, the field is; empty where it is none."""
    series = inputs.frame[name][inputs.sample]
    if not (series.dtype.is_numeric() or isinstance(series.dtype, pl.Datetime)):
        return ""
    value = series.to_physical().cast(pl.Float64).fill_null(np.nan).to_numpy()
    rows = inputs.label_rows[inputs.sample]
    starts = {"the request time": inputs.requests.t[inputs.sample]} | {
        column.name: column.dt.epoch("us").fill_null(np.iinfo(np.int64).min).to_numpy()
        for column in rows.get_columns()
        if isinstance(column.dtype, pl.Datetime)
    }
    for end, stamps in later.items():
        for start, begins in starts.items():
            both = (stamps > 0) & (begins > 0) & ~np.isnan(value)
            if end != start and both.sum() >= thresholds.FEWEST and _same((stamps - begins)[both].astype(np.float64), value[both]):
                return f"the time from {start} to {end}"
    return ""


def _same(span: F64, value: F64) -> bool:
    if np.ptp(span) == 0 or np.ptp(value) == 0:
        return False
    ranks = [pl.Series(numbers).rank("average").to_numpy() for numbers in (span, value)]
    return abs(float(np.corrcoef(ranks[0], ranks[1])[0, 1])) >= thresholds.SAME
