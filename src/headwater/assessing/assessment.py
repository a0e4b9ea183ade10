"""An assessment: whether real time is right for a model, with all the evidence."""

from __future__ import annotations

from pathlib import Path

from headwater.results.assessment_result import AssessmentResult


class Assessment(AssessmentResult, frozen=True):
    """Lift, attribution, cost, readiness and latency of a model, and the verdict.

    verdict: what to do, in a sentence. decision: the same, with the outcome of each rule.
    attribution: if it was run here, with its tables.
    latency, budget: p99 of served responses and the allowed one, in seconds. at_request: features
    computed at request time. backtest: the one that the verdict is based on. A part that could not
    be computed is Missing, with the reason.
    """

    def to_markdown(self) -> str:
        """The assessment as Markdown: the same sections as the page, without the tables of checks
        and of inputs.
        """
        from headwater.pages.assessment_page import to_markdown

        return to_markdown(self)

    def write_html(self, path: str | Path) -> Path:
        """Write the assessment as one self-contained HTML page, and return its path."""
        from headwater.pages.assessment_page import to_html
        from headwater.pages.rendering import write_page

        return write_page(path, to_html(self))

    def _repr_html_(self) -> str:
        from headwater.pages.assessment_page import to_notebook

        return to_notebook(self)
