"""The log of exposures: which unit was served which arm. Exposures are never sampled, and none that counts is dropped.

A request's exposures are logged when it is answered. At most 64 of them, or those of 50 ms, wait to be written together into a pipe, and a
small process on its other end appends them to a segment file (`segment_writer`). What is in the pipe survives a killed worker; what the
process had not written when it died itself is sent again to the next one.

No request waits for the log. An arm other than the control is served only while `room` is true: all exposures before this batch are in the
pipe, the process is alive, its last write did not fail, and it has confirmed all that was sent more than two seconds ago.

    FOLDER/exposures/checkout/1/WORKER-000001.open       of version 1 of experiment `checkout`, while it is written
    FOLDER/exposures/checkout/1/WORKER-000001.segment    when it is complete
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import polars as pl

from headwater import clock, permissions, settings
from headwater.definitions.memory_sizes import Size, in_bytes
from headwater.errors import DataError
from headwater.journal.exposure_rows import AT, LOGGED_SCHEMA, Exposure, ReadSegment, header_of, read_segment, record_of
from headwater.journal.segment_pipe import EntryBatch, SegmentPipe
from headwater.journal.segment_writer import CLOSED, FLUSH, OPEN, RECORDS

EXPOSURES: Final = "exposures"
BATCH: Final = 64
"""Exposures that wait at most: what a killed worker loses."""

_LATEST: Final = 0.05  # seconds until an incomplete batch is written
_SILENT: Final = 2.0  # seconds within which the process must confirm what was sent
_SEGMENT: Final = 32 << 20  # bytes
_EVERY: Final = 600.0  # seconds after which a segment is complete, however small


class _ExposureChannel:
    """The exposures of one version of an experiment that are not in a batch yet."""

    def __init__(self, number: int, experiment: str, version: int, worker: str) -> None:
        self.number = number
        self.header = f"{experiment}/{version}\n".encode() + header_of(experiment, version, worker)
        self.waiting: list[tuple[object, ...]] = []  # numbered


class ExposureLog:
    """The exposures of one process. Any thread may put; each process of a server makes its own, over the same folder.

    Args:
        folder: the log stands in its subfolder `exposures`; other processes may write there too.
        memory: of exposures that are flagged "no room" and wait; further ones are counted in `unlogged`.

    Attributes:
        room: whether an arm other than the control may be served.
        logged: how many were put. unlogged: flagged ones that did not fit into memory.

    Raises:
        OSError: the folder cannot be written, or the process that writes cannot be started.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with ExposureLog(folder) as log:
    ...         log.put("checkout", 1, [Exposure("u1", "daily", 1714521600000000, propensity=0.5)])
    ...     read_exposures(folder, "checkout")["arm"].to_list()
    ['daily']
    """

    def __init__(self, folder: str | Path, *, memory: Size = "16MB") -> None:
        self.folder = permissions.own_folder(Path(folder) / EXPOSURES)
        self.worker = f"{os.getpid():x}-{secrets.token_hex(4)}"
        self.room, self.logged, self.unlogged = True, 0, 0
        self._memory = in_bytes(memory, "memory")
        self._lock = threading.RLock()
        self._channels: dict[tuple[str, int], _ExposureChannel] = {}
        self._waiting = self._flushes = 0
        self._sent_at: deque[tuple[int, float]] = deque()  # flushes that are not done, and when each was sent
        self._closed = False
        self._pipe = SegmentPipe([str(self.folder), self.worker, str(_SEGMENT), str(_EVERY)], resend=True)
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="exposures", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def put(self, experiment: str, version: int, exposures: Iterable[Exposure]) -> None:
        """Log exposures of a version of an experiment. It never waits for the disk."""
        with self._lock:
            channel = self._channels.get((experiment, version))
            if channel is None:
                channel = _ExposureChannel(len(self._channels), experiment, version, self.worker)
                self._channels[experiment, version] = channel
            for exposure in exposures:
                if exposure.flag and not self.room and self._pipe.held > self._memory:
                    self.unlogged += 1
                    continue
                channel.waiting.append((self.logged, *exposure))
                self.logged += 1
                self._waiting += 1
            if self._waiting >= BATCH:
                self._write()
        if not self._wake.is_set():
            self._wake.set()

    def write(self) -> None:
        """Write what waits, as far as that is possible without waiting, and find out whether there is room."""
        with self._lock:
            if not self._closed:
                self._write()

    def flush(self, timeout: float = 30.0) -> bool:
        """Write all exposures so far to segments; whether they are there within `timeout` seconds."""
        until = clock.stopwatch() + timeout
        with self._lock:
            self._write()
            mine = self._flushes
        return self._until(lambda: self._pipe.flushed >= mine, until)

    def close(self, timeout: float = 30.0) -> None:
        """Write all exposures, and accept no more."""
        until = clock.stopwatch() + timeout
        with self._lock:
            if self._closed:
                return
        self.flush(timeout)
        with self._lock:
            self._closed = True
        self._wake.set()
        self._thread.join(1.0)
        with self._lock:
            self._pipe.close(max(0.0, until - clock.stopwatch()))

    @property
    def error(self) -> str | None:
        """Why the last write failed; None where it did not."""
        return self._pipe.error

    def _write(self) -> None:
        if self._waiting:
            for channel in self._channels.values():
                if channel.waiting:
                    data = record_of(channel.waiting)
                    self._pipe.add(EntryBatch(RECORDS, channel.number, len(channel.waiting), data, channel.header))
                    channel.waiting.clear()
            self._pipe.add(EntryBatch(FLUSH, 0, 0, b""))
            self._flushes += 1
            self._sent_at.append((self._flushes, clock.stopwatch()))
            self._waiting = 0
        self._pipe.send()
        while self._sent_at and self._sent_at[0][0] <= self._pipe.flushed:
            self._sent_at.popleft()
        late = bool(self._sent_at) and clock.stopwatch() - self._sent_at[0][1] > _SILENT
        self.room = self._pipe.sent and not self._pipe.dead and self._pipe.error is None and not late

    def _run(self) -> None:
        """Write incomplete batches, and look for answers as long as some are due."""
        while not self._closed:
            if not self._sent_at and not self._waiting and self.room:
                self._wake.wait()
                self._wake.clear()
            time.sleep(_LATEST)
            self.write()

    def _until(self, done: Callable[[], bool], until: float) -> bool:
        """Send, and wait until it is done. Other threads go on meanwhile."""
        while True:
            with self._lock:
                self._write()
                if done():
                    return True
                left = until - clock.stopwatch()
                if left <= 0:
                    return False
            self._pipe.wait(min(left, 0.05))


def read_exposures(data_dir: str | Path | None, experiment: str, version: int | None = None) -> pl.DataFrame:
    """The exposures of an experiment, each once, sorted by time and unit: columns `LOGGED_SCHEMA`; without rows where there are none.

    Args:
        data_dir: where they were written; None is headwater's home.
        experiment: its name.
        version: of the experiment; None is the latest one with exposures.

    Raises:
        DataError: the files cannot be read.
        StoreError: a file of another version of the format.
    """
    rows = [exposure[: len(LOGGED_SCHEMA)] for exposure in _logged(data_dir, experiment, version)]
    return _frame(rows, LOGGED_SCHEMA).sort("at", "unit", "request", "arm")


def read_interleaved(data_dir: str | Path | None, experiment: str, version: int | None = None) -> pl.DataFrame:
    """The items of an experiment's interleaved lists, one row each.

    Columns: list, unit, at, position (0 is the best), item, and team, the ranking that placed it (0 is the control).
    Items are strings: of numbers, their decimal digits. Arguments and errors as of `read_exposures`.
    """
    schema = {
        "list": pl.String,
        "unit": pl.String,
        "at": pl.Datetime("us", "UTC"),
        "position": pl.Int64,
        "item": pl.String,
        "team": pl.Int64,
    }
    rows = [
        (exposure.request, exposure.unit, exposure.at, position, str(item), team)
        for exposure in _logged(data_dir, experiment, version)
        for position, (item, team) in enumerate(zip(exposure.items or (), exposure.teams or (), strict=True))
    ]
    return _frame(rows, schema).sort("at", "unit", "list", "position")


def all_segments(data_dir: str | Path, experiment: str = "*") -> list[Path]:
    """The files of exposures of every version of an experiment, or of all experiments, open ones first."""
    return [path for suffix in (OPEN, CLOSED) for path in sorted((Path(data_dir) / EXPOSURES).glob(f"{experiment}/*/*{suffix}"))]


def segments_of(data_dir: str | Path | None, experiment: str, version: int | None = None) -> list[Path]:
    """The files of an experiment's exposures; `version` as for `read_exposures`."""
    folder = (settings.home() if data_dir is None else Path(data_dir)) / EXPOSURES / experiment
    if version is None:
        versions = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()] if folder.is_dir() else []
        if not versions:
            return []
        version = max(versions)
    paths = [path for suffix in (OPEN, CLOSED) for path in (folder / str(version)).glob(f"*{suffix}")]
    return sorted({path.stem: path for path in paths}.values())


def _logged(data_dir: str | Path | None, experiment: str, version: int | None) -> list[Exposure]:
    """Exposures by process and number; one that is in two files counts once."""
    known: dict[tuple[str, int], Exposure] = {}
    for path in segments_of(data_dir, experiment, version):
        segment = _read(path)
        worker = path.name.partition("x")[0] if segment.header is None else segment.header.worker
        known |= {(worker, number): exposure for number, exposure in segment.exposures.items()}
    return list(known.values())


def _read(path: Path) -> ReadSegment:
    """A segment, which may have been closed since it was listed."""
    try:
        for place in (path, path.with_suffix(CLOSED)):
            with suppress(FileNotFoundError):
                return read_segment(place.read_bytes(), str(place))
    except OSError as error:
        raise DataError(f"the exposures in {path} cannot be read: {error.strerror or error}") from error
    return ReadSegment(None, {}, 0)


def _frame(rows: Sequence[tuple[object, ...]], schema: Mapping[str, Any]) -> pl.DataFrame:
    if not rows:
        return pl.DataFrame(schema=schema)
    plain = {name: pl.Int64() if name == AT else dtype for name, dtype in schema.items()}
    return pl.DataFrame(rows, schema=plain, orient="row").cast({AT: schema[AT]})
