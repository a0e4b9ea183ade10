"""The serving log: entries of answered requests go from a worker to segment files. No request waits for a disk.

The worker encodes an entry as soon as its request is answered (`serving_log_segment`). Each batch of entries goes into a pipe with one
write that never blocks, and a small process on the other end (`segment_writer`) appends it to a segment file. Entries in the pipe survive a
killed worker. Where the disk is slower than the requests, or full, the pipe fills and entries are held in memory up to a bound; beyond it
they are dropped, and counted by reason. A process of low priority converts complete segments to parquet (`serving_log_conversion`).

    FOLDER/served/segments/model=churn/PROCESS-000001.segment
    FOLDER/served/headwater_date=2024-05-01/model=churn/1714521600000000-PROCESS-000001.parquet
"""

from __future__ import annotations

import os
import secrets
import subprocess
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from headwater import clock, permissions
from headwater.definitions.durations import Duration, micros
from headwater.definitions.memory_sizes import Size, in_bytes
from headwater.definitions.readable import cut
from headwater.errors import HeadwaterError, UsageError
from headwater.journal.sample_rates import write_rate
from headwater.journal.segment_pipe import EntryBatch, SegmentPipe
from headwater.journal.segment_writer import FLUSH, RECORDS
from headwater.journal.serving_log_conversion import ShipTo, command, convert
from headwater.journal.serving_log_files import SEGMENTS, SERVED, prune
from headwater.journal.serving_log_rows import Entry, EntryContext, RowEntry
from headwater.journal.serving_log_segment import SegmentEncoder
from headwater.state.answer_words import WordLayout

FULL: Final = "the disk is slower than the requests"
UNWRITABLE: Final = "no file could be written"
MALFORMED: Final = "not what an entry is"
CLOSED: Final = "it came after the log was closed"
LOST: Final = "the process that writes the log ended"

BATCH: Final = 64  # entries that are written together
_CONVERSION: Final = 2.0  # seconds that a log which is closed waits for another conversion to end
_WHOLE: Final = 2**32


@dataclass(frozen=True)
class Counts:
    """Counts of a log's entries by outcome, and its memory.

    taken: entries that were put and are in the sample. written: those in files. waiting: those that are not yet. dropped: those that
    never will be, by reason. memory: bytes that are held. error: why the last write failed; None where it did not.
    """

    taken: int
    written: int
    waiting: int
    dropped: Mapping[str, int]
    memory: int
    error: str | None


class _Channel:
    """The encoder of one context, and its entries that are not in a batch yet."""

    def __init__(self, number: int, about: EntryContext, layout: WordLayout | None) -> None:
        encoder = SegmentEncoder(about, layout)
        self.number, self.layout, self.row, self.rows = number, layout, encoder.row, encoder.rows
        self.header = about.folder.encode() + b"\n" + encoder.header
        self.records: list[bytes] = []


