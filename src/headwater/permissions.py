"""Files that only their owner can read: what headwater stores holds keys, events and predictions of people.

Folders are 0700 and files 0600, whatever the umask. Files at a path that the user names, such as a report or a training set, follow the
umask.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from headwater import settings

FOLDER, FILE = 0o700, 0o600
_OTHERS = 0o077
_LOG = logging.getLogger(__name__)
_opened: set[Path] = set()


def make_folder(folder: Path) -> Path:
    """Create a folder, and its missing parents, with mode 0700; one that exists is left as it is.

    Raises:
        OSError: it cannot be created.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as base:
    ...     made = make_folder(Path(base) / "a" / "b")
    ...     print(oct(made.stat().st_mode & 0o777), oct(made.parent.stat().st_mode & 0o777))
    0o700 0o700
    """
    missing = []
    place = folder
    while not place.is_dir():
        missing.append(place)
        if place.parent == place:
            break
        place = place.parent
    for place in reversed(missing):
        with suppress(FileExistsError):  # another process was first; if it is a file, the next line or the caller fails
            place.mkdir(mode=FOLDER)
    if missing and not folder.is_dir():
        raise NotADirectoryError(20, os.strerror(20), str(folder))
    return folder


def own_folder(folder: Path) -> Path:
    """`make_folder` for a folder of headwater's own: whatever others could read in it is made private, and a log line reports it.

    A process looks once, when it first opens the folder.

    Raises:
        OSError: it cannot be created.
    """
    make_folder(folder)
    place = folder.absolute()
    if place not in _opened:
        _opened.add(place)
        home = settings.home().absolute()
        changed = tighten(folder) + (_tightened(home) if home in place.parents else 0)
        if changed:
            _LOG.warning("%s: %d files and folders could be read by other users of this machine; now they cannot", folder, changed)
    return folder


def own_if_there(folder: Path) -> None:
    """`own_folder` for a folder that may not exist yet."""
    if folder.is_dir():
        own_folder(folder)


def create(path: Path) -> Path:
    """Create an empty file with mode 0600 for a library that opens files by their path; an existing one is made private.

    An existing file is not opened: to close it would drop the locks that SQLite holds on it in this process.

    Raises:
        OSError: it cannot be created.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE))
    except FileExistsError:
        _tightened(path)
    return path


def open_private(path: Path, mode: str, encoding: str | None = None) -> IO[Any]:
    """Open a file as `open` does; a new one has mode 0600."""
    return open(path, mode, encoding=encoding, opener=_opener)


def tighten(folder: Path) -> int:
    """Take every right of group and others from a folder and all below it; how many files and folders had one.

    Files of other users stay as they are. Links are not followed.
    """
    return sum(map(_tightened, [folder, *_below(folder)]))


def share_like(place: Path, model: Path, *, below: bool = True) -> None:
    """Let group and others read a file, or a folder and all `below` it, if they can read the folder `model`; nobody else can write."""
    rights = model.stat().st_mode & (stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    for path in [place, *(_below(place) if below else ())]:
        path.chmod(FOLDER | rights if path.is_dir() else FILE | rights & (stat.S_IRGRP | stat.S_IROTH))


def _below(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        yield from (Path(root, name) for name in (*folders, *names))


def _tightened(path: Path) -> bool:
    """Whether a file or folder had rights for others, which it has no more."""
    with suppress(OSError):  # another process has renamed or removed it, or it is another user's
        found = path.lstat()
        if not stat.S_ISLNK(found.st_mode) and found.st_mode & _OTHERS and found.st_uid == os.geteuid():
            path.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)
            return True
    return False


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags, FILE)
