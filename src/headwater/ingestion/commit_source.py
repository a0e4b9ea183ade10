"""A thread for each source that commits what its reader brings, so that no source waits for another
one's commit.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from headwater import clock
from headwater.definitions.source import Source
from headwater.errors import ClockError, FencedError, LostError, RecreatedError, RetentionError
from headwater.ingestion.clock_check import ClockCheck
from headwater.ingestion.committed import Committed
from headwater.ingestion.read_source import IDLE, PolledBatch, SourceReader

_LOG = logging.getLogger(__name__)
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

    def _settle(self, polled: Sequence[PolledBatch]) -> None:
        """Commit what was polled, once the wall clock can be right; or nothing, where it was
        not.
        """
        why = self._refusal(polled)
        if why is not None:
            self._wait_for_clock(polled, why)
            return
        due = self.reader.ingestor.due()
        if polled or (due is not None and due < clock.now_micros()):
            self.reader.began = clock.stopwatch()
            self._take(polled)
            self.reader.commit_seconds = clock.stopwatch() - self.reader.began

    def _next(self) -> list[PolledBatch]:
        """What was polled, in order, as much as goes into a commit; nothing where a held event's
        time comes first.
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
        left, last_logged = list(polled), -_REMIND
        reader.go.clear()
        reader.epoch += 1
        try:
            while wrong is not None and not reader.stop.is_set():
                if clock.stopwatch() - last_logged >= _REMIND:
                    _LOG.error("%s", wrong)
                    last_logged = clock.stopwatch()
                for batch in [*left, *reader.work.drain()]:
                    if isinstance(batch.error, RetentionError | RecreatedError):
                        reader.skipped.set()  # it is met again
                    elif batch.error is not None:
                        raise batch.error
                left = []
                if reader.ingestor.inbox is not None:
                    reader.ingestor.inbox.give_up(close=False, waiting=True)
                reader.stop.wait(IDLE)
                wrong = self._refusal([])
        finally:
            reader.go.set()

    def _take(self, polled: Sequence[PolledBatch]) -> None:
        """Commit what was polled, and raise what went wrong with reading."""
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
    """Commit what readers bring, each source in a thread of its own; returns when all have ended.

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
