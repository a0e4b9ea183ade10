"""Ingestion: an event from its stream to the online store, top to bottom.

Ingestion: each source has a thread that reads and decodes its stream, and a thread that commits
what it brings in micro-batches.

A thread for each source that reads its stream and decodes records, into a queue that its
committer empties.

A thread for each source that commits what its reader brings, so that no source waits for another
one's commit.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, cast

import numpy as np

from headwater import clock
from headwater.definitions.checks import micros
from headwater.definitions.connectors import BrokerStream, Pushed
from headwater.definitions.project import Project, stored
from headwater.definitions.source import Source
from headwater.definitions.spark_stream import SparkStream
from headwater.errors import (
    ClockError,
    FencedError,
    LostError,
    RecreatedError,
    RetentionError,
    StoreError,
    UsageError,
)
from headwater.ingestion.clock_check import BrokerClocks, ClockCheck
from headwater.ingestion.committed import Committed
from headwater.ingestion.source_ingestor import (
    IngestLimits,
    SourceIngestor,
    Turns,
    stand_by,
    streamed,
)
from headwater.ingestion.sources.http_inbox import Inbox
from headwater.ingestion.sources.stream_reader import Feed, RecordBatch
from headwater.stores import OnlineStore, ingest_lease, keyspace
from headwater.stores.keyspace import environment, own_views, scoped

Receive = Callable[[Mapping[str, Inbox]], AbstractContextManager[tuple[bytes, bytes]]]
"""Receives events for inboxes, by the names of their sources, while the context lasts; gives its
address, and the secret that admits.
"""


def ingest(
    project: Project,
    store: OnlineStore,
    *,
    data_dir: Path | None,
    limits: IngestLimits | None = None,
    receive: Receive | None = None,
    once: bool = False,
    stop: threading.Event | None = None,
    on_commit: OnCommit | None = None,
) -> None:
    """Read the streams of a project into its online store, until `stop` is set.

    Args:
        project: its streaming views are kept up to date.
        store: where to.
        data_dir: where accepted events are archived, and refused records kept; None keeps neither.
        limits: how records become commits.
        receive: what receives pushed events; without it, sources with `stream=hw.push()` are left
            out.
        once: end when everything that the streams hold has been committed.
        stop: ends it after the commit under way.
        on_commit: called after each commit.

    Raises:
        UsageError: no view of the project is streaming, or Spark commits all of them.
        DefinitionError: a streaming view that cannot be fed.
        StoreError: the store cannot be written, or another process ingests into it.
        RetentionError: a stream no longer has the next record.
        ConnectError: a stream does not answer.
        ClockError: the wall clock cannot be right, with `once`; without, ingestion waits until it
            is.
    """
    limits, stop = limits or IngestLimits(), stop or threading.Event()
    store = scoped(store, project.name, write=True)
    every = stored(project)
    sources = streamed([stored_view.view for stored_view in own_views(store, every)])
    if not sources and streamed([stored_view.view for stored_view in every]):
        raise UsageError(
            f"every streaming view of project {project.name!r} is read from production; there is "
            "nothing to ingest"
        )
    if not sources:
        raise UsageError(
            f"project {project.name!r} has no streaming view; give one freshness=hw.streaming('2s')"
        )
    sources = {
        source: views
        for source, views in sources.items()
        if not isinstance(source.stream, SparkStream)
    }
    if not sources:
        raise UsageError(
            f"every stream of project {project.name!r} is a query of Spark, which commits its "
            "batches itself (headwater_spark.commit_batches); there is nothing to ingest"
        )
    pushed = [source for source in sources if isinstance(source.stream, Pushed)]
    if receive is None and len(pushed) == len(sources) and not once:
        raise UsageError(
            f"every stream of project {project.name!r} is pushed, and nothing receives; give an "
            "address, as --listen does"
        )
    with ExitStack() as stack:
        if not stand_by(
            stack, lambda wait: ingest_lease(store, wait=wait), stop, limit=limits.wait
        ):
            return
        brokers = stack.enter_context(
            BrokerClocks(
                store, list(sources), wanted=limits.broker_clock and environment(store) is None
            )
        )
        check = ClockCheck(
            micros(limits.max_clock_jump, "max_clock_jump"), store.server_time, brokers=brokers
        )
        # others receive for them; their views are filled here all the same
        unreceived = [] if receive is not None else pushed
        ingestors = [
            SourceIngestor(
                source,
                views,
                store,
                data_dir,
                limits,
                filled=source in unreceived,
                goes_on=not once or source not in unreceived,
            )
            for source, views in sources.items()
        ]
        for ingestor in ingestors:
            stack.callback(ingestor.close)
        if receive is not None and pushed:
            stack.enter_context(
                _receiving(
                    receive,
                    [ingestor for ingestor in ingestors if ingestor.source in pushed],
                    store,
                )
            )
        read = [ingestor for ingestor in ingestors if ingestor.source not in unreceived]
        readers = stack.enter_context(
            _reading([SourceReader(ingestor, stop, once) for ingestor in read], stop)
        )
        brokers.wait()
        commit_all(readers, check, stop, on_commit)
        for ingestor in ingestors:
            ingestor.roll(least=1)
        for reader in readers:
            reader.rolled.set()


@contextmanager
def _receiving(
    receive: Receive, ingestors: Sequence[SourceIngestor], store: OnlineStore
) -> Iterator[None]:
    """Receive events, from when this process writes one of their sources; the store says where, for
    each source that it writes.
    """
    inboxes = {ingestor.source.name: Inbox(ingestor.source) for ingestor in ingestors}
    turn, received = threading.Lock(), list[tuple[bytes, bytes]]()
    with ExitStack() as server:

        @contextmanager
        def received_here(source: str) -> Iterator[None]:
            with turn:
                if not received:
                    received.append(server.enter_context(receive(inboxes)))
            here = dict(zip(keyspace.receiver(store.namespace + source), received[0], strict=True))
            store.commit(here, {})
            try:
                yield
            finally:
                # another process writes the source, or the address is found not to answer
                with suppress(StoreError):
                    store.commit(dict.fromkeys(here), here)

        for ingestor in ingestors:
            ingestor.inbox = inboxes[ingestor.source.name]
            ingestor.received_here = partial(received_here, ingestor.source.name)
        try:
            yield
        finally:
            for inbox in inboxes.values():
                inbox.give_up(close=True)


@contextmanager
def _reading(readers: list[SourceReader], stop: threading.Event) -> Iterator[list[SourceReader]]:
    """Threads that read; all have ended when the context does."""
    for reader in readers:
        reader.start()
    try:
        yield readers
    finally:
        stop.set()
        for reader in readers:
            reader.rolled.set()
            reader.ingestor.close()
            thread = cast("threading.Thread", reader.thread)
            while thread.is_alive():
                reader.work.drain()
                thread.join(0.05)


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

# seconds in which it takes them over from a killed member; a living member reads its own to the
# end
_GHOSTS = 60.0


@dataclass(frozen=True)
class PolledBatch:
    """The records of one poll, or none, or an error; `turns`: of the partitions at that time;
    `known` as of `PartitionWriter.apply`.
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
    """Polled records that wait for their commit, bounded by their number: many small polls may wait
    for a slow commit, and all go into the next one.
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
        """Mark batches that were taken as committed or dropped."""
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
    """A thread that reads one source, and the records it has read."""

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
                if clock.wait(IDLE, self.go):
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
        """Answer the senders of pushed events that their events are not committed."""
        if self.ingestor.inbox is not None:
            self.ingestor.inbox.give_up(close=False, waiting=True)

    def _write(self) -> None:
        """Read records and have them committed, until stopped, until another process writes, or
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
                self._count_lost(error)
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

    def reopen(self, *, fenced: bool = False, filled: bool = False) -> None:
        """Read again from the stored positions; `fenced` where another process has written: its
        commits are read first; `filled` where views are to be filled again first.
        """
        self.fenced |= fenced
        if fenced or filled:
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
                    clock.wait(IDLE, self.go)
                    continue
                if self.ingestor.inbox is None:  # who pushes waits for an answer
                    self._gather(reading)
                records, at = (
                    feed.poll(self.ingestor.limits.batch, self.ingestor.limits.linger),
                    clock.now_micros(),
                )
                self.lag = feed.lag()
                if records is not None:
                    begin, turns, known_by = (
                        clock.stopwatch(),
                        self.ingestor.turns,
                        self._known(records, at),
                    )
                    decoded = self.ingestor.decoded(records)
                    reading = clock.stopwatch() - begin
                    self.work.put(PolledBatch(epoch, decoded, known_by, turns))
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
            clock.wait(rest)

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
        """The time until which all received records have been read, with these records."""
        behind = [n for n, name in enumerate(records.partitions) if self.lag.get(name, 0)]
        if not any(self.lag.values()) or not len(records.at):
            return at if not any(self.lag.values()) else 0
        times = records.at[np.isin(records.partition, behind)] if behind else records.at
        return int(times.max()) if len(times) else 0

    def _acknowledge(self, feed: Feed) -> None:
        positions = {
            name: position
            for writer in self.ingestor.writers
            for name, position in writer.positions.items()
            if name in self.lag
        }
        if positions:
            feed.acknowledge(positions)

    def _count_lost(self, error: RetentionError | RecreatedError) -> None:
        """Have the expired records counted as lost, and wait for that commit."""
        self.skipped.clear()
        self.work.put(PolledBatch(self.epoch, error=error))
        while not self.stop.is_set() and not clock.wait(0.1, self.skipped):
            pass


