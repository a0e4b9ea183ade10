"""An archive: rows of a source by the commits that made them readable, appended to and read; here
as parquet files in a folder.

    FOLDER/SOURCE/headwater_date=2024-05-01/PARTITION-FIRST-LAST.parquet

A file is named by the commits in it, so what it holds is known without opening it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePath
from typing import IO, Protocol

import polars as pl

from headwater import disk
from headwater.disk import sync

SEQUENCE = "headwater_sequence"
"""The column with the commit that made a row readable."""

_LEVEL = 1  # of zstd: a third less processor time than polars' default for files 3 % larger
# rows: commits share polars' threads with a file that is written, and wait for one column of one
# group at most
_GROUP = 1 << 16
_LONGEST = 221  # letters: the name of a file takes 255, 34 of them for its commits
_NAME = re.compile(r"(.+)-(\d+)-(\d+)\.parquet")


class ArchivePart(Protocol):
    """The rows of the commits from `first` to `last`."""

    @property
    def first(self) -> int: ...

    @property
    def last(self) -> int: ...

    def read(self) -> pl.DataFrame:
        """The rows."""
        ...

    def scan(self) -> pl.LazyFrame:
        """The rows, as a query."""
        ...


class Archive(Protocol):
    """Rows of one writer of a source, by commit; each part has the columns that the stream had
    then.
    """

    def append(self, rows: pl.DataFrame, day: date, first: int, last: int) -> Path | str:
        """Add the rows of the commits from `first` to `last`, the latest known on `day`; whole and
        durable, or not there. Where.
        """
        ...

    def alone(self) -> AbstractContextManager[None]:
        """Wait until no other process appends or rewrites, and keep the others waiting."""
        ...

    def parts(self) -> Sequence[ArchivePart]:
        """All parts in the order of their commits; the last one is the newest, also after
        `expire`.
        """
        ...

    def rewrite(self, part: ArchivePart, rows: pl.DataFrame) -> None:
        """Replace the rows of a part; a reader has the old ones or the new ones."""
        ...

    def cut(self, last: int, kept: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
        """Remove the rows of commits after `last`; `kept` returns those of a part that stay. A call
        that was stopped is made again.
        """
        ...

    def expire(self, before: date) -> int:
        """Remove the rows of days before this one; how many parts had some. The last part stays,
        empty: its commits are known.
        """
        ...


@dataclass(frozen=True)
class ParquetFile:
    """An `ArchivePart`: a file that its name says the commits of."""

    path: Path

    @property
    def first(self) -> int:
        """See `ArchivePart`."""
        return span(self.path)[0]

    @property
    def last(self) -> int:
        """See `ArchivePart`."""
        return span(self.path)[1]

    def read(self) -> pl.DataFrame:
        """See `ArchivePart`."""
        return pl.read_parquet(self.path, hive_partitioning=False)

    def scan(self) -> pl.LazyFrame:
        """See `ArchivePart`."""
        return pl.scan_parquet(self.path, hive_partitioning=False)


@dataclass(frozen=True)
class ParquetArchive:
    """An `Archive` in a folder. place: of the source. partition: whose rows these are; None for the
    whole stream.
    """

    place: Path
    partition: str | None = None

    def append(self, rows: pl.DataFrame, day: date, first: int, last: int) -> Path:
        """See `Archive`; the file."""
        path = (
            self.place / f"headwater_date={day:%Y-%m-%d}" / file_name(self.partition, first, last)
        )
        disk.make_folder(path.parent)
        durable(rows, path)
        return path

    @contextmanager
    def alone(self) -> Iterator[None]:
        """See `Archive`."""
        disk.own_folder(self.place.parent)
        with disk.open_private(disk.make_folder(self.place) / ".lock", "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            drop_drafts(self.place)
            yield

    def parts(self) -> list[ParquetFile]:
        """See `Archive`."""
        return [ParquetFile(path) for path in sorted(self.files(), key=span)]

    def rewrite(self, part: ArchivePart, rows: pl.DataFrame) -> None:
        """See `Archive`."""
        assert isinstance(part, ParquetFile)
        durable(rows, part.path)

    def cut(self, last: int, kept: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
        """See `Archive`."""
        for part in self.parts():
            if part.last <= last:
                continue
            if part.first <= last:
                durable(
                    kept(part.read()),
                    part.path.with_name(file_name(self.partition, part.first, last)),
                )
            part.path.unlink()

    def expire(self, before: date) -> int:
        """See `Archive`; the file with the last commit is emptied, since its name says which it
        is.
        """
        return expire_files(self.files(), before)

    def files(self) -> list[Path]:
        """The files, in no order."""
        return [
            path
            for path in self.place.glob("headwater_date=*/*.parquet")
            if is_of(path, self.partition)
        ]


def file_name(partition: str | None, first: int, last: int) -> str:
    """The name of a file that holds the commits from first to last."""
    return f"{_quoted(partition)}-{first:012d}-{last:012d}.parquet"


def is_of(path: PurePath, partition: str | None) -> bool:
    """Whether a file holds rows of the partition, by its name."""
    return partition_of(path) == _quoted(partition)


def partition_of(path: PurePath) -> str:
    """The partition as the name of a file has it."""
    return _parts(path)[0]


def span(path: PurePath) -> tuple[int, int]:
    """The first and the last commit in a file, by its name."""
    return _parts(path)[1:]


def expire_files(files: Sequence[Path], before: date) -> int:
    """Remove the files of days before this one; how many. The file with the last commit is emptied
    instead: its name is needed.
    """
    newest = max(files, key=lambda path: span(path)[1], default=None)
    gone = 0
    for path in files:
        if path.parent.name >= f"headwater_date={before:%Y-%m-%d}":
            continue
        if path != newest:
            path.unlink(missing_ok=True)
            with suppress(OSError):  # other partitions may have files of the day
                path.parent.rmdir()
        elif (rows := pl.read_parquet(path, hive_partitioning=False)).height:
            durable(rows.clear(), path)
        else:
            continue
        gone += 1
    return gone


def drop_drafts(place: Path) -> None:
    """Remove what processes that were killed left of files which were never whole; the caller holds
    the lock of those that add files.

    A draft next to its file is of a process that replaces it, which may run.
    """
    for draft in place.glob("headwater_date=*/*.draft"):
        if not draft.with_suffix(".parquet").exists():
            draft.unlink(missing_ok=True)


def _parts(path: PurePath) -> tuple[str, int, int]:
    match = _NAME.fullmatch(path.name)
    return ("", -1, -1) if match is None else (match[1], int(match[2]), int(match[3]))


def _quoted(partition: str | None) -> str:
    """A partition as a part of a file's name; "all" is that of the whole stream. The end of a long
    one is replaced by a hash.
    """
    if partition is None:
        return "all"
    quoted = re.sub(
        r"^all$|[^A-Za-z0-9_.]",
        lambda match: "".join(f"%{ord(letter):02X}" for letter in match[0]),
        partition,
    )
    return (
        quoted
        if len(quoted) <= _LONGEST
        else f"{quoted[:100]}%{hashlib.sha256(partition.encode()).hexdigest()}"
    )


def write_rows(frame: pl.DataFrame, file: IO[bytes]) -> None:
    """Write rows as the archive's files have them."""
    frame.write_parquet(file, compression_level=_LEVEL, row_group_size=_GROUP)


def durable(frame: pl.DataFrame, path: Path) -> None:
    """Write a file that is whole and on disk, or not there; its folder and the one above are synced
    too.
    """
    draft = path.with_suffix(".draft")
    try:
        with disk.open_private(draft, "wb") as file:
            write_rows(frame, file)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        draft.unlink(missing_ok=True)  # it would take the room that is missing
        raise
    draft.replace(path)
    for folder in (path.parent, path.parent.parent):
        sync(folder)
