"""A first line and one section as a page, as Markdown, for a terminal and for a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from headwater.pages import document
from headwater.pages.document import Bullets, Section, Table, Text
from headwater.pages.rendering import render, render_page
from headwater.terminal.layout import Group, Printed, Shown, ShownTable

if TYPE_CHECKING:
    from rich.console import RenderableType


def to_html(title: str, eyebrow: str, first_line: str, sections: Sequence[Section]) -> str:
    """One self-contained page without scripts."""
    return render_page(
        "answers.html.j2", title=title, eyebrow=eyebrow, first_line=first_line, sections=sections
    )


def to_markdown(first_line: str, sections: Sequence[Section]) -> str:
    """The same as Markdown."""
    first = document.to_markdown(Section("verdict", first_line, [])).replace("## ", "# ", 1)
    return "\n\n".join([first, *map(document.to_markdown, sections)]) + "\n"


def to_table(first_line: str, sections: Sequence[Section]) -> RenderableType:
    """The same for a terminal."""
    parts: list[RenderableType] = [Shown(first_line, "bold")]
    for section in sections:
        if len(sections) > 1:
            parts += [Shown(""), Shown(section.heading, "bold")]
        for block in section.blocks:
            match block:
                case Text(text):
                    parts.append(Shown(text))
                case Bullets(lines):
                    parts += [Shown(f"- {line}") for line in lines]
                case Table(caption, headings, rows):
                    parts.append(ShownTable(caption, headings, rows))
    return Printed(Group(*parts))


def to_notebook(first_line: str, sections: Sequence[Section]) -> str:
    """A fragment of HTML, without scripts."""
    return render("answers_notebook.html.j2", first_line=first_line, sections=sections)
