"""The result as one self-contained page."""

from __future__ import annotations

from dataclasses import replace

from headwater.reports import (
    age_section,
    attribution_section,
    attribution_words,
    evidence_words,
    optional_sections,
    sections,
)
from headwater.reports.document import CsvDownloads, Section
from headwater.reports.page import render_page
from headwater.reports.result_frames import csv_files
from headwater.results.backtest_result import BacktestResult

_FOLDED = frozenset({"attribution", "timestamps", "folds", "trust", "curves", "definitions"})


def to_html(result: BacktestResult) -> str:
    """The result as one self-contained HTML page; plotly's JavaScript is included, about 4.8 MB."""
    return render_page(
        "backtest.html.j2",
        title=f"{result.model}: feature freshness backtest",
        verdict=sections.verdict(result),
        experiments=evidence_words.of_experiments(result),
        sections=to_sections(result),
        files=CsvDownloads(result.model, list(csv_files(result).items())),
    )


def to_sections(result: BacktestResult) -> list[Section]:
    """The sections after the verdict.

    Order: lift curve, levels and steps, lift by age, attribution, timestamps, money
    and folds (if any), what the numbers rest on, slices, curves (binary only),
    assumptions, definitions. Details are folded.
    """
    parts = [
        sections.curve(result),
        sections.levels(result),
        age_section.to_section(result),
        attribution_section.to_section(attribution_words.below_the_first_line(result)),
        optional_sections.timestamps(result),
        optional_sections.money(result),
        optional_sections.folds(result),
        sections.trust(result),
        sections.slices(result),
        sections.curves(result),
        sections.assumptions(result),
        sections.definitions(result),
    ]
    return [replace(part, folded=part.name in _FOLDED) for part in parts if part is not None]