_REMIND = 60.0  # seconds after which a wrong clock is logged again

OnCommit = Callable[[Source, Committed, Mapping[str, int]], None]
"""Called after each commit, with what the feed still has to read by partition."""


@dataclass(eq=False)
class SourceCommitter:
    """Commits the records of one source in micro-batches, until all are committed or `reader.stop`
    is set.

    check: whether the wall clock can be right, for all sources. committed: when the store was last
    committed to, microseconds.
    on_commit: called in this thread. failure: what ended it; None where nothing went wrong.
    """

    reader: SourceReader
    check: ClockCheck
    committed: Callable[[], int]
    on_commit: OnCommit | None = None
    failure: BaseException | None = None
    thread: threading.Thread | None = None

    def start(self, ended: queue.SimpleQueue[SourceCommitter]) -> None:
        """Begin; puts itself into `ended` when it has ended."""

        def run() -> None:
            try:
                self._run()
            except BaseException as error:  # noqa: BLE001 (raised by `commit_all`)
                self.failure = error
                inbox = self.reader.ingestor.inbox
                if inbox is not None and isinstance(error, LostError):
                    inbox.give_up(close=True, lost=error)
            finally:
                ended.put(self)

        self.thread = threading.Thread(
            target=run, name=f"commit {self.reader.ingestor.source.name}"
        )
        self.thread.start()

    def join(self) -> None:
        """Wait until it has ended."""
        if self.thread is not None:
            self.thread.join()

    def _run(self) -> None:
        reader = self.reader
        why = self._refusal([])
        if why is not None:
            self._wait_for_clock([], why)
        reader.go.set()
        while not reader.stop.is_set() and not reader.ended:
            polled = self._next()
            try:
                self._settle(polled)
            finally:
                reader.work.done(polled)
        if reader.ended:
            reader.ingestor.finish(reader.stop)

    def _settle(self, polled: Sequence[PolledBatch]) -> None:
        """Commit polled batches once the wall clock can be right; nothing where it was not."""
        why = self._refusal(polled)
        if why is not None:
            self._wait_for_clock(polled, why)
            return
        if self.reader.ingestor.is_asked_to_fill():
            self.reader.reopen(filled=True)
            return  # it is read again
        due = self.reader.ingestor.due()
        if polled or (due is not None and due < clock.now_micros()):
            self.reader.began = clock.stopwatch()
            self._take(polled)
            self.reader.commit_seconds = clock.stopwatch() - self.reader.began

    def _next(self) -> list[PolledBatch]:
        """The next polled batches, in order, as many as go into a commit; none where the time of a
        held event comes first.
        """
        reader, due = self.reader, self.reader.ingestor.due()
        wait = (
            IDLE / 2
            if due is None
            else min(IDLE / 2, max(due - clock.now_micros(), 0) / 1e6 + 1e-6)
        )
        polled: list[PolledBatch] = []
        try:
            polled.append(reader.work.get(timeout=wait))
            while sum(batch.events for batch in polled) < reader.ingestor.limits.batch:
                polled.append(reader.work.get_nowait())
        except queue.Empty:
            pass
        return polled

    def _refusal(self, polled: Sequence[PolledBatch]) -> str | None:
        received = max(
            (batch.records.received for batch in polled if batch.records is not None), default=0
        )
        return self.check.refusal(self.committed(), received)

    def _wait_for_clock(self, polled: Sequence[PolledBatch], why: str) -> None:
        """Commit nothing until the wall clock is right. Then all is read again from the stored
        positions, and stamped by the right clock.

        Raises:
            ClockError: where ingestion is to end by itself, it does not wait.
        """
        reader = self.reader
        if reader.once:
            raise ClockError(why)
        wrong: str | None = why
        waiting, last_logged = list(polled), -_REMIND
        reader.go.clear()
        reader.epoch += 1
        try:
            while wrong is not None and not reader.stop.is_set():
                if clock.stopwatch() - last_logged >= _REMIND:
                    _LOG.error("%s", wrong)
                    last_logged = clock.stopwatch()
                for batch in [*waiting, *reader.work.drain()]:
                    if isinstance(batch.error, RetentionError | RecreatedError):
                        reader.skipped.set()  # it is met again
                    elif batch.error is not None:
                        raise batch.error
                waiting = []
                if reader.ingestor.inbox is not None:
                    reader.ingestor.inbox.give_up(close=False, waiting=True)
                clock.wait(IDLE, reader.stop)
                wrong = self._refusal([])
        finally:
            reader.go.set()

    def _take(self, polled: Sequence[PolledBatch]) -> None:
        """Commit polled batches, and raise errors of reading."""
        reader = self.reader
        fresh = [batch for batch in polled if batch.error is None and batch.epoch == reader.epoch]
        if fresh or not polled:
            self._commit(fresh)
        for batch in polled:
            if (
                isinstance(batch.error, RetentionError | RecreatedError)
                and reader.ingestor.limits.accept_loss
            ):
                _LOG.warning("%s; going on without what was lost", batch.error)
                reader.ingestor.skip(batch.error, clock.now_micros())
                reader.skipped.set()
            elif batch.error is not None:
                raise batch.error
        reader.ended |= reader.once and any(batch.records is None for batch in fresh)

    def _commit(self, polled: Sequence[PolledBatch]) -> None:
        reader, ingestor = self.reader, self.reader.ingestor
        records = [(batch.records, batch.turns) for batch in polled if batch.records is not None]
        try:
            known = max((batch.known for batch in polled), default=0)
            commits = ingestor.commit(records, clock.now_micros(), known)
            if records and len(records) < len(polled) and not ingestor.one_writer:
                # all was read, also of partitions without records here
                commits += ingestor.commit([], clock.now_micros(), known)
        except LostError:
            raise
        except FencedError as error:
            if not ingestor.store.capabilities.multi_process:
                raise
            _LOG.warning("%s; reading on from what the store holds", error)
            reader.reopen(fenced=True)
            return
        if any(committed.misplaced for committed in commits):
            _LOG.info(
                "source %s: records do not follow the stored positions; reopening the stream there",
                ingestor.source.name,
            )
            reader.reopen()
        for committed in commits:
            if self.on_commit is not None:
                self.on_commit(ingestor.source, committed, reader.lag)
        ingestor.roll(least=ingestor.limits.roll, background=True)


