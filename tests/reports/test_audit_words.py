"""The audit in words."""

import pytest

from headwater.reports.audit_words import finding_line, summary
from headwater.results.audit_result import AuditFinding, AuditResult, CheckNotRun


@pytest.mark.parametrize(
    ("remedy", "ends"),
    [("Is it known then?", "known then?"), ("Leave it out", "Leave it out."), ("Leave it.", "it.")],
)
def test_a_finding_is_one_sentence_or_question_after_another(remedy, ends):
    line = finding_line(
        AuditFinding("label rows", "question", "clicks", "It holds the label", remedy, 0.5)
    )
    assert line.endswith(f"It holds the label. {remedy[: -len(ends)]}{ends}")


@pytest.mark.parametrize(("questions", "says"), [(1, "1 question;"), (3, "3 questions;")])
def test_findings_are_counted_in_the_plural(questions, says):
    asked = [
        AuditFinding("label rows", "question", "clicks", "It holds the label", "Is it known then?")
    ] * questions
    leaks = [AuditFinding("own outcome", "LEAK", "x", "It leaks", "Mend it")] * 2
    assert summary(AuditResult([*leaks, *asked])).startswith(f"2 LEAK, {says}")


def test_an_audit_that_ran_no_check_does_not_read_as_one_that_found_nothing():
    nothing = AuditResult(checks_not_run=[CheckNotRun("all", "scores were given")])
    assert summary(nothing).startswith("no check could run; 0 checks run")
    assert summary(AuditResult(checks_run=["label rows"])).startswith("no finding; 1 checks run")
