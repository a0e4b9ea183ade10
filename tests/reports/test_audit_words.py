"""The audit in words."""

import pytest

from headwater.reports.audit_words import finding_line
from headwater.results.audit_result import AuditFinding


@pytest.mark.parametrize(
    ("remedy", "ends"), [("Is it known then?", "known then?"), ("Leave it out", "Leave it out."), ("Leave it.", "it.")]
)
def test_a_finding_is_one_sentence_or_question_after_another(remedy, ends):
    line = finding_line(AuditFinding("label rows", "question", "clicks", "It holds the label", remedy, 0.5))
    assert line.endswith(f"It holds the label. {remedy[: -len(ends)]}{ends}")
