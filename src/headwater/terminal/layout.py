"""Sentences and tables that fit a terminal of any width: nothing is cut, and no word is broken.

A table whose columns do not fit becomes a block for each row, with a line for each cell. Without a
terminal, a row is one line.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from rich.text import Text

from headwater.terminal.text import (
    columns_of,
    encodable,
    indent_of,
    line_ends,
    longest_word,
    moment,
)

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

PROSE: Final = 100  # columns of a sentence, also where a terminal has more, or there is none
_GAP: Final = 2  # columns between two columns of a table
_INDENT: Final = "  "  # of the lines of a cell below its first
_RULE: Final = "\N{BOX DRAWINGS LIGHT HORIZONTAL}"
_STYLES: Final = {
    "LIFT": "bold green",
    "harm": "bold red",
    "no lift worth having": "yellow",
    "not proven": "yellow",
    "cannot be measured": "yellow",
}


@dataclass(frozen=True)
class Shown:
    """Sentences, broken between words. whole: lines that are never broken, such as a command to
    copy.
    """

    text: str
    style: str = ""
    whole: bool = False

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        columns = min(options.max_width, PROSE)
        for line in encodable(self.text, options.encoding).split("\n"):
            indent = indent_of(line)
            ends = [(0, len(line))] if self.whole else line_ends(line, columns, len(indent))
            for number, (begin, end) in enumerate(ends):
                yield _line([(indent if number else "", ""), (line[begin:end], self.style)])


Cell = str | Shown | Sequence[Shown]
"""A cell of a table: a text, or one with a style, or several below each other."""


@dataclass(frozen=True)
class ShownTable:
    """A table. headings and cells are `Cell`s or plain values; a text that is a verdict has its
    colour.

    right: the numbers of the columns that line up on the right.
    """

    title: str
    headings: Sequence[object]
    rows: Sequence[Sequence[object]]
    right: Sequence[int] = ()

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        if self.title:
            yield Shown(self.title, "bold")
        heads = [_lines(cell, options.encoding, "bold") for cell in self.headings]
        rows = [[_lines(cell, options.encoding) for cell in row] for row in self.rows]
        widths = _widths([heads, *rows], options.max_width)
        if widths is None:
            yield from _blocks(heads, rows, options.max_width)
            return
        if any(text for head in heads for text, _ in head):
            yield from self._row(heads, widths)
            yield _line(
                [
                    (
                        encodable(_RULE, options.encoding)
                        * (sum(widths) + _GAP * (len(widths) - 1)),
                        "",
                    )
                ]
            )
        for row in rows:
            yield from self._row(row, widths)

    def _row(self, cells: Sequence[_Lines], widths: Sequence[int]) -> Iterator[Text]:
        columns = [_broken(cell, width) for cell, width in zip(cells, widths, strict=True)]
        for number in range(max(map(len, columns), default=0)):
            parts: list[tuple[str, str]] = []
            for n, (column, width) in enumerate(zip(columns, widths, strict=True)):
                text, style = column[number] if number < len(column) else ("", "")
                space = " " * (width - columns_of(text))
                parts += (
                    [(space, ""), (text, style)]
                    if n in self.right
                    else [(text, style), (space, "")]
                )
                parts.append((" " * _GAP, ""))
            yield _line(parts)


class Group:
    """Parts below each other."""

    def __init__(self, *parts: RenderableType) -> None:
        self.parts = parts

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        yield from self.parts


@dataclass(frozen=True)
class Printed:
    """A renderable whose repr is its rendering: at a prompt, the table itself."""

    content: RenderableType

    def __rich__(self) -> RenderableType:
        return self.content

    def __repr__(self) -> str:
        from rich.console import Console

        from headwater.terminal.console import Trimmed

        console = Console(width=PROSE, file=io.StringIO(), force_terminal=False, color_system=None)
        with console.capture() as captured:
            console.print(Trimmed(self.content), soft_wrap=True)
        return captured.get().rstrip("\n")


_Lines = list[tuple[str, str]]  # each with its style


def _lines(cell: object, encoding: str, style: str = "") -> _Lines:
    """The lines of a cell, as the stream takes them, each with its style."""
    if isinstance(cell, Shown):
        return [
            (line, cell.style or style)
            for line in encodable(cell.text.replace("\t", " "), encoding).split("\n")
        ]
    if isinstance(cell, Sequence) and not isinstance(cell, str | bytes):
        return [line for part in cell for line in _lines(part, encoding, style)]
    text = _text(cell)
    return _lines(Shown(text, style or _STYLES.get(text, "")), encoding)


def _text(value: object) -> str:
    """A value of a frame, or anything else that is not a `Cell`."""
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return "" if value is None else str(value)


def _widths(rows: Sequence[Sequence[_Lines]], columns: int) -> list[int] | None:
    """The width of each column: its longest line, or less where its cells are broken between words;
    None where that is too much.
    """
    wanted = [max((columns_of(text) for text, _ in lines), default=0) for lines in _by_column(rows)]
    least = [
        max((longest_word(text) for text, _ in lines), default=0) for lines in _by_column(rows)
    ]
    room = columns - _GAP * (len(wanted) - 1)
    if sum(wanted) <= room:
        return wanted
    if sum(least) > room:
        return None
    widths, spare = list(least), room - sum(least)
    while spare > 0:  # a column at a time: the one that is broken into the most lines
        lacking = [
            n for n, (width, most) in enumerate(zip(widths, wanted, strict=True)) if width < most
        ]
        n = max(lacking, key=lambda n: wanted[n] / widths[n])
        widths[n], spare = widths[n] + 1, spare - 1
    return widths


def _by_column(rows: Sequence[Sequence[_Lines]]) -> list[_Lines]:
    return [[line for cell in column for line in cell] for column in zip(*rows, strict=True)]


def _broken(cell: _Lines, width: int) -> _Lines:
    return [
        (text[begin:end].strip(" "), style)
        for text, style in cell
        for begin, end in line_ends(text, width)
    ]


def _blocks(
    heads: Sequence[_Lines], rows: Sequence[Sequence[_Lines]], columns: int
) -> Iterator[Text]:
    """Each row as a block: a line for each cell that is not empty, with its heading."""
    names = [" ".join(text for text, _ in head) for head in heads]
    for number, row in enumerate(rows):
        if number:
            yield Text()
        for name, cell in zip(names, row, strict=True):
            lead = f"{name}: " if name else ""
            for text, style in (line for line in cell if line[0]):
                if lead.strip() and columns_of(lead) + longest_word(text.split(" ")[0]) > columns:
                    yield _line([(lead.rstrip(), "bold")])
                    lead = _INDENT
                whole = " " * columns_of(lead) + text
                for begin, end in line_ends(whole, columns, len(_INDENT)):
                    yield _line([(lead, "bold"), (whole[begin:end].lstrip(" "), style)])
                    lead = _INDENT


def _line(parts: Sequence[tuple[str, str]]) -> Text:
    """One line, which nothing breaks or cuts."""
    return Text.assemble(*(part for part in parts if part[0]), no_wrap=True, overflow="ignore")
