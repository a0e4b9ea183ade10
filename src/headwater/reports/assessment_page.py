"""An assessment as one self-contained page, and as Markdown."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from headwater.reports import assessment_sections as parts
from headwater.reports import attribution_section, document, sections
from headwater.reports.markup import EMPTY, Html, esc, join, paragraph, section
from headwater.reports.readiness_and_cost import cost_section, readiness_section
from headwater.reports.style import CSS, SCRIPT
from headwater.results.assessment_result import AssessmentResult
from headwater.results.attribution_result import AttributionResult
from headwater.results.measurement import Missing

_OWN = """
.action { text-transform: none; }
#others { border: 1px dashed var(--line); border-radius: 10px; padding: 24px; background: var(--faint); }
td:nth-child(2) { white-space: normal; }
"""


def to_html(assessment: AssessmentResult) -> str:
    """The assessment as one self-contained HTML page, plotly's JavaScript included.

    Order: verdict, plan, what would change it, risks, lift, attribution, request time, cost, network effects, readiness, and separate from
    all these, published lifts of others. Its content security policy allows its two scripts, by their hashes, and no network requests.
    """
    from plotly.offline import get_plotlyjs  # imported here: Markdown does not need it

    plotly = get_plotlyjs()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; script-src {_hash(plotly)} {_hash(SCRIPT)}"
    return join(
        [
            Html('<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'),
            Html(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html(f"<title>{esc(assessment.model)}: is real time right?</title>"),
            Html(f"<style>{CSS}{_OWN}</style>\n</head>\n<body>\n<main>"),
            _verdict(assessment),
            *map(document.to_html, (parts.plan(assessment), parts.changes(assessment), parts.risks(assessment), parts.lift(assessment))),
            EMPTY if assessment.result is None else sections.curve(assessment.result),
            attribution_section.to_section(assessment.attribution)
            if isinstance(assessment.attribution, AttributionResult)
            else document.to_html(parts.earned(assessment)),
            document.to_html(parts.request_time(assessment)),
            _missing("cost", "Cost", assessment.cost) if isinstance(assessment.cost, Missing) else cost_section(assessment.cost),
            document.to_html(parts.network(assessment)),
            _missing("readiness", "Readiness", assessment.readiness)
            if isinstance(assessment.readiness, Missing)
            else readiness_section(assessment.readiness),
            document.to_html(parts.others(assessment)),
            Html(f"</main>\n<script>{plotly}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"),
        ]
    )


def to_markdown(assessment: AssessmentResult) -> str:
    """The assessment as Markdown: the same sections, without figures and without the tables of every check and every number."""
    every: Sequence[document.Part] = [
        parts.plan(assessment),
        parts.changes(assessment),
        parts.risks(assessment),
        parts.lift(assessment),
        parts.earned(assessment),
        parts.request_time(assessment),
        parts.cost(assessment),
        parts.network(assessment),
        parts.readiness(assessment),
        parts.others(assessment),
    ]
    head = document.Part(
        "verdict", parts.headline(assessment), [document.Text(assessment.verdict), document.Bullets(parts.why(assessment))]
    )
    first = document.to_markdown(head).replace("## ", "# ", 1)
    return (
        "\n\n".join(
            [first, f"Assessed {assessment.at}, project {assessment.project}, model {assessment.model}.", *map(document.to_markdown, every)]
        )
        + "\n"
    )


def _verdict(assessment: AssessmentResult) -> Html:
    why = document.to_html(document.Part("why", "Why: the rules", [document.Bullets(parts.why(assessment))]))
    return join(
        [
            Html('<section id="verdict">'),
            paragraph(f"{assessment.project} · model {assessment.model} · assessed {assessment.at}", "eyebrow"),
            Html(f"<h1>{esc(parts.headline(assessment))}</h1>"),
            paragraph(assessment.verdict, "lead"),
            Html("</section>"),
            why,
        ]
    )


def _missing(name: str, heading: str, why: Missing) -> Html:
    return section(name, heading, paragraph(f"Not known: {why.reason}"))


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
