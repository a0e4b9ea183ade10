"""Log of third-party responses in parquet files: serving writes the history that training needs.

    FOLDER/NAME/1715000000000000-4711-1.parquet         request fields, columns, fetched_at

`fetched_at` is the microsecond before the request that a response was fetched for: in training it counts for that request, as in serving,
and for none before it.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final

import polars as pl
from polars.exceptions import PolarsError

from headwater import clock, permissions
from headwater.definitions.http_features import HttpFeatures
from headwater.serving.third_party.http_call import Columns, Fields

MOST: Final = 200_000  # responses queued to be written; further ones are dropped and counted
_EVERY: Final = 60.0  # seconds between two files
FETCHED_AT: Final = "fetched_at"


class AnswerLog:
    """Queues responses in the request path and writes them in a thread; `add` is an `OnAnswer`, and never waits for the disk.

    written, dropped: counts of responses. failed: why the last file could not be written, else empty; its responses go into the next.

    Args:
        folder: has a folder for each third party, which `hw.parquet` reads as its history.
        most: limit of queued responses.
    """

    def __init__(self, folder: Path, *, most: int = MOST) -> None:
        self._folder, self._most = folder, most
        self._rows: defaultdict[str, list[tuple[object, ...]]] = defaultdict(list)
        self._third_parties: dict[str, HttpFeatures] = {}
        self._lock = threading.Lock()
        self._waiting = self._number = 0
        self.written = self.dropped = 0
        self.failed = ""

    def add(self, http: HttpFeatures, fields: Fields, columns: Columns, t: int) -> None:
        """Queue a response, fetched for a request at t, microseconds."""
        with self._lock:
            if self._waiting >= self._most:
                self.dropped += 1
                return
            self._waiting += 1
            self._third_parties[http.name] = http
            self._rows[http.name].append((*fields, *columns, t - 1))

    def write(self) -> list[Path]:
        """Write the queued responses, a file for each third party; the paths of the files."""
        with self._lock:
            rows, self._rows = self._rows, defaultdict(list)
        paths = []
        for name, responses in rows.items():
            self._number += 1
            folder = self._folder / name
            path = folder / f"{clock.now_micros()}-{os.getpid()}-{self._number}.parquet"
            draft = path.with_suffix(".draft")
            try:
                permissions.own_folder(folder)
                _frame(self._third_parties[name], responses).write_parquet(permissions.create(draft))
                draft.replace(path)
            except (OSError, PolarsError) as error:
                self.failed = str(error)
                with suppress(OSError):
                    draft.unlink(missing_ok=True)
                with self._lock:
                    self._rows[name] = responses + self._rows[name]
                continue
            self.failed = ""
            paths.append(path)
            with self._lock:
                self._waiting -= len(responses)
                self.written += len(responses)
        return paths

    @contextmanager
    def running(self, every: float = _EVERY) -> Iterator[AnswerLog]:
        """Write every `every` seconds in a thread while the context lasts, and once at its end."""
        stop = threading.Event()

        def run() -> None:
            while not stop.wait(every):
                self.write()

        thread = threading.Thread(target=run, name="answer log", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join()
            self.write()


def _frame(http: HttpFeatures, rows: list[tuple[object, ...]]) -> pl.DataFrame:
    types = {**http.request, **{name: dtype for name, (_, dtype) in http.columns.items()}}
    timestamp = pl.Datetime("us", "UTC")
    schema = {name: timestamp if dtype is datetime else dtype for name, dtype in types.items()}
    return pl.DataFrame(rows, schema={**schema, FETCHED_AT: pl.Int64}, orient="row").with_columns(pl.col(FETCHED_AT).cast(timestamp))
