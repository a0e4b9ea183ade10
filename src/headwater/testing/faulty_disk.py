"""The functions of `os`, `open` and SQLite that change files in a folder, seen by a
`faults.Watch`.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, TypeVar, cast

from headwater.testing.call_watch import CallWatch

T = TypeVar("T")
_Function = Callable[..., Any]

_BY_PATH: Final = ("rename", "replace", "link", "unlink", "remove", "rmdir", "mkdir", "truncate")
_BY_NUMBER: Final = ("write", "pwrite", "fsync", "fdatasync", "ftruncate")
_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_STATEMENT: Final = re.compile(
    r"\s*(BEGIN|COMMIT|INSERT|UPDATE|DELETE|CREATE|PRAGMA journal_mode)", re.IGNORECASE
)
# of a name: numbers of processes and commits, times, hashes
_CHANCE: Final = re.compile(r"[0-9a-f]{8,}|\d+")


@contextmanager
def watched_disk(watch: CallWatch, folder: Path) -> Iterator[None]:
    """See `faults.Watch.disk`."""
    disk = _Disk(watch, folder.resolve())
    real = {(os, name): getattr(os, name) for name in ("open", *_BY_PATH, *_BY_NUMBER)}
    real |= {
        (io, "open"): io.open,
        (builtins, "open"): builtins.open,
        (sqlite3, "connect"): sqlite3.connect,
    }
    for (module, name), function in real.items():
        setattr(module, name, disk.seen(module, name, function))
    try:
        yield
    finally:
        for (module, name), function in real.items():
            setattr(module, name, function)


def _error(why: str) -> OSError:
    return OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} ({why})")


def _sqlite_error(why: str) -> sqlite3.OperationalError:
    return sqlite3.OperationalError(f"disk I/O error ({why})")


class _Disk:
    """A folder whose changes a watch sees."""

    def __init__(self, watch: CallWatch, folder: Path) -> None:
        self.watch, self.folder = watch, folder

    def seen(self, module: object, name: str, function: _Function) -> _Function:
        """The function, whose calls that are about a file in the folder are seen."""
        if module is sqlite3:
            return partial(self._connect, function)
        if name == "open":
            return partial(self._open_number if module is os else self._open_file, function)
        if name in _BY_NUMBER:
            return partial(self._by_number, name, function)
        return partial(self._by_path, name, function)

    def _make(
        self,
        name: str,
        about: str | None,
        function: Callable[[], T],
        error: Callable[[str], Exception] = _error,
        undo: Callable[[T], object] = lambda _: None,
    ) -> T:
        """Make a call; what it is about is None where that is not in the folder."""
        return (
            function()
            if about is None
            else self.watch.make("disk", name, function, error, about=about, undo=undo)
        )

    def _about(self, path: object, dir_fd: object = None) -> str | None:
        """A file by its path in the folder, without what chance has named; None where it is
        elsewhere.
        """
        base = Path.cwd() if not isinstance(dir_fd, int) else _path_of(dir_fd)
        full_path = (
            _path_of(path) if isinstance(path, int) else base / os.fsdecode(cast("str", path))
        )
        if not full_path.is_absolute():  # a pipe, a socket
            return None
        whole = full_path.parent.resolve() / full_path.name
        if not whole.is_relative_to(self.folder):
            return None
        return _CHANCE.sub("#", str(whole.relative_to(self.folder)))

    def _by_path(
        self,
        name: str,
        function: _Function,
        path: object,
        *arguments: Any,  # noqa: ANN401
        **options: Any,  # noqa: ANN401
    ) -> object:
        at = options.get("dir_fd", options.get("dst_dir_fd"))
        to = (
            arguments[0]
            if name in ("rename", "replace", "link") and arguments
            else options.get("dst", path)
        )
        return self._make(name, self._about(to, at), lambda: function(path, *arguments, **options))

    def _by_number(self, name: str, function: _Function, number: Any, *arguments: Any) -> object:  # noqa: ANN401
        at = number if isinstance(number, int) else number.fileno()
        return self._make(name, self._about(at), lambda: function(number, *arguments))

    def _open_number(
        self,
        function: _Function,
        path: object,
        flags: int,
        mode: int = 0o777,
        *,
        dir_fd: int | None = None,
    ) -> int:
        def run() -> int:
            return cast("int", function(path, flags, mode, dir_fd=dir_fd))

        return self._make(
            "open", self._about(path, dir_fd) if flags & _WRITES else None, run, undo=os.close
        )

    def _open_file(
        self,
        function: _Function,
        path: object,
        mode: str = "r",
        *arguments: Any,  # noqa: ANN401
        **options: Any,  # noqa: ANN401
    ) -> IO[Any]:
        def run() -> IO[Any]:
            return cast("IO[Any]", function(path, mode, *arguments, **options))

        opened = isinstance(path, int) or options.get("opener") is not None  # which calls os.open
        about = None if opened or not set(mode) & set("wax+") else self._about(path)
        return self._make("open", about, run, undo=lambda file: file.close())

    def _connect(
        self,
        function: _Function,
        path: object,
        *arguments: Any,  # noqa: ANN401
        **options: Any,  # noqa: ANN401
    ) -> sqlite3.Connection:
        about = (
            None
            if options.get("uri") or not isinstance(path, str | os.PathLike)
            else self._about(path)
        )
        if about is not None:
            options["factory"] = partial(
                _FaultyConnection, lambda name, run: self._make(name, about, run, _sqlite_error)
            )
        return cast("sqlite3.Connection", function(path, *arguments, **options))


class _FaultyConnection(sqlite3.Connection):
    """Its statements that change the database are calls, which `make` makes."""

    def __init__(
        self,
        make: Callable[[str, Callable[[], sqlite3.Cursor]], sqlite3.Cursor],
        *arguments: Any,  # noqa: ANN401
        **options: Any,  # noqa: ANN401
    ) -> None:
        self._make = make
        super().__init__(*arguments, **options)

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:  # noqa: ANN401
        """See `sqlite3.Connection`."""
        return self._seen(statement, partial(super().execute, statement, *parameters))

    def executemany(self, statement: str, rows: Any) -> sqlite3.Cursor:  # noqa: ANN401
        """See `sqlite3.Connection`."""
        return self._seen(statement, partial(super().executemany, statement, rows))

    def executescript(self, statements: str) -> sqlite3.Cursor:
        """See `sqlite3.Connection`."""
        return self._seen(statements, partial(super().executescript, statements))

    def _seen(self, statement: str, run: Callable[[], sqlite3.Cursor]) -> sqlite3.Cursor:
        match = _STATEMENT.match(statement)
        return run() if match is None else self._make(f"sqlite {match[1].lower()}", run)


def _path_of(number: int) -> Path:
    """The path of an open file."""
    if sys.platform == "darwin":
        import fcntl

        return Path(os.fsdecode(fcntl.fcntl(number, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0")))
    return Path(f"/proc/self/fd/{number}").readlink()
