"""The served log: what was answered, written by a thread that no request waits for.

A request leaves an entry and goes on. The thread turns entries into columns and columns into files, each file complete when its name
appears. Held entries never take more than `memory`: where the disk is slower than the requests, or full, entries are dropped, and
counted by reason.

    FOLDER/served/headwater_date=2024-05-01/model=churn/1714521600000000-PROCESS-000001.parquet
"""

from __future__ import annotations

import os
import secrets
import threading
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import polars as pl
from polars.exceptions import PolarsError

from headwater import clock, permissions
from headwater.definitions.durations import Duration, micros
from headwater.definitions.memory_sizes import Size, in_bytes
from headwater.definitions.readable import cut
from headwater.errors import UsageError
from headwater.ingestion.archive import durable
from headwater.logs import serving_log_rows as made_of
from headwater.logs.serving_log_files import SERVED, day_folder, prune
from headwater.logs.serving_log_rows import AT, BatchEntry, Entry, EntryContext

FULL: Final = "the disk is slower than the requests"
UNWRITABLE: Final = "no file could be written"
MALFORMED: Final = "not what an entry is"
CLOSED: Final = "it came after the log was closed"

_PAUSE = 1.0  # seconds between two looks at what waits: many entries together cost a fifth of what few cost, each
_LEAST = 0.01  # the same, however often files are asked for
_AGAIN = 5.0  # seconds from a file that could not be written to the next one that is tried
_HOUR = 3600.0  # seconds between two looks for days to delete
_WHOLE = 2**32
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Counts:
    """What became of the entries of a log so far, and what it holds.

    taken: entries that were put and are in the sample. written: those in files. waiting: those that are not yet. dropped: those that
    never will be, by reason. memory: bytes that are held, about. error: why the last file could not be written; None where it could.
    """

    taken: int
    written: int
    waiting: int
    dropped: Mapping[str, int]
    memory: int
    error: str | None


@dataclass
class _Segment:
    """Rows of one layout and one day that are not in a file yet: frames, whose they are, how many entries and bytes."""

    about: EntryContext
    frames: list[pl.DataFrame] = field(default_factory=list)
    entries: int = 0
    size: int = 0


