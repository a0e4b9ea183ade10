"""Check: results that ask for a second look. They never accuse: honest data look like that too."""

from __future__ import annotations

import numpy as np

from headwater.backtesting.audit import thresholds
from headwater.backtesting.audit.association import alone, as_numbers
from headwater.backtesting.audit.inputs import AuditedLevels, AuditInputs, NotRun
from headwater.backtesting.audit.labelled_rows import request_names
from headwater.results.audit_result import AuditFinding

NAME = "results to question"


def check(inputs: AuditInputs) -> list[AuditFinding] | NotRun:
    """A very high AUC, one feature far above request only, a lift from the last minutes before the
    request.
    """
    judged = inputs.judged
    if judged is None or not judged.levels:
        return NotRun("no level was judged")
    return [*_high(judged), *_far_above(inputs, judged), *_last_moments(judged)]


def _question(subject: str, evidence: str, remedy: str) -> AuditFinding:
    return AuditFinding(NAME, "question", subject, evidence, remedy)


def _high(judged: AuditedLevels) -> list[AuditFinding]:
    best = max(
        (level.metrics["auc"].value for level in judged.levels if "auc" in level.metrics),
        default=0.0,
    )
    evidence = f"An AUC of {best:.3f} is very high"
    return (
        [_question("the model", evidence, "Is the outcome decided by what the request knows?")]
        if best >= thresholds.HIGH
        else []
    )


def _far_above(inputs: AuditInputs, judged: AuditedLevels) -> list[AuditFinding]:
    base = judged.levels[0]
    if base.age_seconds is not None or "auc" not in base.metrics:
        return []
    rows, findings = inputs.training, []
    names = [name for name in inputs.frame.columns if name not in request_names(inputs.model)]
    for series in (inputs.frame[name][rows] for name in names):
        value = as_numbers(series, inputs.y[rows])
        if value is not None:
            present = ~np.isnan(value)
            findings.append(
                (
                    alone(value[present], inputs.y[rows][present], inputs.model.task_type),
                    series.name,
                )
            )
    reached, name = max(findings, default=(0.0, ""))
    if (
        not reached - base.metrics["auc"].value >= thresholds.FAR_ABOVE
        or reached >= thresholds.ALONE
    ):
        return []  # a stronger one is a question of its own
    evidence = (
        f"The feature {name!r} alone reaches AUC {reached:.3f}, and the model without history "
        f"{base.metrics['auc'].value:.3f}"
    )
    return [_question(name, evidence, "Is it known before the request?")]


def _last_moments(judged: AuditedLevels) -> list[AuditFinding]:
    ages = {level.name: level.age_seconds for level in judged.levels}
    ends = (judged.levels[0].name, judged.levels[-1].name)
    steps = [step for step in judged.comparisons if step.metric == judged.headline]
    whole = next((step.delta for step in steps if (step.from_, step.to) == ends), 0.0)
    findings = []
    for step in steps:
        age, fresher = ages.get(step.from_), ages.get(step.to)
        if age is None or fresher is None or not fresher < age <= thresholds.SECONDS:
            continue
        if (
            (step.from_, step.to) != ends
            and step.low > 0
            and whole > 0
            and step.delta >= thresholds.LAST_SHARE * whole
        ):
            evidence = (
                f"{step.delta / whole:.0%} of the lift comes from events of the last {age:.0f} s "
                "before the request"
            )
            findings.append(
                _question(
                    f"step to {step.to}",
                    evidence,
                    "Are these events consequences of the request, or stamped too early?",
                )
            )
    return findings
