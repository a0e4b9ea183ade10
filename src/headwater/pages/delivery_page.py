"""Promise against delivery as a page, as Markdown, for a terminal and for a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.pages import delivery_section, delivery_words, document, level_lift_section
from headwater.pages.document import Section
from headwater.pages.rendering import render, render_page
from headwater.results.level_lift_result import LevelLiftResult
from headwater.results.promise_result import DeliveryResult
from headwater.terminal.layout import Group, Printed, Shown, ShownTable

if TYPE_CHECKING:
    from rich.console import RenderableType


def to_html(result: DeliveryResult, lift: LevelLiftResult | None = None) -> str:
    """One self-contained page; with lift by freshness, where it is given."""
    title = f"{result.promise.model}: promise against delivery"
    sections = [
        delivery_section.to_section(result),
        *([] if lift is None else [level_lift_section.to_section(lift)]),
    ]
    return render_page("delivery.html.j2", title=title, result=result, sections=sections)


def to_markdown(result: DeliveryResult) -> str:
    """The same as Markdown."""
    first = document.to_markdown(Section("verdict", result.first_line, [])).replace("## ", "# ", 1)
    return f"{first}\n\n{document.to_markdown(delivery_section.to_section(result))}\n"


def to_table(result: DeliveryResult) -> RenderableType:
    """The verdict and the weeks, for a terminal."""
    table = delivery_section.to_table(result)
    shown = [
        [row[0], row[1], row[2], row[4], _both(row[5]), _both(row[6]), row[7], row[8]]
        for row in table.rows
    ]
    headings = [str(table.headings[n]) for n in (0, 1, 2, 4, 5, 6, 7, 8)]
    causes = [Shown(f"- {line}") for line in delivery_words.CAUSES] if result.withdrawn else []
    return Printed(
        Group(
            Shown(result.first_line, "bold"),
            Shown(delivery_words.promised(result.promise)),
            ShownTable(table.caption, headings, shown),
            *map(Shown, delivery_words.reasons(result)),
            *map(Shown, filter(None, [delivery_words.from_table(result)])),
            *([Shown("Check first:"), *causes] if causes else []),
        )
    )


def _both(cell: object) -> str:
    """A cell with its smaller line."""
    small = getattr(cell, "small", "")
    return f"{cell} {small}".strip()


def to_text(result: DeliveryResult) -> str:
    """The table as plain text."""
    return repr(to_table(result))


def to_notebook(result: DeliveryResult) -> str:
    """A fragment of HTML for `_repr_html_`, without scripts."""
    section = delivery_section.to_section(result)
    blocks = [block for block in section.blocks if block.shape != "figure"]
    return render(
        "delivery_notebook.html.j2",
        result=result,
        section=Section(section.name, section.heading, blocks),
    )
