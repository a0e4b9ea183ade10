"""Where the logs of many machines come together: a folder of an object store, or a shared folder.

It holds parts. A part is a parquet file with a name, and never changes; the same part may be put
twice, and counts once:

    served/headwater_date=2024-05-01/model=churn/1714521600000000-WORKER-000001.parquet
            rows of the serving log
    served/sample_rates/WORKER.parquet
            the share of requests that a worker kept
    exposures/checkout/1/WORKER-000001.parquet
            the bytes of a closed file of exposures
    outcomes/leaving/WORKER-000001.parquet
            and of one of outcomes
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headwater import clock, disk
from headwater.connectors import remote
from headwater.definitions.connectors import SCHEMES, ParquetFiles
from headwater.errors import DataError, DefinitionError, UsageError, nearest
from headwater.ingestion.archive import durable

if TYPE_CHECKING:
    import polars as pl

_NAME: Final = re.compile(r"(served|exposures|outcomes)(/[^/\\\0]+)+\.parquet")
_STORES: Final = tuple(scheme for scheme in SCHEMES if not scheme.startswith("http"))


class LogDestination:
    """Parts below a URL, by their names. A part is one object, so that readers see all of it or
    nothing.

    Args:
        url: of the folder.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def __repr__(self) -> str:
        return f"LogDestination({self._url!r})"

    def put(self, name: str, frame: pl.DataFrame) -> None:
        """Write a part; it is durable when this returns.

        Raises:
            ConnectError: no answer, or access refused. DataError: it cannot be written.
        """
        file = self._file(name)
        if file.is_remote:
            remote.write(file, frame)
            return
        try:
            disk.make_folder(Path(file.path).parent)
            durable(frame, Path(file.path))
        except OSError as error:
            raise DataError(f"{file} cannot be written: {error.strerror}") from error

    def parts(
        self, wanted: Callable[[str], bool], since: date | None = None
    ) -> Iterator[tuple[str, pl.DataFrame]]:
        """The wanted parts, each with its name; a part that was put twice may come twice.

        Args:
            wanted: whether a part of that name is read.
            since: of the serving log, the first day that is listed; None lists all.

        Raises:
            ConnectError, DataError: as `put`.
        """
        for pattern in _patterns(since):
            for url in remote.listed(self._file(pattern)):
                name = url[url.index(self._root) + len(self._root) :]
                if wanted(name):
                    yield name, remote.read(ParquetFiles(url))

    @property
    def _root(self) -> str:
        """What precedes the name of a part in its URL, without the scheme, which some stores write
        in another way.
        """
        return f"{self._url.partition('://')[2] or self._url}/"

    def _file(self, name: str) -> ParquetFiles:
        return ParquetFiles(f"{self._url}/{name}")


def destination(url: str) -> LogDestination:
    """The destination that a URL names.

    s3://bucket/folder, gs://, az:// and abfss:// take their credentials from the environment;
    file:///folder is a shared folder.

    Raises:
        UsageError: another URL.

    >>> destination("file:///data/logs")
    LogDestination('/data/logs')
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme.lower() not in (*_STORES, "file"):
        raise UsageError(
            f"logs cannot go to {url!r}: {nearest(scheme, (*_STORES, 'file'))}. Give "
            "s3://bucket/folder, gs://, az:// or file:///folder"
        )
    try:
        return LogDestination(ParquetFiles(url.rstrip("/")).path)
    except DefinitionError as error:
        raise UsageError(str(error)) from error


def is_part(name: str) -> bool:
    """Whether a name is one of a part: what lies at a destination was written by others.

    >>> (
    ...     is_part("served/sample_rates/a.parquet"),
    ...     is_part("served/../../etc/a.parquet"),
    ...     is_part("index.html"),
    ... )
    (True, False, False)
    """
    return _NAME.fullmatch(name) is not None and ".." not in name.split("/")


def _patterns(since: date | None) -> list[str]:
    if since is None:
        return ["**/*.parquet"]
    # requests may ask as of a time that is a little ahead
    days = (clock.timestamp(clock.now_micros()).date() - since).days + 2
    dates = (since + timedelta(days=n) for n in range(max(days, 0)))
    return [
        f"{name}/**/*.parquet"
        for name in (
            "served/sample_rates",
            "exposures",
            "outcomes",
            *(f"served/headwater_date={d}" for d in dates),
        )
    ]
