"""A folder of work that outlives its process: the same work, started again, continues where it
stopped.

Files appear in it by being renamed, so one that is there is whole. One process at a time works in
it.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from headwater import disk, settings
from headwater.errors import ConnectError, HeadwaterError, StoreError, UsageError


@contextmanager
def workplace(query: str, state: str) -> Iterator[Path]:
    """The folder `work/query/state` of headwater's home, for this process alone.

    It is removed when the work is done, and when the data or definitions are at fault; after
    anything else it stays, to go on from: a store or a database that cannot be written is not the
    work's fault. Folders of other states of the same query are removed: they cannot be gone on
    from.

    Raises:
        UsageError: another process is at this work, or the folder cannot be written, or its disk is
            full.
    """
    root = settings.home() / "work" / query
    try:
        lock = _locked(root)
        with lock:
            for former in root.iterdir():
                if former.is_dir() and former.name != state:
                    shutil.rmtree(former, ignore_errors=True)
            disk.make_folder(root / state)
            try:
                yield root / state
            except (StoreError, ConnectError):
                raise
            except HeadwaterError:
                shutil.rmtree(root, ignore_errors=True)
                raise
            shutil.rmtree(root, ignore_errors=True)
    except OSError as error:
        if error.errno not in (
            errno.ENOSPC,
            errno.EDQUOT,
            errno.EACCES,
            errno.EPERM,
            errno.EROFS,
            errno.EEXIST,
            errno.ENOTDIR,
        ):
            raise
        why = (
            "its disk is full"
            if error.errno in (errno.ENOSPC, errno.EDQUOT)
            else str(error.strerror).lower()
        )
        raise UsageError(
            f"the work folder {root} cannot be written: {why}. Make room, or name another folder "
            "with HEADWATER_HOME; finished steps are kept there, and the same call goes on from "
            "it"
        ) from error


@contextmanager
def renamed(path: Path) -> Iterator[Path]:
    """A path to write to; the file or folder written there is renamed to `path` when it is
    complete.
    """
    draft = path.with_name(path.name + ".draft")
    shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed
    try:
        yield draft
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    draft.rename(path)


def write_json(path: Path, document: Mapping[str, object]) -> None:
    """A note, whole or not at all."""
    with renamed(path) as draft:
        disk.create(draft).write_text(json.dumps(document), encoding="utf-8")


def read_json(path: Path) -> dict[str, object] | None:
    """The note, or None where there is none."""
    return (
        cast("dict[str, object]", json.loads(path.read_text(encoding="utf-8")))
        if path.exists()
        else None
    )


def _locked(root: Path) -> IO[bytes]:
    """A file in `root` that no other process has locked; closing it gives it free, as the end of
    the process does.
    """
    while True:
        disk.make_folder(root)
        try:
            file = disk.open_private(root / "lock", "ab")
        except FileNotFoundError:  # removed in between, with its folder
            continue
        if not lock(file):
            file.close()
            raise UsageError(
                f"another process computes the same features, in {root}; wait until it is done, "
                "or give this one a place of its own with HEADWATER_HOME"
            )
        try:
            if os.path.samestat(os.fstat(file.fileno()), (root / "lock").stat()):
                return file
        except FileNotFoundError:
            pass
        file.close()  # it was locked just after another process had removed it


def lock(file: IO[bytes]) -> bool:
    """Lock a file for this process; whether it could. Closing it gives it free, as the end of the
    process does.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