class ServedLog:
    """The served log of one process. Any thread may put; each process of a server makes its own after it was forked, over the same folder.

    Args:
        folder: the log stands in its subfolder `served`; other processes may write there too.
        sample: the share of requests that is kept, by a hash of their ids: the same ones in every process.
        keep: how long; days that are older are deleted. None keeps all.
        memory: upper limit of held bytes, approximate.
        segment: how many bytes of rows make a file.
        every: the time after which held rows are written to a file, however few.

    Raises:
        UsageError: a sample outside 0 to 1.

    >>> import tempfile
    >>> about = EntryContext("features", "shop", service="user_v1", features=("visits",), request=("user",))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with ServedLog(folder) as log:
    ...         log.put(made_of.RowEntry(about, "r1", 1714521600000000, {"user": 7}, [3], bytes([0]), []))
    ...     print(log.counts().written, len(list(Path(folder).rglob("*.parquet"))))
    1 1
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        sample: float = 1.0,
        keep: Duration | None = "90d",
        memory: Size = "256MB",
        segment: Size = "32MB",
        every: Duration = "1m",
    ) -> None:
        if isinstance(sample, bool) or not isinstance(sample, int | float) or not 0 <= sample <= 1:
            raise UsageError(f"the served log: sample is {sample!r}; give the share of requests to keep, from 0 to 1")
        self.folder = Path(folder) / SERVED
        permissions.own_if_there(self.folder)
        self._limit = round(sample * _WHOLE)
        self._keep = None if keep is None else micros(keep, "the served log: keep")
        self._memory, self._most = in_bytes(memory, "memory"), in_bytes(segment, "segment")
        self._every = micros(every, "the served log: every") / 1e6
        self._lock = threading.Lock()
        self._settled = threading.Condition(self._lock)
        self._asked = self._done = 0
        self._waiting: list[tuple[Entry, int]] = []
        self._held = self._taken = self._written = self._number = 0
        self._dropped: Counter[str] = Counter()
        self._error: str | None = None
        self._failed = 0.0
        self._segments: dict[tuple[date, object], _Segment] = {}
        self._token = f"{os.getpid():x}{secrets.token_hex(4)}"
        self._closed = False
        self._wanted = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headwater served log", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"ServedLog({cut(str(self.folder), 80)!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def wants(self, id: str) -> bool:  # noqa: A002 (as it is called everywhere)
        """Whether a request of this id is in the sample."""
        return self._limit == _WHOLE or zlib.crc32(id.encode()) * 0x9E3779B1 % _WHOLE < self._limit

    def put(self, entry: Entry, size: int = 0) -> None:
        """Leave an entry and go on. It never waits for the disk, and never fails.

        Args:
            entry: what was answered; it must not be changed any more.
            size: how many bytes the request had, where they are known: long strings count towards `memory`.
        """
        if self._limit != _WHOLE and not self.wants(entry.id):
            return
        size += entry.about.weight * (entry.height if type(entry) is BatchEntry else 1)
        with self._lock:
            self._taken += 1
            if self._closed:
                self._dropped[CLOSED] += 1
            elif self._held + size > self._memory:
                self._dropped[FULL] += 1
            else:
                self._held += size
                self._waiting.append((entry, size))
                if len(self._waiting) == made_of.SLICE or self._held > self._memory // 2:
                    self._wanted.set()

    def counts(self) -> Counts:
        """What became of the entries so far."""
        with self._lock:
            gone = dict(self._dropped)
            waiting = self._taken - self._written - sum(gone.values())
            return Counts(self._taken, self._written, waiting, gone, self._held, self._error)

    def flush(self, timeout: float = 30.0) -> bool:
        """Have all that was put until now written; whether it was, within `timeout` seconds."""
        with self._settled:
            self._asked += 1
            mine = self._asked
            self._wanted.set()
            done = self._settled.wait_for(lambda: self._done >= mine, timeout)
            return done and self._error is None

    def close(self, timeout: float = 30.0) -> None:
        """Write all held entries and accept no more; entries not written after `timeout` seconds are counted as dropped."""
        with self._lock:
            self._closed = True
        self._wanted.set()
        self._thread.join(timeout)
        with self._lock:
            left = self._taken - self._written - sum(self._dropped.values())
            if left > 0:
                self._dropped[UNWRITABLE if self._error else FULL] += left

    # ------------------------------------------------------------ the thread that writes

    def _run(self) -> None:
        written, pruned = clock.stopwatch(), -_HOUR
        while True:
            self._wanted.wait(min(_PAUSE, max(self._every, _LEAST)))
            self._wanted.clear()
            with self._lock:
                flushes, closing = self._asked, self._closed
                batch, self._waiting = self._waiting, []
            self._take(batch)
            now = clock.stopwatch()
            due = flushes > self._done or closing or now - written > self._every
            if due or self._error is None or now - self._failed > _AGAIN:
                for segment_key, segment in list(self._segments.items()):
                    if due or segment.size >= self._most:
                        self._write(segment_key, segment)
            written = now if due else written
            with self._settled:
                self._done = flushes
                self._settled.notify_all()
            if closing:
                return
            if self._keep is not None and now - pruned > _HOUR:
                prune(self.folder, self._keep, clock.now_micros())
                pruned = now

    def _take(self, batch: list[tuple[Entry, int]]) -> None:
        """Make columns of the entries; one that is malformed costs no other one its place."""
        if not batch:
            return
        try:
            self._hold([entry for entry, _ in batch])
        except Exception:  # noqa: BLE001 (one bad entry must not stop the log)
            for entry, _ in batch:
                try:
                    self._hold([entry])
                except Exception:  # noqa: BLE001
                    self._count(MALFORMED)
        self._free(sum(size for _, size in batch))

    def _hold(self, batch: list[Entry]) -> None:
        for about, day, frame, entries in list(made_of.frames(batch)):
            segment = self._segments.setdefault((_EPOCH + timedelta(days=day), about.layout), _Segment(about))
            segment.frames.append(frame)
            segment.entries += entries
            size = int(frame.estimated_size())
            segment.size += size
            self._free(-size)

    def _write(self, segment_key: tuple[date, object], segment: _Segment) -> None:
        """A file of a segment; where it cannot be written, the segment stays for the next time."""
        try:
            frame = made_of.readable(_joined(segment.frames), segment.about)
            first = frame.select(pl.col(AT).dt.epoch("us").min()).item()
            path = day_folder(self.folder, segment_key[0]) / segment.about.folder / f"{first}-{self._token}-{self._number:06d}.parquet"
            permissions.own_folder(self.folder)
            permissions.make_folder(path.parent)
            durable(frame, path)
        except (OSError, PolarsError) as error:
            self._error, self._failed = f"{type(error).__name__}: {error}", clock.stopwatch()
            return
        self._number += 1
        del self._segments[segment_key]
        with self._lock:
            self._error = None
            self._written += segment.entries
            self._held -= segment.size

    def _free(self, size: int) -> None:
        with self._lock:
            self._held -= size

    def _count(self, reason: str) -> None:
        with self._lock:
            self._dropped[reason] += 1


def _joined(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """One frame; a column that is of several types becomes text where no type holds them all."""
    try:
        return pl.concat(frames, how="vertical_relaxed")
    except PolarsError:
        pass
    kinds = {name: {frame.schema[name] for frame in frames} - {pl.Null()} for name in frames[0].columns}
    mixed = [name for name, dtypes in kinds.items() if len(dtypes) > 1 and pl.String() in dtypes]
    return pl.concat([frame.with_columns(pl.col(mixed).cast(pl.String)) for frame in frames], how="vertical_relaxed")
