"""Whether the wall clock can be right: compared with clocks that only go on, with the store's last
commit, and with clocks of servers.

The clocks of the brokers that streams are read from: read in a thread of their own, so that no
commit waits for a broker.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from headwater import clock
from headwater.definitions.checks import parse_timestamp, text, timestamp_text
from headwater.definitions.connectors import KafkaTopic
from headwater.definitions.source import Source
from headwater.errors import ClockError, UsageError
from headwater.retries import Backoff
from headwater.stores import OnlineStore, keyspace

if TYPE_CHECKING:
    from headwater.ingestion.sources.kafka_client import Seen

LIMIT = 300_000_000
"""Default tolerance for a clock difference, microseconds."""

_SERVER = 10.0  # seconds between two looks at the server's clock

_INGEST = "If the clock is right, the store is ahead of it: `headwater store rewind`"

_JOB = (
    f"{_INGEST} mends its streams, and `headwater materialize VIEW --full-refresh` a batch view. "
    "A job with a past `--at TIME` (`at=`) asks no clock"
)

Shown = tuple[int, tuple[int, ...]]
"""What the wall clock and the steady clocks showed at one instant, microseconds."""


class Brokers(Protocol):
    """The clocks of brokers that streams are read from."""

    def ahead(self, *, doubtful: bool) -> tuple[str, int] | None:
        """The broker whose clock is furthest from the wall clock, and how far it is ahead.
        doubtful: it may be wrong.
        """
        ...


class Anchor:
    """The readings of the wall clock and the steady clocks of this process when the wall clock was
    last right.
    """

    def __init__(self) -> None:
        self.last: Shown | None = None


PROCESS = Anchor()


class ClockCheck:
    """Refuses commits while the wall clock cannot be right; several threads may ask.

    A pause of the process or of the machine is none of the clock's faults: the wall clock then
    moves as far as one of the steady clocks, those that count while a machine sleeps and those that
    do not. Old records (a backlog, a replay) say nothing about the clock.

    Args:
        limit: how far the wall clock may move or differ, microseconds. server_time: the time of a
            server, where there is one.
        remedy: what to do about a store that is ahead. brokers: the clocks of those that streams
            are read from.

    >>> check = ClockCheck(300_000_000, lambda: None, Anchor())
    >>> (
    ...     check.refusal(clock.now_micros()),
    ...     "behind the last commit" in check.refusal(clock.now_micros() + 10**9),
    ... )
    (None, True)
    """

    def __init__(
        self,
        limit: int,
        server_time: Callable[[], int | None],
        anchor: Anchor | None = None,
        *,
        remedy: str = _INGEST,
        brokers: Brokers | None = None,
    ) -> None:
        self._remedy, self._brokers = remedy, brokers
        self._broker: tuple[str, int] | None = None
        self.limit, self.server_time, self.anchor = (
            limit,
            server_time,
            PROCESS if anchor is None else anchor,
        )
        self._asked_at = -_SERVER
        # how far the wall clock is ahead of the server's, as of the last look
        self._ahead: int | None = None
        self._refused = False
        self._lock = threading.Lock()

    def refusal(self, committed: int, received: int = 0) -> str | None:
        """Why nothing may be committed now; None where something may.

        committed: the time of the store's last commit. received: when a broker took in a record by
        its own clock; microseconds, 0 for none.
        """
        with self._lock:
            return self._refusal(committed, received)

    def _refusal(self, committed: int, received: int) -> str | None:
        wall, steady = clock.now_micros(), clock.steady_micros()
        since = self._moved(wall, steady)
        self._look(wall, moved=since)
        doubtful = self._refused or abs(since) > self.limit
        self._broker = None if self._brokers is None else self._brokers.ahead(doubtful=doubtful)
        why = self._why(wall, self._moved(wall, steady), committed, received)
        self._refused = why is not None
        if why is None:
            self.anchor.last = wall, steady
        return why

    def _moved(self, wall: int, steady: tuple[int, ...]) -> int:
        """How far the wall clock has moved by itself since it was last right."""
        return 0 if self.anchor.last is None else moved(self.anchor.last, wall, steady)

    def _why(self, wall: int, moved: int, committed: int, received: int) -> str | None:
        if self._ahead is not None and abs(self._ahead) > self.limit:
            return self._message(
                f"differs from the clock of the online store's server by {_far(self._ahead)}", ""
            )
        if self._broker is not None and abs(self._broker[1]) > self.limit:
            return self._message(
                f"differs from the clock of {self._broker[0]} by {_far(self._broker[1])}", ""
            )
        if received - wall > self.limit:
            return self._message(
                f"is {_far(received - wall)} behind a record that the broker took in by its own "
                "clock",
                "",
            )
        if committed - wall > self.limit:
            return self._message(
                f"is {_far(committed - wall)} behind the last commit of the online store",
                self._remedy,
            )
        if abs(moved) > self.limit and self._ahead is None and self._broker is None:
            remedy = "If it is right now, start ingestion again"
            return self._message(
                f"has been set {'forward' if moved > 0 else 'back'} by {_far(moved)} while this "
                "process ran",
                remedy,
            )
        return None

    def _look(self, wall: int, *, moved: int) -> None:
        """Compare with the server's clock, now and then and whenever something is doubtful."""
        if (
            clock.stopwatch() - self._asked_at < _SERVER
            and not self._refused
            and abs(moved) <= self.limit
        ):
            return
        server = self.server_time()
        self._ahead = None if server is None else wall - server
        self._asked_at = clock.stopwatch()

    def _message(self, problem: str, remedy: str) -> str:
        return (
            f"the wall clock, {clock.timestamp(clock.now_micros()):%Y-%m-%d %H:%M:%S} UTC, "
            f"{problem}; at most {text(self.limit)} is allowed (max_clock_jump). Nothing was "
            f"committed, and nothing is lost. Set the clock right{'. ' + remedy if remedy else ''}"
        )


