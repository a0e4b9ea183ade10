"""The standard streams, and the one place that prints on them, asks, and draws what moves.

A stream may be a terminal of any width, a pipe, a file on a full disk, closed, or of another
encoding than UTF-8. A result goes to standard output: where that cannot be written, the command
fails with a sentence. Everything else goes to standard error, which ends
nothing: where it cannot be written, it is not written.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal, TextIO

from headwater.errors import UsageError
from headwater.terminal.text import encodable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.terminal.console import StreamConsole

_NAMES: Final = ("stdin", "stdout", "stderr")  # by file descriptor
_CLEARED: Final = b"\r\x1b[2K"  # the line of a progress bar


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal; one that is closed is none."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


class Output:
    """Standard output or standard error, as `sys` has it at each call. closed: whether the process
    was started without it.
    """

    def __init__(self, name: Literal["stdout", "stderr"]) -> None:
        self.closed = False
        self._name = name
        self._console: StreamConsole | None = None

    @property
    def file(self) -> TextIO | None:
        """The stream itself; None where there is none, or it was closed."""
        file: TextIO | None = getattr(sys, self._name)
        # of what rich puts before it while something moves
        file = getattr(file, "rich_proxied_file", file)
        return None if file is None or file.closed else file

    @property
    def terminal(self) -> bool:
        """Whether a person may look at it."""
        return is_terminal(self.file)

    @property
    def encoding(self) -> str:
        """The encoding of the stream."""
        return getattr(self.file, "encoding", None) or "utf-8"

    def text(self, text: str) -> str:
        """A text as the stream takes it."""
        return encodable(text, self.encoding)

    def print(self, *parts: RenderableType) -> None:
        """Print parts below each other. rich is loaded with the first."""
        console = self.console()
        if console is not None:
            self._written(lambda: console.write(*parts))

    def write(self, text: str) -> None:
        """Write a text as it is, such as JSON or a script."""
        file = self.file
        if file is not None:
            self._written(lambda: file.write(self.text(text)))

    def console(self) -> StreamConsole | None:
        """The console of rich for the stream: the same one as long as the stream is the same, so
        that it knows what moves on it.
        """
        file = self.file
        if file is None:
            return None
        if self._console is None or self._console.file is not file:
            from headwater.terminal.console import StreamConsole

            self._console = StreamConsole(file, terminal=self.terminal)
        return self._console

    def _written(self, write: Callable[[], object]) -> None:
        file = self.file
        assert file is not None
        try:
            write()
            file.flush()
        except BrokenPipeError:
            if self._name == "stdout":
                raise
        except OSError as error:
            if self._name == "stdout":
                raise UsageError(
                    f"standard output cannot be written: {error.strerror}; give it a place that "
                    "can be"
                ) from error

    def finish(self) -> None:
        """At the end of the process: write the buffer; output that cannot be written is dropped,
        else the interpreter fails on it.
        """
        file = self.file
        if file is None:
            return
        try:
            file.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, file.fileno())
                os.close(nowhere)


class Input:
    """Standard input, as `sys` has it at each call. closed: whether the process was started without
    it.
    """

    def __init__(self) -> None:
        self.closed = False

    @property
    def terminal(self) -> bool:
        """Whether a person may answer."""
        return is_terminal(sys.stdin)

    def line(self) -> str:
        """The next line; empty at the end of the input.

        Raises:
            UsageError: it is not in the encoding of the stream.
        """
        try:
            return sys.stdin.readline()
        except UnicodeDecodeError as error:
            raise UsageError(
                f"the answer cannot be read as {sys.stdin.encoding}; set the encoding of the "
                "terminal, such as LC_ALL=C.UTF-8"
            ) from error


STDIN: Final = Input()
STDOUT: Final = Output("stdout")
STDERR: Final = Output("stderr")


def open_closed() -> None:
    """Open the null device in place of each standard stream that the process was started without.

    Else the next file that is opened gets its number, and what libraries print ends up in it; and
    `sys` has None for it.
    """
    streams: tuple[Input | Output, ...] = (STDIN, STDOUT, STDERR)
    for number, (name, stream) in enumerate(zip(_NAMES, streams, strict=True)):
        try:
            os.fstat(number)
        except OSError:
            stream.closed = True
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)  # noqa: FBT003 (positional only)
        if getattr(sys, name) is None:
            setattr(
                sys,
                name,
                open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False),  # noqa: SIM115
            )


def last_words(text: str) -> None:
    """Write a line to standard error past all buffers, for a process that exits immediately; the
    line of a progress bar is cleared.
    """
    with suppress(OSError):
        os.write(
            2,
            (_CLEARED if os.isatty(2) else b"") + text.encode("ascii", "backslashreplace") + b"\n",
        )
