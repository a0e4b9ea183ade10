"""The clocks of the brokers that streams are read from: read in a thread of their own, so that no
commit waits for a broker.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from headwater import clock
from headwater.definitions.connectors import KafkaTopic
from headwater.definitions.source import Source
from headwater.ingestion.clock_check import moved
from headwater.retries import Backoff
from headwater.stores import OnlineStore, keyspace

if TYPE_CHECKING:
    from headwater.ingestion.sources.kafka_client import Seen

_LOG = logging.getLogger(__name__)
_EVERY, _DOUBTFUL = 60.0, 10.0
"""Seconds between two looks: as a rule, and while the wall clock may be wrong."""
_BACKOFF = Backoff(first=120.0, longest=600.0)  # between two looks at a broker that does not say
_KEPT = 600.0  # seconds that a look counts
_FIRST = 3.0  # seconds that ingestion waits for the first look
COMPARED = "compared"


class _Broker:
    """A broker, and what was seen of its clock."""

    def __init__(self, spec: KafkaTopic) -> None:
        self.spec, self.where = spec, f"the Kafka broker at {spec.servers!r}"
        self.seen: Seen | None = None
        self.at = self.due = -_KEPT
        # nothing is seen; "" where something is, None before the first look
        self.why: str | None = None
        self._pauses = iter(_BACKOFF)

    def look(self) -> None:
        """Ask the broker; what goes wrong is said once, and stops nothing."""
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
        """How far the wall clock is ahead of the broker's now: as it was seen, and what it has
        moved by itself since.
        """
        seen = self.seen
        if seen is None or clock.stopwatch() - self.at > _KEPT:
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
        self._store, self._wanted, self._told = store, wanted, dict[str, str]()
        self._of: dict[str, _Broker] = {}
        by_server: dict[tuple[str, str], _Broker] = {}
        for source in sources:
            if isinstance(source.stream, KafkaTopic):
                key = repr(source.stream.servers), repr(sorted(source.stream.options.items()))
                self._of[store.namespace + source.name] = by_server.setdefault(
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
            self._first.wait(_FIRST)

    def ahead(self, *, doubtful: bool) -> tuple[str, int] | None:
        """The broker whose clock is furthest from the wall clock, and by how many microseconds that
        is ahead; None where none is known.

        To be called by the thread that commits; changes are written to the store. doubtful: have it
        looked at soon.
        """
        self._tell()
        if doubtful:
            self._doubt.set()
        known = [
            (broker.where, ahead)
            for broker in self._brokers
            if (ahead := broker.ahead()) is not None
        ]
        return max(known, key=lambda entry: abs(entry[1]), default=None)

    def _run(self) -> None:
        while not self._stop.is_set():
            for broker in self._brokers:
                now = clock.stopwatch()
                soon = broker.why == "" and self._doubt.is_set() and now - broker.at >= _DOUBTFUL
                if (now >= broker.due or soon) and not self._stop.is_set():
                    broker.look()
            self._first.set()
            self._doubt.clear()
            self._stop.wait(1.0)

    def _tell(self) -> None:
        standing = self._standing()
        if standing != self._told:
            changes = {
                keyspace.broker_clock(name): text.encode()
                for name, text in standing.items()
                if text != self._told.get(name)
            }
            self._store.commit(changes, {})
            self._told = standing

    def _standing(self) -> dict[str, str]:
        if not self._wanted:
            return dict.fromkeys(self._of, "not compared: it is turned off")
        whys: Mapping[str, str | None] = {name: broker.why for name, broker in self._of.items()}
        return {
            name: f"not compared: {why}" if why else COMPARED
            for name, why in whys.items()
            if why is not None
        }
