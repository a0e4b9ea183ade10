"""Convert segments of the serving log to parquet files.

A segment is converted once its writer no longer holds the lock on it: the writer closed it or was killed. The conversion writes a file
for each day of the requests, syncs it, renames it into place, and then removes the segment. The files are named after the segment, so a
killed conversion is repeated to the same files, and readers skip the rows of a segment that a file already has.

Each minute, a log starts a low-priority process that converts (`convert_segments`).
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

from headwater import clock, permissions
from headwater.disk import sync
from headwater.engine.checkpoint import lock
from headwater.errors import StoreError
from headwater.ingestion.archive_files import durable
from headwater.journal import shipping_queue
from headwater.journal.daily_statistics import prune_statistics, update
from headwater.journal.format import KINDS
from headwater.journal.journal_files import close_abandoned, close_all, is_complete, journal_files
from headwater.journal.responses import convert_responses
from headwater.journal.serving_log_files import SEGMENTS, SERVED, day_folder, prune, raw_segments
from headwater.journal.serving_log_frames import rows_of
from headwater.journal.serving_log_rows import AT

_LOG = logging.getLogger(__name__)
_EPOCH: Final = date(1970, 1, 1)
_LOOK: Final = 0.02  # seconds
DAMAGED: Final = ".damaged"
"""The suffix of a segment whose header is damaged; it is deleted when its day is old."""


def convert(folder: Path, *, only: str = "", wait: float = 0.0, close: bool = False) -> list[Path]:
    """Convert the segments of a serving log; those that are left, since they are still written.

    Args:
        folder: the log stands in its subfolder `served`.
        only: convert segments whose names begin with it.
        wait: seconds to wait for another conversion, and for writers that are told to close their segments.
        close: tell all writers to close their segments.

    Raises:
        StoreError: a segment of another version; the others are converted. Another conversion goes on after the wait.
        OSError: a file cannot be written.
    """
    root = folder / SERVED
    if not raw_segments(root):
        return []
    left: list[Path] = []
    refused: StoreError | None = None
    until = clock.stopwatch() + wait
    with _alone(root, until):
        if close:
            close_all(raw_segments(root))
        for path in raw_segments(root):
            if not path.name.startswith(only):
                continue
            if not is_complete(path, until if close else 0.0):
                left.append(path)
                continue
            try:
                convert_segment(root, path)
            except StoreError as error:
                _LOG.warning("%s", error)
                refused = error
    if refused is not None:
        raise refused
    return left


def convert_segment(root: Path, path: Path) -> int:
    """Convert a complete segment; how many requests it had. The caller keeps other conversions out.

    Raises:
        StoreError: it is of another version, or no segment.
        OSError: a file cannot be written.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return 0
    rows = rows_of(data, str(path))
    if rows.unreadable:
        kept = path.rename(path.with_suffix(DAMAGED))
        _LOG.warning("%s: its header is damaged, so its %d entries cannot be read; it is kept as %s", path, rows.unreadable, kept.name)
        return 0
    if rows.damaged:
        _LOG.warning("%s: the last %d bytes, or bytes in between, are no whole entry, and are left out", path, rows.damaged)
    permissions.own_folder(root)
    for day, frame in rows.days.items():
        first = frame.select(pl.col(AT).dt.epoch("us").min()).item()
        target = day_folder(root, _EPOCH + timedelta(days=day)) / path.parent.name / f"{first}-{path.stem}.parquet"
        permissions.make_folder(target.parent)
        durable(frame, target)
        shipping_queue.add(root.parent, target)
    path.unlink(missing_ok=True)
    sync(path.parent)
    return rows.requests


@dataclass(frozen=True)
class ShipTo:
    """Where logs are shipped. url: of the destination. most: bytes that the local files of the serving log may take."""

    url: str
    most: int


def command(priority: Literal["idle", "normal"], folder: Path, keep: int | None, to: ShipTo | None = None) -> Sequence[str]:
    """The command line of a process that converts complete segments, deletes days older than `keep` microseconds, and ships logs.

    priority: see `convert_segments`.
    """
    shipping = [] if to is None else [to.url, str(to.most)]
    return [sys.executable, "-m", "headwater.journal.convert_segments", priority, str(folder), "" if keep is None else str(keep), *shipping]


def run(folder: Path, keep: int | None, to: ShipTo | None = None, wait: float = 0.0) -> None:
    """Close abandoned files, convert complete segments, ship the logs, delete old days, and add new files to the daily statistics.

    wait: seconds to wait for another process that ships.

    Raises:
        StoreError, OSError: as `convert`.
        UsageError: as `shipping.ship`.
    """
    for kind in KINDS:
        close_abandoned(journal_files(folder, kind))
    try:
        if to is not None:
            shipping_queue.begin(folder)
        try:
            convert(folder)
        finally:
            convert_responses(folder)
    finally:
        if to is not None:
            from headwater.journal.shipping import ship

            ship(folder, to.url, most=to.most, wait=wait)
        if keep is not None:
            prune(folder / SERVED, keep, clock.now_micros())
            prune_statistics(folder)
    update(folder)


@contextmanager
def _alone(root: Path, until: float) -> Iterator[None]:
    """Keep other conversions out.

    Raises:
        StoreError: one goes on.
    """
    with permissions.open_private(root / SEGMENTS / "lock", "ab") as file:
        while not lock(file):
            if clock.stopwatch() >= until:
                raise StoreError(f"another process converts the serving log in {root}; run the same command again")
            sleep(_LOOK)
        yield
