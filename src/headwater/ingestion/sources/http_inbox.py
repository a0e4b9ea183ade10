"""Pushed events: batches wait in an inbox for their commit, and are answered after it.

What one commit holds is answered together, so that senders share its cost. A sender that hears
nothing (the process died, the line broke) sends the same again: ids say what was taken in already.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from headwater import clock
from headwater.definitions.connectors import Pushed
from headwater.definitions.source import Source
from headwater.errors import BusyError, LostError, UsageError
from headwater.ingestion.sources.stream_reader import (
    Assigned,
    Position,
    RecordBatch,
    Revoked,
    between,
    offset_at,
)

PARTITION: Final = "pushed"
_WAITING: Final = 100_000  # events
_BYTES: Final = 64_000_000


@dataclass(frozen=True)
class Settled:
    """The outcomes of the n events of a batch: int8 (n), the reason of each refused event by
    position, and the commit's sequence.
    """

    record_outcomes: NDArray[np.int8]
    reasons: Mapping[int, str]
    sequence: int


@dataclass(frozen=True)
class _PushedBatch:
    payloads: Sequence[bytes]
    key: str | None
    at: int
    size: int
    settled: Future[Settled] = field(default_factory=Future)


class Inbox:
    """The batches of one source, from when they are received to when they are committed. Any thread
    may put.

    Args:
        source: whose stream is `push()`.
        most: events that wait at most.
    """

    def __init__(self, source: Source, most: int = _WAITING) -> None:
        assert isinstance(source.stream, Pushed)
        self.source, self.stream, self.most = source, source.stream, most
        self._waiting: deque[_PushedBatch] = deque()
        # the offset of the first event of each
        self._taken: deque[tuple[int, _PushedBatch]] = deque()
        self._events = self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False
        self._lost: LostError | None = None

    def put(self, payloads: Sequence[bytes], key: str | None) -> Future[Settled]:
        """Put a batch into the inbox; the future gives its outcome, or fails with BusyError or
        LostError where it was not committed.

        Args:
            payloads: at least one.
            key: what the sender will say again with the same batch; None where events have ids, or
                may count twice.

        Raises:
            UsageError: events that could not be told from their copies, or more than ever wait.
            BusyError: too many wait, or ingestion is stopping; nothing was taken.
            LostError: ingestion is stopping, since the store has lost commits; nothing was taken.
        """
        if key is None and self.source.id_field is None and not self.stream.at_least_once:
            raise UsageError(
                f"source {self.source.name!r} has no id_field, so nothing would tell a repeated "
                "request from a new one: send an Idempotency-Key header and the same one again "
                "with each repetition, or define the source with id_field=, or with "
                "hw.push(at_least_once=True)"
            )
        if len(payloads) > self.most:
            raise UsageError(f"{len(payloads):,} events in one request; send at most {self.most:,}")
        batch = _PushedBatch(payloads, key, clock.now_micros(), sum(map(len, payloads)))
        with self._changed:
            if self._closed:
                raise self._not_committed("ingestion is stopping; send it again")
            if self._waiting and (
                self._events + len(payloads) > self.most or self._bytes + batch.size > _BYTES
            ):
                raise BusyError(
                    f"{self._events:,} events of source {self.source.name!r} wait for their "
                    "commit; send it again later"
                )
            self._waiting.append(batch)
            self._count(batch, 1)
            self._changed.notify()
        return batch.settled

    def take(self, most: int, timeout: float, first: int) -> list[_PushedBatch]:
        """The batches that wait, of `most` events if the first one is not larger; their events have
        offsets from `first` on.
        """
        taken: list[_PushedBatch] = []
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed, timeout)
            events = 0
            while self._waiting and (not taken or events + len(self._waiting[0].payloads) <= most):
                batch = self._waiting.popleft()
                self._taken.append((first + events, batch))
                events += len(batch.payloads)
                self._count(batch, -1)
                taken.append(batch)
        return taken

    def settle(
        self,
        first: int,
        record_outcomes: NDArray[np.int8],
        reasons: Mapping[int, str],
        sequence: int,
    ) -> None:
        """A commit holds the events with offsets from `first` on; `reasons` by offset."""
        with self._changed:
            done = [
                (start, batch)
                for start, batch in self._taken
                if first <= start < first + len(record_outcomes)
            ]
            self._taken = deque(
                entry
                for entry in self._taken
                if not first <= entry[0] < first + len(record_outcomes)
            )
        for start, batch in done:
            offsets = range(start, start + len(batch.payloads))
            why = (
                {offset - start: reasons[offset] for offset in offsets if offset in reasons}
                if reasons
                else {}
            )
            _resolve(
                batch, Settled(record_outcomes[start - first : offsets.stop - first], why, sequence)
            )

    def waiting(self) -> int:
        """How many events wait."""
        return self._events

    def give_up(self, *, close: bool, waiting: bool = False, lost: LostError | None = None) -> None:
        """Answer the senders of batches that were taken and not committed to send them again.

        waiting: those of what waits, too. close: and take nothing any more. lost: why, where the
        store has lost commits.
        """
        with self._changed:
            self._closed, self._lost = self._closed or close, self._lost or lost
            waiting = waiting or close
            abandoned = [batch for _, batch in self._taken] + (
                list(self._waiting) if waiting else []
            )
            self._taken.clear()
            if waiting:
                self._waiting.clear()
                self._events = self._bytes = 0
            self._changed.notify_all()
        for batch in abandoned:
            _resolve(
                batch,
                self._not_committed(
                    "ingestion stopped before these events were committed; send them again"
                ),
            )

    def _not_committed(self, message: str) -> BusyError | LostError:
        if self._lost is None:
            return BusyError(message)
        return LostError(
            f"these events were not committed, and earlier ones may be lost: {self._lost}. Send "
            "them again once ingestion runs"
        )

    def _count(self, batch: _PushedBatch, sign: int) -> None:
        self._events += sign * len(batch.payloads)
        self._bytes += sign * batch.size


def _resolve(batch: _PushedBatch, outcome: Settled | BusyError | LostError) -> None:
    if not batch.settled.set_running_or_notify_cancel():
        return  # the sender has gone
    if isinstance(outcome, Settled):
        batch.settled.set_result(outcome)
    else:
        batch.settled.set_exception(outcome)


class PushedFeed:
    """The events of an inbox as a stream of one partition; offsets continue the stored ones."""

    def __init__(self, inbox: Inbox, assigned: Assigned, revoked: Revoked) -> None:
        self._inbox, self._revoked = inbox, revoked
        positions = assigned([PARTITION])
        self._next = offset_at(positions[PARTITION]) if PARTITION in positions else 0

    def poll(self, most: int, timeout: float) -> RecordBatch | None:
        """See `Feed`."""
        batches = self._inbox.take(most, timeout, self._next)
        if not batches:
            return None
        payloads = [payload for batch in batches for payload in batch.payloads]
        sizes = [len(batch.payloads) for batch in batches]
        first, self._next = self._next, self._next + len(payloads)
        return RecordBatch(
            [PARTITION],
            np.zeros(len(payloads), np.int64),
            np.arange(first, self._next),
            np.repeat(np.array([batch.at for batch in batches], np.int64), sizes),
            {PARTITION: between(first, self._next)},
            payloads,
            ids=pl.concat([_ids(batch) for batch in batches]),
        )

    def lag(self) -> Mapping[str, int]:
        """See `Feed`; the events that wait."""
        return {PARTITION: self._inbox.waiting()}

    def elsewhere(self) -> int:
        """See `Feed`; there is one partition."""
        return 0

    def acknowledge(self, positions: Mapping[str, Position]) -> None:
        """See `Feed`; senders are answered by `Inbox.settle`."""

    def close(self) -> None:
        """See `Feed`; senders send batches again that were taken and not committed."""
        self._inbox.give_up(close=False)
        self._revoked([PARTITION])


def _ids(batch: _PushedBatch) -> pl.Series:
    if batch.key is None:
        return pl.Series([None] * len(batch.payloads), dtype=pl.String)
    return pl.Series(
        [f"key\0{batch.key}\0{n}" for n in range(len(batch.payloads))], dtype=pl.String
    )
