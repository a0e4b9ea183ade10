"""The archive of a source: accepted, filtered and rejected rows, in parquet files of a folder or an
object store.

From blocks that commits leave in the online store to parquet files: accepted events to the
archive, rows that a source's filter leaves out to the filtered log, rejected records to the dead
letters.

A block is written with its commit, so nothing that was committed is missing and nothing else is
there. Blocks are rolled into a file that is made durable before they are deleted. A file says which
commits it holds: after a crash between the two, their blocks are only deleted.

An archive: rows of a source by the commits that made them readable, appended to and read; here
as parquet files in a folder.

    FOLDER/SOURCE/headwater_date=2024-05-01/PARTITION-FIRST-LAST.parquet

A file is named by the commits in it, so what it holds is known without opening it.

An archive on an object store: the one place that needs the extra `objects`.

    URL/SOURCE/headwater_date=2024-05-01/PARTITION-FIRST-LAST.parquet

An object is written whole or not at all, so nothing is renamed. Nothing is locked either: where two
processes moved the same blocks, each wrote what the commits hold, and a reader takes every commit
from one object.

Rows of a stream's files by the columns that the stream has now: a file keeps the columns and
types of when it was written.

Whose a folder of the archive is: a file in it names the project, and the development
environment, that writes to it.

Which pushed events senders were told are committed, in a file apart from the online store: they
are not sent again.

A store that has made fewer commits has lost some: a standby without them took over, or an older
copy was restored.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache, partial
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, TYPE_CHECKING, Final, Protocol

import polars as pl
from polars.exceptions import PolarsError

from headwater import clock, disk, settings
from headwater.connectors import remote
from headwater.definitions.connectors import Pushed
from headwater.definitions.source import Source
from headwater.disk import sync
from headwater.errors import ConnectError, DataError, MissingExtraError, StoreError, UsageError
from headwater.stores import OnlineStore, keyspace
from headwater.stores.keyspace import ScopedStore, environment

if TYPE_CHECKING:
    from obstore.store import ObjectStore

KNOWN_AT = "headwater_known_at"

FOLDERS: Mapping[bytes, str] = {
    keyspace.ARCHIVE: "archive",
    keyspace.DEAD: "dead_letters",
    keyspace.FILTERED: "filtered",
}
"""Where the files of a space stand in a home."""


def unwritable(folder: Path, error: OSError) -> StoreError:
    """The remedy where a folder, or a file in it, cannot be written."""
    return StoreError(
        f"{folder} cannot be written: {error.strerror or error}. Nothing is lost, what belongs "
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
            return ParquetArchive(self.source_folder, self.partition)

        return ObjectArchive(self.location, self.partition)

    @property
    def source_folder(self) -> Path:
        """The folder of the source; unused where the archive is on an object store."""
        return self.folder / self.source

    @property
    def location(self) -> str:
        """Where the rows go, for messages."""
        url = settings.archive_url()
        return str(self.source_folder) if url is None else f"{url}/{self.folder.name}/{self.source}"

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
            raise unwritable(self.source_folder, error) from error

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
        within = (
            pl.col(SEQUENCE) > since
            if upto is None
            else pl.col(SEQUENCE).is_between(since + 1, upto)
        )
        files = [
            part.scan()
            if since < part.first and part.last <= last
            else part.scan().filter(within).collect().lazy()
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
        """As `rows`, in parts that are read when they are called, each with the columns it was
        written with.
        """
        blocks, parts = list(self._blocks()), self.archive.parts()
        done = _last(parts)
        waiting = [
            partial(_frame, value) for key, value in blocks if keyspace.sequence_of(key) > done
        ]
        return [*(part.read for part in parts), *waiting]

    def expire(self, now: int) -> int:
        """Remove the blocks and files whose rows became known more than `keep` before `now`,
        microseconds; returns their number.
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
        """The rows of commits after `made` in files; None where no file has such a commit."""
        parts = [part.read() for part in self.archive.parts() if part.last > made]
        if not parts:
            return None
        return pl.concat(parts, how="diagonal_relaxed").filter(pl.col(SEQUENCE) > made)

    def cut(self, made: int) -> None:
        """Remove the rows of commits after `made`."""
        with self.archive.alone():
            self.archive.cut(made)

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

    return readable_objects(f"{url}/{folder.name}/{source}")


def every_part(folder: Path, source: str) -> Sequence[ArchivePart]:
    """Every file of a source's archive; on an object store also objects whose rows are in another
    one too.
    """
    if (url := settings.archive_url()) is None:
        return [
            ParquetFile(path)
            for path in sorted((folder / source).glob("headwater_date=*/*.parquet"))
        ]

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


