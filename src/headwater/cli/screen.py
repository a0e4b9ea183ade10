"""Output of commands: results on standard output; errors, progress and hints on standard error."""

from __future__ import annotations

import json
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

WIDE = 100  # of a table that goes into a file

# C0 except tab and newline, DEL and C1, bidirectional marks, line separators and invisible characters.
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff]")

OnProgress = Callable[[str, int, int], None]


class Screen:
    """Where a command writes. rich is loaded with the first line, and chooses colours by what the terminal can show."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def show(self, table: RenderableType, data: Mapping[str, object]) -> None:
        """Print a result: the table, or with --json the data."""
        if self.as_json:
            sys.stdout.write(json.dumps(data, indent=1, allow_nan=False) + "\n")
        else:
            _console(sys.stdout, None if sys.stdout.isatty() else WIDE).print(_Visible(table))

    def show_json(self, data: Mapping[str, object]) -> None:
        """With --json, print a result; else nothing."""
        if self.as_json:
            self.show("", data)

    def say(self, text: str) -> None:
        """Print a remark; with --json nothing."""
        if not self.as_json:
            _console(sys.stderr).print(visible(text), markup=False, highlight=False, soft_wrap=True)

    def left_out(self, rows: Mapping[str, int]) -> None:
        """Print how many rows were left out, by reason."""
        for reason, count in rows.items():
            self.say(f"left out: {count:,} {reason}")

    def next(self, *command: str) -> None:
        """Print the likely next command."""
        self.say(f"next: {shlex.join(command)}")

    def warning(self, message: str) -> None:
        """Print a warning, in one paragraph; also with --json."""
        _console(sys.stderr).print(f"warning: {visible(message)}", style="yellow", markup=False, highlight=False, soft_wrap=True)

    def error(self, message: str) -> None:
        """Print an error, in one paragraph."""
        _console(sys.stderr).print(
            f"error: {visible(' '.join(message.split()))}", style="red", markup=False, highlight=False, soft_wrap=True
        )

    @contextmanager
    def progress(self, steps: Sequence[str] = ()) -> Iterator[OnProgress | None]:
        """A function that draws progress on a terminal; in a log it prints a line when a step begins."""
        if self.as_json or not (steps or sys.stderr.isatty()):
            yield None
            return
        from headwater.training.progress import bar, lines

        if not sys.stderr.isatty():
            yield lines(self.say, steps)
            return
        with bar(steps) as on_progress:
            yield on_progress

    @contextmanager
    def working(self, activity: str) -> Iterator[None]:
        """Show an activity while the context lasts, on a terminal."""
        if self.as_json or not sys.stderr.isatty():
            yield
            return
        with _console(sys.stderr).status(activity):
            yield

    @contextmanager
    def live(self, activity: str) -> Iterator[Callable[[str], None] | None]:
        """A function that updates a progress line, on a terminal."""
        if self.as_json or not sys.stderr.isatty():
            yield None
            return
        with _console(sys.stderr).status(activity) as status:
            yield lambda text: status.update(visible(text))

    def take_warnings(self, *, every: bool) -> None:
        """Print headwater's own warnings as one line each, and those of libraries only with --debug."""

        def show(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: TextIO | str | None) -> None:
            own = category.__module__.startswith("headwater")
            if own or every:
                where = "" if own else f"{filename}:{lineno}: "
                self.warning(f"{where}{message}")

        warnings.showwarning = show  # type: ignore[assignment]  # main puts the old one back


def visible(text: str) -> str:
    r"""Text with control characters escaped: keys and values of events may have terminal commands, or marks that reorder a line.

    >>> print(visible("u1\x1b[2J \u202e"))
    u1\x1b[2J \u202e
    """
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


@dataclass(frozen=True)
class _Visible:
    """A table with `visible` text; its own styles stay."""

    table: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self.table, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


def _console(stream: TextIO, width: int | None = None) -> Console:
    from rich.console import Console

    return Console(file=stream, width=width)
