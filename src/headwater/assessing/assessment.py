"""An assessment: whether real time is right for a model, with all the evidence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from headwater.results.assessment_result import AssessmentResult

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.pages.page import Page


class Assessment(AssessmentResult, frozen=True):
    """Lift, attribution, cost, readiness and latency of a model, and the verdict.

    verdict: what to do, in a sentence. decision: the same, with the outcome of each rule.
    attribution: if it was run here, with its tables.
    latency, budget: p99 of served responses and the allowed one, in seconds. at_request: features
    computed at request time. backtest: the one that the verdict is based on. A part that could not
    be computed is Missing, with the reason.
    """

    def page(self) -> Page:
        """The page of the result, which every form is drawn from."""
        from headwater.pages.assessment_page import to_page

        return to_page(self)

    def to_markdown(self) -> str:
        """The page as Markdown."""
        from headwater.pages.page_forms import to_markdown

        return to_markdown(self.page())

    def write_html(self, path: str | Path) -> Path:
        """Write the page, which needs no network, and return its path."""
        from headwater.pages.page_forms import to_html
        from headwater.pages.rendering import write_page

        return write_page(path, to_html(self.page()))

    def table(self) -> RenderableType:
        """All of the page as rich prints it."""
        from headwater.pages.page_forms import to_terminal

        return to_terminal(self.page(), verbose=True)

    def _repr_html_(self) -> str:
        from headwater.pages.page_forms import to_notebook

        return to_notebook(self.page())
