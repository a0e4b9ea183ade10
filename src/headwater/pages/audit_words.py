"""The audit as every page shows it: findings, checks run, checks not run, and what data cannot
show.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

from headwater.pages import wording
from headwater.results.audit_result import MOST_QUESTIONS, AuditFinding, AuditResult

# LEAK and questions go by their own names
_SEVERITIES = {"WITHDRAWN": "withdrawn", "EMPTY": "no events"}


def summary(audit: AuditResult) -> str:
    """The audit in one line; it never says that no leak exists."""
    counts = [
        f"{len(findings)} {_SEVERITIES.get(severity, severity)}"
        for severity in ("WITHDRAWN", "LEAK", "EMPTY")
        if (findings := [finding for finding in audit.blocking if finding.severity == severity])
    ]
    counts += [
        f"{number} question{'s' * (number > 1)}" for number in [len(audit.questions)] if number
    ]
    counts += [f"{len(audit.acknowledged)} answered"] if audit.acknowledged else []
    more = len(audit.questions) - MOST_QUESTIONS
    counts += [f"{MOST_QUESTIONS} of them shown, all in the JSON"] if more > 0 else []
    ran = f"{len(audit.checks_run)} checks run, {len(audit.checks_not_run)} not run"
    return (
        f"{', '.join(counts) or ('no finding' if audit.checks_run else 'no check could run')}; "
        f"{ran}"
    )


def finding_line(finding: AuditFinding) -> str:
    """A finding on one line, without its severity."""
    end = "" if finding.message.endswith(("?", ".")) else "."
    return f"{finding.subject} ({finding.check}{_of_rows(finding)}): {finding.message}{end}"


def _of_rows(finding: AuditFinding) -> str:
    """The share of rows, where it is one and the evidence does not have it."""
    is_said = (
        math.isnan(finding.share)
        or finding.share == 1
        or f"{finding.share:.1%}" in finding.evidence
    )
    return "" if is_said else f", {wording.share(finding.share)} of rows"


def blocking_name(finding: AuditFinding) -> str:
    """The kind of a finding that withholds the verdict."""
    return _SEVERITIES.get(finding.severity, finding.severity)


def blocking_heading(audit: AuditResult) -> str:
    """What to do about them."""
    withdrawn = any(finding.severity == "WITHDRAWN" for finding in audit.blocking)
    return (
        "Do not trust these numbers until "
        f"{'the cause of each of these is known' if withdrawn else 'each of these is fixed'}"
    )


def condition(finding: AuditFinding) -> tuple[str, str]:
    """What must be true for a verdict to stand; and why it is asked, what to do, and how to
    answer.
    """
    end = "" if finding.message.endswith(("?", ".")) else "."
    answer = shlex.quote(f"{finding.check} | {finding.subject} | REASON | AUTHOR")
    text = holds(finding)
    return (
        f"{text[:1].upper()}{text[1:]} ({finding.check}{_of_rows(finding)}).",
        f"{finding.message}{end} To answer: --acknowledge {answer}.",
    )


def holds(finding: AuditFinding) -> str:
    """What must be true for the verdict to stand, after "if"."""
    return finding.brief or f"this is not a leak in {finding.subject!r}"


def further_questions(audit: AuditResult) -> Sequence[str]:
    """The other questions that a page shows."""
    return [f"question: {finding_line(finding)}" for finding in audit.further_questions]


def checks(audit: AuditResult) -> Sequence[str]:
    """The checks that ran, the checks that did not and why, and what data cannot show."""
    not_run = "; ".join(f"{check.check} ({check.reason})" for check in audit.checks_not_run)
    return [
        f"checks run: {', '.join(audit.checks_run) or 'none'}",
        f"checks not run: {not_run or 'none'}",
        f"data cannot show: {'; '.join(audit.cannot_see)}",
    ]
