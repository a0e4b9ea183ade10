"""A thread for each source that reads its stream and decodes records, into a queue that its
committer empties.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from headwater import clock
from headwater.definitions.connectors import BrokerStream
from headwater.errors import FencedError, LostError, RecreatedError, RetentionError
from headwater.ingestion.source_ingestor import SourceIngestor, Turns
from headwater.ingestion.sources.stream_reader import Feed, RecordBatch
from headwater.ingestion.stand_by import stand_by

_LOG = logging.getLogger(__name__)
# seconds that a poll gathers in at most while earlier records are committed: it would have to wait
# too
_GATHER: Final = 0.02
# seconds from the beginning of one commit to the next, at least, where there is always something to
# commit
_PERIOD: Final = 0.01
IDLE = 1.0
"""Seconds without records after which an empty commit is made."""
_JOINING = 10.0  # seconds in which a group gives its new member partitions, if it has any
# seconds in which it takes them from a member that was killed; those of the living are theirs to
# read to the end
_GHOSTS = 60.0


@dataclass(frozen=True)
class PolledBatch:
    """The records of one poll; `turns` are those of the partitions then; `known` as of
    `PartitionWriter.apply`. Or none; or an error.
    """

    epoch: int
    records: RecordBatch | None = None
    known: int = 0
    turns: Turns = field(default_factory=dict)
    error: BaseException | None = None

    @property
    def events(self) -> int:
        """How many records it has."""
        return 0 if self.records is None else len(self.records.offset)


class CommitQueue(queue.Queue[PolledBatch]):
    """What waits for its commit, bounded by its records: many small polls may wait for a slow
    commit, and all go into the next one.
    """

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self._waiting = 0

    def _qsize(self) -> int:
        return self._waiting

    def _put(self, item: PolledBatch) -> None:
        super()._put(item)
        self._waiting += max(item.events, 1)

    def _get(self) -> PolledBatch:
        item: PolledBatch = super()._get()
        self._waiting -= max(item.events, 1)
        return item

    def wait_until_taken(self, seconds: float) -> None:
        """Wait until a commit has taken everything, so many seconds at most."""
        with self.not_full:
            self.not_full.wait_for(lambda: not self._waiting, seconds)

    def wait_until_done(self, seconds: float) -> None:
        """Wait until `done` was called for everything, so many seconds at most."""
        with self.all_tasks_done:
            self.all_tasks_done.wait_for(lambda: not self.unfinished_tasks, seconds)

    def done(self, batches: Sequence[PolledBatch]) -> None:
        """Say that these, which were taken, have been committed or dropped."""
        for _ in batches:
            self.task_done()

    def drain(self) -> list[PolledBatch]:
        """Take everything, so that no reader blocks."""
        batches = []
        try:
            while True:
                batches.append(self.get_nowait())
        except queue.Empty:
            self.done(batches)
            return batches


@dataclass
class SourceReader:
    """A thread that reads one source, and what it has brought."""

    ingestor: SourceIngestor
    stop: threading.Event
    once: bool = False
    work: CommitQueue = field(init=False)
    # clear while the wall clock is wrong, or was not checked yet
    go: threading.Event = field(default_factory=threading.Event)
    epoch: int = 0  # incremented to reopen the stream at the stored offsets
    fenced: bool = False  # another process has written what this one writes
    lag: Mapping[str, int] = field(default_factory=dict)
    thread: threading.Thread | None = None
    skipped: threading.Event = field(default_factory=threading.Event)
    began: float = -1.0  # when the last commit began, by `clock.stopwatch`
    commit_seconds: float = 0.0  # that the one before took
    ended: bool = False  # all that there was when it was read has been committed
    # partitions may go to others: our remaining blocks are in files
    rolled: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.work = CommitQueue(self.ingestor.limits.batch)

    def start(self) -> None:
        self.thread = threading.Thread(
            target=self._run, name=f"read {self.ingestor.source.name}", daemon=True
        )
        self.thread.start()

    def _run(self) -> None:
        try:
            while not self.stop.is_set():
                if self.go.wait(IDLE):
                    with ExitStack() as lease:
                        if self._is_writer(lease):
                            self._write()
        except BaseException as error:  # noqa: BLE001 (raised by the thread that commits)
            self.work.put(PolledBatch(self.epoch, error=error))

    def _is_writer(self, lease: ExitStack) -> bool:
        """Whether this process may write; it stands by while another one holds the lease of the
        source.

        Raises:
            HeldError: where ingestion is to end by itself, another process holds it for longer than
                the limit.
        """
        limit = self.ingestor.limits.wait if self.once else None
        return stand_by(
            lease, self.ingestor.lease, self.stop, limit=limit, meanwhile=self._turn_away
        )

    def _turn_away(self) -> None:
        """Tell those who push events here that they are not committed."""
        if self.ingestor.inbox is not None:
            self.ingestor.inbox.give_up(close=False, waiting=True)

    def _write(self) -> None:
        """Read, so that what is read is committed, until stopped, until another process writes, or
        while the wall clock is right.
        """
        self.fenced = False
        while (
            not self.stop.is_set()
            and self.go.is_set()
            and not (self.fenced and self.ingestor.one_writer)
        ):
            try:
                self._read(self.epoch)
            except (RetentionError, RecreatedError) as error:
                if not self.ingestor.limits.accept_loss:
                    raise
                self._lose(error)
            except LostError:
                raise
            except FencedError as error:
                if not self.ingestor.store.capabilities.multi_process:
                    raise
                # a view was being filled with its past
                _LOG.warning("%s; reopening the stream", error)
                self.reopen(fenced=True)
        if self.ingestor.store.capabilities.multi_process and not self.stop.is_set():
            self._give_up()  # others may write before this process does again

    def reopen(self, *, fenced: bool = False) -> None:
        """Read again from the stored positions; `fenced` where another process has written, so that
        what it wrote is read first.
        """
        if fenced:
            self.fenced = True
            self._give_up()
        self.epoch += 1

    def _give_up(self) -> None:
        self.ingestor.give_up([writer.partition for writer in self.ingestor.writers])

    def _read(self, epoch: int) -> None:
        """Read until stopped or reopened."""
        since, idle, reading = clock.stopwatch(), 0.0, 0.0
        feed = self.ingestor.open()
        try:
            while not self.stop.is_set() and epoch == self.epoch:
                if not self.go.is_set():
                    self.go.wait(IDLE)
                    continue
                if self.ingestor.inbox is None:  # who pushes waits for an answer
                    self._gather(reading)
                records, at = (
                    feed.poll(self.ingestor.limits.batch, self.ingestor.limits.linger),
                    clock.now_micros(),
                )
                self.lag = feed.lag()
                if records is not None:
                    begin, turns, known = (
                        clock.stopwatch(),
                        self.ingestor.turns,
                        self._known(records, at),
                    )
                    decoded = self.ingestor.decoded(records)
                    reading = clock.stopwatch() - begin
                    self.work.put(PolledBatch(epoch, decoded, known, turns))
                    self._acknowledge(feed)
                elif self._at_end(feed, clock.stopwatch() - since) and (
                    self.once or clock.stopwatch() - idle > IDLE
                ):
                    idle = clock.stopwatch()
                    self.work.put(PolledBatch(epoch, None, at))
                    if self.once:
                        self.stop.wait()
            if self.stop.is_set():
                self.rolled.wait()
        finally:
            feed.close()

    def _gather(self, reading: float) -> None:
        """Wait while earlier records are committed, until about as long before its end as it takes
        to decode, `reading` seconds.

        A poll that came sooner would leave to the commit after the next what arrives until then.
        """
        until = clock.stopwatch() + _GATHER
        self.work.wait_until_taken(_GATHER)
        rest = min(self.began + max(self.commit_seconds - reading, 0.0), until) - clock.stopwatch()
        if rest > 0:
            self.work.wait_until_done(rest)
        rest = min(self.began + _PERIOD - reading, until) - clock.stopwatch()
        if rest > 0:
            time.sleep(rest)

    def _at_end(self, feed: Feed, seconds: float) -> bool:
        """Whether nothing is left to read; `seconds` ago the stream was opened."""
        if self.once and seconds < _GHOSTS and feed.elsewhere():
            return False
        assigned = (
            self.lag
            or not isinstance(self.ingestor.source.stream, BrokerStream)
            or seconds > _JOINING
        )
        return bool(assigned) and not any(self.lag.values())

    def _known(self, records: RecordBatch, at: int) -> int:
        """What was received by then has been read, with these records."""
        behind = [n for n, name in enumerate(records.partitions) if self.lag.get(name, 0)]
        if not any(self.lag.values()) or not len(records.at):
            return at if not any(self.lag.values()) else 0
        mine = records.at[np.isin(records.partition, behind)] if behind else records.at
        return int(mine.max()) if len(mine) else 0

    def _acknowledge(self, feed: Feed) -> None:
        positions = {
            name: position
            for writer in self.ingestor.writers
            for name, position in writer.positions.items()
            if name in self.lag
        }
        if positions:
            feed.acknowledge(positions)

    def _lose(self, error: RetentionError | RecreatedError) -> None:
        """Have the expired records counted as lost, and wait for that commit."""
        self.skipped.clear()
        self.work.put(PolledBatch(self.epoch, error=error))
        while not self.stop.is_set() and not self.skipped.wait(0.1):
            pass
