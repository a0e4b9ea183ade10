"""One source's way into the online store: shards that commit its records, and files that its archive is rolled into."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from headwater import clock, permissions, settings
from headwater.connectors.feeds import Assigned, Feed, Records, Revoked, open_feed
from headwater.connectors.pushed import Inbox, PushedFeed
from headwater.definitions.durations import Duration, micros
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.freshness import Streaming
from headwater.definitions.source import Enriched, Source
from headwater.errors import DefinitionError, RecreatedError, RetentionError
from headwater.logs.rolling import FOLDERS, Roller
from headwater.online_stores import OnlineStore, spaces
from headwater.online_stores.ownership import claim, placed, placed_source
from headwater.online_stores.states import progresses
from headwater.pipelines.accept import OFFSET, Acceptance
from headwater.pipelines.rejudge import Logs
from headwater.pipelines.seed import seed
from headwater.pipelines.shard import Committed, Shard

_LOG = logging.getLogger(__name__)
_HOUR = 3_600_000_000  # microseconds of the stream between two looks for what is kept no longer
LEASE = "ingest"
"""What the process that ingests into a store of one writer holds."""


@dataclass(frozen=True)
class Limits:
    """How records become commits.

    batch: records in one poll at most. linger: seconds that a poll waits. future: how long after it was received an event may happen;
    later ones are refused. roll: bytes of archive that make a file. wait: seconds to wait for the lease of the store. accept_loss: go on
    where a stream no longer has what is to be read next, and count what is lost. max_clock_jump: how far the wall clock may move by
    itself, lie behind the last commit, or differ from a server's; nothing is committed beyond that. broker_clock: whether it is compared
    with those of Kafka's brokers, for which a record a minute is written to the topic `__headwater_clock`. filtered: how long rows that a
    source's filter leaves out are kept for `explain`, where an archive is; "0s" keeps none. archive, dead_letters: how long these are
    kept; None keeps all.
    """

    batch: int = 50_000
    linger: float = 0.02
    future: Duration = "1d"
    roll: int = 32_000_000
    wait: float = 60.0
    accept_loss: bool = False
    max_clock_jump: Duration = "5m"
    broker_clock: bool = True
    filtered: Duration = "30d"
    archive: Duration | None = None
    dead_letters: Duration | None = None


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
        if view.source.stream is None:
            raise DefinitionError(
                f"{what}, and its source {view.source.name!r} has no stream; give it stream=hw.kafka(topic), or use batch()"
            )
        found.setdefault(view.source, {}).setdefault(view.tiles_fingerprint, view)
    return {source: tuple(named.values()) for source, named in found.items()}


Turns = Mapping[str, int]
"""Partition -> how often it was given to others; records read before the last time are not to be committed."""


class Intake:
    """What one source's stream is read into. One thread reads and is told of partitions, another one commits.

    inbox: where its events come in, if they are pushed. filled: whether views are filled with their past at once, where one shard has all
    partitions; otherwise `open` does it, or the first commit.
    """

    def __init__(
        self,
        source: Source,
        views: Sequence[FeatureView],
        store: OnlineStore,
        folder: Path | None,
        limits: Limits,
        *,
        replayed_from: int | None = None,
        filled: bool = True,
    ) -> None:
        self.source, self.store, self.folder, self.limits, self.replayed_from = source, store, folder, limits, replayed_from
        claim(store, source)
        placed_views = tuple(placed(store, view) for view in views)
        self.acceptance = Acceptance(placed_source(store, source), placed_views, micros(limits.future, "future"))
        self.acceptance.warm()
        if folder is not None:
            for name in FOLDERS.values():
                permissions.own_if_there(folder / name)
        self._keep = {
            space: None if kept is None else micros(kept, name)
            for space, name, kept in (
                (spaces.FILTERED, "filtered", limits.filtered),
                (spaces.ARCHIVE, "archive", limits.archive),
                (spaces.DEAD, "dead_letters", limits.dead_letters),
            )
        }
        self._expired = -_HOUR
        self.inbox: Inbox | None = None
        self.turns: Turns = {}
        self._shards: dict[str | None, Shard] = {}
        self._filling: dict[str | None, Shard] = {}  # views are being filled with their past; nothing is committed meanwhile
        self._rolling: Future[None] | None = None
        self._lock = threading.RLock()  # partitions come and go between commits
        if filled and not store.partitioned:
            self.shard(None)

    @property
    def shards(self) -> list[Shard]:
        """Those that are open."""
        return list(self._shards.values())

    def open(self) -> Feed:
        """Begin to read the stream, when views are filled with their past."""
        if not self.store.partitioned:
            self.shard(None)
        assigned: Assigned = self._ends
        revoked: Revoked = self.forget
        if self.inbox is not None:
            return PushedFeed(self.inbox, assigned, revoked)
        return open_feed(self.source, assigned, revoked, self._origin_of)

    def decoded(self, records: Records) -> Records:
        """The records with what their payloads hold, so that whoever commits them need not look."""
        return replace(records, decoded=self.acceptance.decode(records.payloads)) if records.frame is None else records

    def forget(self, partitions: Sequence[str]) -> None:
        """Others write these partitions from now on."""
        if not self.store.partitioned:
            return
        with self._lock:
            self._rolled()  # what is left of their blocks is for others to move
            self.turns = {**self.turns, **{name: self.turns.get(name, 0) + 1 for name in partitions}}
            for name in partitions:
                self._shards.pop(name, None)
                if name in self._filling:
                    self._filling[name].abandoned.set()

    def commit(self, records: Sequence[tuple[Records, Turns]], now: int, known: int | None = None) -> list[Committed]:
        """Commit records, each read when `turns` were as they say, one shard after the other."""
        with self._lock:
            if not self.store.partitioned:
                return [self._apply(self.shard(None), [some for some, _ in records], now, known)]
            if not records:
                return [shard.apply([], now, known) for shard in self.shards]
            made = []
            for name in dict.fromkeys(p for some, _ in records for p in some.ends):
                mine = [own for some, turns in records if turns.get(name) == self.turns.get(name) for own in some.of(name)]
                if mine and name in self._shards:
                    made.append(self._apply(self._shards[name], mine, now, known))
            return made

    def skip(self, error: RetentionError | RecreatedError, now: int) -> list[Committed]:
        """Commit that the stream is read on behind what an error says is lost."""
        with self._lock:
            if isinstance(error, RetentionError):
                return [self.shard(error.partition).skip(error.partition, error.first, now)]
            return [self.shard(partition).adopt(partition, origin, now) for partition, origin in error.origins.items()]

    def committed(self) -> int:
        """When the last commit was made, microseconds."""
        if not self._shards:
            return max((found.at for found in progresses(self.store, self.acceptance.source.name).values()), default=0)
        return max(shard.progress.at for shard in self.shards)

    def due(self) -> int | None:
        """When the first event that is held happens."""
        return min((due for shard in self.shards if (due := shard.due()) is not None), default=None)

    def roll(self, *, least: int, aside: bool = False) -> None:
        """Move blocks of the archive, of filtered rows and of refused records into files, of each where they hold so many bytes.

        aside: in a thread of its own, so that commits go on meanwhile; what goes wrong there, the next call raises.
        """
        if self.folder is None or (aside and self._rolling is not None and not self._rolling.done()):
            return
        with self._lock:
            self._rolled()
            due = [(shard, space) for shard in self.shards for space, size in shard.blocks.items() if size and size >= least]
            for shard, space in due:
                shard.blocks[space] = 0  # what is committed from here on is counted for the next file
            work: list[Callable[[], object]] = [self._roller(shard.partition, space).roll for shard, space in due]
            latest = max((shard.progress.at for shard in self.shards), default=0)
            if latest - self._expired >= _HOUR:
                self._expired = latest
                work += [partial(self._roller(s.partition, space).expire, s.progress.at) for s in self.shards for space in FOLDERS]
            self._rolling = _aside(work) if work else None
            if not aside:
                self._rolled()

    def close(self) -> None:
        """Give up filling views, and wait for files that are being made; what goes wrong with them is seen when they are made again."""
        with self._lock:
            for shard in self._filling.values():
                shard.abandoned.set()
        if self._rolling is not None:
            wait([self._rolling])

    def _rolled(self) -> None:
        """Wait for files that are being made, and raise what goes wrong."""
        rolling, self._rolling = self._rolling, None
        if rolling is not None:
            rolling.result()

    def shard(self, partition: str | None) -> Shard:
        """The shard that a partition's records go to; its views are filled with their past before it is given."""
        name = partition if self.store.partitioned else None
        with self._lock:
            if name in self._shards:
                return self._shards[name]
        kept = self.folder is not None
        shard = Shard(self.acceptance, self.store, name, archive=kept, filtered=kept and self._keep[spaces.FILTERED] != 0)
        with self._lock:
            self._filling[name] = shard
        try:
            self._fill(shard)
        finally:
            with self._lock:
                if self._filling.get(name) is shard:
                    del self._filling[name]
        with self._lock:
            shard.check_mine()
            self._shards[name] = shard
        return shard

    def _fill(self, shard: Shard) -> None:
        """Fill new views with their past. The lock is free: other partitions are committed, and this one may be taken away."""
        replayed = self.replayed_from is not None
        now = clock.now_micros() if self.replayed_from is None else self.replayed_from
        for view, events in seed(shard, self._logs(shard.partition), now, replayed=replayed).items():
            _LOG.info("feature view %s begins with %s events of its past", view, f"{events:,}")

    def _ends(self, partitions: Sequence[str]) -> dict[str, int]:
        """The offsets to read on from, of those partitions that are known."""
        ends = {name: self.shard(name).ends for name in partitions}
        return {name: known[name] for name, known in ends.items() if name in known}

    def _origin_of(self, partition: str) -> str:
        """What the offset of a partition counts in; "" where that is not known."""
        shard = self._shards.get(partition if self.store.partitioned else None)
        return "" if shard is None else shard.origins.get(partition, "")

    def _apply(self, shard: Shard, records: Sequence[Records], now: int, known: int | None) -> Committed:
        made = shard.apply(records, now, known)
        if self.inbox is not None:
            reasons = dict(zip(made.dead[OFFSET].to_list(), made.dead["reason"].to_list(), strict=True))
            for some, fates in zip(records, made.fates, strict=True):
                self.inbox.settle(int(some.offset[0]), fates, reasons, made.sequence)
        return made

    def _logs(self, partition: str | None) -> Logs:
        return Logs(*(self._roller(partition, space) for space in (spaces.ARCHIVE, spaces.FILTERED, spaces.DEAD)))

    def _roller(self, partition: str | None, space: bytes) -> Roller:
        folder = self.folder or settings.home()
        return Roller(self.store, space, folder / FOLDERS[space], self.acceptance.source.name, partition, self._keep[space])


def _aside(work: Sequence[Callable[[], object]]) -> Future[None]:
    """Do some things in a thread, one after the other."""
    done: Future[None] = Future()

    def run() -> None:
        try:
            for one in work:
                one()
            done.set_result(None)
        except BaseException as error:  # noqa: BLE001 (raised by whoever asks)
            done.set_exception(error)

    threading.Thread(target=run, name="roll").start()
    return done
