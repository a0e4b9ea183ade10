"""Lift by freshness over time as a page, as Markdown, for a terminal and for a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.pages import document, level_lift_section, level_lift_words
from headwater.pages.document import Section, Table
from headwater.pages.rendering import render, render_page
from headwater.results.level_lift_result import LevelLiftResult
from headwater.terminal.layout import Group, Printed, Shown, ShownTable

if TYPE_CHECKING:
    from rich.console import RenderableType


def to_html(result: LevelLiftResult) -> str:
    """One self-contained page."""
    title = f"{result.model}: lift by freshness"
    return render_page(
        "level_lift.html.j2",
        title=title,
        result=result,
        sections=[level_lift_section.to_section(result)],
    )


def to_markdown(result: LevelLiftResult) -> str:
    """The same as Markdown."""
    first = document.to_markdown(Section("verdict", result.first_line, [])).replace("## ", "# ", 1)
    return f"{first}\n\n{document.to_markdown(level_lift_section.to_section(result))}\n"


def to_table(result: LevelLiftResult) -> RenderableType:
    """The first line, the levels and views, and the days, for a terminal."""
    return Printed(
        Group(
            Shown(result.first_line, "bold"),
            _shown(level_lift_section.alternatives(result), (0, 2, 3, 4, 5, 6, 7, 9)),
            *(Shown(f"- {alternative.sentence}") for alternative in result.alternatives),
            _shown(level_lift_section.days(result), None),
            Shown(level_lift_words.trained(result)),
            *(Shown(f"- {note}") for note in result.notes),
        )
    )


def to_notebook(result: LevelLiftResult) -> str:
    """A fragment of HTML for `_repr_html_`, without scripts."""
    section = level_lift_section.to_section(result)
    blocks = [block for block in section.blocks if block.shape != "figure"]
    return render(
        "delivery_notebook.html.j2",
        result=result,
        section=Section(section.name, section.heading, blocks),
    )


def _shown(table: Table, columns: tuple[int, ...] | None) -> ShownTable:
    """The columns of a table, all where None, with the smaller line of each cell."""
    chosen = columns or tuple(range(len(table.headings)))
    rows = [
        [f"{row[n]} {getattr(row[n], 'small', '')}".strip() for n in chosen] for row in table.rows
    ]
    return ShownTable(table.caption, [str(table.headings[n]) for n in chosen], rows)
