"""Check: a feature of history that by itself nearly says the outcome. It asks, and never
accuses.
"""

from __future__ import annotations

import numpy as np

from headwater.backtesting.audit.association import alone, as_numbers
from headwater.backtesting.audit.inputs import AuditInputs, NotRun
from headwater.backtesting.audit.labelled_rows import request_names
from headwater.backtesting.audit.thresholds import ALONE, FEWEST
from headwater.results.audit_result import AuditFinding


def check(inputs: AuditInputs) -> list[AuditFinding] | NotRun:
    """A question for each feature that nearly says the outcome, by its value or by whether there is
    one.
    """
    rows, task = inputs.training, inputs.model.task_type
    if len(rows) < FEWEST:
        return NotRun(
            f"{len(rows)} training rows are too few to measure a feature by itself; it takes "
            f"{FEWEST}"
        )
    outcome, measure = inputs.y[rows], "AUC" if task.separates else "rank correlation"
    findings = []
    for series in inputs.frame.drop(request_names(inputs.model), strict=False)[rows].get_columns():
        value = as_numbers(series, outcome)
        there = series.is_not_null().to_numpy()
        measures = (
            [(0.0, 0.0, "")]
            if there.all()
            else [(alone(there.astype(np.float64), outcome, task), 1.0, "by being there or not")]
        )
        if value is not None:
            present = ~np.isnan(value)
            measures.append(
                (alone(value[present], outcome[present], task), float(there.mean()), "by itself")
            )
        strength, share, measured_on = max(measures)
        if strength >= ALONE:
            evidence = (
                f"The feature {series.name!r} reaches {measure} {strength:.3f} {measured_on} on "
                "the "
                "training rows"
            )
            remedy = "Check that it is known before the outcome"
            findings.append(
                AuditFinding(
                    "strong feature",
                    "question",
                    series.name,
                    evidence,
                    remedy,
                    share,
                    [series.name],
                )
            )
    return findings
