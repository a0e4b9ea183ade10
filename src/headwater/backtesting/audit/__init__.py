"""The audit of a backtest: checks that look for what was not known at the request, in the
definitions and in the data.

A check is one file of this folder, a function of AuditInputs, and one line in `CHECKS`. A package
adds its own by an entry point `audit.NAME` (`headwater.rows`).
"""

from __future__ import annotations

from collections.abc import Sequence

from headwater import clock
from headwater.backtesting.audit import (
    coarse_timestamps,
    joined_events,
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
from headwater.backtesting.audit.acknowledgements import with_acknowledgement
from headwater.backtesting.audit.inputs import AuditCheck, AuditedLevels, AuditInputs, NotRun
from headwater.definitions.evaluations import Acknowledgement
from headwater.results.audit_result import AuditFinding, AuditResult, CheckNotRun
from headwater.rows import Rows

CHECKS: Rows[AuditCheck] = Rows(
    "audit",
    {
        joined_events.NAME: joined_events.check,
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
    },
)
"""By name, in the order in which they run: `late_fields` leaves out the features of sources that
others accuse.
"""

__all__ = ["CHECKS", "AuditCheck", "AuditInputs", "AuditedLevels", "NotRun", "run_audit"]


def run_audit(inputs: AuditInputs, acknowledged: Sequence[Acknowledgement] = ()) -> AuditResult:
    """Run every check on the freshest level. Shares are those of about 20,000 rows."""
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
            inputs.accused.update(
                finding.subject for finding in answer if finding.severity in ("LEAK", "SUSPECT")
            )
    not_run += [CheckNotRun(subject, reason) for subject, reason in inputs.skipped.items()]
    return AuditResult(
        [with_acknowledgement(finding, acknowledged) for finding in findings],
        ran,
        not_run,
        seconds=clock.stopwatch() - started,
    )
