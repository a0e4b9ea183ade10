"""Check: request fields that come after the request, by definition or by data, or that predict like
outcomes.
"""

from __future__ import annotations

import numpy as np

from headwater.backtesting.audit import thresholds
from headwater.backtesting.audit.association import alone, as_numbers, strength
from headwater.backtesting.audit.inputs import AuditInputs, NotRun
from headwater.backtesting.audit.labelled_rows import request_names, roots_of
from headwater.backtesting.audit.own_label_rows import quoted
from headwater.backtesting.audit.own_outcome import named
from headwater.results.audit_result import AuditFinding, Severity

NAME = "request fields"


def check(inputs: AuditInputs) -> list[AuditFinding] | NotRun:
    """LEAK: made of an outcome. SUSPECT: of a later time, or of columns as the label is, or the
    outcome itself but for 1 %.
    """
    names = [name for name in request_names(inputs.model) if name in inputs.frame.columns]
    if not names:
        return NotRun("the model has no request field")
    return [finding for name in names if (finding := _finding(inputs, name)) is not None]


def _finding(inputs: AuditInputs, name: str) -> AuditFinding | None:
    labels, task = inputs.model.labels, inputs.model.task_type
    remedy = f"Take {name!r} from what the request really carries, or leave it out"

    def finding(severity: Severity, evidence: str) -> AuditFinding:
        there = inputs.frame[name].is_not_null().to_numpy()
        gravity = inputs.gravity(there, np.arange(len(there))) if severity == "LEAK" else severity
        return AuditFinding(
            NAME,
            gravity,
            name,
            evidence,
            remedy,
            brief=f"{name!r} is known at the request, as a plan or a promise is",
        )

    roots = roots_of(labels.select, name)
    if made := sorted(roots & (inputs.outcome_columns | inputs.outcome_timestamps)):
        return finding(
            "LEAK", f"The request field {name!r} is made of {quoted(made)}, known only after it"
        )
    if made := sorted(roots & {*inputs.later}):
        return finding(
            "SUSPECT",
            f"The request field {name!r} is made of {quoted(made)}, which comes after the request",
        )
    if name in inputs.spans:
        start, end = inputs.spans[name]
        span = f"the time from {named(start)} to {named(end)}"
        if end in inputs.outcome_timestamps:
            return finding(
                "LEAK", f"The request field {name!r} is {span}, known only after the request"
            )
        return finding(
            "SUSPECT", f"The request field {name!r} is {span}, which comes after the request"
        )
    rows = inputs.training
    if len(rows) < thresholds.FEWEST:
        return None
    series, y = inputs.frame[name][rows], inputs.y[rows]
    stamps = {column for column, dtype in inputs.label_rows.schema.items() if dtype.is_temporal()}
    if (shared := sorted((roots & labels.label_roots) - stamps)) and strength(
        series, y, task
    ) >= thresholds.PREDICTS:
        return finding(
            "SUSPECT", f"The request field {name!r} is made of {quoted(shared)}, as the label is"
        )
    value = as_numbers(series, y)
    there = series.is_not_null().to_numpy().astype(np.float64)
    reached = max(
        alone(there, y, task),
        0.0 if value is None else alone(value[~np.isnan(value)], y[~np.isnan(value)], task),
    )
    if reached < thresholds.ALONE:
        return None
    measure = "AUC" if task.separates else "rank correlation"
    evidence = (
        f"The request field {name!r} reaches {measure} {reached:.3f} by itself, as an outcome does"
    )
    return finding("SUSPECT" if reached >= thresholds.LIKE_AN_OUTCOME else "question", evidence)
