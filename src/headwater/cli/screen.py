"""What a command says: results on standard output; errors, progress, questions and hints on
standard error.
"""

from __future__ import annotations

import json
import shlex
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from headwater.errors import UsageError
from headwater.terminal.standard_streams import STDERR, STDIN, STDOUT

if TYPE_CHECKING:
    from rich.console import RenderableType

OnProgress = Callable[[str, int, int], None]


class Ended(Exception):  # noqa: N818 (the problem was printed)
    """A command ends with 1, after it has printed the problem."""


class Screen:
    """Where a command writes and asks, on the standard streams (`headwater.terminal`)."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    @property
    def asks(self) -> bool:
        """Whether a person can be asked: standard input is a terminal."""
        return STDIN.terminal

    def check_seen(self, problem: str) -> None:
        """Refuse to make a secret that is printed only once where no one can see it."""
        if STDOUT.closed:
            raise UsageError(
                f"standard output is closed, and {problem}; give it a terminal, a pipe or a file"
            )

    def show(self, result: RenderableType, data: Mapping[str, object]) -> None:
        """Print a result: a table or lines, or with --json the data."""
        if self.as_json:
            STDOUT.write(json.dumps(data, indent=1, allow_nan=False) + "\n")
        else:
            from headwater.terminal.layout import Shown

            STDOUT.print(Shown(result) if isinstance(result, str) else result)

    def show_json(self, data: Mapping[str, object]) -> None:
        """With --json, print a result; else nothing."""
        if self.as_json:
            self.show("", data)

    def write(self, text: str) -> None:
        """Print a text unchanged, such as a script or a help page."""
        STDOUT.write(text)

    def say(self, text: str) -> None:
        """Print a remark; with --json nothing."""
        if not self.as_json:
            _print(text)

    def command(self, line: str) -> None:
        """Print a command to copy, which stays whole; with --json nothing."""
        if not self.as_json:
            _print(line, whole=True)

    def left_out(self, rows: Mapping[str, int]) -> None:
        """Print how many rows were left out, by reason."""
        for reason, count in rows.items():
            self.say(f"left out: {count:,} {reason}")

    def next(self, *command: str) -> None:
        """Print the likely next command."""
        self.command(f"next: {shlex.join(command)}")

    def warning(self, message: str) -> None:
        """Print a warning, in one paragraph; also with --json."""
        _print(f"warning: {message}", "yellow")

    def error(self, message: str) -> None:
        """Print an error, in one paragraph."""
        _print(f"error: {' '.join(message.split())}", "red")

    def ask(self, question: str) -> str:
        """The line that a person answers; empty at the end of the input."""
        _print(question)
        STDERR.write("> ")
        return STDIN.line()

    def agreed(self, question: str) -> bool:
        """Whether a person says yes."""
        return self.ask(f"{question} [y/N]").strip().lower() in {"y", "yes"}

    def refuse(self, problem: str) -> None:
        """Print why an answer is none, before the question is asked again."""
        _print(problem)

    @contextmanager
    def progress(self, steps: Sequence[str] = ()) -> Iterator[OnProgress | None]:
        """A function that draws progress on a terminal; in a log it prints a line when a step
        begins.
        """
        if self.as_json or not (steps or STDERR.terminal):
            yield None
            return
        from headwater.training.progress import bar, lines

        if not STDERR.terminal:
            yield lines(self.say, steps)
            return
        with bar(steps) as on_progress:
            yield on_progress

    @contextmanager
    def working(self, activity: str) -> Iterator[None]:
        """Show an activity while the context lasts, on a terminal."""
        with self.live(activity):
            yield

    @contextmanager
    def live(self, activity: str) -> Iterator[Callable[[str], None] | None]:
        """A function that changes the shown text while the context lasts, on a terminal."""
        if self.as_json or not STDERR.terminal:
            yield None
            return
        from headwater.terminal.live import activity as shown

        with shown(activity) as say:
            yield say

    def take_warnings(self, *, every: bool) -> None:
        """Print headwater's own warnings as one line each, and warnings of libraries only with
        --debug.
        """

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            *_: TextIO | str | None,
        ) -> None:
            of_headwater = category.__module__.startswith("headwater")
            if of_headwater or every:
                location = "" if of_headwater else f"{filename}:{lineno}: "
                self.warning(f"{location}{message}")

        warnings.showwarning = show  # type: ignore[assignment]  # main puts the old one back


def _print(text: str, style: str = "", *, whole: bool = False) -> None:
    """Print a remark: a terminal breaks it between words; elsewhere a line is a line, which can be
    searched for.
    """
    from headwater.terminal.layout import Shown

    STDERR.print(Shown(text, style, whole=whole or not STDERR.terminal))
