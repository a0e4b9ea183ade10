"""A pointer to the current one of several versions, as a file: replaced atomically, by one process
at a time.
"""

from __future__ import annotations

import fcntl
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from headwater import disk
from headwater.errors import DataError

CURRENT = "current"

Stamp = tuple[int, int, int]
"""Which file `current` is, without reading it."""


class Pointer(msgspec.Struct, frozen=True):
    """version: the current one. before: earlier current versions, the latest last."""

    version: int
    before: list[int] = []

    def moved_to(self, version: int) -> Pointer:
        """The pointer after a promotion; itself where that version is current."""
        return self if version == self.version else Pointer(version, [*self.before, self.version])

    def back(self, there: Collection[int]) -> Pointer | None:
        """The pointer after a rollback, among the versions that are still there; None where none
        was current before.
        """
        before = [number for number in self.before if number in there]
        return Pointer(before[-1], before[:-1]) if before else None


def read_pointer(folder: Path) -> Pointer | None:
    """The pointer in a folder; None where there is none.

    Raises:
        DataError: the file is damaged.
    """
    try:
        return msgspec.json.decode((folder / CURRENT).read_bytes(), type=Pointer)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise DataError(
            f"{folder / CURRENT} does not say which version is current: {error}; promote one"
        ) from error


def write_pointer(folder: Path, pointer: Pointer, like: Path) -> None:
    """Replace the pointer, durably. like: the folder whose readers may read it."""
    disk.replace_file(folder / CURRENT, msgspec.json.encode(pointer), like)


def stamp_of(folder: Path) -> Stamp | None:
    """What changes whenever the pointer is replaced; None where there is none. It costs one look at
    a file, and reads nothing.
    """
    try:
        status = (folder / CURRENT).stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one process at a time changes the pointer; the lock ends with its process."""
    with disk.open_private(folder / ".lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