def commit_all(
    readers: Sequence[SourceReader],
    check: ClockCheck,
    stop: threading.Event,
    on_commit: OnCommit | None,
) -> None:
    """Commit the records of readers, each source in its own thread; returns when all have ended.

    The first error ends all of them after the commit under way, and is raised. on_commit: called in
    one thread at a time.
    """
    turn = threading.Lock()

    def committed() -> int:
        return max(reader.ingestor.committed() for reader in readers)

    def one_at_a_time(source: Source, result: Committed, lag: Mapping[str, int]) -> None:
        if on_commit is not None:
            with turn:
                on_commit(source, result, lag)

    ended: queue.SimpleQueue[SourceCommitter] = queue.SimpleQueue()
    committers = [SourceCommitter(reader, check, committed, one_at_a_time) for reader in readers]
    failed: SourceCommitter | None = None
    try:
        for committer in committers:
            committer.start(ended)
        failed = next(
            (
                committer
                for committer in (ended.get() for _ in committers)
                if committer.failure is not None
            ),
            None,
        )
    finally:
        stop.set()
        for committer in committers:
            committer.join()
    if failed is not None and failed.failure is not None:
        if len(committers) > 1:
            _LOG.error(
                "source %s: ingestion ends, also that of other sources",
                failed.reader.ingestor.source.name,
            )
        raise failed.failure
