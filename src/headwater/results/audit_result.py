"""What the audit found, which checks ran and which did not, and what no check can see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from headwater.results.result import Result

Severity = Literal["WITHDRAWN", "LEAK", "EMPTY", "SUSPECT", "question"]
"""From the gravest on; see `AuditFinding`."""

DELIVERY = "promise against delivery"
"""The check whose findings are withdrawn recommendations. It reads the model registry, not the data
of the backtest.
"""

MOST_QUESTIONS = 3
"""Questions that a page shows; the others stand in the JSON alone."""

CANNOT_SEE: Sequence[str] = (
    "a timestamp that is early by a different amount in each row",
    (
        "a column that was overwritten later, where the table keeps only its last value and no "
        "time of the change"
    ),
    "rows that were left out of a table because of what happened to them later",
    (
        "a request field filled in after the outcome, where it is text, follows no column of the "
        "labels' table, or no feature says the outcome"
    ),
    (
        "outcomes that are known later than the labels say, where no other timestamp of their rows "
        "shows it"
    ),
    (
        "timestamps that were rounded down, where the labels' table lacks the exact ones, or "
        "nearly every key has an event at each step"
    ),
    (
        "a static table that was computed over the test period alone, holds text, or has keys with "
        "hundreds of rows each"
    ),
    "features of a third party and values that were computed outside of headwater",
    "a leak that adds less than about 0.03 to the headline metric",
)
"""What data alone cannot show; the page of every audit lists it."""


class AcknowledgedBy(Result, frozen=True):
    """The answer to a question of the audit, and who gives it."""

    reason: str
    author: str


class AuditFinding(Result, frozen=True):
    """One finding of a check.

    | severity | meaning | the verdict |
    |---|---|---|
    | WITHDRAWN | production delivered less than a backtest promised | withheld until acknowledged |
    | LEAK | proven: the numbers contain what was not known | withheld |
    | EMPTY | no event joins the requests, so the data answer nothing | withheld |
    | SUSPECT | it depends on something that data cannot show | stands, after "if" |
    | question | it looks odd, as honest data may | stands |

    brief: the finding in a few words; of a SUSPECT what must be true, after "if"; of an EMPTY the
    reason, after "No verdict:".
    acknowledged: the answer to a question, or the cause of a withdrawal. It never lifts a LEAK.
    """

    check: str
    severity: Severity
    subject: str  # a source, a feature, a request field, the labels
    evidence: str
    remedy: str
    share: float = 1.0  # of the rows that were looked at; NaN where it is not of rows
    columns: Sequence[str] = ()
    acknowledged: AcknowledgedBy | None = None
    brief: str = ""

    @property
    def blocks(self) -> bool:
        """Whether it withholds the verdict."""
        return self.severity in ("LEAK", "EMPTY") or (
            self.severity == "WITHDRAWN" and self.acknowledged is None
        )

    @property
    def asks(self) -> bool:
        """Whether it is a question that no one has answered."""
        return self.severity in ("SUSPECT", "question") and self.acknowledged is None

    @property
    def message(self) -> str:
        """Evidence and remedy."""
        return f"{self.evidence}. {self.remedy}"


class CheckNotRun(Result, frozen=True):
    """A check that could not run on these data, and why."""

    check: str
    reason: str


class AuditResult(Result, frozen=True):
    """The audit of a backtest. It never says that no leak exists: it says which checks found
    none.
    """

    findings: Sequence[AuditFinding] = ()
    checks_run: Sequence[str] = ()
    checks_not_run: Sequence[CheckNotRun] = ()
    cannot_see: Sequence[str] = CANNOT_SEE
    seconds: float = 0.0

    @property
    def blocking(self) -> Sequence[AuditFinding]:
        """The findings that withhold the verdict: withdrawn recommendations, then leaks, then data
        without events.
        """
        order = ("WITHDRAWN", "LEAK", "EMPTY")
        return sorted(
            (finding for finding in self.findings if finding.blocks),
            key=lambda finding: order.index(finding.severity),
        )

    @property
    def leaks(self) -> Sequence[AuditFinding]:
        """The findings of severity LEAK."""
        return [finding for finding in self.findings if finding.severity == "LEAK"]

    @property
    def accusations(self) -> Sequence[AuditFinding]:
        """The findings that are or may be a leak, answered or not: LEAK and SUSPECT."""
        return [finding for finding in self.findings if finding.severity in ("LEAK", "SUSPECT")]

    @property
    def acknowledged(self) -> Sequence[AuditFinding]:
        """The findings that were answered."""
        return [finding for finding in self.findings if finding.acknowledged is not None]

    @property
    def questions(self) -> Sequence[AuditFinding]:
        """The open questions, first the ones on which the verdict depends."""
        return sorted(
            (finding for finding in self.findings if finding.asks),
            key=lambda finding: finding.severity != "SUSPECT",
        )

    @property
    def conditions(self) -> Sequence[AuditFinding]:
        """The questions that are shown below the verdict."""
        return [
            finding for finding in self.questions[:MOST_QUESTIONS] if finding.severity == "SUSPECT"
        ]

    @property
    def further_questions(self) -> Sequence[AuditFinding]:
        """The other questions that a page shows."""
        return [
            finding for finding in self.questions[:MOST_QUESTIONS] if finding.severity != "SUSPECT"
        ]


def replaced_headline(audit: AuditResult) -> str:
    """What stands in place of the headline, in a sentence; empty where the headline stands.

    >>> replaced_headline(AuditResult())
    ''
    >>> leak = AuditFinding(
    ...     "own outcome", "LEAK", "trips", "It counts its own trip", "Correct its timestamp"
    ... )
    >>> replaced_headline(AuditResult([leak]))
    "No verdict: a leak in 'trips'."
    >>> replaced_headline(
    ...     AuditResult(
    ...         [
    ...             AuditFinding(
    ...                 DELIVERY, "WITHDRAWN", "churn", "The recommendation was withdrawn", "A leak"
    ...             ),
    ...             leak,
    ...         ]
    ...     )
    ... )
    "The recommendation was withdrawn. No verdict: a leak in 'trips'."
    """
    withdrawn = [
        f"{finding.evidence}." for finding in audit.blocking if finding.severity == "WITHDRAWN"
    ][:1]
    others = [finding for finding in audit.blocking if finding.severity != "WITHDRAWN"]
    subjects = list(
        dict.fromkeys(finding.subject for finding in others if finding.severity == "LEAK")
    )
    more = f" and {len(subjects) - 1} more" if len(subjects) > 1 else ""
    reasons = [f"No verdict: {_reason(finding)}{more}." for finding in others[:1]]
    return " ".join([*withdrawn, *reasons])


def _reason(finding: AuditFinding) -> str:
    return (
        f"a leak in {finding.subject!r}"
        if finding.severity == "LEAK"
        else finding.brief or f"{finding.check} of {finding.subject!r}"
    )


def acknowledgement_note(audit: AuditResult) -> str:
    """A sentence on the questions that were answered; empty without."""
    notes = [
        (
            f"{finding.check} of {finding.subject} ({finding.acknowledged.author}: "
            f"{finding.acknowledged.reason})"
        )
        for finding in audit.findings
        if finding.acknowledged is not None
    ]
    return f"Holds if these answers are right: {'; '.join(notes)}." if notes else ""
