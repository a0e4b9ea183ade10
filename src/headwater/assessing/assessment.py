"""An assessment: whether real time is right for a model, with all that the answer rests on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headwater.results.assessment_result import AssessmentResult


@dataclass(frozen=True)
class Assessment(AssessmentResult):
    """Lift, attribution, cost, readiness and latency of a model, and the verdict that they come to.

    verdict: what to do, in a sentence. decision: the same, with the rule that said each part. plan: the stages. risks: what the verdict
    does not rule out. changes: what would change it. attribution: where it was made here, with its tables. latency, budget: p99 of served
    answers and what is allowed, in seconds. at_request: features that are made while somebody waits. published: what others say of theirs.
    result: of the backtest, where there is more of it than its JSON. Each part that there is nothing of is Missing, with the reason.
    """

    def to_markdown(self) -> str:
        """The assessment as Markdown: the same parts as the page, with the tables of checks and of numbers left to it."""
        from headwater.reports.assessment_page import to_markdown

        return to_markdown(self)

    def write_html(self, path: str | Path) -> Path:
        """Write the assessment as one page that needs no network, and return its path."""
        from headwater.reports.assessment_page import to_html

        place = Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(to_html(self), encoding="utf-8")
        return place
