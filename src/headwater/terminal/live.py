"""A line that moves at the bottom of a terminal, or below the cell of a notebook.

A thread of its own draws it, from what others have published: they never wait for it. An error of
what draws ends the drawing with a warning, and nothing else.
"""

from __future__ import annotations

import itertools
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from headwater.errors import HeadwaterWarning
from headwater.terminal.standard_streams import STDERR, STDOUT
from headwater.terminal.text import columns_of, encodable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

EVERY: Final = 0.2  # seconds
_BAR: Final = 10, 40  # columns of a bar: at least, at most
_SPIN: Final = "|/-\\"


class Contained:
    """Calls of a display: the first error ends it with a warning, and nothing is raised. what: the
    display in the warning.
    """

    def __init__(self, thread_name: str) -> None:
        self.thread_name, self.over = thread_name, False

    def __call__(self, draw: Callable[..., object], *arguments: object) -> None:
        if self.over:
            return
        try:
            draw(*arguments)
        except Exception as error:  # noqa: BLE001 (the work goes on after any error)
            self.over = True
            message = (
                f"{self.thread_name} ended with {type(error).__name__}: {error}. "
                "The computation goes on"
            )
            with suppress(Exception):  # a filter may turn warnings into errors
                warnings.warn(message, HeadwaterWarning, stacklevel=2)


class Display(Protocol):
    """What draws, in one thread at a time."""

    def draw(self) -> None:
        """Show the latest state."""
        ...

    def close(self) -> None:
        """The work is over."""
        ...


@contextmanager
def drawn(
    thread_name: str, opened: Callable[[], Display | None], *, last: bool = False
) -> Iterator[None]:
    """Draw several times a second while the context lasts.

    opened: makes the display; None as long as there is nothing to draw. last: draw the last state
    too, which stays.
    """
    over, contained, display = threading.Event(), Contained(thread_name), list[Display]()

    def draw() -> None:
        if not display and (made := opened()) is not None:
            display.append(made)
        if display:
            display[0].draw()

    def run() -> None:
        while not over.wait(EVERY):
            contained(draw)

    thread = threading.Thread(target=run, name=thread_name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        if last:
            contained(draw)
        contained.over = False  # open spans are closed, also after an error
        for made in display:
            contained(made.close)


class TerminalLine:
    """A line at the bottom of standard error, which is a terminal; what others print goes above it.

    line: what it says now.
    """

    def __init__(self, line: Callable[[], RenderableType]) -> None:
        from rich.live import Live

        console = STDERR.console()
        assert console is not None
        self._line = line
        self._live = Live(
            console=console, auto_refresh=False, transient=True, redirect_stdout=STDOUT.terminal
        )
        self._live.start()

    def draw(self) -> None:
        self._live.update(self._line(), refresh=True)

    def close(self) -> None:
        self._live.stop()


@dataclass(frozen=True)
class BarLine:
    """A name, a bar, and numbers, on one line of any terminal: what does not fit is left out.

    names: of the steps, the longest first. total: 0 where it is not known.
    """

    names: Sequence[str]
    done: int
    total: int
    numbers: str

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        names = [encodable(name, options.encoding) for name in self.names]
        room = options.max_width - columns_of(self.numbers) - 3
        name = next((name for name in names if columns_of(name) + _BAR[0] <= room), names[-1])
        room -= columns_of(name)
        bar = ProgressBar(
            total=self.total or None,
            completed=self.done,
            width=min(_BAR[1], room),
            pulse=not self.total,
        )
        line = Table.grid(padding=(0, 1))
        line.add_row(
            Text(name, no_wrap=True),
            *([bar] if room >= _BAR[0] else []),
            *([Text(self.numbers, no_wrap=True)] if room >= -1 else []),
        )
        yield line


@contextmanager
def activity(text: str) -> Iterator[Callable[[str], None]]:
    """Show the current work while the context lasts, on a terminal; the function changes its
    words.
    """
    words, turns = text, itertools.count()

    def say(now: str) -> None:
        nonlocal words
        words = now

    def line() -> RenderableType:
        return Shown(f"{_SPIN[next(turns) % len(_SPIN)]} {' '.join(words.split())}")

    if not STDERR.terminal:
        yield say
        return
    from headwater.terminal.layout import Shown

    with drawn("the line of progress", lambda: TerminalLine(line)):
        yield say
