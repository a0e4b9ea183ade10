"""The files of the journal: open ones, closed ones, and those that a killed process has left open.

    .../WORKER-000001.open       while its process appends to it; that process holds a lock on it
                                 (flock)
    .../WORKER-000001.segment    when it is complete, and never changes

Whoever finds a file whose lock is free closes it. A file that is renamed is closed by the process
that writes it, which begins another.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import Final

from headwater import clock
from headwater.engine.checkpoint import lock
from headwater.errors import DataError
from headwater.journal.format import RecordKind

OPEN, CLOSED = ".open", ".segment"
_LOOK: Final = 0.02  # seconds


def journal_files(data_dir: Path, kind: RecordKind, within: str = "") -> list[Path]:
    """The files of a kind, sorted by name; within: below this folder of the kind's alone."""
    pattern = (
        kind.files
        if not within
        else f"{within}/" + "/".join(kind.files.split("/")[len(within.split("/")) :])
    )
    paths = [path for suffix in (OPEN, CLOSED) for path in data_dir.glob(f"{pattern}{suffix}")]
    return sorted({path.with_suffix(""): path for path in paths}.values())


def content(path: Path) -> bytes:
    """The bytes of a file, which may have been closed since it was listed; none of one that was
    removed.

    Raises:
        DataError: it cannot be read.
    """
    try:
        for name in (path, path.with_suffix(CLOSED)):
            with suppress(FileNotFoundError):
                return name.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    return b""


def is_complete(path: Path, until: float = 0.0) -> bool:
    """Whether no process writes a file; waits for that until a time on the stopwatch."""
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
    """Close the open files that no process writes. Folders that cannot be written are left as they
    are.
    """
    for path in paths:
        with suppress(OSError):
            if path.suffix == OPEN and is_complete(path):
                path.rename(path.with_suffix(CLOSED))


def close_all(paths: Iterable[Path], wait: float = 0.0) -> list[Path]:
    """Close files, and wait until their processes have noticed. Returns the files whose process did
    not notice within so many seconds.
    """
    closed = []
    for path in paths:
        if path.suffix == OPEN:
            with suppress(FileNotFoundError):
                path.rename(path.with_suffix(CLOSED))
        closed.append(path.with_suffix(CLOSED))
    until = clock.stopwatch() + wait
    return [path for path in closed if not is_complete(path, until)]


def expire(paths: Iterable[Path], limit: int) -> int:
    """Remove the closed files that were last written before a limit in microseconds; how many."""
    removed = 0
    for path in paths:
        with suppress(FileNotFoundError):
            if path.suffix == CLOSED and path.stat().st_mtime_ns // 1000 < limit:
                path.unlink()
                removed += 1
    return removed
