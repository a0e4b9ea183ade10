"""`python -m headwater.testing.clock TIME_OR_FILE ARGUMENTS`: run `headwater ARGUMENTS` by another
clock.
"""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path

from headwater import clock
from headwater.definitions.checks import parse_timestamp
from headwater.errors import UsageError
from headwater.terminal.standard_streams import last_words


class _FileClock:
    """The clock that a `StandingClock` of another process keeps in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.wall()

    def wall(self) -> int:
        return int(self._file.read_text(encoding="ascii").split()[0])

    def steady(self) -> int:
        return int(self._file.read_text(encoding="ascii").split()[1])

    def moved(self) -> float:
        return self.steady() / 1e6

    def waits(self, seconds: float) -> None: ...


class _RunningClock:
    """A clock that was set to a time, and goes on as real time does."""

    def __init__(self, at: str) -> None:
        self._ahead = parse_timestamp(at, "the time") - self.steady()

    def wall(self) -> int:
        return self._ahead + self.steady()

    def steady(self) -> int:
        return time.monotonic_ns() // 1000

    def moved(self) -> float:
        return 0.0

    def waits(self, seconds: float) -> None: ...


def main() -> int:
    """Set the clock, and run the command, which ends the process."""
    if len(sys.argv) < 2:
        last_words("error: give a time or a file, then the arguments of headwater")
        return 2
    when = sys.argv.pop(1)
    try:
        clock.read_instead(_FileClock(Path(when)) if Path(when).is_file() else _RunningClock(when))
    except UsageError as error:
        last_words(f"error: {error}")
        return 2
    runpy.run_module("headwater", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
