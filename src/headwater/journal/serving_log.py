"""The serving log: entries of answered requests become records of the journal. No request waits for
a disk.

A worker encodes an entry as soon as its request is answered (`serving_log_segment`), and a thread
writes it within 50 ms (`writer`). Where the disk is slower than the requests, or full, entries are
held in memory up to a bound; beyond it they are dropped, and counted by reason. A process of low
priority converts complete files to parquet (`conversion`).

    FOLDER/served/segments/model=churn/PROCESS-000001.segment
    FOLDER/served/headwater_date=2024-05-01/model=churn/1714521600000000-PROCESS-000001.parquet
"""

from __future__ import annotations

import subprocess
import threading
import weakref
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from headwater import clock, disk
from headwater.definitions.checks import Duration, Size, in_bytes, micros
from headwater.definitions.definition import cut
from headwater.errors import HeadwaterError, UsageError
from headwater.journal.conversion import ShipTo, command, convert
from headwater.journal.format import SERVED_ROWS
from headwater.journal.sample_rates import write_rate
from headwater.journal.serving_log_files import SEGMENTS, SERVED, prune
from headwater.journal.serving_log_rows import Entry, EntryContext, RowEntry
from headwater.journal.serving_log_segment import SegmentEncoder
from headwater.journal.writer import JournalWriter
from headwater.state.read_plan import WordLayout

FULL: Final = "the disk is slower than the requests"
UNWRITABLE: Final = "no file could be written"
MALFORMED: Final = "not what an entry is"
CLOSED: Final = "it came after the log was closed"

_CONVERT: Final = 60.0  # seconds between two conversions
_CONVERT_ANYWAY: Final = 3600.0  # files of processes that have ended, and old days
_CONVERSION: Final = 2.0  # seconds that a log which is closed waits for another conversion to end
_WHOLE: Final = 2**32


@dataclass(frozen=True)
class Counts:
    """Counts of a log's entries by outcome, and its memory.

    taken: entries that were put and are in the sample. written: those in files. waiting: those that
    are not yet. dropped: those that never will be, by reason. memory: bytes that are held. error:
    why the last write failed; None where it did not.
    """

    taken: int
    written: int
    waiting: int
    dropped: Mapping[str, int]
    memory: int
    error: str | None


class _Channel:
    """The encoder of one context, and where its records go."""

    def __init__(
        self, folder: Path, about: EntryContext, layout: WordLayout | None, writer: JournalWriter
    ) -> None:
        encoder = SegmentEncoder(about, layout)
        self.layout, self.row, self.rows = layout, encoder.row, encoder.rows
        self.group = writer.group(folder / about.folder, encoder.begin)


