"""The forms of a page: HTML, a fragment for notebooks, Markdown, and the lines of a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from headwater.pages import wording
from headwater.pages.document import (
    Block,
    Bullets,
    Cell,
    Code,
    Section,
    Table,
    Terms,
    Text,
    plain,
)
from headwater.pages.document import (
    to_markdown as section_to_markdown,
)
from headwater.pages.page import Page, Row, Rows
from headwater.pages.rendering import part, render
from headwater.terminal.layout import PROSE, Group, Printed, Shown, ShownTable
from headwater.terminal.text import wrapped

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

LINES: Final = 25
_BELOW: Final = 3  # lines that a command prints below: where the page is, and the next command
_STYLES: Final = {"contradicted": "red", "declared": "yellow", "not observable": "yellow"}


def to_html(page: Page) -> str:
    """A page of its own, which needs no network."""
    return render("result.html.j2", style=part("page.css"), page=page)


def to_notebook(page: Page) -> str:
    """A fragment without a script and a style sheet."""
    rows = [] if page.rows is None else _table(page.rows)
    return render("notebook.html.j2", page=page, rows=rows)


def to_markdown(page: Page) -> str:
    """The page as Markdown."""
    parts = [f"# {plain(page.sentence)}", *map(plain, filter(None, [page.effect]))]
    if page.rows is not None:
        head, *rows = _table(page.rows)
        lines = [head, ["---"] * len(head), *([plain(cell) for cell in row] for row in rows)]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    parts.append("\n".join(f"- {plain(line)}" for line, _ in _lines(page)))
    parts += [section_to_markdown(Section("", fold.title, fold.blocks)) for fold in page.folds]
    parts.append("\n".join(f"- {name}: {plain(text)}" for name, text in page.foot))
    return "\n\n".join(filter(None, parts)) + "\n"


def to_terminal(page: Page, *, verbose: bool = False) -> RenderableType:
    """The first screen, in as many lines as a small terminal has; with verbose, all of it.

    Conditions and notes that do not fit are counted; sentence, effect and rows are always there.
    """
    return Printed(_Screen(page, verbose))


@dataclass(frozen=True)
class _Screen:
    page: Page
    verbose: bool

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        page, columns = self.page, min(options.max_width, PROSE)
        head = [Shown(page.sentence, "bold red" if page.bad else "bold"), Shown(page.effect)]
        head = [part for part in head if part.text]
        foot: list[RenderableType] = (
            [] if page.rows is None else [Shown(""), _shown_rows(page.rows)]
        )
        steps = [step for command, step in page.next if not command]
        if steps:
            foot += [Shown(""), Shown("Next", "bold"), *(Shown(f"- {step}") for step in steps)]
        lines = [Shown(f"- {line}", style) for line, style in _lines(page)]
        if not self.verbose:
            said = "; ".join(f"{name}: {text}" for name, text in page.foot[:2])
            foot += [Shown(""), Shown(said, "dim")] if said else []
            above = Group(*head, *foot)
            used = len(console.render_lines(above, options, pad=False))
            lines = list(_fitting(lines, LINES - _BELOW - used, columns))
        yield Group(*head, *lines, *foot)
        for fold in page.folds if self.verbose else ():
            shown = [part for block in fold.blocks for part in _shown(block)]
            yield Group(Shown(""), Shown(fold.title, "bold"), *shown)
        for name, text in page.foot if self.verbose else ():
            yield Shown(f"{name}: {text}", "dim")


def _lines(page: Page) -> list[tuple[str, str]]:
    """Conditions and notes, each with its style."""
    conditions = [
        (f"{one.state}: {' '.join(filter(None, [one.text, one.why]))}", _STYLES.get(one.state, ""))
        for one in page.conditions
    ]
    return conditions + [(note, "") for note in page.notes]


def _fitting(lines: Sequence[Shown], room: int, columns: int) -> Iterator[Shown]:
    """The lines that fit into so many rows of a terminal, in order, and how many do not."""
    lengths = [len(wrapped(line.text, columns)) for line in lines]
    fit = next(
        (n for n in range(len(lengths), 0, -1) if sum(lengths[:n]) + (n < len(lengths)) <= room), 0
    )
    yield from lines[:fit]
    if hidden := len(lines) - fit:
        yield Shown(f"- and {hidden} more: the page has {'them' if hidden > 1 else 'it'}")


def _table(rows: Rows) -> list[list[str]]:
    """The first table as text: its headings, then its rows."""
    drawn = any(row.value is not None for row in rows.rows)
    judged = any(row.state for row in rows.rows)
    head = [*rows.headings, *([rows.title] if drawn else []), *(["verdict"] if judged else [])]
    return [
        head,
        *([*_cells(row, rows, drawn=drawn), *([row.state] * judged)] for row in rows.rows),
    ]


def _cells(row: Row, rows: Rows, *, drawn: bool) -> list[str]:
    value = (
        ""
        if row.value is None
        else (
            f"{wording.number(row.value.value, rows.places, signed=True)} "
            f"{wording.interval(row.value.low, row.value.high, rows.places)}"
        ).rstrip()
    )
    return [row.name, row.note, *row.cells, *([value] if drawn else [])]


def _shown_rows(rows: Rows) -> ShownTable:
    head, *lines = _table(rows)
    for line, row in zip(lines, rows.rows, strict=True):
        line[0] += " \N{LEFTWARDS ARROW}" if row.chosen else ""
    return ShownTable("", head, lines)


def _shown(block: Block) -> list[RenderableType]:
    """A block of a fold in a terminal."""
    match block:
        case Text(text) if text:
            return [Shown(text)]
        case Bullets(lines):
            return [Shown(f"- {line}") for line in lines]
        case Code(text):
            return [Shown(text, "dim", whole=True)]
        case Terms(rows):
            return [Shown(f"{name}: {value}") for name, value in rows]
        case Table(caption, headings, rows) if rows:
            cells = [
                [
                    (Shown(cell.text), Shown(cell.small, "dim"))
                    if isinstance(cell, Cell) and cell.small
                    else str(cell)
                    for cell in row
                ]
                for row in rows
            ]
            return [Shown(""), ShownTable(caption, [str(h) for h in headings], cells)]
    return []
