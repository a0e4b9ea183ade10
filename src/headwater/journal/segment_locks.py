"""Which segments are still written: a process holds a lock on a file (flock) while it writes to it, and a killed one holds none."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import Final

from headwater import clock
from headwater.engine.checkpoint import lock
from headwater.journal.segment_writer import CLOSED, OPEN

_LOOK: Final = 0.02  # seconds


def is_complete(path: Path, until: float = 0.0) -> bool:
    """Whether no process writes a segment; waits for that until a time on the stopwatch."""
    try:
        with path.open("rb") as file:
            while not lock(file):
                if clock.stopwatch() >= until:
                    return False
                sleep(_LOOK)
    except FileNotFoundError:
        return not path.with_suffix(CLOSED).exists()
    return True


def close_abandoned(paths: Iterable[Path]) -> None:
    """Close the open segments that no process writes. Folders that cannot be written are left as they are."""
    for path in paths:
        with suppress(OSError):
            if path.suffix == OPEN and is_complete(path):
                path.rename(path.with_suffix(CLOSED))


def close_all(paths: Iterable[Path]) -> None:
    """Have all open segments closed: a process that writes one finds it renamed, closes it, and begins another."""
    for path in paths:
        if path.suffix == OPEN:
            with suppress(FileNotFoundError):
                path.rename(path.with_suffix(CLOSED))
