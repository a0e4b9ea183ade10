"""From blocks that commits leave in the online store to parquet files: accepted events to the
archive, rows that a source's filter leaves out to the filtered log, rejected records to the dead
letters.

A block is written with its commit, so nothing that was committed is missing and nothing else is
there. Blocks are rolled into a file that is made durable before they are deleted. A file says which
commits it holds: after a crash between the two, their blocks are only deleted.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import polars as pl

from headwater import clock, settings
from headwater.errors import ConnectError, StoreError
from headwater.ingestion import archive_files
from headwater.ingestion.archive_files import Archive, ArchivePart, ParquetArchive, ParquetFile
from headwater.stores import OnlineStore, keyspace

KNOWN_AT = "headwater_known_at"
SEQUENCE = archive_files.SEQUENCE
FOLDERS: Mapping[bytes, str] = {
    keyspace.ARCHIVE: "archive",
    keyspace.DEAD: "dead_letters",
    keyspace.FILTERED: "filtered",
}
"""Where the files of a space stand in a home."""


def unwritable(place: Path, error: OSError) -> StoreError:
    """What to do where a folder, or a file in it, cannot be written."""
    return StoreError(
        f"{place} cannot be written: {error.strerror or error}. Nothing is lost, what belongs "
        "there stays in the online store: make room, or give the right to write there, and start "
        "again"
    )


@contextmanager
def repeatable(folder: Path) -> Iterator[None]:
    """Errors of the disk in headwater's words, of work that changes files below a folder and is
    completed by the same command.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"files in {folder} cannot be changed: {error.strerror or error}. What was done "
            "stays, and nothing is lost: make room, or give the right to write there, and run "
            "the same command again"
        ) from error


