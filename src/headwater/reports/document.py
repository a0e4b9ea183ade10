"""A page as sections of plain text; HTML and Markdown are written from the same sections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headwater.reports.markup import Html, bullets, esc, grid, paragraph, section


@dataclass(frozen=True)
class Text:
    """A paragraph. kind: "" or a class of the style sheet, such as "lead" or "quiet"."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Table:
    """A table of strings."""

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


Block = Text | Bullets | Table


@dataclass(frozen=True)
class Part:
    """A section of a page under its heading. `name` is its id."""

    name: str
    heading: str
    blocks: Sequence[Block]


def to_html(page_section: Part) -> Html:
    """The section as HTML."""
    return section(page_section.name, page_section.heading, *(_html(block) for block in page_section.blocks))


def _html(block: Block) -> Html:
    match block:
        case Text(text, kind):
            return paragraph(text, kind)
        case Bullets(lines):
            return bullets(lines)
        case Table(caption, headings, rows):
            return grid(caption, [esc(text) for text in headings], [[esc(cell) for cell in row] for row in rows])


def to_markdown(page_section: Part) -> str:
    """The section as Markdown."""
    return "\n\n".join([f"## {_plain(page_section.heading)}", *(_markdown(block) for block in page_section.blocks if not _empty(block))])


def _markdown(block: Block) -> str:
    match block:
        case Text(text):
            return _plain(text)
        case Bullets(lines):
            return "\n".join(f"- {_plain(line)}" for line in lines)
        case Table(caption, headings, rows):
            lines = [_row(headings), _row(["---"] * len(headings)), *(_row([_plain(cell) for cell in row]) for row in rows)]
            return f"{_plain(caption)}:\n\n" + "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _empty(block: Block) -> bool:
    return not (block.lines if isinstance(block, Bullets) else block.text if isinstance(block, Text) else block.rows)


def _plain(text: str) -> str:
    r"""A user's text escaped for Markdown.

    >>> _plain("a|b <i> *c* [x]")
    'a\\|b &lt;i&gt; \\*c\\* \\[x\\]'
    """
    text = " ".join(text.split()).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for mark in "|*`[]":
        text = text.replace(mark, f"\\{mark}")
    return text
