"""An archive on an object store: the one place that needs the extra `objects`.

    URL/SOURCE/headwater_date=2024-05-01/PARTITION-FIRST-LAST.parquet

An object is written whole or not at all, so nothing is renamed. Nothing is locked either: where two
processes moved the same blocks, each wrote what the commits hold, and a reader takes every commit
from one object.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import polars as pl

from headwater.connectors import remote
from headwater.errors import ConnectError, MissingExtraError
from headwater.ingestion.archive_files import (
    SEQUENCE,
    ArchivePart,
    file_name,
    is_of,
    partition_of,
    span,
    write_rows,
)

if TYPE_CHECKING:
    from obstore.store import ObjectStore

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
        with _reachable(self.url):
            # not so the dead letters of older versions
            has_commits = SEQUENCE in rows.collect_schema()
        return rows.filter(pl.col(SEQUENCE) > self.after) if has_commits else rows

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

    def cut(self, last: int, kept: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
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
                    kept(ArchiveObject(self.url, str(path)).read()),
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
        gone = [str(path) for path in old if path != newest]
        with _reachable(self.url):
            if gone:
                _store(self.url).delete(gone)
            if (
                newest not in old
                or not (rows := ArchiveObject(self.url, str(newest)).read()).height
            ):
                return len(gone)
        self._put(str(newest), rows.clear())
        return len(gone) + 1

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
