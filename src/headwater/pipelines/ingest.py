"""Ingestion: streams are read and decoded, each by a thread of its own, and one thread commits what they bring in micro-batches."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np

from headwater import clock
from headwater.connectors.feeds import Feed, Records
from headwater.connectors.pushed import Inbox
from headwater.definitions.durations import micros
from headwater.definitions.project import Project
from headwater.definitions.source import Source
from headwater.definitions.streams import KafkaTopic, Pushed
from headwater.errors import ClockError, FencedError, RecreatedError, RetentionError, UsageError
from headwater.online_stores import OnlineStore
from headwater.online_stores.ownership import scoped
from headwater.pipelines.arms import stored
from headwater.pipelines.broker_clock import BrokerClocks
from headwater.pipelines.clock_check import ClockCheck
from headwater.pipelines.intake import LEASE, Intake, Limits, Turns, streamed
from headwater.pipelines.shard import Committed

_LOG = logging.getLogger(__name__)
_GATHER = 0.02  # seconds that a poll gathers in while an earlier one waits for its commit: it would have to wait too
_IDLE = 1.0  # seconds after which a commit without records says that nothing has come
_JOINING = 10.0  # seconds in which a group gives its new member partitions, if it has any
_GHOSTS = 60.0  # seconds in which it takes them from a member that was killed; those of the living are theirs to read to the end
_REMIND = 60.0  # seconds after which it is said again that the clock is wrong
_PUSHED = "pushed"

OnCommit = Callable[[Source, Committed, Mapping[str, int]], None]
"""Called after each commit, with what the feed still has to read by partition."""

Receive = Callable[[Mapping[str, Inbox]], AbstractContextManager[Mapping[bytes, bytes]]]
"""Serves inboxes while its context lasts; what the store keeps of it, for the processes that forward events."""
"""Receives events for inboxes, by the names of their sources, while the context lasts; gives the address at which it does."""


@dataclass
class _Reading:
    """A thread that reads one source, and what it has brought."""

    intake: Intake
    work: _Work
    stop: threading.Event
    go: threading.Event  # clear while the wall clock is wrong, or not looked at yet: records would be given wrong times
    once: bool = False
    generation: int = 0  # counted up to have the stream read anew, from what the store holds
    lag: Mapping[str, int] = field(default_factory=dict)
    thread: threading.Thread | None = None
    skipped: threading.Event = field(default_factory=threading.Event)
    ended: bool = False  # all that there was when it was read has been committed
    rolled: threading.Event = field(default_factory=threading.Event)  # partitions may go to others: what is left of ours is in files

    def start(self) -> None:
        self.thread = threading.Thread(target=self._run, name=f"read {self.intake.source.name}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            while not self.stop.is_set():
                if not self.go.wait(_IDLE):
                    continue
                try:
                    self._read(self.generation)
                except (RetentionError, RecreatedError) as error:
                    if not self.intake.limits.accept_loss:
                        raise
                    self._lose(error)
                except FencedError as error:
                    if not self.intake.store.partitioned:
                        raise
                    _LOG.warning("%s; beginning anew", error)  # a view was being filled with its past
        except BaseException as error:  # noqa: BLE001 (raised by the thread that commits)
            self.work.put(_Brought(self, self.generation, error=error))

    def _read(self, generation: int) -> None:
        """Read until told to stop, or to begin anew."""
        since, idle = clock.stopwatch(), 0.0
        feed = self.intake.open()
        try:
            while not self.stop.is_set() and generation == self.generation:
                if not self.go.is_set():
                    self.go.wait(_IDLE)
                    continue
                if self.work.qsize() and self.intake.inbox is None:  # who pushes waits for an answer
                    time.sleep(_GATHER)
                records, at = feed.poll(self.intake.limits.batch, self.intake.limits.linger), clock.now_micros()
                self.lag = feed.lag()
                if records is not None:
                    turns, known = self.intake.turns, self._known(records, at)
                    self.work.put(_Brought(self, generation, self.intake.decoded(records), known, turns))
                    self._acknowledge(feed)
                elif self._at_end(feed, clock.stopwatch() - since) and (self.once or clock.stopwatch() - idle > _IDLE):
                    idle = clock.stopwatch()
                    self.work.put(_Brought(self, generation, None, at))
                    if self.once:
                        self.stop.wait()
            if self.stop.is_set():
                self.rolled.wait()
        finally:
            feed.close()

    def _at_end(self, feed: Feed, seconds: float) -> bool:
        """Whether nothing is left to read; `seconds` ago the stream was opened."""
        if self.once and seconds < _GHOSTS and feed.elsewhere():
            return False
        given = self.lag or not isinstance(self.intake.source.stream, KafkaTopic) or seconds > _JOINING
        return bool(given) and not any(self.lag.values())

    def _known(self, records: Records, at: int) -> int:
        """What was received by then has been read, with these records."""
        behind = [n for n, name in enumerate(records.partitions) if self.lag.get(name, 0)]
        if not any(self.lag.values()) or not len(records.at):
            return at if not any(self.lag.values()) else 0
        mine = records.at[np.isin(records.partition, behind)] if behind else records.at
        return int(mine.max()) if len(mine) else 0

    def _acknowledge(self, feed: Feed) -> None:
        ends = {name: end for shard in self.intake.shards for name, end in shard.ends.items() if name in self.lag}
        if ends:
            feed.acknowledge(ends)

    def _lose(self, error: RetentionError | RecreatedError) -> None:
        """Have what is gone counted as lost, and wait for it."""
        self.skipped.clear()
        self.work.put(_Brought(self, self.generation, error=error))
        while not self.stop.is_set() and not self.skipped.wait(0.1):
            pass


@dataclass(frozen=True)
class _Brought:
    """The records of one poll, read when partitions were ours as `turns` say; `known` as of `Shard.apply`. Or none; or an error."""

    reading: _Reading
    generation: int
    records: Records | None = None
    known: int = 0
    turns: Turns = field(default_factory=dict)
    error: BaseException | None = None


class _Work(queue.Queue[_Brought]):
    """What waits for its commit, bounded by its records: many small polls may wait for a slow commit, and all go into the next one."""

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self._waiting = 0

    def _qsize(self) -> int:
        return self._waiting

    def _put(self, item: _Brought) -> None:
        super()._put(item)
        self._waiting += max(_events(item), 1)

    def _get(self) -> _Brought:
        item: _Brought = super()._get()
        self._waiting -= max(_events(item), 1)
        return item


def ingest(
    project: Project,
    store: OnlineStore,
    *,
    folder: Path | None,
    limits: Limits | None = None,
    receive: Receive | None = None,
    once: bool = False,
    stop: threading.Event | None = None,
    on_commit: OnCommit | None = None,
) -> None:
    """Read the streams of a project into its online store, until `stop` is set.

    Args:
        project: its streaming views are kept up to date.
        store: where to.
        folder: where accepted events are archived, and refused records kept; None keeps neither.
        limits: how records become commits.
        receive: what receives pushed events; without it, sources with `stream=hw.push()` are left out.
        once: end when everything that the streams hold has been committed.
        stop: ends it after the commit under way.
        on_commit: called after each commit.

    Raises:
        UsageError: no view of the project is streaming.
        DefinitionError: a streaming view that cannot be fed.
        StoreError: the store cannot be written, or another process ingests into it.
        RetentionError: a stream no longer has what is to be read next.
        ConnectError: a stream does not answer.
        ClockError: the wall clock cannot be right, with `once`; without, ingestion waits until it is.
    """
    limits, stop = limits or Limits(), stop or threading.Event()
    sources = streamed([one.view for one in stored(project)])
    if not sources:
        raise UsageError(f"project {project.name!r} has no streaming view; give one freshness=hw.streaming('2s')")
    pushed = [source for source in sources if isinstance(source.stream, Pushed)]
    if receive is None and len(pushed) == len(sources) and not once:
        raise UsageError(f"every stream of project {project.name!r} is pushed, and nothing receives; give an address, as --http does")
    store = scoped(store, project.name, write=True)
    with ExitStack() as stack:
        if not store.partitioned:
            stack.enter_context(store.lease(LEASE, wait=limits.wait))
        elif pushed and receive is not None:
            stack.enter_context(store.lease(_PUSHED + store.namespace, wait=limits.wait))
        brokers = stack.enter_context(BrokerClocks(store, list(sources), wanted=limits.broker_clock))
        check = ClockCheck(micros(limits.max_clock_jump, "max_clock_jump"), store.server_time, brokers=brokers)
        left = [] if receive is not None else pushed  # others receive for them; their views are filled here all the same
        intakes = [Intake(source, views, store, folder, limits, filled=source in left) for source, views in sources.items()]
        for intake in intakes:
            stack.callback(intake.close)
        work = _Work(limits.batch)
        if receive is not None and pushed:
            stack.enter_context(_receiving(receive, [intake for intake in intakes if intake.source in pushed], store))
        read, go = [intake for intake in intakes if intake.source not in left], threading.Event()
        readings = stack.enter_context(_reading([_Reading(intake, work, stop, go, once) for intake in read], work, stop))
        brokers.wait()
        _commits(readings, work, stop, on_commit, check)
        for intake in intakes:
            intake.roll(least=1)
        for reading in readings:
            reading.rolled.set()


@contextmanager
def _receiving(receive: Receive, intakes: Sequence[Intake], store: OnlineStore) -> Iterator[None]:
    """Receive events; the store says where."""
    for intake in intakes:
        intake.inbox = Inbox(intake.source)
    inboxes = {intake.source.name: cast("Inbox", intake.inbox) for intake in intakes}
    with receive(inboxes) as receiver:
        known = {key + store.namespace.encode(): value for key, value in receiver.items()}
        store.commit(known, {})
        try:
            yield
        finally:
            for inbox in inboxes.values():
                inbox.give_up(close=True)
    store.commit(dict.fromkeys(known), {})


@contextmanager
def _reading(readings: list[_Reading], work: _Work, stop: threading.Event) -> Iterator[list[_Reading]]:
    """Threads that read; all have ended when the context does."""
    for reading in readings:
        reading.start()
    try:
        yield readings
    finally:
        stop.set()
        for reading in readings:
            reading.rolled.set()
            reading.intake.close()
            thread = cast("threading.Thread", reading.thread)
            while thread.is_alive():
                _drain(work)
                thread.join(0.05)


def _drain(work: _Work) -> list[_Brought]:
    """Take out what waits, so that nobody waits for room."""
    found = []
    try:
        while True:
            found.append(work.get_nowait())
    except queue.Empty:
        return found


def _commits(readings: Sequence[_Reading], work: _Work, stop: threading.Event, on_commit: OnCommit | None, check: ClockCheck) -> None:
    if readings:
        why = _refusal(check, readings, [])
        if why is not None:
            _wait_for_clock(check, readings, work, stop, [], why)
        readings[0].go.set()  # of all
    while not stop.is_set() and not all(reading.ended for reading in readings):
        brought = _next(work, readings)
        why = _refusal(check, readings, brought)
        if why is not None:
            _wait_for_clock(check, readings, work, stop, brought, why)
            continue
        for reading in readings:
            mine = [one for one in brought if one.reading is reading]
            due = reading.intake.due()
            if mine or (due is not None and due < clock.now_micros()):
                _take(reading, mine, on_commit)


def _refusal(check: ClockCheck, readings: Sequence[_Reading], brought: Sequence[_Brought]) -> str | None:
    received = max((one.records.received for one in brought if one.records is not None), default=0)
    return check.refusal(max(reading.intake.committed() for reading in readings), received)


def _wait_for_clock(
    check: ClockCheck, readings: Sequence[_Reading], work: _Work, stop: threading.Event, brought: Sequence[_Brought], why: str
) -> None:
    """Commit nothing until the wall clock is right. Then everything is read again from the stored offsets, and stamped by the right clock.

    Raises:
        ClockError: where ingestion is to end by itself, it does not wait.
    """
    if any(reading.once for reading in readings):
        raise ClockError(why)
    wrong: str | None = why
    left, told = list(brought), -_REMIND
    for reading in readings:
        reading.go.clear()
        reading.generation += 1
    try:
        while wrong is not None and not stop.is_set():
            if clock.stopwatch() - told >= _REMIND:
                _LOG.error("%s", wrong)
                told = clock.stopwatch()
            for one in [*left, *_drain(work)]:
                if isinstance(one.error, RetentionError | RecreatedError):
                    one.reading.skipped.set()  # it is met again
                elif one.error is not None:
                    raise one.error
            left = []
            for reading in readings:
                if reading.intake.inbox is not None:
                    reading.intake.inbox.give_up(close=False, waiting=True)
            stop.wait(_IDLE)
            wrong = _refusal(check, readings, [])
    finally:
        for reading in readings:
            reading.go.set()


def _take(reading: _Reading, brought: Sequence[_Brought], on_commit: OnCommit | None) -> None:
    """Commit what one source has brought."""
    fresh = [one for one in brought if one.error is None and one.generation == reading.generation]
    if fresh or not brought:
        records = [(one.records, one.turns) for one in fresh if one.records is not None]
        _commit(reading, records, max((one.known for one in fresh), default=0), on_commit)
    for one in brought:
        if isinstance(one.error, RetentionError | RecreatedError) and reading.intake.limits.accept_loss:
            _LOG.warning("%s; going on without what was lost", one.error)
            reading.intake.skip(one.error, clock.now_micros())
            reading.skipped.set()
        elif one.error is not None:
            raise one.error
    reading.ended |= reading.once and any(one.records is None for one in fresh)


def _commit(reading: _Reading, records: Sequence[tuple[Records, Turns]], known: int, on_commit: OnCommit | None) -> None:
    intake = reading.intake
    try:
        made = intake.commit(records, clock.now_micros(), known)
    except FencedError as error:
        if not intake.store.partitioned:
            raise
        _LOG.warning("%s; reading on from what the store holds", error)
        reading.generation += 1
        intake.forget([shard.partition for shard in intake.shards if shard.partition is not None])
        return
    for committed in made:
        if on_commit is not None:
            on_commit(intake.source, committed, reading.lag)
    intake.roll(least=intake.limits.roll, aside=True)


def _next(work: _Work, readings: Sequence[_Reading]) -> list[_Brought]:
    """What was brought, in order, as much as goes into a commit; nothing where a held event's time comes first."""
    now = clock.now_micros()
    dues = [due - now for reading in readings if (due := reading.intake.due()) is not None]
    brought: list[_Brought] = []
    try:
        brought.append(work.get(timeout=min([_IDLE / 2, *(max(due, 0) / 1e6 + 1e-6 for due in dues)])))
        while sum(_events(one) for one in brought) < brought[0].reading.intake.limits.batch:
            brought.append(work.get_nowait())
    except queue.Empty:
        pass
    return brought


def _events(brought: _Brought) -> int:
    return 0 if brought.records is None else len(brought.records.offset)
