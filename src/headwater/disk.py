"""Files that only their owner can read: headwater stores keys, events and predictions of people.

Folders are 0700 and files 0600, independent of the umask. Files at a path that the user names, such
as a report or a training set, follow the umask.

Files that a user writes and edits, and names that have to be on disk before a program goes
on.
"""

from __future__ import annotations

import logging
import os
import stat
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from headwater import settings
from headwater.errors import UsageError

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
    ...     folder = make_folder(Path(base) / "a" / "b")
    ...     print(oct(folder.stat().st_mode & 0o777), oct(folder.parent.stat().st_mode & 0o777))
    0o700 0o700
    """
    missing = []
    path = folder
    while not path.is_dir():
        missing.append(path)
        if path.parent == path:
            break
        path = path.parent
    for path in reversed(missing):
        # another process was first; if it is a file, the next line or the caller fails
        with suppress(FileExistsError):
            path.mkdir(mode=FOLDER)
    if missing and not folder.is_dir():
        raise NotADirectoryError(20, os.strerror(20), str(folder))
    return folder


def own_folder(folder: Path) -> Path:
    """`make_folder` for a folder of headwater's own: files in it that others could read are made
    private, and a log line reports it.

    A process checks once, when it first opens the folder.

    Raises:
        OSError: it cannot be created.
    """
    make_folder(folder)
    path = folder.absolute()
    if path not in _opened:
        _opened.add(path)
        home = settings.home().absolute()
        changed = tighten(folder) + (_tightened(home) if home in path.parents else 0)
        if changed:
            _LOG.warning(
                "%s: %d files and folders could be read by other users of this machine; now they "
                "cannot",
                folder,
                changed,
            )
    return folder


def own_if_there(folder: Path) -> None:
    """`own_folder` for a folder that may not exist yet."""
    if folder.is_dir():
        own_folder(folder)


def create(path: Path) -> Path:
    """Create an empty file with mode 0600 for a library that opens files by their path; an existing
    one is made private.

    An existing file is not opened: to close it would drop the locks that SQLite holds on it in this
    process.

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
    """Remove all rights of group and others from a folder and its content; the number of files and
    folders that had any.

    Files of other users stay as they are. Links are not followed.
    """
    return sum(map(_tightened, [folder, *_below(folder)]))


def replace_file(path: Path, content: bytes, like: Path | None = None) -> None:
    """Write a private file in place of another, atomically and durably.

    like: the folder whose readers may read it too; that of the file where None.
    """
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    with open_private(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    share_like(temporary, path.parent if like is None else like)
    temporary.replace(path)
    sync(path.parent)


def share_like(target: Path, model: Path, *, below: bool = True) -> None:
    """Let group and others read a file, or a folder and all `below` it, if they can read the folder
    `model`; only the owner can write.
    """
    rights = model.stat().st_mode & (stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    for path in [target, *(_below(target) if below else ())]:
        path.chmod(
            FOLDER | rights if path.is_dir() else FILE | rights & (stat.S_IRGRP | stat.S_IROTH)
        )


def _below(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        yield from (Path(root, name) for name in (*folders, *names))


def _tightened(path: Path) -> bool:
    """Remove the rights of others from a file or folder; whether there were any."""
    with suppress(OSError):  # another process has renamed or removed it, or it is another user's
        info = path.lstat()
        if (
            not stat.S_ISLNK(info.st_mode)
            and info.st_mode & _OTHERS
            and info.st_uid == os.geteuid()
        ):
            path.chmod(stat.S_IMODE(info.st_mode) & ~_OTHERS)
            return True
    return False


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags, FILE)


def read_toml(path: Path, missing: str) -> dict[str, object]:
    """The content of a TOML file. missing: the error where there is none.

    Raises:
        UsageError: the file does not exist, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(missing) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from error


def write_new(path: Path, text: str, holds: str) -> None:
    """Write a new file. holds: what an existing one may hold.

    Raises:
        UsageError: the file exists.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} already exists, and may hold {holds}; name a new file") from None


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
