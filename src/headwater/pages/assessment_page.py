"""An assessment as one self-contained page, and as Markdown."""

from __future__ import annotations

from dataclasses import replace

from headwater.pages import assessment_lights as lights
from headwater.pages import assessment_sections as parts
from headwater.pages import attribution_section, backtest_page, document
from headwater.pages.document import Bullets, Section, Text
from headwater.pages.readiness_and_cost import cost_section, readiness_section
from headwater.pages.rendering import render, render_page
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
        sections=to_sections(assessment),
    )


def to_sections(assessment: AssessmentResult) -> list[Section]:
    """The sections after the verdict.

    Order: four lights, the lift curve, next steps; folded: rules, lift, attribution,
    request time, cost, network effects, readiness.
    """
    cost, readiness, attribution = assessment.cost, assessment.readiness, assessment.attribution
    earned = (
        Section(
            "attribution",
            "Which views earn from freshness",
            [Text(attribution.plan), *attribution_section.to_blocks(attribution)],
        )
        if isinstance(attribution, AttributionResult)
        else parts.earned(assessment)
    )
    folded = [
        Section(
            "why",
            "Why: the rules",
            [Text(parts.details(assessment)), Bullets(parts.why(assessment))],
        ),
        parts.lift(assessment),
        earned,
        parts.request_time(assessment),
        parts.cost(assessment) if isinstance(cost, Missing) else cost_section(cost),
        parts.network(assessment),
        parts.readiness(assessment)
        if isinstance(readiness, Missing)
        else readiness_section(readiness),
    ]
    curve = None if assessment.result is None else backtest_page.curve(assessment.result)
    picture = [] if curve is None else [Section("curve", curve.title, [curve])]
    head = [lights.at_a_glance(assessment), *picture, lights.next_steps(assessment)]
    return [*head, *(replace(section, folded=True) for section in folded if section is not None)]


def to_notebook(assessment: AssessmentResult) -> str:
    """The recommendation, the four lights and the next steps as a fragment of HTML, without
    scripts.
    """
    glance = Bullets(
        [f"{light.question}: {light.word}. {light.why}" for light in lights.four(assessment)]
    )
    steps = [Text("Next steps:"), *lights.next_steps(assessment).blocks]
    return render(
        "sections_notebook.html.j2",
        first=parts.headline(assessment),
        sections=[Section("glance", "", [glance, *steps])],
    )


def to_markdown(assessment: AssessmentResult) -> str:
    """The assessment as Markdown: the same sections, without figures and without the tables of
    every check and every number.
    """
    every = [
        lights.at_a_glance(assessment),
        lights.next_steps(assessment),
        parts.lift(assessment),
        parts.earned(assessment),
        parts.request_time(assessment),
        parts.cost(assessment),
        parts.network(assessment),
        parts.readiness(assessment),
    ]
    verdict = Section(
        "verdict",
        parts.headline(assessment),
        [Text(parts.details(assessment)), Bullets(parts.why(assessment))],
    )
    first = document.to_markdown(verdict).replace("## ", "# ", 1)
    about = f"Assessed {assessment.at}, project {assessment.project}, model {assessment.model}."
    return "\n\n".join([first, about, *map(document.to_markdown, every)]) + "\n"
