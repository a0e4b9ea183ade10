"""Log of third-party responses: serving writes the history that training needs.

    FOLDER/NAME/WORKER-000001.parquet         request fields, columns, fetched_at

`fetched_at` is the microsecond before the request that a response was fetched for: in training it
counts for that request, as in serving, and for none before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import polars as pl
from polars.exceptions import PolarsError

from headwater import disk
from headwater.definitions.checks import Size, in_bytes
from headwater.definitions.http_features import HttpFeatures
from headwater.errors import HeadwaterError
from headwater.journal.conversion import convert
from headwater.journal.format import RESPONSES
from headwater.journal.responses import FETCHED_AT, SEGMENTS, begin_of, record_of
from headwater.journal.writer import JournalWriter, RecordGroup
from headwater.serving.third_party.http_call import Columns, Fields

_WAIT: Final = 10.0  # seconds for another conversion


class AnswerLog:
    """Takes responses in the request path, and a thread writes them within 50 ms; each minute they
    become a parquet file.

    `add` is an `OnAnswer`, and never waits for the disk.

    Args:
        data_dir: its folder `answers` has a folder for each third party, which `hw.parquet` reads
            as its history.
        memory: of responses that wait to be written; further ones are dropped and counted.

    Attributes:
        dropped: how many.
    """

    def __init__(self, data_dir: Path, *, memory: Size = "64MB") -> None:
        self._data_dir, self._memory = data_dir, in_bytes(memory, "memory")
        self.folder = data_dir / "answers"
        disk.own_if_there(self.folder)
        self._writer = JournalWriter(RESPONSES.most, RESPONSES.every, self._look)
        self._groups: dict[str, RecordGroup] = {}
        self._converted = self.dropped = 0
        self._failed = ""

    @property
    def written(self) -> int:
        """How many responses are in files."""
        return self._writer.written

    @property
    def failed(self) -> str:
        """Why the last file could not be written, else empty; its responses are tried again."""
        return self._writer.error or self._failed

    def add(self, http: HttpFeatures, fields: Fields, columns: Columns, t: int) -> None:
        """Add a response, fetched for a request at t, microseconds."""
        if self._writer.held > self._memory:
            self.dropped += 1
            return
        group = self._groups.get(http.name)
        if group is None:
            group = self._groups[http.name] = self._writer.group(
                self.folder / SEGMENTS / http.name, begin_of(http.name, _dtypes(http))
            )
        self._writer.put(group, record_of((*fields, *columns, t - 1)))

    def write(self) -> list[Path]:
        """Write all responses so far to parquet files; these."""
        before = set(self.folder.rglob("*.parquet"))
        if self._writer.rotate():
            self._convert()
        return sorted(set(self.folder.rglob("*.parquet")) - before)

    def close(self) -> None:
        """Write all responses."""
        if self._writer.close():
            self._convert()

    @contextmanager
    def running(self) -> Iterator[AnswerLog]:
        """Close the log at the end of the context."""
        try:
            yield self
        finally:
            self.close()

    def _look(self, closed: int) -> None:
        if closed > self._converted:
            self._converted = closed
            self._convert()

    def _convert(self) -> None:
        try:
            convert(self._data_dir, kinds=(RESPONSES,), only=self._writer.worker, wait=_WAIT)
            self._failed = ""
        except (HeadwaterError, OSError, PolarsError) as error:
            self._failed = str(error)


def _dtypes(http: HttpFeatures) -> dict[str, pl.DataType]:
    types = {**http.request, **{name: dtype for name, (_, dtype) in http.columns.items()}}
    timestamp = pl.Datetime("us", "UTC")
    schema = {name: timestamp if dtype is datetime else dtype for name, dtype in types.items()}
    return dict(pl.DataFrame(schema={**schema, FETCHED_AT: timestamp}).schema)
