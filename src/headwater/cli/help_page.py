"""Help pages of any width: sentences break between words, and commands stay whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from typing import Final

import click

from headwater.terminal.standard_streams import STDOUT
from headwater.terminal.text import columns_of, wrapped

# columns of a description next to its name; where there are fewer, it is on the line below
_LEAST: Final = 24
_RAW: Final = "\b"  # a paragraph that begins with this line keeps its lines


class HelpPage(click.HelpFormatter):
    """The text of a help page, of at most so many columns."""

    def __init__(self, width: int | None = None, max_width: int | None = None) -> None:
        columns = shutil.get_terminal_size().columns if width is None else width
        super().__init__(width=min(columns, max_width or 80) - 2)

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """The name of the command and what follows it."""
        first, *more = wrapped(f"{prefix or 'Usage: '}{prog} {args}".rstrip(), self.width)
        self.write("".join(f"{line}\n" for line in [first, *(f"    {line}" for line in more)]))

    def write_text(self, text: str) -> None:
        """Paragraphs."""
        margin = " " * self.current_indent
        pages = [
            self._lines(paragraph, self.width - len(margin)) for paragraph in text.split("\n\n")
        ]
        self.write(
            "\n\n".join("\n".join(f"{margin}{line}".rstrip() for line in lines) for lines in pages)
            + "\n"
        )

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Names with their descriptions: side by side, or below each other where the line is too
        short.
        """
        listed, margin = list(rows), " " * self.current_indent
        first = min(max((columns_of(name) for name, _ in listed), default=0), col_max) + col_spacing
        side_by_side = self.width - first - len(margin) >= _LEAST
        indent = margin + " " * (first if side_by_side else 2 * self.indent_increment)
        for name, description in listed:
            lines = self._lines(description, self.width - len(indent)) if description else []
            joined = side_by_side and lines and columns_of(name) <= first - col_spacing
            self.write(
                f"{margin}{name}{' ' * (first - columns_of(name))}{lines.pop(0)}\n"
                if joined
                else f"{margin}{name}\n"
            )
            self.write("".join(f"{indent}{line}\n" for line in lines))

    @staticmethod
    def _lines(paragraph: str, columns: int) -> list[str]:
        lines = paragraph.strip("\n").split("\n")
        return (
            lines[1:]
            if lines[0].strip() == _RAW
            else wrapped(" ".join(line.strip() for line in lines), columns)
        )


class HelpContext(click.Context):
    """A context whose help pages are `HelpPage`s."""

    formatter_class = HelpPage


def show_page(ctx: click.Context, _param: click.Parameter, value: object) -> None:
    """The callback of --help: print the page, and stop."""
    if value and not ctx.resilient_parsing:
        STDOUT.write(ctx.get_help() + "\n")
        ctx.exit()