class _Conversions:
    """Starts a process that converts complete files each minute, and each hour where there seem to
    be none. The last one ends with the log.

    Args:
        command: of the process. ships: whether logs are shipped, which is tried again each minute.
    """

    def __init__(self, command: Sequence[str], *, ships: bool) -> None:
        self._command, self._ships, self._seen, self._started_at = (
            command,
            ships,
            0,
            clock.stopwatch(),
        )
        self._process: subprocess.Popen[bytes] | None = None

    def look(self, closed: int) -> None:
        """Start one where it is time; closed: files so far."""
        due = _CONVERT if self._ships or closed > self._seen else _CONVERT_ANYWAY
        if clock.stopwatch() - self._started_at < due or (
            self._process is not None and self._process.poll() is None
        ):
            return
        self._seen, self._started_at = closed, clock.stopwatch()
        with suppress(OSError):
            self._process = subprocess.Popen(  # noqa: S603
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )

    def stop(self) -> None:
        """End the process; what it had not done is done again."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()


class ServedLog:
    """The serving log of one process. Any thread may put; each process of a server makes its own
    after it was forked, over the same folder.

    Args:
        folder: the log stands in its subfolder `served`; other processes may write there too.
        sample: the share of requests that is kept, by a hash of their ids: the same ones in every
            process.
        keep: how long; days that are older are deleted. None keeps all.
        memory: upper limit of held bytes.
        segment: how many bytes make a segment.
        every: the time after which a segment is complete, however small.
        ship_to: the URL of a destination, to which the process that converts segments ships this
            log, and outcomes and exposures in `folder`, each minute.
        ship_buffer: where logs are shipped, how large the local files of this log may be; the
            oldest are deleted.

    Raises:
        UsageError: a sample outside 0 to 1; not a URL of a destination.
        OSError: the folder cannot be written.

    >>> import tempfile
    >>> about = EntryContext(
    ...     "features", "shop", service="user_v1", features=("visits",), request=("user",)
    ... )
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
            raise UsageError(
                f"the serving log: sample is {sample!r}; give the share of requests to keep, from "
                "0 to 1"
            )
        self.folder = Path(folder) / SERVED
        disk.own_if_there(self.folder)
        self._limit = round(sample * _WHOLE)
        self._memory, most = in_bytes(memory, "memory"), in_bytes(segment, "segment")
        seconds = micros(every, "the serving log: every") / 1e6
        retention = None if keep is None else micros(keep, "the serving log: keep")
        self._lock = threading.RLock()
        self._channels: dict[tuple[EntryContext, WordLayout | None], _Channel] = {}
        self._taken = 0
        self._dropped: Counter[str] = Counter()
        self._closed = False
        if retention is not None:
            prune(self.folder, retention, clock.now_micros())
        to = None if ship_to is None else ShipTo(ship_to, in_bytes(ship_buffer, "ship_buffer"))
        if to is not None:
            from headwater.journal.log_destination import destination

            destination(to.url)
        self._convert_now = command("normal", Path(folder), retention, to)
        self._ships = to is not None
        self._conversions = _Conversions(
            command("idle", Path(folder), retention, to), ships=self._ships
        )
        self._writer = JournalWriter(most, seconds, self._conversions.look)
        weakref.finalize(self, self._writer.close)  # where `close` is not called
        write_rate(self.folder, self._writer.worker, float(sample))
        # logs are shipped, and old files are converted, before the first request
        self._writer.start()

    def __repr__(self) -> str:
        return f"ServedLog({cut(str(self.folder), 80)!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def wants(self, id: str) -> bool:  # noqa: A002 (as it is called everywhere)
        """Whether a request of this id is in the sample."""
        return self._limit == _WHOLE or zlib.crc32(id.encode()) * 0x9E3779B1 % _WHOLE < self._limit

    def put(self, entry: Entry) -> None:
        """Add an entry. It never waits for the disk, and never fails."""
        self.write((entry,))

    def write(self, entries: Iterable[Entry]) -> None:
        """Add entries."""
        with self._lock:
            self._add(entries)

    def counts(self) -> Counts:
        """The counts of all entries so far."""
        with self._lock:
            written, dropped = self._writer.written, dict(self._dropped)
            waiting = self._taken - written - sum(dropped.values())
            return Counts(
                self._taken, written, waiting, dropped, self._writer.held, self._writer.error
            )

    def flush(self, timeout: float = 30.0) -> bool:
        """Write all entries so far to segments; True once they are there, False after `timeout`
        seconds or as soon as a write fails.
        """
        return self._writer.flush(timeout)

    def close(self, timeout: float = 30.0) -> None:
        """Write all held entries, convert them, and accept no more; entries not written after
        `timeout` seconds are counted as dropped.
        """
        until = clock.stopwatch() + timeout
        with self._lock:
            if self._closed:
                return
            self._closed = True
        ended = self._writer.close(timeout)
        with self._lock:
            unwritten = self.counts().waiting
            if unwritten > 0:
                self._dropped[self._why] += unwritten
        self._conversions.stop()
        if ended:
            # the segments are complete, and another process will convert them
            with suppress(HeadwaterError, OSError):
                convert(
                    self.folder.parent,
                    kinds=(SERVED_ROWS,),
                    only=self._writer.worker,
                    wait=max(0.0, min(_CONVERSION, until - clock.stopwatch())),
                )
        if self._ships:
            with suppress(OSError, subprocess.TimeoutExpired):  # unshipped segments wait on disk
                subprocess.run(  # noqa: S603
                    self._convert_now,
                    timeout=max(0.0, until - clock.stopwatch()),
                    stdin=subprocess.DEVNULL,
                    check=False,
                )

    @property
    def _why(self) -> str:
        """The reason why entries that do not fit into memory are dropped."""
        return FULL if self._writer.error is None else UNWRITABLE

    def _add(self, entries: Iterable[Entry]) -> None:
        """Encode entries."""
        room, put = self._memory - self._writer.held, self._writer.put
        dropped, everything = self._dropped, self._limit == _WHOLE
        taken = 0
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
            put(channel.group, record)
            room -= size
        self._taken += taken

    def _channel(self, about: EntryContext, layout: WordLayout | None) -> _Channel:
        """The channel of a context; equal ones share their segments."""
        channel = self._channels.get((about, layout))
        if channel is None:
            channel = self._channels[about, layout] = _Channel(
                self.folder / SEGMENTS, about, layout, self._writer
            )
        return channel