SEQUENCE = "headwater_sequence"
"""The column with the commit that made a row readable."""

_LEVEL = 1  # of zstd: a third less processor time than polars' default for files 3 % larger

# rows: commits share polars' threads with a file that is written, and wait for one column of one
# group at most
_GROUP = 1 << 16

_LONGEST = 221  # letters: the name of a file takes 255, 34 of them for its commits

_FILE_NAME = re.compile(r"(.+)-(\d+)-(\d+)\.parquet")


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

    def cut(self, last: int) -> None:
        """Remove the rows of commits after `last`. A stopped call can be repeated."""
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
    """An `Archive` in the folder of a source. partition: of the rows; None for the whole stream."""

    source_folder: Path
    partition: str | None = None

    def append(self, rows: pl.DataFrame, day: date, first: int, last: int) -> Path:
        """See `Archive`; the file."""
        path = (
            self.source_folder
            / f"headwater_date={day:%Y-%m-%d}"
            / file_name(self.partition, first, last)
        )
        disk.make_folder(path.parent)
        durable(rows, path)
        return path

    @contextmanager
    def alone(self) -> Iterator[None]:
        """See `Archive`."""
        disk.own_folder(self.source_folder.parent)
        with disk.open_private(disk.make_folder(self.source_folder) / ".lock", "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            drop_drafts(self.source_folder)
            yield

    def parts(self) -> list[ParquetFile]:
        """See `Archive`."""
        return [ParquetFile(path) for path in sorted(self.files(), key=span)]

    def rewrite(self, part: ArchivePart, rows: pl.DataFrame) -> None:
        """See `Archive`."""
        assert isinstance(part, ParquetFile)
        durable(rows, part.path)

    def cut(self, last: int) -> None:
        """See `Archive`."""
        for part in self.parts():
            if part.last <= last:
                continue
            if part.first <= last:
                durable(
                    part.read().filter(pl.col(SEQUENCE) <= last),
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
            for path in self.source_folder.glob("headwater_date=*/*.parquet")
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
    removed = 0
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
        removed += 1
    return removed


def drop_drafts(folder: Path) -> None:
    """Remove unfinished files of killed processes; the caller holds the lock of the processes that
    add files.

    A draft next to its file is of a process that replaces it, which may run.
    """
    for draft in folder.glob("headwater_date=*/*.draft"):
        if not draft.with_suffix(".parquet").exists():
            draft.unlink(missing_ok=True)


def _parts(path: PurePath) -> tuple[str, int, int]:
    match = _FILE_NAME.fullmatch(path.name)
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


_RETRIES = 3

_RETRY_FOR = timedelta(seconds=30)


@dataclass(frozen=True)
class ArchiveObject:
    """An `ArchivePart`: an object. after: commits up to this one are in earlier parts."""

    url: str
    path: str
    after: int = -1

    @property
    def first(self) -> int:
        """See `ArchivePart`."""
        return max(span(PurePosixPath(self.path))[0], self.after + 1)

    @property
    def last(self) -> int:
        """See `ArchivePart`."""
        return span(PurePosixPath(self.path))[1]

    def read(self) -> pl.DataFrame:
        """See `ArchivePart`."""
        with _reachable(self.url):
            return self.scan().collect()

    def scan(self) -> pl.LazyFrame:
        """See `ArchivePart`."""
        rows = pl.scan_parquet(
            self.address, hive_partitioning=False, glob=False, storage_options=dict(remote.DATA)
        )
        if self.after < span(PurePosixPath(self.path))[0]:
            return rows
        return rows.filter(pl.col(SEQUENCE) > self.after)

    @property
    def address(self) -> str:
        """The URL of the object."""
        return f"{self.url}/{self.path}"


@dataclass(frozen=True)
class ObjectArchive:
    """An `Archive` on an object store. url: the place of the source. partition: whose rows these
    are; None for the whole stream.
    """

    url: str
    partition: str | None = None

    def append(self, rows: pl.DataFrame, day: date, first: int, last: int) -> str:
        """See `Archive`; the URL of the object."""
        path = f"headwater_date={day:%Y-%m-%d}/{file_name(self.partition, first, last)}"
        self._put(path, rows)
        return f"{self.url}/{path}"

    def alone(self) -> AbstractContextManager[None]:
        """See `Archive`: no wait, since a reader takes each commit once from any writer."""
        return nullcontext()

    def parts(self) -> list[ArchiveObject]:
        """See `Archive`; an object whose commits are all in another one is left out."""
        return _each_commit_once(self.url, self._paths())

    def rewrite(self, part: ArchivePart, rows: pl.DataFrame) -> None:
        """See `Archive`."""
        assert isinstance(part, ArchiveObject)
        self._put(part.path, rows)

    def cut(self, last: int) -> None:
        """See `Archive`; also objects whose commits are all in another one, which would show again
        without that one.
        """
        for path in sorted(self._paths(), key=_widest_first):
            begin, end = span(path)
            if end <= last:
                continue
            if begin <= last:
                self._put(
                    f"{path.parent}/{file_name(self.partition, begin, last)}",
                    ArchiveObject(self.url, str(path)).read().filter(pl.col(SEQUENCE) <= last),
                )
            with _reachable(self.url):
                _store(self.url).delete([str(path)])

    def expire(self, before: date) -> int:
        """See `Archive`; the object with the last commit is emptied, since its name says which it
        is.
        """
        paths = self._paths()
        newest = max(paths, key=lambda path: span(path)[1], default=None)
        old = [path for path in paths if path.parent.name < f"headwater_date={before:%Y-%m-%d}"]
        expired = [str(path) for path in old if path != newest]
        with _reachable(self.url):
            if expired:
                _store(self.url).delete(expired)
            if (
                newest not in old
                or not (rows := ArchiveObject(self.url, str(newest)).read()).height
            ):
                return len(expired)
        self._put(str(newest), rows.clear())
        return len(expired) + 1

    def _paths(self) -> list[PurePosixPath]:
        return [path for path in _paths(self.url) if is_of(path, self.partition)]

    def _put(self, path: str, rows: pl.DataFrame) -> None:
        content = io.BytesIO()
        write_rows(rows, content)
        put(f"{self.url}/{path}", content.getvalue())


def readable_objects(url: str) -> list[ArchiveObject]:
    """The objects of a source, of every partition, so that each commit is read once."""
    by_partition: dict[str, list[PurePosixPath]] = {}
    for path in _paths(url):
        by_partition.setdefault(partition_of(path), []).append(path)
    return [
        part for _, paths in sorted(by_partition.items()) for part in _each_commit_once(url, paths)
    ]


def every_object(url: str) -> list[ArchiveObject]:
    """The objects of a source, of every partition, also those whose commits are all in another one;
    by name.
    """
    return [ArchiveObject(url, str(path)) for path in sorted(_paths(url))]


def content(address: str) -> bytes | None:
    """The bytes of the object at a URL; None where there is none.

    Raises:
        ConnectError: the store does not answer, or refuses.
    """
    url, path = _split(address)
    with _reachable(url):
        try:
            return bytes(_store(url).get(path).bytes())
        except FileNotFoundError:
            return None


def put(address: str, body: bytes) -> None:
    """Write an object, whole or not at all. Raises as `content`."""
    url, path = _split(address)
    with _reachable(url):
        # the parts of a killed upload would stay, unseen
        _store(url).put(path, body, use_multipart=False)


def _each_commit_once(url: str, paths: Sequence[PurePosixPath]) -> list[ArchiveObject]:
    """The objects of one partition in the order of their commits, without those whose commits are
    all in another one.
    """
    parts: list[ArchiveObject] = []
    done = -1
    for path in sorted(paths, key=_widest_first):
        if span(path)[1] > done:
            parts.append(ArchiveObject(url, str(path), done))
            done = span(path)[1]
    return parts


def _split(address: str) -> tuple[str, str]:
    """The place of the source, and the path below it."""
    url, day, name = address.rsplit("/", 2)
    return url, f"{day}/{name}"


def _paths(url: str) -> list[PurePosixPath]:
    with _reachable(url):
        return [
            PurePosixPath(item["path"])
            for batch in _store(url).list(chunk_size=1000)
            for item in batch
        ]


@cache
def _store(url: str) -> ObjectStore:
    try:
        from obstore.store import from_url
    except ModuleNotFoundError as error:
        raise MissingExtraError("obstore", "objects") from error
    with _reachable(url):
        return from_url(
            url,
            client_options={"timeout": "60s", "connect_timeout": "5s", "allow_http": True},
            retry_config={"max_retries": _RETRIES, "retry_timeout": _RETRY_FOR},
        )


@contextmanager
def _reachable(url: str) -> Iterator[None]:
    """Name the archive, without credentials, where the store fails.

    Raises:
        ConnectError: it does not answer, or refuses.
    """
    try:
        yield
    except (ConnectError, MissingExtraError):
        raise
    except Exception as error:  # noqa: BLE001 (obstore and polars raise errors of their own)
        raise ConnectError(str(remote.table_error(error, url, {}, "as an archive"))) from None


def _widest_first(path: PurePosixPath) -> tuple[int, int]:
    first, last = span(path)
    return first, -last


def as_today(
    rows: pl.DataFrame, schema: Mapping[str, pl.DataType]
) -> tuple[pl.DataFrame, Counter[str]]:
    """The rows with these columns, cast where they had another type; and the values that could not
    be cast, counted by error.

    >>> rows, lost = as_today(pl.DataFrame({"n": [1, 2]}), {"n": pl.Float64(), "word": pl.String()})
    >>> rows.rows(), dict(lost)
    ([(1.0, None), (2.0, None)], {"events from before the column 'word' was kept": 2})
    """
    lost: Counter[str] = Counter()
    columns = []
    for name, dtype in schema.items():
        if name not in rows.columns:
            lost[f"events from before the column {name!r} was kept"] += rows.height
            columns.append(pl.Series(name, [None], dtype).new_from_index(0, rows.height))
            continue
        had = rows[name]
        now = had if had.dtype == dtype else had.cast(dtype, strict=False)
        lost_values = now.null_count() - had.null_count()
        if had.dtype.is_float() and dtype.is_integer():
            lost_values = (
                int((now.is_null() | (now.cast(had.dtype) != had)).sum()) - had.null_count()
            )
        if lost_values > 0:
            lost[
                (
                    f"events whose column {name!r} was {had.dtype}, with values that {dtype} does "
                    "not hold"
                )
            ] += lost_values
        columns.append(now)
    return pl.DataFrame(columns), +lost


@contextmanager
def broken_files_named(folder: Path | None, source: str) -> Iterator[None]:
    """Name the broken file in the error where the files of a source below `folder` cannot be read.

    Raises:
        DataError: a file that cannot be read, or files that do not fit together.
    """
    try:
        yield
    except PolarsError as error:
        for log_folder in FOLDERS.values() if folder is not None else ():
            for path in sorted((Path(folder or "") / log_folder / source).glob("**/*.parquet")):
                try:
                    pl.read_parquet(path, hive_partitioning=False)
                except (PolarsError, OSError) as broken:
                    raise DataError(
                        f"{path} cannot be read: {broken}. Put it back from a backup; without it, "
                        "its events are in no archive"
                    ) from error
        raise DataError(
            f"the files of source {source!r} cannot be read together: {error}"
        ) from error


_OWNER: Final = "owner"


def claim_folder(folder: Path, store: OnlineStore) -> None:
    """Write the owner of a source's folder down, where it has none.

    Raises:
        UsageError: another project writes to it, or another development environment.
        StoreError: it cannot be read or written.
    """
    if not isinstance(store, ScopedStore) or not store.project:
        return
    development, file = environment(store), folder / _OWNER
    owner = f"project {store.project!r}" + (
        "" if development is None else f", development environment {development}"
    )
    try:
        if not file.exists():
            disk.replace_file(disk.make_folder(folder) / _OWNER, f"{owner}\n".encode())
            return
        theirs = file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        raise unwritable(folder, error) from error
    if theirs != owner:
        raise UsageError(
            f"the archive in {folder} is that of {theirs}, as its file {_OWNER!r} says, and this "
            f"is {owner}: their events would mix. Give each a data directory of its own "
            "(--data-dir, HEADWATER_DATA_DIR). A project that was renamed keeps the archive when "
            f"you delete {file}"
        )


_ACKNOWLEDGED = "acknowledged"


class AcknowledgedCommits:
    """The last commit of a pushed source that senders were told of, and the offset after its
    events; 0 and 0 where there is none.

    folder: of the source's archive; None keeps them in memory. The file outlives a killed process;
    it is not synced to the disk.

    >>> told = AcknowledgedCommits(None)
    >>> told.note(7, 120)
    >>> told.commit, told.offset
    (7, 120)
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / _ACKNOWLEDGED
        self.commit, self.offset = 0, 0
        if self._path is not None and self._path.exists():
            self.commit, self.offset = map(int, self._path.read_text().split())

    @classmethod
    def for_source(cls, source: Source, archive: Path | None) -> AcknowledgedCommits | None:
        """That of a source as the store names it; None where its stream can be read again. archive:
        with a folder for each source.
        """
        return (
            cls(None if archive is None else archive / source.name)
            if isinstance(source.stream, Pushed)
            else None
        )

    def note(self, commit: int, offset: int) -> None:
        """Keep that these were told, before they are."""
        self.commit, self.offset = commit, offset
        if self._path is None:
            return
        # one write of one length: a killed process leaves it whole
        line = b"%020d %020d\n" % (commit, offset)
        disk.make_folder(self._path.parent)
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(file, line, 0)
        finally:
            os.close(file)
