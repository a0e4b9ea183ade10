"""Convert files of the journal to parquet: rows of the serving log, and responses of third parties.

A file is converted once its writer no longer holds the lock on it: the writer closed it or was
killed. The conversion writes parquet, of the serving log a file for each day, syncs it, renames it
into place, and then removes the file. Parquet files are named after it, so a killed conversion is
repeated to the same files, and readers skip the rows of a segment that a parquet file already has.

Each minute, a log starts a low-priority process that converts (`monitoring.convert_segments`).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from time import sleep
from typing import Final, Literal

import polars as pl

from headwater import clock, disk
from headwater.disk import sync
from headwater.engine.checkpoint import lock
from headwater.errors import StoreError
from headwater.ingestion.archive import durable
from headwater.journal import shipping_queue
from headwater.journal.format import RESPONSES, SERVED_ROWS, RecordKind, scan
from headwater.journal.journal_files import (
    close_all,
    content,
    is_complete,
    journal_files,
)
from headwater.journal.responses import responses_in
from headwater.journal.serving_log_files import SERVED, day_folder
from headwater.journal.serving_log_frames import rows_of
from headwater.journal.serving_log_rows import AT

_LOG = logging.getLogger(__name__)
_EPOCH: Final = date(1970, 1, 1)
_LOOK: Final = 0.02  # seconds
DAMAGED: Final = ".damaged"
"""The suffix of a file whose header is damaged; one of the serving log is deleted when its day is
old.
"""
CONVERTED: Final = (SERVED_ROWS, RESPONSES)
"""The kinds of records that become parquet."""


def convert(
    folder: Path,
    *,
    kinds: Sequence[RecordKind] = CONVERTED,
    only: str = "",
    wait: float = 0.0,
    close: bool = False,
) -> list[Path]:
    """Convert the files of these kinds, and return the files that are still written.

    Args:
        folder: the data directory.
        kinds: of `CONVERTED`.
        only: convert files whose names begin with it.
        wait: seconds to wait for another conversion, and for writers that are told to close their
            files.
        close: tell all writers to close their files.

    Raises:
        StoreError: a file of another version; the others are converted. Another conversion goes on
            after the wait.
        OSError: a file cannot be written.
    """
    unconverted: list[Path] = []
    refused: StoreError | None = None
    until = clock.stopwatch() + wait
    for kind in kinds:
        if not journal_files(folder, kind):
            continue
        with _alone(folder.joinpath(*Path(kind.files).parts[:2]), until):
            if close:
                close_all(journal_files(folder, kind))
            for path in journal_files(folder, kind):
                if not path.name.startswith(only):
                    continue
                if not is_complete(path, until if close else 0.0):
                    unconverted.append(path)
                    continue
                try:
                    _convert_file(folder, kind, path)
                except StoreError as error:
                    _LOG.warning("%s", error)
                    refused = error
    if refused is not None:
        raise refused
    return unconverted


def _convert_file(folder: Path, kind: RecordKind, path: Path) -> None:
    """Convert a complete file. The caller keeps other conversions out.

    Raises:
        StoreError: it has other records, or is of another version.
        OSError: a file cannot be written.
    """
    data = content(path)
    header, spans, damaged = scan(data, kind, str(path))
    if header is None and spans:
        renamed = path.rename(path.with_suffix(DAMAGED))
        _LOG.warning(
            "%s: its header is damaged, so its %d entries cannot be read; it is kept as %s",
            path,
            len(spans),
            renamed.name,
        )
        return
    if damaged:
        _LOG.warning(
            "%s: the last %d bytes, or bytes in between, are no whole entry, and are left out",
            path,
            damaged,
        )
    frames = _served(folder, path, data) if kind is SERVED_ROWS else _responses(path, data)
    disk.own_folder(path.parents[2])
    for target, frame in frames:
        disk.make_folder(target.parent)
        durable(frame, target)
        if kind is SERVED_ROWS:
            shipping_queue.add(folder, target)
    path.unlink(missing_ok=True)
    sync(path.parent)


def _served(folder: Path, path: Path, data: bytes) -> Iterator[tuple[Path, pl.DataFrame]]:
    for day, frame in rows_of(data, str(path)).days.items():
        first = frame.select(pl.col(AT).dt.epoch("us").min()).item()
        yield (
            day_folder(folder / SERVED, _EPOCH + timedelta(days=day))
            / path.parent.name
            / f"{first}-{path.stem}.parquet",
            frame,
        )


def _responses(path: Path, data: bytes) -> Iterator[tuple[Path, pl.DataFrame]]:
    frame = responses_in(data, str(path))
    if frame.height:
        yield path.parents[2] / path.parent.name / f"{path.stem}.parquet", frame


@dataclass(frozen=True)
class ShipTo:
    """Where logs are shipped. url: of the destination. most: bytes that the local files of the
    serving log may take.
    """

    url: str
    most: int


def command(
    priority: Literal["idle", "normal"], folder: Path, keep: int | None, to: ShipTo | None = None
) -> Sequence[str]:
    """The command line of a process that converts complete segments, deletes days older than `keep`
    microseconds, and ships logs.

    priority: see `monitoring.convert_segments`.
    """
    shipping = [] if to is None else [to.url, str(to.most)]
    return [
        sys.executable,
        "-m",
        "headwater.monitoring.convert_segments",
        priority,
        str(folder),
        "" if keep is None else str(keep),
        *shipping,
    ]


@contextmanager
def _alone(folder: Path, until: float) -> Iterator[None]:
    """Keep other conversions out of a folder of files.

    Raises:
        StoreError: one goes on.
    """
    with disk.open_private(folder / "lock", "ab") as file:
        while not lock(file):
            if clock.stopwatch() >= until:
                raise StoreError(
                    f"another process converts the files in {folder}; run the same command again"
                )
            sleep(_LOOK)
        yield
