"""Ingestion: streams are read, each by a thread of its own, and one thread commits what they bring in micro-batches."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np

from headwater import clock, settings
from headwater.connectors.feeds import Feed, Records, open_feed
from headwater.definitions.durations import Duration, micros
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.freshness import Streaming
from headwater.definitions.project import Project
from headwater.definitions.source import Enriched, Source
from headwater.errors import DefinitionError, FencedError, UsageError
from headwater.logs.rolling import Roller
from headwater.online_stores import OnlineStore, spaces
from headwater.pipelines.accept import Acceptance
from headwater.pipelines.seed import seed
from headwater.pipelines.shard import Committed, Shard

_LOG = logging.getLogger(__name__)
_AHEAD = 2  # polls that wait for their commit: what is read further ahead only takes memory
_IDLE = 1.0  # seconds after which a commit without records says that nothing has come
_LEASE = "ingest"

OnCommit = Callable[[Source, Committed, Mapping[str, int]], None]
"""Called after each commit, with what the feed still has to read by partition."""


@dataclass(frozen=True)
class Limits:
    """How records become commits.

    batch: records in one poll at most. linger: seconds that a poll waits. future: how long after it was received an event may happen;
    later ones are refused. roll: bytes of archive that make a file. wait: seconds to wait for the lease of the store.
    """

    batch: int = 10_000
    linger: float = 0.02
    future: Duration = "1d"
    roll: int = 32_000_000
    wait: float = 60.0


def streamed(views: Sequence[FeatureView]) -> dict[Source, tuple[FeatureView, ...]]:
    """The views that a stream feeds, by source, without aliases.

    Raises:
        DefinitionError: a streaming view whose source has no stream, or is enriched.
    """
    found: dict[Source, dict[str, FeatureView]] = {}
    for view in dict.fromkeys(v.root for v in views):
        if not isinstance(view.freshness, Streaming):
            continue
        what = f"feature view {view.name!r} is streaming"
        if isinstance(view.source.history, Enriched):
            raise DefinitionError(
                f"{what}, and its source {view.source.name!r} is enriched; chained views are read from history: use batch()"
            )
        if view.source.changes is not None:
            raise DefinitionError(
                f"{what}, and its source {view.source.name!r} has changes={view.source.changes!r}; a stream of corrections cannot be "
                "taken back from what was merged: use batch()"
            )
        if view.source.stream is None:
            raise DefinitionError(
                f"{what}, and its source {view.source.name!r} has no stream; give it stream=hw.kafka(topic), or use batch()"
            )
        found.setdefault(view.source, {})[view.tiles_fingerprint] = view
    return {source: tuple(named.values()) for source, named in found.items()}


class Intake:
    """One source's way into the store: its shards, and the roller of each."""

    def __init__(
        self,
        source: Source,
        views: Sequence[FeatureView],
        store: OnlineStore,
        folder: Path | None,
        limits: Limits,
        *,
        replayed_from: int | None = None,
    ) -> None:
        self.source, self.store, self.folder, self.limits, self.replayed_from = source, store, folder, limits, replayed_from
        self.acceptance = Acceptance(source, tuple(views), micros(limits.future, "future"))
        self._shards: dict[str | None, Shard] = {}
        if not store.partitioned:
            self.shard(None)

    @property
    def shards(self) -> list[Shard]:
        """Those that are open."""
        return list(self._shards.values())

    def shard(self, partition: str | None) -> Shard:
        """The shard that a partition's records go to; its views are filled with their past before it is given."""
        name = partition if self.store.partitioned else None
        if name not in self._shards:
            shard = Shard(self.acceptance, self.store, name, archive=self.folder is not None)
            replayed = self.replayed_from is not None
            now = clock.now_micros() if self.replayed_from is None else self.replayed_from
            for view, events in seed(shard, self._roller(name, spaces.ARCHIVE), now, replayed=replayed).items():
                _LOG.info("feature view %s begins with %s events of its past", view, f"{events:,}")
            self._shards[name] = shard
        return self._shards[name]

    def forget(self, partitions: Sequence[str]) -> None:
        """Others write these partitions from now on."""
        if self.store.partitioned:
            for partition in partitions:
                self._shards.pop(partition, None)

    def ends(self, partitions: Sequence[str]) -> dict[str, int]:
        """The offsets to read on from, of those partitions that are known."""
        found = {}
        for partition in partitions:
            ends = self.shard(partition).ends
            if partition in ends:
                found[partition] = ends[partition]
        return found

    def commit(self, records: Sequence[Records], now: int, known: int | None = None) -> list[Committed]:
        """Commit records, one shard after the other."""
        if not self.store.partitioned:
            return [self.shard(None).apply(records, now, known)]
        if not records:
            return [shard.apply([], now, known) for shard in self.shards]
        names = [name for name in dict.fromkeys(p for some in records for p in some.ends) if name in self._shards]
        return [self._shards[name].apply([part for some in records for part in _of(some, name)], now, known) for name in names]

    def due(self) -> int | None:
        """When the first event that is held happens."""
        return min((due for shard in self.shards if (due := shard.due()) is not None), default=None)

    def roll(self, *, least: int) -> None:
        """Move blocks of the archive and of refused records into files."""
        if self.folder is None:
            return
        for shard in self.shards:
            for space in (spaces.ARCHIVE, spaces.DEAD):
                self._roller(shard.partition, space).roll(least=least)

    def _roller(self, partition: str | None, space: bytes) -> Roller:
        folder = self.folder or settings.home()
        return Roller(self.store, space, folder / ("archive" if space == spaces.ARCHIVE else "dead_letters"), self.source.name, partition)


