"""Drift as a page, as Markdown, for a terminal and for a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.pages import document, drift_words, wording
from headwater.pages.document import Block, Bullets, Cell, Section, Table, Text
from headwater.pages.rendering import render, render_page
from headwater.results.drift_result import DriftResult, FeatureDrift
from headwater.terminal.layout import Group, Printed, Shown, ShownTable

if TYPE_CHECKING:
    from rich.console import RenderableType

_SHOWN = 20  # features that did not shift, in a terminal


def to_section(result: DriftResult) -> Section:
    """A row for each feature, and the rule."""
    expected = [str(check) for check in result.expectations]
    blocks: list[Block] = [to_table_of(result), Text(drift_words.RULE, "quiet")]
    if expected:
        blocks += [Text("Expectations of views:"), Bullets(expected)]
    return Section("drift", "Drift since training", blocks)


def to_table_of(result: DriftResult) -> Table:
    """A row for each feature, on its latest day."""
    headings: list[str | Cell] = [
        "feature",
        "verdict",
        Cell("PSI", "by chance below"),
        Cell("null", "in training"),
        "what moved most",
        "statuses",
        "since",
        "rows of the day",
    ]
    return Table(
        f"Version {result.version}, trained until {result.trained_until[:10]}; the latest whole "
        "day, UTC.",
        headings,
        [_row(feature) for feature in result.features],
    )


def _row(feature: FeatureDrift) -> list[str | Cell]:
    if not feature.days:
        return [feature.feature, Cell(feature.state, feature.reason), *[wording.NO_VALUE] * 6]
    day = feature.days[-1]
    chip = "chip harm" if feature.state == "alert" else ""
    return [
        feature.feature,
        Cell(feature.state, feature.reason, chip),
        Cell(wording.number(day.psi, 2), wording.number(day.limit, 2)),
        Cell(_share(day.null_share), _share(feature.reference[-1])),
        drift_words.moved_most(feature) if day.shifted else "",
        drift_words.statuses(feature) if day.status_shifted else "",
        feature.since,
        wording.count(day.rows),
    ]


def _share(share: float) -> str:
    return f"{share:.1%}"


def to_html(result: DriftResult) -> str:
    """One self-contained page."""
    return render_page(
        "drift.html.j2",
        title=f"{result.model}: drift",
        result=result,
        sections=[to_section(result)],
    )


def to_markdown(result: DriftResult) -> str:
    """The same as Markdown."""
    first = document.to_markdown(Section("verdict", result.first_line, [])).replace("## ", "# ", 1)
    return f"{first}\n\n{document.to_markdown(to_section(result))}\n"


def to_table(result: DriftResult) -> RenderableType:
    """The features that moved, and the first of the others, for a terminal."""
    moved, table = result.shifted, to_table_of(result)
    shown = table.rows[: len(moved) + _SHOWN]  # those that moved come first
    more = len(table.rows) - len(shown)
    texts = [[str(row[0]), str(row[1]), _both(row[2]), _both(row[3]), str(row[6])] for row in shown]
    headings = ["feature", "verdict", "PSI (chance below)", "null (training)", "since"]
    return Printed(
        Group(
            Shown(result.first_line, "bold"),
            ShownTable(table.caption, headings, texts),
            *(Shown(f"- {line}") for feature in moved for line in drift_words.details(feature)),
            *([Shown(f"and {more} more features that did not shift")] if more else []),
            *(Shown(f"- {check}", "" if check.holds else "red") for check in result.expectations),
        )
    )


def _both(cell: str | Cell) -> str:
    small = cell.small if isinstance(cell, Cell) else ""
    return f"{cell} ({small})" if small else str(cell)


def to_text(result: DriftResult) -> str:
    """The table as plain text."""
    return repr(to_table(result))


def to_notebook(result: DriftResult) -> str:
    """A fragment of HTML for `_repr_html_`, without scripts."""
    return render("delivery_notebook.html.j2", result=result, section=to_section(result))