def moved(was: Shown, wall: int, steady: tuple[int, ...]) -> int:
    """How far the wall clock has moved by itself since `was`; a steady clock may have stood
    meanwhile, as the machine slept.

    >>> moved((100, (0, 0)), 170, (10, 60))
    10
    """
    before, then = was
    return min((wall - before - (now - at) for now, at in zip(steady, then, strict=True)), key=abs)


def job_time(
    at: datetime | str | None, server_time: Callable[[], int | None], committed: int
) -> int:
    """The time of a scheduled job in microseconds: `at`, or the present.

    at: tz-aware, or ISO 8601 with an offset; None is the present. server_time: the time of the
    online store's server, where there is one.
    committed: when the store was last written to, microseconds; 0 where it was not.

    Raises:
        UsageError: `at` is not a time, or is in the future: a cut of the future would be served
            without the events that come until then.
        ClockError: without `at`, the wall clock differs from the server's by more than 5 minutes,
            or is as much behind the last commit.
    """
    if at is None:
        why = ClockCheck(LIMIT, server_time, Anchor(), remedy=_JOB).refusal(committed)
        if why is not None:
            raise ClockError(why)
        return clock.now_micros()
    t = parse_timestamp(at, "at")
    now = max(clock.now_micros(), server_time() or 0)
    if t - now > LIMIT:
        raise UsageError(
            f"at={timestamp_text(t)} has not come: it is {timestamp_text(now)}. A job at a later "
            "time would publish a cut without the events that come until then; give a time that "
            "is past, or leave `at` out"
        )
    return t


def _far(micros: int) -> str:
    """A difference in its largest unit that is whole enough: days from two days on, else minutes or
    seconds.
    """
    size = abs(micros)
    unit = (
        next(
            unit
            for unit, least in ((86_400, 172_800), (60, 120), (1, 0))
            if size >= least * 1_000_000
        )
        * 1_000_000
    )
    return text(round(size / unit) * unit)


_LOG = logging.getLogger(__name__)

_EVERY, _DOUBTFUL = 60.0, 10.0
"""Seconds between two looks: as a rule, and while the wall clock may be wrong."""

_BACKOFF = Backoff(first=120.0, longest=600.0)  # between two looks at a broker that does not say

_VALID_FOR = 600.0  # seconds that a look counts

_FIRST = 3.0  # seconds that ingestion waits for the first look

COMPARED = "compared"


