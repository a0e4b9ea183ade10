"""A command in a terminal of its own: what it writes, what one sees in the end, and whether the
cursor is back.
"""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from dataclasses import dataclass

# The child becomes the foreground process of its own terminal, so that a typed Ctrl-C reaches it as
# a signal.
_OWN = (
    "import fcntl, os, signal, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "signal.signal(signal.SIGINT, signal.SIG_DFL); "  # `nohup` and `&` of a script ignore it
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
_CONTROL = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b\][^\x07]*\x07|\x1b.")
_MOST = 300  # seconds


@dataclass(frozen=True)
class Shown:
    """The exit code of a command, and all that it wrote to a terminal of so many columns."""

    code: int
    text: str
    columns: int

    @property
    def cursor(self):
        """Whether the cursor is seen."""
        return self.text.rfind("\x1b[?25h") >= self.text.rfind("\x1b[?25l")

    @property
    def lines(self):
        """What stays on the terminal, line by line; a line that is too long goes on below."""
        return rendered(self.text, self.columns)


class Terminal:
    """`python ARGUMENTS` in a terminal of its own."""

    def __init__(self, folder, *arguments, columns=80, environment=None):
        self._mine, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        env = {
            name: value
            for name, value in os.environ.items()
            if name not in {"COLUMNS", "NO_COLOR", "FORCE_COLOR"}
        }
        command = [sys.executable, "-c", _OWN, *map(str, arguments)]
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=env | {"TERM": "xterm-256color"} | (environment or {}),
        )
        os.close(theirs)
        self.columns, self.shown = columns, ""

    def until(self, text, timeout=60):
        """Read until the terminal shows it, or the command has ended."""
        end = time.monotonic() + timeout
        while text is None or text not in self.shown:
            if time.monotonic() > end:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"never shown: {text!r}; there is:\n{self.shown}")
            if not select.select([self._mine], [], [], 0.05)[0]:
                if self.process.poll() is not None:
                    return
                continue
            try:
                read = os.read(self._mine, 1 << 16)
            except OSError:  # the other end is closed
                return
            if not read:
                return
            self.shown += read.decode(errors="replace")

    def type(self, text):
        os.write(self._mine, text.encode())

    def interrupted(self, soon=20):
        """Type Ctrl-C, and give the exit code."""
        self.type("\x03")
        return self.ended(soon)

    def result(self, timeout=_MOST):
        """Read to the end; what it has shown."""
        return Shown(self.ended(timeout), self.shown, self.columns)

    def ended(self, timeout=_MOST):
        """Read to the end, and give the exit code."""
        try:
            self.until(None, timeout)
            return self.process.wait(timeout)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            os.close(self._mine)


def on_terminal(folder, *arguments, columns=80, environment=None):
    """Run `python ARGUMENTS` in a terminal to its end."""
    return Terminal(folder, *arguments, columns=columns, environment=environment).result()


def rendered(text, columns):
    """The lines that a terminal shows in the end: of control sequences, those that move the cursor
    and erase.
    """
    lines, row, column, at = [[]], 0, 0, 0
    while at < len(text):
        if found := _CONTROL.match(text, at):
            number, what = found[1] or "", found[2]
            by = int(number) if number.isdigit() else 1
            if what == "A":
                row = max(0, row - by)
            elif what == "K":
                lines[row] = [] if number == "2" else lines[row][:column]
            elif what == "C":
                column += by
            at = found.end()
            continue
        character = text[at]
        at += 1
        if character == "\r":
            column = 0
            continue
        if character == "\n" or column >= columns:
            row, column = row + 1, (column if character == "\n" else 0)
            lines += [[] for _ in range(row + 1 - len(lines))]
        if character != "\n":
            lines[row] += [" "] * (column + 1 - len(lines[row]))
            lines[row][column] = character
            column += 1
    return ["".join(line).rstrip() for line in lines]
