"""The result as one self-contained page."""

from __future__ import annotations

import base64
import hashlib

from headwater.reports import attribution_section, optional_sections, sections
from headwater.reports.markup import Html, esc, join
from headwater.reports.style import CSS, SCRIPT
from headwater.results.backtest_result import BacktestResult


def to_html(result: BacktestResult) -> str:
    """The result as one self-contained HTML page; plotly's JavaScript is included, about 4.8 MB.

    Order: verdict, lift curve, levels and steps, attribution, transitions, money and folds (if any), what the numbers
    rest on, slices, curves (binary only), assumptions, definitions. Its content security policy
    allows the two scripts of the page, by their hashes, and no network requests.
    """
    # Imported here: a table in a terminal does not need plotly's bundle.
    from plotly.offline import get_plotlyjs

    plotly = get_plotlyjs()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; script-src {_hash(plotly)} {_hash(SCRIPT)}"
    return join(
        [
            Html('<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'),
            Html(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html(f"<title>{esc(result.model)}: feature freshness backtest</title>"),
            Html(f"<style>{CSS}</style>\n</head>\n<body>\n<main>"),
            sections.verdict(result),
            sections.curve(result),
            sections.levels(result),
            attribution_section.to_section(result.attribution),
            optional_sections.transitions(result),
            optional_sections.money(result),
            optional_sections.folds(result),
            sections.trust(result),
            sections.slices(result),
            sections.curves(result),
            sections.assumptions(result),
            sections.definitions(result),
            Html(f"</main>\n<script>{plotly}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"),
        ]
    )


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