class _Broker:
    """A broker, and the last readings of its clock."""

    def __init__(self, spec: KafkaTopic) -> None:
        self.spec, self.where = spec, f"the Kafka broker at {spec.servers!r}"
        self.seen: Seen | None = None
        self.at = self.due = -_VALID_FOR
        # nothing is seen; "" where something is, None before the first look
        self.why: str | None = None
        self._pauses = iter(_BACKOFF)

    def look(self) -> None:
        """Read the broker's clock; a failure is logged once, and stops nothing."""
        try:
            self.seen = importlib.import_module("headwater.ingestion.sources.kafka_client").probe(
                self.spec
            )
            self.at, self._pauses = clock.stopwatch(), iter(_BACKOFF)
            wait, why = _EVERY, ""
        except Exception as error:  # noqa: BLE001 (a clock that cannot be seen ends no ingestion)
            wait, why = next(self._pauses), str(error)
        if why and why != self.why:
            _LOG.warning("the wall clock is not compared with that of %s: %s", self.where, why)
        elif not why and self.why:
            _LOG.info("the wall clock is compared with that of %s", self.where)
        self.why, self.due = why, clock.stopwatch() + wait

    def ahead(self) -> int | None:
        """How far the wall clock is ahead of the broker's now: the last comparison, plus the wall
        clock's own drift since.
        """
        seen = self.seen
        if seen is None or clock.stopwatch() - self.at > _VALID_FOR:
            return None
        return seen.ahead + moved(
            (seen.wall, seen.steady), clock.now_micros(), clock.steady_micros()
        )


class BrokerClocks:
    """Looks at the clocks of brokers in a thread of its own, while the context lasts.

    Args:
        store: where the state is written, for `status`. sources: whose brokers, each once; those
            without one are left out.
        wanted: whether to look at all.
    """

    def __init__(
        self, store: OnlineStore, sources: Sequence[Source], *, wanted: bool = True
    ) -> None:
        self._store, self._wanted, self._reported = store, wanted, dict[str, str]()
        self._by_source: dict[str, _Broker] = {}
        by_server: dict[tuple[str, str], _Broker] = {}
        for source in sources:
            if isinstance(source.stream, KafkaTopic):
                key = repr(source.stream.servers), repr(sorted(source.stream.options.items()))
                self._by_source[store.namespace + source.name] = by_server.setdefault(
                    key, _Broker(source.stream)
                )
        self._brokers = list(by_server.values())
        self._stop, self._doubt, self._first = (
            threading.Event(),
            threading.Event(),
            threading.Event(),
        )
        self._thread = (
            threading.Thread(target=self._run, name="clocks of brokers", daemon=True)
            if self._brokers and wanted
            else None
        )

    def __enter__(self) -> Self:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_FIRST)

    def wait(self) -> None:
        """Until each broker was asked once, for 3 seconds at most."""
        if self._thread is not None:
            clock.wait(_FIRST, self._first)

    def ahead(self, *, doubtful: bool) -> tuple[str, int] | None:
        """The broker whose clock is furthest from the wall clock, and by how many microseconds that
        is ahead; None where none is known.

        To be called by the thread that commits; changes are written to the store. doubtful: have it
        looked at soon.
        """
        self._tell()
        if doubtful:
            self._doubt.set()
        compared = [
            (broker.where, ahead)
            for broker in self._brokers
            if (ahead := broker.ahead()) is not None
        ]
        return max(compared, key=lambda entry: abs(entry[1]), default=None)

    def _run(self) -> None:
        while not self._stop.is_set():
            for broker in self._brokers:
                now = clock.stopwatch()
                soon = broker.why == "" and self._doubt.is_set() and now - broker.at >= _DOUBTFUL
                if (now >= broker.due or soon) and not self._stop.is_set():
                    broker.look()
            self._first.set()
            self._doubt.clear()
            clock.wait(1.0, self._stop)

    def _tell(self) -> None:
        standing = self._standing()
        if standing != self._reported:
            changes = {
                keyspace.broker_clock(name): text.encode()
                for name, text in standing.items()
                if text != self._reported.get(name)
            }
            self._store.commit(changes, {})
            self._reported = standing

    def _standing(self) -> dict[str, str]:
        if not self._wanted:
            return dict.fromkeys(self._by_source, "not compared: it is turned off")
        whys: Mapping[str, str | None] = {
            name: broker.why for name, broker in self._by_source.items()
        }
        return {
            name: f"not compared: {why}" if why else COMPARED
            for name, why in whys.items()
            if why is not None
        }
