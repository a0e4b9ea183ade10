"""An assessment as one self-contained page, and as Markdown."""

from __future__ import annotations

from headwater.reports import assessment_sections as parts
from headwater.reports import attribution_section, document, sections
from headwater.reports.document import Bullets, Section, Text
from headwater.reports.page import render_page
from headwater.reports.readiness_and_cost import cost_section, readiness_section
from headwater.results.assessment_result import AssessmentResult
from headwater.results.attribution_result import AttributionResult
from headwater.results.measurement import Missing


def to_html(assessment: AssessmentResult) -> str:
    """The assessment as one self-contained HTML page, plotly's JavaScript included."""
    return render_page(
        "assessment.html.j2",
        title=f"{assessment.model}: is real time right?",
        assessment=assessment,
        headline=parts.headline(assessment),
        details=parts.details(assessment),
        sections=to_sections(assessment),
    )


def to_sections(assessment: AssessmentResult) -> list[Section]:
    """The sections after the verdict.

    Order: rules, plan, what would change it, risks, lift, attribution, request time, cost, network effects, readiness.
    """
    cost, readiness, attribution = assessment.cost, assessment.readiness, assessment.attribution
    earned = attribution_section.to_section(attribution) if isinstance(attribution, AttributionResult) else parts.earned(assessment)
    every = [
        Section("why", "Why: the rules", [Bullets(parts.why(assessment))]),
        parts.plan(assessment),
        parts.changes(assessment),
        parts.risks(assessment),
        parts.lift(assessment),
        None if assessment.result is None else sections.curve(assessment.result),
        earned,
        parts.request_time(assessment),
        parts.cost(assessment) if isinstance(cost, Missing) else cost_section(cost),
        parts.network(assessment),
        parts.readiness(assessment) if isinstance(readiness, Missing) else readiness_section(readiness),
    ]
    return [section for section in every if section is not None]


def to_markdown(assessment: AssessmentResult) -> str:
    """The assessment as Markdown: the same sections, without figures and without the tables of every check and every number."""
    every = [
        parts.plan(assessment),
        parts.changes(assessment),
        parts.risks(assessment),
        parts.lift(assessment),
        parts.earned(assessment),
        parts.request_time(assessment),
        parts.cost(assessment),
        parts.network(assessment),
        parts.readiness(assessment),
    ]
    verdict = Section("verdict", parts.headline(assessment), [Text(parts.details(assessment)), Bullets(parts.why(assessment))])
    first = document.to_markdown(verdict).replace("## ", "# ", 1)
    about = f"Assessed {assessment.at}, project {assessment.project}, model {assessment.model}."
    return "\n\n".join([first, about, *map(document.to_markdown, every)]) + "\n"
