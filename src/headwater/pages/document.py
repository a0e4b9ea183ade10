"""A page as sections of data: text, lists, tables, figures and cards. Templates write them as HTML;
Markdown is written here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from headwater.pages.pictures import Picture
from headwater.terminal.text import visible


@dataclass(frozen=True)
class Text:
    """A paragraph. kind: "" or a class of the style sheet, such as "lead" or "quiet". chip: a label
    before it, with its class.
    """

    text: str
    kind: str = ""
    chip: tuple[str, str] | None = None
    shape: ClassVar = "text"


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    lines: Sequence[str]
    shape: ClassVar = "bullets"


@dataclass(frozen=True)
class Cell:
    """A cell of a table: a text, a smaller one below it, and the class of a coloured label."""

    text: str
    small: str = ""
    chip: str = ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Table:
    """A table; the first cell of a row is its heading."""

    caption: str
    headings: Sequence[str | Cell]
    rows: Sequence[Sequence[str | Cell]]
    shape: ClassVar = "table"


@dataclass(frozen=True)
class Figure:
    """A picture. says: the alternative text."""

    picture: Picture
    says: str
    caption: str
    title: str = ""
    shape: ClassVar = "figure"


@dataclass(frozen=True)
class Terms:
    """Terms, each with a value."""

    rows: Sequence[tuple[str, str]]
    shape: ClassVar = "terms"


@dataclass(frozen=True)
class Code:
    """Preformatted text."""

    text: str
    shape: ClassVar = "code"


Block = Text | Bullets | Table | Figure | Terms | Code


@dataclass(frozen=True)
class Section:
    """A section of a page under its heading. `name` is its id."""

    name: str
    heading: str
    blocks: Sequence[Block]


def to_markdown(section: Section) -> str:
    """The paragraphs, lists and tables of a section as Markdown."""
    blocks = [text for block in section.blocks if (text := _markdown(block))]
    return "\n\n".join([f"## {plain(section.heading)}", *blocks])


def _markdown(block: Block) -> str:
    match block:
        case Text(text):
            return plain(text)
        case Bullets(lines):
            return "\n".join(f"- {plain(line)}" for line in lines)
        case Table(caption, headings, rows) if rows:
            heads = [_row([str(heading) for heading in headings]), _row(["---"] * len(headings))]
            return f"{plain(caption)}:\n\n" + "\n".join(
                [*heads, *(_row([plain(str(cell)) for cell in row]) for row in rows)]
            )
    return ""


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def plain(text: str) -> str:
    r"""A user's text escaped for Markdown.

    >>> plain("a|b <i> *c* [x]")
    'a\\|b &lt;i&gt; \\*c\\* \\[x\\]'
    """
    text = (
        visible(" ".join(text.split()))
        .replace("\\", "\\\\")
        .replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
    )
    for mark in "|*`[]":
        text = text.replace(mark, f"\\{mark}")
    return text
