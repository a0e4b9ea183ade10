"""Strings and tables for a terminal of any width and character set."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headwater.reports import wording

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, RenderableType

VERDICT_STYLES = {
    "LIFT": "bold green",
    "harm": "bold red",
    "no lift worth having": "yellow",
    "not proven": "yellow",
    "cannot be measured": "yellow",
}
_PLAIN = str.maketrans(
    {
        wording.MINUS: "-",
        wording.ARROW: "->",
        wording.NO_VALUE: "-",
        "\N{NO-BREAK SPACE}": " ",
        "\N{MULTIPLICATION SIGN}": "x",
    }
)


def plain(text: str, style: str = "", *, ascii_only: bool) -> Text:
    """A user's string, escaped: no markup, and no control codes for the terminal."""
    printable = "".join(character if character.isprintable() else " " for character in text.replace("\n", " "))
    if ascii_only:
        printable = printable.translate(_PLAIN).encode("ascii", "backslashreplace").decode("ascii")
    return Text(printable, style)


def empty_table(title: str, *, ascii_only: bool) -> Table:
    """An empty table."""
    return Table(
        title=plain(title, "bold", ascii_only=ascii_only),
        title_justify="left",
        box=box.ASCII if ascii_only else box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
        collapse_padding=True,
    )


@dataclass(frozen=True)
class Printed:
    """A renderable whose repr is its rendering: at a prompt, the table itself."""

    content: RenderableType

    def __rich__(self) -> RenderableType:
        return self.content

    def __repr__(self) -> str:
        console = Console(width=_WIDTH, file=io.StringIO(), force_terminal=False, color_system=None)
        with console.capture() as captured:
            console.print(self.content)
        return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())


_WIDTH = 100


@dataclass(frozen=True)
class Shown:
    """A string that is reduced to the console's character set when it is printed."""

    text: str
    style: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield plain(self.text, self.style, ascii_only=options.ascii_only)


@dataclass(frozen=True)
class ShownTable:
    """A table that is reduced to the console's character set when it is printed; verdicts are coloured.

    whole: how many columns, from the first, are never broken into lines, such as names to copy.
    """

    title: str
    headings: Sequence[object]
    rows: Sequence[Sequence[object]]
    whole: int = 0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        table = empty_table(self.title, ascii_only=options.ascii_only)
        for number, heading in enumerate(self.headings):
            table.add_column(plain(str(heading), ascii_only=options.ascii_only), overflow="fold", no_wrap=number < self.whole)
        for row in self.rows:
            table.add_row(*(plain(cell, VERDICT_STYLES.get(cell, ""), ascii_only=options.ascii_only) for cell in map(str, row)))
        yield table
