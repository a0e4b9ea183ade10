"""The audit of a backtest: checks that look for what was not known at the request, in the definitions and in the data.

A check is one file of this folder, a function of AuditInputs, and one line in `CHECKS`. A package adds its own by `CHECKS.add(name, check)`
in its entry point `headwater.plugins`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from msgspec import structs

from headwater import clock
from headwater.backtesting.audit import (
    coarse_timestamps,
    label_times,
    late_fields,
    odd_results,
    own_label_rows,
    own_outcome,
    request_columns,
    static_tables,
    strong_features,
    twin_table,
)
from headwater.backtesting.audit.inputs import AuditCheck, AuditedLevels, AuditInputs, NotRun
from headwater.definitions.acknowledged import Acknowledgement
from headwater.definitions.definition import stack_level
from headwater.errors import HeadwaterWarning
from headwater.plugins import Rows
from headwater.results.audit_result import AcknowledgedBy, AuditFinding, AuditResult, CheckNotRun

CHECKS: Rows[AuditCheck] = Rows(
    {
        "label rows": own_label_rows.check,
        own_outcome.NAME: own_outcome.check,
        coarse_timestamps.NAME: coarse_timestamps.check,
        twin_table.NAME: twin_table.check,
        request_columns.NAME: request_columns.check,
        label_times.NAME: label_times.check,
        static_tables.NAME: static_tables.check,
        late_fields.NAME: late_fields.check,
        "strong feature": strong_features.check,
        odd_results.NAME: odd_results.check,
    }
)
"""By name, in the order in which they run: `late_fields` leaves out the features of sources that others accuse."""

__all__ = ["CHECKS", "AuditCheck", "AuditInputs", "AuditedLevels", "NotRun", "check_acknowledged", "run_audit", "with_acknowledgement"]


def run_audit(inputs: AuditInputs, acknowledged: Sequence[Acknowledgement] = ()) -> AuditResult:
    """Run every check on the freshest level. Shares are those of at most 20,000 rows, evenly spaced."""
    started = clock.stopwatch()
    findings: list[AuditFinding] = []
    ran: list[str] = []
    not_run: list[CheckNotRun] = []
    for name, check in CHECKS.items():
        answer = check(inputs)
        if isinstance(answer, NotRun):
            not_run.append(CheckNotRun(name, answer.reason))
        else:
            ran.append(name)
            findings += answer
            inputs.accused.update(finding.subject for finding in answer if finding.severity != "question")
    not_run += [CheckNotRun(subject, reason) for subject, reason in inputs.skipped.items()]
    return AuditResult(
        [with_acknowledgement(finding, acknowledged) for finding in findings], ran, not_run, seconds=clock.stopwatch() - started
    )


def check_acknowledged(findings: Sequence[AuditFinding], acknowledged: Sequence[Acknowledgement]) -> None:
    """Warn of an acknowledgement that no finding needs: it is misspelled, or what it was of is gone."""
    for known in acknowledged:
        if any((known.check, known.subject) == (finding.check, finding.subject) for finding in findings):
            continue
        there = "; ".join(f"{finding.check} | {finding.subject}" for finding in findings if finding.severity == "SUSPECT")
        warnings.warn(
            f"the acknowledgement of {known.check!r} of {known.subject!r} matches no finding of this backtest; "
            + (f"suspicions are: {there}" if there else "there is no suspicion"),
            HeadwaterWarning,
            stacklevel=stack_level(),
        )


def with_acknowledgement(finding: AuditFinding, acknowledged: Sequence[Acknowledgement]) -> AuditFinding:
    """The finding with its acknowledgement, if it is a suspicion that somebody acknowledged."""
    own = [known for known in acknowledged if (known.check, known.subject) == (finding.check, finding.subject)]
    if not own or finding.severity != "SUSPECT":
        return finding
    return structs.replace(finding, acknowledged=AcknowledgedBy(own[-1].reason, own[-1].author))
