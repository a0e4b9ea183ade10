"""The summary of a backtest or an assessment: one printable page, and the same as plain text for a
mail.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.reports.page import render_page
from headwater.reports.summary_words import Assessed, ForwardedSummary, of_backtest
from headwater.results.assessment_result import AssessmentResult
from headwater.results.measurement import Missing
from headwater.terminal.layout import Group, Shown
from headwater.terminal.text import visible

if TYPE_CHECKING:
    from rich.console import RenderableType

_WIDTH = 76


def summary_path(report: Path) -> Path:
    """Where the summary of a report goes: in the same folder.

    >>> str(summary_path(Path("build/report.html")))
    'build/report-summary.html'
    """
    return report.with_name(f"{report.stem}-summary.html")


def of_assessment(assessment: AssessmentResult) -> ForwardedSummary:
    """The summary of an assessment: that of its backtest, with the cost, what blocks it and network
    effects.
    """
    result, decision = assessment.result, assessment.decision
    if result is None:
        about = " · ".join((assessment.model, assessment.at[:10]))
        return ForwardedSummary(
            about,
            decision.first_line,
            "",
            [],
            [("Next", "Run a backtest: `headwater backtest` needs labels and a history.")],
        )
    unknown = (
        0 if isinstance(assessment.readiness, Missing) else assessment.readiness.counts()["unknown"]
    )
    return of_backtest(result, Assessed(decision, assessment.network, unknown))


def to_lines(text: str) -> RenderableType:
    """The text of a summary as rich prints it, without markup, in the console's character set."""
    return Group(*(Shown(line) for line in text.splitlines()))


def to_html(summary: ForwardedSummary) -> str:
    """The summary as one self-contained page of A4 or Letter, without scripts."""
    return render_page("summary.html.j2", title=summary.first, summary=summary, sections=[])


def to_text(summary: ForwardedSummary) -> str:
    """The summary as plain text in lines of at most 76 columns."""
    parts = [
        summary.first,
        summary.practice,
        *(f"{heading}: {text}" for heading, text in summary.points),
        summary.about,
    ]
    return (
        "\n\n".join(
            textwrap.fill(visible(part), _WIDTH, break_on_hyphens=False) for part in parts if part
        )
        + "\n"
    )
