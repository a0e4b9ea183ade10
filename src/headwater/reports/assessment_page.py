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


def to_html(found: AssessmentResult) -> str:
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
            Html(f"<title>{esc(found.model)}: is real time right?</title>"),
            Html(f"<style>{CSS}{_OWN}</style>\n</head>\n<body>\n<main>"),
            _verdict(found),
            *map(document.to_html, (parts.plan(found), parts.changes(found), parts.risks(found), parts.lift(found))),
            EMPTY if found.result is None else sections.curve(found.result),
            attribution_section.to_section(found.attribution)
            if isinstance(found.attribution, AttributionResult)
            else document.to_html(parts.earned(found)),
            document.to_html(parts.request_time(found)),
            _missing("cost", "Cost", found.cost) if isinstance(found.cost, Missing) else cost_section(found.cost),
            document.to_html(parts.network(found)),
            _missing("readiness", "Readiness", found.readiness)
            if isinstance(found.readiness, Missing)
            else readiness_section(found.readiness),
            document.to_html(parts.others(found)),
            Html(f"</main>\n<script>{plotly}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"),
        ]
    )


def to_markdown(found: AssessmentResult) -> str:
    """The assessment as Markdown: the same sections, without figures and without the tables of every check and every number."""
    every: Sequence[document.Part] = [
        parts.plan(found),
        parts.changes(found),
        parts.risks(found),
        parts.lift(found),
        parts.earned(found),
        parts.request_time(found),
        parts.cost(found),
        parts.network(found),
        parts.readiness(found),
        parts.others(found),
    ]
    head = document.Part("verdict", parts.headline(found), [document.Text(found.verdict), document.Bullets(parts.why(found))])
    first = document.to_markdown(head).replace("## ", "# ", 1)
    return (
        "\n\n".join([first, f"Assessed {found.at}, project {found.project}, model {found.model}.", *map(document.to_markdown, every)])
        + "\n"
    )


def _verdict(found: AssessmentResult) -> Html:
    why = document.to_html(document.Part("why", "Why: the rules", [document.Bullets(parts.why(found))]))
    return join(
        [
            Html('<section id="verdict">'),
            paragraph(f"{found.project} · model {found.model} · assessed {found.at}", "eyebrow"),
            Html(f"<h1>{esc(parts.headline(found))}</h1>"),
            paragraph(found.verdict, "lead"),
            Html("</section>"),
            why,
        ]
    )


def _missing(name: str, heading: str, why: Missing) -> Html:
    return section(name, heading, paragraph(f"Not known: {why.reason}"))


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
