"""From blocks that commits leave in the online store to parquet files: accepted events to the archive, rows that a source's filter leaves
out to the filtered log, rejected records to the dead letters.

A block is written with its commit, so nothing that was committed is missing and nothing else is there. Blocks are rolled into a file that
is made durable before they are deleted. A file is named by the commits in it: after a crash between the two, blocks that a file holds
are only deleted.

    FOLDER/SOURCE/headwater_date=2024-05-01/PARTITION-FIRST-LAST.parquet
"""

from __future__ import annotations

import fcntl
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path

import polars as pl

from headwater import permissions
from headwater.definitions.timestamps import EPOCH
from headwater.errors import StoreError
from headwater.online_stores import OnlineStore, keyspace

KNOWN_AT = "headwater_known_at"
SEQUENCE = "headwater_sequence"
FOLDERS: Mapping[bytes, str] = {keyspace.ARCHIVE: "archive", keyspace.DEAD: "dead_letters", keyspace.FILTERED: "filtered"}
"""Where the files of a space stand in a home."""
_NAME = re.compile(r"(.+)-(\d+)-(\d+)\.parquet")


@dataclass(frozen=True)
class Roller:
    """Rolls one space of a store into files.

    space: ARCHIVE, DEAD or FILTERED. folder: where the folders of sources stand. partition: in a store of several writers, whose blocks
    these are. keep: microseconds; older days are removed, when a file is made and by `expire`; None keeps all.
    """

    store: OnlineStore
    space: bytes
    folder: Path
    source: str
    partition: str | None = None
    keep: int | None = None

    @property
    def place(self) -> Path:
        """The folder of the source."""
        return self.folder / self.source

    @property
    def last(self) -> int:
        """The last commit that a file holds; -1 where there is none."""
        return _last(self.files())

    def roll(self) -> Path | None:
        """Move all blocks into a file, into several where columns changed; the last one."""
        if next(iter(self._blocks()), None) is None:
            return None
        try:
            with self.alone():
                return self._roll()
        except OSError as error:
            raise StoreError(
                f"{self.place} cannot be written: {error.strerror or error}. Nothing is lost, what belongs there stays in the online store: make "
                "room, or give the right to write there, and start again"
            ) from error

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process writes or rewrites files of the source, and keep the others waiting."""
        permissions.own_folder(self.folder)
        with permissions.open_private(permissions.make_folder(self.place) / ".lock", "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _roll(self) -> Path | None:
        done = self.last
        old = [key for key, _ in self._blocks() if keyspace.sequence_of(key) <= done]
        if old:
            self.store.commit(dict.fromkeys(old), {})
        blocks = list(self._blocks())
        if not blocks:
            return None
        frames = [_frame(value) for _, value in blocks]
        alike = next((n for n, block_frame in enumerate(frames) if block_frame.schema != frames[0].schema), len(frames))
        blocks, more = blocks[:alike], len(frames) > alike
        frame = pl.concat(frames[:alike])
        first, last = keyspace.sequence_of(blocks[0][0]), keyspace.sequence_of(blocks[-1][0])
        day = frame[KNOWN_AT].max()
        assert isinstance(day, datetime)
        folder = self.place / f"headwater_date={day:%Y-%m-%d}"
        path = folder / file_name(self.partition, first, last)
        permissions.make_folder(folder)
        durable(frame, path)
        self.store.commit(dict.fromkeys(key for key, _ in blocks), {})
        if self.keep is not None:
            expire_files(self.files(), (day - timedelta(microseconds=self.keep)).date())
        return self._roll() if more else path  # a file holds rows of the same columns

    def rows(self) -> pl.LazyFrame | None:
        """Everything, in files or not yet; None where there is nothing. A column that some rows lack is null in them."""
        parts = self.lazy_parts()
        return pl.concat(parts, how="diagonal_relaxed") if parts else None

    def lazy_parts(self) -> list[pl.LazyFrame]:
        """Everything in the order of its commits, each part by the columns that the stream had then.

        Blocks come before files, so that rolling meanwhile loses none.
        """
        blocks, files = list(self._blocks()), self.files()
        done = _last(files)
        parts = [pl.scan_parquet(path, hive_partitioning=False) for path in sorted(files, key=span)]
        return [*parts, *(_frame(value).lazy() for key, value in blocks if keyspace.sequence_of(key) > done)]

    def parts(self) -> list[Callable[[], pl.DataFrame]]:
        """As `rows`, in parts that are read when they are called, each with the columns that it was written with."""
        blocks, files = list(self._blocks()), self.files()
        done = _last(files)
        waiting = [partial(_frame, value) for key, value in blocks if keyspace.sequence_of(key) > done]
        return [*(partial(pl.read_parquet, path, hive_partitioning=False) for path in sorted(files)), *waiting]

    def expire(self, now: int) -> int:
        """Remove what became known more than `keep` before `now`, microseconds, from files and from blocks; how many of both."""
        if self.keep is None:
            return 0
        limit = EPOCH + timedelta(microseconds=now - self.keep)
        old = [key for key, value in self._blocks() if (last := _frame(value)[KNOWN_AT].max()) is not None and last < limit]  # type: ignore[operator]
        if old:
            self.store.commit(dict.fromkeys(old), {})
        return len(old) + expire_files(self.files(), limit.date())

    def _name(self) -> str:
        return self.source if self.partition is None else f"{self.source}\0{self.partition}"

    def _blocks(self) -> Iterable[tuple[bytes, bytes]]:
        return self.store.scan(self.space + keyspace.name(self._name()))

    def files(self) -> list[Path]:
        """The files, in no order."""
        return [path for path in self.place.glob("headwater_date=*/*.parquet") if _parts(path)[0] == _quoted(self.partition)]


def stamped(rows: pl.DataFrame, sequence: int, known: int) -> pl.DataFrame:
    """Rows with the commit that made them readable: SEQUENCE, and KNOWN_AT, `known` in microseconds."""
    columns = (pl.Series(SEQUENCE, [sequence], pl.Int64), pl.Series(KNOWN_AT, [known], pl.Int64).cast(pl.Datetime("us", "UTC")))
    return rows.hstack([column.new_from_index(0, rows.height) for column in columns])  # no query: its start counts where rows are few


def file_name(partition: str | None, first: int, last: int) -> str:
    """The name of a file that holds the commits from first to last."""
    return f"{_quoted(partition)}-{first:012d}-{last:012d}.parquet"


def span(path: Path) -> tuple[int, int]:
    """The first and the last commit in a file, by its name."""
    return _parts(path)[1:]


def expire_files(files: Sequence[Path], before: date) -> int:
    """Remove the files of days before this one; how many. The file with the last commit is emptied instead: its name is needed."""
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


def _last(files: Sequence[Path]) -> int:
    """The last commit that a file holds."""
    return max((_parts(path)[2] for path in files), default=-1)


def _parts(path: Path) -> tuple[str, int, int]:
    match = _NAME.fullmatch(path.name)
    return ("", -1, -1) if match is None else (match[1], int(match[2]), int(match[3]))


def _quoted(partition: str | None) -> str:
    """A partition as a part of a file's name; "all" is that of the whole stream."""
    if partition is None:
        return "all"
    return re.sub(r"^all$|[^A-Za-z0-9_.]", lambda match: "".join(f"%{ord(letter):02X}" for letter in match[0]), partition)


def _frame(data: bytes) -> pl.DataFrame:
    return pl.read_ipc_stream(io.BytesIO(data))


def durable(frame: pl.DataFrame, path: Path) -> None:
    """Write a file that is whole and on disk, or not there; its folder and the one above are synced too."""
    draft = path.with_suffix(".draft")
    try:
        with permissions.open_private(draft, "wb") as file:
            frame.write_parquet(file)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        draft.unlink(missing_ok=True)  # it would take the room that is missing
        raise
    draft.replace(path)
    for folder in (path.parent, path.parent.parent):
        sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk before going on."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
