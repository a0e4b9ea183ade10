"""Logs in an object store, or in a shared folder: a parquet file for each part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from headwater import clock, permissions
from headwater.connectors import remote
from headwater.definitions.connectors import ParquetFiles
from headwater.errors import DataError
from headwater.ingestion.archive_files import durable

if TYPE_CHECKING:
    import polars as pl


class ObjectStoreLogs:
    """Parts below a URL, by their names. A part is one object, so that readers see all of it or nothing.

    Args:
        url: of the folder.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def __repr__(self) -> str:
        return f"ObjectStoreLogs({self._url!r})"

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
            permissions.make_folder(Path(file.path).parent)
            durable(frame, Path(file.path))
        except OSError as error:
            raise DataError(f"{file} cannot be written: {error.strerror}") from error

    def parts(self, wanted: Callable[[str], bool], since: date | None = None) -> Iterator[tuple[str, pl.DataFrame]]:
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
        """What precedes the name of a part in its URL, without the scheme, which some stores write in another way."""
        return f"{self._url.partition('://')[2] or self._url}/"

    def _file(self, name: str) -> ParquetFiles:
        return ParquetFiles(f"{self._url}/{name}")


def _patterns(since: date | None) -> list[str]:
    if since is None:
        return ["**/*.parquet"]
    days = (clock.timestamp(clock.now_micros()).date() - since).days + 2  # requests may ask as of a time that is a little ahead
    dates = (since + timedelta(days=n) for n in range(max(days, 0)))
    return [
        f"{name}/**/*.parquet" for name in ("served/sample_rates", "exposures", "outcomes", *(f"served/headwater_date={d}" for d in dates))
    ]