@dataclass(frozen=True)
class Roller:
    """Rolls one space of a store into files.

    space: ARCHIVE, DEAD or FILTERED. folder: where the folders of sources stand. partition: whose
    writer's blocks these are; None of the one writer. keep: microseconds; older days are removed,
    when a file is made and by `expire`; None keeps all.
    """

    store: OnlineStore
    space: bytes
    folder: Path
    source: str
    partition: str | None = None
    keep: int | None = None

    @property
    def archive(self) -> Archive:
        """Where the rows of the space go."""
        if settings.archive_url() is None:
            return ParquetArchive(self.place, self.partition)
        from headwater.ingestion.archive_objects import ObjectArchive

        return ObjectArchive(self.where, self.partition)

    @property
    def place(self) -> Path:
        """The folder of the source; unused where the archive is on an object store."""
        return self.folder / self.source

    @property
    def where(self) -> str:
        """Where the rows go, for messages."""
        url = settings.archive_url()
        return str(self.place) if url is None else f"{url}/{self.folder.name}/{self.source}"

    @property
    def last(self) -> int:
        """The last commit that the archive holds; -1 where there is none."""
        return _last(self.archive.parts())

    def roll(self) -> Path | str | None:
        """Move all blocks into a file, into several where columns changed; the last one."""
        if next(iter(self._keys()), None) is None:
            return None
        try:
            with self.archive.alone():
                return self._roll()
        except ConnectError as error:
            raise StoreError(
                f"{error}. Nothing is lost, what belongs there stays in the online store: start "
                "again when it answers"
            ) from error
        except OSError as error:
            raise unwritable(self.place, error) from error

    def _roll(self) -> Path | str | None:
        done = self.last
        keys = list(self._keys())
        old = [key for key in keys if keyspace.sequence_of(key) <= done]
        if old:
            self.store.commit(dict.fromkeys(old), {})
        frames = self._alike(keys[-1]) if len(old) < len(keys) else {}
        if not frames:
            return None
        first, last = keyspace.sequence_of(min(frames)), keyspace.sequence_of(max(frames))
        frame = pl.concat(frames.values())
        day = frame[KNOWN_AT].max()
        assert isinstance(day, datetime)
        path = self.archive.append(frame, day.date(), first, last)
        self.store.commit(dict.fromkeys(frames), {})
        if self.keep is not None:
            self.archive.expire((day - timedelta(microseconds=self.keep)).date())
        # a file holds rows of the same columns
        return (self._roll() or path) if max(frames) < keys[-1] else path

    def _alike(self, last: bytes) -> dict[bytes, pl.DataFrame]:
        """By key, the rows of the first blocks that have the same columns, up to the key `last`;
        read and decoded one at a time.
        """
        frames: dict[bytes, pl.DataFrame] = {}
        schema: pl.Schema | None = None
        for key, value in self._blocks():
            frame = _frame(value)
            if key > last or frame.schema != (schema := schema or frame.schema):
                break
            frames[key] = frame
        return frames

    def rows(self) -> pl.LazyFrame | None:
        """Everything, in files or not yet; None where there is nothing. A column that some rows
        lack is null in them.
        """
        parts = self.lazy_parts()
        return pl.concat(parts, how="diagonal_relaxed") if parts else None

    def lazy_parts(self, since: int = -1, upto: int | None = None) -> list[pl.LazyFrame]:
        """Everything in the order of its commits, each part by the columns that the stream had
        then.

        since, upto: only of the commits after one, and up to one. Blocks are read before files, so
        that rolling meanwhile loses none.
        """
        blocks, parts = list(self._blocks()), self.archive.parts()
        done, last = max(_last(parts), since), math.inf if upto is None else upto
        asked = (
            pl.col(SEQUENCE) > since
            if upto is None
            else pl.col(SEQUENCE).is_between(since + 1, upto)
        )
        files = [
            part.scan()
            if since < part.first and part.last <= last
            else part.scan().filter(asked).collect().lazy()
            for part in parts
            if since < part.last and part.first <= last
        ]
        return [
            *files,
            *(
                _frame(value).lazy()
                for key, value in blocks
                if done < keyspace.sequence_of(key) <= last
            ),
        ]

    def parts(self) -> list[Callable[[], pl.DataFrame]]:
        """As `rows`, in parts that are read when they are called, each with the columns that it was
        written with.
        """
        blocks, parts = list(self._blocks()), self.archive.parts()
        done = _last(parts)
        waiting = [
            partial(_frame, value) for key, value in blocks if keyspace.sequence_of(key) > done
        ]
        return [*(part.read for part in parts), *waiting]

    def expire(self, now: int) -> int:
        """Remove what became known more than `keep` before `now`, microseconds, from files and from
        blocks; how many of both.
        """
        if self.keep is None:
            return 0
        limit = clock.timestamp(now - self.keep)
        old = [
            key
            for key, value in self._blocks()
            if (last := _frame(value)[KNOWN_AT].max()) is not None and last < limit  # type: ignore[operator]
        ]
        if old:
            self.store.commit(dict.fromkeys(old), {})
        return len(old) + self.archive.expire(limit.date())

    def lost(self, made: int) -> pl.DataFrame | None:
        """The rows of commits after `made` in files; None where no file has such a commit. Dead
        letters of older versions name none.
        """
        parts = [part.read() for part in self.archive.parts() if part.last > made]
        if not parts:
            return None
        rows = pl.concat(parts, how="diagonal_relaxed")
        return rows.filter(pl.col(SEQUENCE) > made) if SEQUENCE in rows.columns else rows.clear()

    def cut(self, made: int, at: int) -> None:
        """Remove the rows of commits after `made`; it was made `at`, microseconds, which identifies
        dead letters without a commit.
        """

        def kept(rows: pl.DataFrame) -> pl.DataFrame:
            return rows.filter(
                pl.col(SEQUENCE) <= made
                if SEQUENCE in rows.columns
                else pl.col(KNOWN_AT) <= clock.timestamp(at)
            )

        with self.archive.alone():
            self.archive.cut(made, kept)

    def _name(self) -> str:
        return self.source if self.partition is None else f"{self.source}\0{self.partition}"

    def _keys(self) -> Iterable[bytes]:
        """The keys of the blocks, which are not read."""
        return (key for key, _ in self.store.sizes(self.space + keyspace.name(self._name())))

    def _blocks(self) -> Iterable[tuple[bytes, bytes]]:
        return self.store.scan(self.space + keyspace.name(self._name()))


def readable_parts(folder: Path, source: str) -> Sequence[ArchivePart]:
    """The files or objects of all partitions of a source, so that each commit is read once. folder:
    as of a `Roller`.
    """
    if (url := settings.archive_url()) is None:
        return every_part(folder, source)
    from headwater.ingestion.archive_objects import readable_objects

    return readable_objects(f"{url}/{folder.name}/{source}")


def every_part(folder: Path, source: str) -> Sequence[ArchivePart]:
    """The same with objects whose rows are in another one too."""
    if (url := settings.archive_url()) is None:
        return [
            ParquetFile(path)
            for path in sorted((folder / source).glob("headwater_date=*/*.parquet"))
        ]
    from headwater.ingestion.archive_objects import every_object

    return every_object(f"{url}/{folder.name}/{source}")


def stamped(rows: pl.DataFrame, sequence: int, known: int) -> pl.DataFrame:
    """Rows with the commit that made them readable: SEQUENCE, and KNOWN_AT, `known` in
    microseconds.
    """
    columns = (
        pl.Series(SEQUENCE, [sequence], pl.Int64),
        pl.Series(KNOWN_AT, [known], pl.Int64).cast(pl.Datetime("us", "UTC")),
    )
    # no query: its start counts where rows are few
    return rows.hstack([column.new_from_index(0, rows.height) for column in columns])


def _last(parts: Sequence[ArchivePart]) -> int:
    """The last commit of these parts."""
    return max((part.last for part in parts), default=-1)


def _frame(data: bytes) -> pl.DataFrame:
    return pl.read_ipc_stream(io.BytesIO(data))
