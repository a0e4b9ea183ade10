"""What the audit found, which checks ran and which did not, and what no check can see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from headwater.results.result import Result

Severity = Literal["LEAK", "SUSPECT", "question"]

DELIVERY = "promise against delivery"
"""The check whose findings are withdrawn recommendations. It reads the model registry, not the data of the backtest."""

CANNOT_SEE: Sequence[str] = (
    "a timestamp that is early by a different amount in each row",
    "a column that was overwritten later, where the table keeps only its last value and no time of the change",
    "rows that were left out of a table because of what happened to them later",
    "a request field filled in after the outcome, where it is text, follows no column of the labels' table, or no feature says the outcome",
    "outcomes that are known later than the labels say, where no other timestamp of their rows shows it",
    "timestamps that were rounded down, where the labels' table lacks the exact ones, or nearly every key has an event at each step",
    "a static table that was computed over the test period alone, holds text, or has keys with hundreds of rows each",
    "features of a third party and values that were computed outside of headwater",
    "a leak that adds less than about 0.03 to the headline metric",
)
"""What data alone cannot show; the page of every audit lists it."""


class AcknowledgedBy(Result, frozen=True):
    """Why a suspicion is no leak, and who says so."""

    reason: str
    author: str


class AuditFinding(Result, frozen=True):
    """One finding of a check.

    LEAK: the numbers contain what was not known. SUSPECT: they probably do. Both replace the headline. A question does not.
    """

    check: str
    severity: Severity
    subject: str  # a source, a feature, a request field, the labels
    evidence: str
    remedy: str
    share: float = 1.0  # of the rows that were looked at; NaN where it is not of rows
    columns: Sequence[str] = ()
    acknowledged: AcknowledgedBy | None = None

    @property
    def blocks(self) -> bool:
        """Whether it replaces the headline."""
        return self.severity == "LEAK" or (self.severity == "SUSPECT" and self.acknowledged is None)

    @property
    def message(self) -> str:
        """Evidence and remedy."""
        return f"{self.evidence}. {self.remedy}"


class CheckNotRun(Result, frozen=True):
    """A check that could not run on these data, and why."""

    check: str
    reason: str


class AuditResult(Result, frozen=True):
    """The audit of a backtest. It never says that there is no leak: it says which checks found none."""

    findings: Sequence[AuditFinding] = ()
    checks_run: Sequence[str] = ()
    checks_not_run: Sequence[CheckNotRun] = ()
    cannot_see: Sequence[str] = CANNOT_SEE
    seconds: float = 0.0

    @classmethod
    def from_former(cls, findings: Sequence[object]) -> dict[str, object]:
        """JSON data of an audit from the list of findings of formats 1 to 3."""
        severities = {"leak": "LEAK", "warning": "SUSPECT"}
        read = [finding for finding in findings if isinstance(finding, dict) and finding.get("severity") in severities]
        return {
            "findings": [
                {
                    "check": finding["kind"],
                    "severity": "question" if finding["kind"] == "implausible feature" else severities[finding["severity"]],
                    "subject": finding["subject"],
                    "evidence": finding["message"],
                    "remedy": "Run the backtest again for the checks of this release",
                    "share": finding["share"],
                    "columns": finding["columns"],
                }
                for finding in read
            ],
            "checks_run": [],
            "cannot_see": list(CANNOT_SEE),
            "checks_not_run": [{"check": "all others", "reason": "the result was made by a release without them"}],
        }

    @property
    def blocking(self) -> Sequence[AuditFinding]:
        """The findings that replace the headline: withdrawn recommendations, then leaks, then suspicions."""
        return sorted((finding for finding in self.findings if finding.blocks), key=lambda f: (f.check != DELIVERY, f.severity != "LEAK"))

    @property
    def leaks(self) -> Sequence[AuditFinding]:
        """The findings of severity LEAK."""
        return [finding for finding in self.findings if finding.severity == "LEAK"]

    @property
    def acknowledged(self) -> Sequence[AuditFinding]:
        """The suspicions that somebody has looked at."""
        return [finding for finding in self.findings if finding.acknowledged is not None]

    @property
    def questions(self) -> Sequence[AuditFinding]:
        """The findings that ask and do not accuse."""
        return [finding for finding in self.findings if finding.severity == "question"]


def replaced_headline(audit: AuditResult) -> str:
    """What stands in place of the headline, with what to check first; empty where the headline stands.

    >>> replaced_headline(AuditResult())
    ''
    >>> replaced_headline(AuditResult([AuditFinding("own outcome", "LEAK", "trips", "It counts its own trip", "Correct its timestamp")]))
    'No verdict: LEAK in trips. Check first: It counts its own trip. Correct its timestamp.'
    >>> replaced_headline(AuditResult([AuditFinding(DELIVERY, "SUSPECT", "churn", "The recommendation was withdrawn", "A leak")]))
    'The recommendation was withdrawn. Check first: A leak.'
    """
    withdrawn = [f"{finding.evidence}. Check first: {finding.remedy}." for finding in audit.blocking if finding.check == DELIVERY][:1]
    blocking = [finding for finding in audit.blocking if finding.check != DELIVERY]
    if not blocking:
        return "".join(withdrawn)
    first = blocking[0]
    subjects = list(dict.fromkeys(finding.subject for finding in blocking if finding.severity == first.severity))
    more = f" and {len(subjects) - 1} more" if len(subjects) > 1 else ""
    return " ".join([*withdrawn, f"No verdict: {first.severity} in {first.subject}{more}. Check first: {first.message.rstrip('.')}."])


def acknowledgement_note(audit: AuditResult) -> str:
    """A sentence on the suspicions that were acknowledged; empty without."""
    notes = [
        f"{finding.check} of {finding.subject} ({finding.acknowledged.author}: {finding.acknowledged.reason})"
        for finding in audit.findings
        if finding.acknowledged is not None
    ]
    return f"Holds if these acknowledged suspicions are none: {'; '.join(notes)}." if notes else ""
