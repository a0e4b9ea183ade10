"""The audit as every page shows it: findings, checks run, checks not run, and what data cannot show."""

from __future__ import annotations

import math
from collections.abc import Sequence

from headwater.reports import wording
from headwater.reports.document import Card, Terms, Text
from headwater.results.audit_result import AuditFinding, AuditResult, acknowledgement_note

_CHIPS = {"LEAK": "chip harm", "SUSPECT": "chip harm", "question": "chip"}


def summary(audit: AuditResult) -> str:
    """The audit in one line; it never says that there is no leak."""
    counts = [
        f"{len(found)} {severity}{'s' * (severity == 'question' and len(found) > 1)}"
        for severity in _CHIPS
        if (found := [finding for finding in audit.findings if finding.severity == severity])
    ]
    ran = f"{len(audit.checks_run)} checks run, {len(audit.checks_not_run)} not run"
    return f"{', '.join(counts) or ('no finding' if audit.checks_run else 'no check could run')}; {ran}"


def finding_line(finding: AuditFinding) -> str:
    """A finding on one line, without its severity."""
    known = finding.acknowledged
    by = f" Acknowledged by {known.author}: {known.reason}." if known is not None else ""
    end = "" if finding.message.endswith(("?", ".")) else "."
    of_rows = "" if math.isnan(finding.share) else f", {wording.share(finding.share)} of rows"
    return f"{finding.subject} ({finding.check}{of_rows}): {finding.message}{end}{by}"


def lines(audit: AuditResult) -> Sequence[str]:
    """The audit for a terminal or a notebook: the summary, each finding, then what ran, what did not, and what cannot be seen."""
    return [
        f"audit: {summary(audit)}",
        *(f"{finding.severity}: {finding_line(finding)}" for finding in audit.findings),
        *checks(audit),
    ]


def checks(audit: AuditResult) -> Sequence[str]:
    """The checks that ran, those that did not and why, and what data cannot show."""
    not_run = "; ".join(f"{check.check} ({check.reason})" for check in audit.checks_not_run)
    return [
        f"checks run: {', '.join(audit.checks_run) or 'none'}",
        f"checks not run: {not_run or 'none'}",
        f"data cannot show: {'; '.join(audit.cannot_see)}",
    ]


def card(audit: AuditResult) -> Card:
    """The audit as a card of the page."""
    note = acknowledgement_note(audit)
    blocks: list[Text | Terms] = [Text(f"{summary(audit).capitalize()}.")]
    blocks += [Text(finding_line(finding), chip=(finding.severity, _CHIPS[finding.severity])) for finding in audit.findings]
    blocks += [Text(note)] if note else []
    rows = [("checks run", ", ".join(audit.checks_run) or "none")]
    rows += [(f"not run: {check.check}", check.reason) for check in audit.checks_not_run]
    blocks += [Terms(rows), Text(f"What the data cannot show: {'; '.join(audit.cannot_see)}.")]
    return Card("Audit", blocks, wide=True)