@dataclass
class _Reading:
    """A thread that reads one source, and what it has brought."""

    intake: Intake
    work: queue.Queue[_Brought]
    stop: threading.Event
    generation: int = 0
    lag: Mapping[str, int] = field(default_factory=dict)
    error: BaseException | None = None
    thread: threading.Thread | None = None
    restart: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        self.thread = threading.Thread(target=self._run, name=f"read {self.intake.source.name}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            while not self.stop.is_set():
                self._read(self.generation)
        except BaseException as error:  # noqa: BLE001 (raised by the thread that commits)
            self.error = error
            self.work.put(_Brought(self, self.generation, None, 0))

    def _read(self, generation: int) -> None:
        """Read until told to stop, or to begin anew."""
        self.restart.clear()
        feed = open_feed(self.intake.source, self.intake.ends, self.intake.forget)
        try:
            while not self.stop.is_set() and not self.restart.is_set():
                records = feed.poll(self.intake.limits.batch, self.intake.limits.linger)
                at = clock.now_micros()
                self.lag = feed.lag()
                if records is not None:
                    self.work.put(_Brought(self, generation, records, self._known(records, at)))
                    self._acknowledge(feed)
                elif not any(self.lag.values()):
                    self.known = at
        finally:
            feed.close()

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

    known: int = 0


@dataclass(frozen=True)
class _Brought:
    """The records of one poll; `known` as of `Shard.apply`."""

    reading: _Reading
    generation: int
    records: Records | None
    known: int


def ingest(
    project: Project,
    store: OnlineStore,
    *,
    folder: Path | None,
    limits: Limits | None = None,
    stop: threading.Event | None = None,
    on_commit: OnCommit | None = None,
) -> None:
    """Read the streams of a project into its online store, until `stop` is set.

    Args:
        project: its streaming views are kept up to date.
        store: where to.
        folder: where accepted events are archived, and refused records kept; None keeps neither.
        limits: how records become commits.
        stop: ends it after the commit under way.
        on_commit: called after each commit.

    Raises:
        UsageError: no view of the project is streaming.
        DefinitionError: a streaming view that cannot be fed.
        StoreError: the store cannot be written, or another process ingests into it.
        RetentionError: a stream no longer has what is to be read next.
        ConnectError: a stream does not answer.
    """
    limits, stop = limits or Limits(), stop or threading.Event()
    sources = streamed(project.views)
    if not sources:
        raise UsageError(f"project {project.name!r} has no streaming view; give one freshness=hw.streaming('2s')")
    with ExitStack() as stack:
        if not store.partitioned:
            stack.enter_context(store.lease(_LEASE, wait=limits.wait))
        intakes = [Intake(source, views, store, folder, limits) for source, views in sources.items()]
        work: queue.Queue[_Brought] = queue.Queue(_AHEAD * len(intakes))
        readings = stack.enter_context(_reading(intakes, work, stop))
        _commits(readings, work, stop, on_commit)
        for intake in intakes:
            intake.roll(least=1)


@contextmanager
def _reading(intakes: Sequence[Intake], work: queue.Queue[_Brought], stop: threading.Event) -> Iterator[list[_Reading]]:
    """A thread for each source; all have ended when the context does."""
    readings = [_Reading(intake, work, stop) for intake in intakes]
    for reading in readings:
        reading.start()
    try:
        yield readings
    finally:
        stop.set()
        for reading in readings:
            thread = cast("threading.Thread", reading.thread)
            while thread.is_alive():
                _drain(work)
                thread.join(0.05)


def _drain(work: queue.Queue[_Brought]) -> None:
    """Let go of what waits, so that nobody waits for room."""
    try:
        while True:
            work.get_nowait()
    except queue.Empty:
        pass


def _commits(readings: Sequence[_Reading], work: queue.Queue[_Brought], stop: threading.Event, on_commit: OnCommit | None) -> None:
    last = dict.fromkeys(map(id, readings), clock.stopwatch())
    while not stop.is_set():
        brought = _next(work, readings)
        if brought is not None and brought.records is None and brought.reading.error is not None:
            raise brought.reading.error
        for reading in readings:
            mine = [
                b
                for b in [brought]
                if b is not None and b.reading is reading and b.generation == reading.generation and b.records is not None
            ]
            now = clock.now_micros()
            due = reading.intake.due()
            idle = clock.stopwatch() - last[id(reading)] > _IDLE
            if not mine and not (due is not None and due < now) and not (idle and reading.known > 0):
                continue
            known = mine[-1].known if mine else reading.known
            _commit(reading, [cast("Records", b.records) for b in mine], known, on_commit)
            last[id(reading)] = clock.stopwatch()


def _commit(reading: _Reading, records: Sequence[Records], known: int, on_commit: OnCommit | None) -> None:
    intake = reading.intake
    try:
        made = intake.commit(records, clock.now_micros(), known)
    except FencedError as error:
        if not intake.store.partitioned:
            raise
        _LOG.warning("%s; reading on from what the store holds", error)
        reading.generation += 1
        reading.restart.set()
        intake.forget([shard.partition for shard in intake.shards if shard.partition is not None])
        return
    for committed in made:
        if on_commit is not None:
            on_commit(intake.source, committed, reading.lag)
    intake.roll(least=intake.limits.roll)


def _next(work: queue.Queue[_Brought], readings: Sequence[_Reading]) -> _Brought | None:
    """What was brought next; None where a held event's time, or that of an idle commit, comes first."""
    now = clock.now_micros()
    dues = [due - now for reading in readings if (due := reading.intake.due()) is not None]
    wait = min([_IDLE / 2, *(max(due, 0) / 1e6 + 1e-6 for due in dues)])
    try:
        return work.get(timeout=wait)
    except queue.Empty:
        return None


def _of(records: Records, partition: str) -> Iterator[Records]:
    """The records of one partition."""
    if partition not in records.ends:
        return
    names = list(records.partitions)
    index = np.flatnonzero(records.partition == names.index(partition)) if partition in names else np.empty(0, np.int64)
    yield Records(
        [partition],
        np.zeros(len(index), np.int64),
        records.offset[index],
        records.at[index],
        {partition: records.ends[partition]},
        [records.payloads[i] for i in index.tolist()] if len(records.payloads) else [],
        None if records.frame is None else records.frame[index],
    )