class ServedLog:
    """The serving log of one process. Any thread may put; each process of a server makes its own after it was forked, over the same folder.

    Args:
        folder: the log stands in its subfolder `served`; other processes may write there too.
        sample: the share of requests that is kept, by a hash of their ids: the same ones in every process.
        keep: how long; days that are older are deleted. None keeps all.
        memory: upper limit of held bytes.
        segment: how many bytes make a segment.
        every: the time after which a segment is complete, however small.
        ship_to: the URL of a destination, to which the process that converts segments ships this log, and outcomes and exposures in
            `folder`, each minute.
        ship_buffer: where logs are shipped, how large the local files of this log may be; the oldest are deleted.

    Raises:
        UsageError: a sample outside 0 to 1; not a URL of a destination.
        OSError: the process that writes cannot be started.

    >>> import tempfile
    >>> about = EntryContext("features", "shop", service="user_v1", features=("visits",), request=("user",))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with ServedLog(folder) as log:
    ...         log.put(RowEntry(about, "r1", 1714521600000000, {"user": 7}, [3], bytes([0]), []))
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
        ship_to: str | None = None,
        ship_buffer: Size = "10GB",
    ) -> None:
        if isinstance(sample, bool) or not isinstance(sample, int | float) or not 0 <= sample <= 1:
            raise UsageError(f"the serving log: sample is {sample!r}; give the share of requests to keep, from 0 to 1")
        self.folder = Path(folder) / SERVED
        permissions.own_if_there(self.folder)
        self._limit = round(sample * _WHOLE)
        self._memory, most = in_bytes(memory, "memory"), in_bytes(segment, "segment")
        seconds = micros(every, "the serving log: every") / 1e6
        kept = None if keep is None else micros(keep, "the serving log: keep")
        self._lock = threading.RLock()
        self._token = f"{os.getpid():x}-{secrets.token_hex(4)}"
        self._channels: dict[tuple[EntryContext, WordLayout | None], _Channel] = {}
        self._headers: dict[bytes, _Channel] = {}
        self._waiting = self._size = 0  # entries that are in no batch, and their bytes
        self._taken = self._asked = 0
        self._dropped: Counter[str] = Counter()
        self._closed = False
        if kept is not None:
            prune(self.folder, kept, clock.now_micros())
        to = None if ship_to is None else ShipTo(ship_to, in_bytes(ship_buffer, "ship_buffer"))
        if to is not None:
            from headwater.journal.log_destination import destination

            destination(to.url)
        self._convert_now = command("normal", Path(folder), kept, to)
        self._ships = to is not None
        arguments = [str(self.folder / SEGMENTS), self._token, str(most), str(seconds), *command("idle", Path(folder), kept, to)]
        self._pipe = SegmentPipe(arguments)
        write_rate(self.folder, self._token, float(sample))

    def __repr__(self) -> str:
        return f"ServedLog({cut(str(self.folder), 80)!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def wants(self, id: str) -> bool:  # noqa: A002 (as it is called everywhere)
        """Whether a request of this id is in the sample."""
        return self._limit == _WHOLE or zlib.crc32(id.encode()) * 0x9E3779B1 % _WHOLE < self._limit

    def put(self, entry: Entry) -> None:
        """Add an entry; every 64 are written. It never waits for the disk, and never fails."""
        with self._lock:
            self._add((entry,))
            if self._waiting >= BATCH:
                self._write()

    def write(self, entries: Iterable[Entry] = ()) -> None:
        """Add entries, and write them with all that were put, as far as that is possible without waiting."""
        with self._lock:
            self._add(entries)
            self._write()

    def counts(self) -> Counts:
        """The counts of all entries so far."""
        with self._lock:
            if not self._closed:
                self._pipe.hear()
            gone = dict(self._dropped)
            if self._pipe.lost:
                gone[LOST] = self._pipe.lost
            waiting = self._taken - self._pipe.written - sum(gone.values())
            return Counts(self._taken, self._pipe.written, waiting, gone, self._pipe.held + self._size, self._pipe.error)

    def flush(self, timeout: float = 30.0) -> bool:
        """Write all entries so far to segments; True once they are there, False after `timeout` seconds or as soon as a write fails."""
        with self._lock:
            self._gather()
            self._pipe.add(EntryBatch(FLUSH, 0, 0, b""))
            self._asked += 1
            mine = self._asked
        return self._until(lambda: self._pipe.flushed >= mine, clock.stopwatch() + timeout)

    def close(self, timeout: float = 30.0) -> None:
        """Write all held entries, convert them, and accept no more; entries not written after `timeout` seconds are counted as dropped."""
        until = clock.stopwatch() + timeout
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._gather()
        self._until(lambda: self._pipe.sent, until)
        with self._lock:
            ended = self._pipe.close(max(0.0, until - clock.stopwatch()))
            left = self.counts().waiting
            if left > 0:
                self._dropped[self._why] += left
        if ended:
            with suppress(HeadwaterError, OSError):  # the segments are complete, and another process will convert them
                convert(self.folder.parent, only=self._token, wait=max(0.0, min(_CONVERSION, until - clock.stopwatch())))
        if self._ships:
            with suppress(OSError, subprocess.TimeoutExpired):  # what is not shipped waits on disk
                subprocess.run(self._convert_now, timeout=max(0.0, until - clock.stopwatch()), stdin=subprocess.DEVNULL, check=False)  # noqa: S603

    @property
    def _why(self) -> str:
        """The reason why entries that do not fit into memory are dropped."""
        return FULL if self._pipe.error is None else UNWRITABLE

    def _add(self, entries: Iterable[Entry]) -> None:
        """Encode entries."""
        room = before = self._memory - self._pipe.held - self._size
        dropped, everything = self._dropped, self._limit == _WHOLE
        taken = added = 0
        channel, last = None, None  # of the entry before, and its context
        for entry in entries:
            if not everything and not self.wants(entry.id):
                continue
            taken += 1
            if self._closed:
                dropped[CLOSED] += 1
                continue
            about, words = entry.about, entry.words
            layout = None if words is None else words[0]
            try:
                if channel is None or about is not last or layout is not channel.layout:
                    channel = self._channel(about, layout)
                    last = about
                record = channel.row(entry) if type(entry) is RowEntry else channel.rows(entry)  # type: ignore[arg-type]
            except Exception:  # noqa: BLE001 (one bad entry must not stop the log)
                dropped[MALFORMED] += 1
                continue
            size = len(record)
            if size > room:
                dropped[self._why] += 1
                continue
            channel.records.append(record)
            room -= size
            added += 1
        self._taken += taken
        self._waiting += added
        self._size += before - room

    def _channel(self, about: EntryContext, layout: WordLayout | None) -> _Channel:
        """The channel of a context; equal ones share their segments."""
        known = self._channels.get((about, layout))
        if known is None:
            new = _Channel(len(self._headers), about, layout)
            known = self._channels[about, layout] = self._headers.setdefault(new.header, new)
        return known

    def _write(self) -> None:
        self._gather()
        self._pipe.send()

    def _gather(self) -> None:
        """Put the waiting entries into batches."""
        if not self._waiting:
            return
        for channel in self._headers.values():
            if channel.records:
                self._pipe.add(EntryBatch(RECORDS, channel.number, len(channel.records), b"".join(channel.records), channel.header))
                channel.records.clear()
        self._waiting = self._size = 0

    def _until(self, done: Callable[[], bool], until: float) -> bool:
        """Send, and wait until it is done, no longer where a write has failed. Other threads go on meanwhile."""
        while True:
            with self._lock:
                self._pipe.send()
                if done():
                    return True
                left = until - clock.stopwatch()
                if left <= 0 or self._pipe.error is not None:
                    return False
            self._pipe.wait(min(left, 0.05))
