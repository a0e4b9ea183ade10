"""The ingestion of one source: writers that commit its records, and files that its archive is
rolled into.

The lease of a source's writer, and waiting for a lease that another process holds, to go on in
its place when that ends.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from headwater import clock, disk, settings
from headwater.definitions.checks import Duration, Spelled, micros
from headwater.definitions.connectors import KafkaTopic
from headwater.definitions.definition import Readable
from headwater.definitions.feature_service import Enriched
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.source import Source, has_one_writer, other_writers, steps_to_rewrite
from headwater.errors import (
    DefinitionError,
    FencedError,
    LostError,
    RecreatedError,
    RetentionError,
    UsageError,
)
from headwater.ingestion.archive import FOLDERS, AcknowledgedCommits, Roller, claim_folder
from headwater.ingestion.commit import Adopt, PartitionWriter, Skip
from headwater.ingestion.committed import Committed
from headwater.ingestion.consumer_group import group_of
from headwater.ingestion.fill_views import Fill, clear_generation, judge, new_views, remedy
from headwater.ingestion.partition_count import count_key, partition_count
from headwater.ingestion.past_events import Logs
from headwater.ingestion.sources.http_inbox import PARTITION as PUSHED
from headwater.ingestion.sources.http_inbox import Inbox, PushedFeed
from headwater.ingestion.sources.stream_reader import (
    Assigned,
    Feed,
    Position,
    RecordBatch,
    Revoked,
    StreamInStore,
    offset_at,
    open_feed,
)
from headwater.ingestion.validate import OFFSET, Acceptance
from headwater.state.view_state import misses, progresses, read_parts, read_stream
from headwater.stores import HeldError, OnlineStore, keyspace
from headwater.stores.keyspace import (
    PlacedGenerations,
    begin_generation,
    claim,
    forget_generation,
    placed_generations,
    placed_source,
    switch_generation,
)
from headwater.stores.server import LEASE

_LOG = logging.getLogger(__name__)

LEFT: Final = 2 * LEASE  # seconds to wait for the lease that a killed process has left

_POLLS = 2  # whose records are as many events as one part of a fill

_LOOK = 1.0  # seconds between two looks whether a generation is whole in every partition

_READ = 10.0  # seconds that a read takes at most

_HOUR = 3_600_000_000  # microseconds of stream time between two retention checks


@dataclass(frozen=True)
class IngestLimits(Readable, metaclass=Spelled):
    """How records become commits.

    batch: records in one poll at most. linger: seconds that a poll waits. max_future_skew: how long
    after it was received an event may happen; later ones are refused. roll: bytes of archive that
    make a file. wait: seconds to wait for the lease of the store.
    accept_loss: go on where a stream no longer has the next record, and count the lost records.
    max_clock_jump: how far the wall clock may move by itself, lie behind the last commit, or differ
    from a server's; nothing is committed beyond that. broker_clock: whether it is compared with
    those of Kafka's brokers, for which a record a minute is written to the topic
    `__headwater_clock`. filtered: how long rows that a source's filter leaves out are kept for
    `explain`, where an archive is; "0s" keeps none. archive, dead_letters: how long these are kept;
    None keeps all.
    """

    batch: int = 50_000
    linger: float = 0.02
    max_future_skew: Duration = "1d"
    roll: int = 8_000_000
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
    by_source: dict[Source, dict[str, FeatureView]] = {}
    for view in dict.fromkeys(v.root for v in views):
        if not view.freshness.streamed:
            continue
        subject = f"feature view {view.name!r} is streaming"
        if isinstance(view.source.history, Enriched):
            raise DefinitionError(
                f"{subject}, and its source {view.source.name!r} is enriched; chained views are "
                "read from history: use batch()"
            )
        if view.source.stream is None:
            raise DefinitionError(
                f"{subject}, and its source {view.source.name!r} has no stream; give it stream=, "
                "such as hw.kafka(topic), or use batch()"
            )
        by_source.setdefault(view.source, {}).setdefault(view.tiles_fingerprint, view)
    return {source: tuple(named.values()) for source, named in by_source.items()}


Turns = Mapping[str, int]
"""Partition -> how often it was given to others; records read before the last time are not to be
committed.
"""


class GenerationsToFill(NamedTuple):
    """Generations of views that were asked for.

    names: the view's tiles fingerprint, by that of the generation. began: when it was asked,
    microseconds. settles: whether they are all that a growth of the topic has left incomplete.
    """

    names: Mapping[str, str]
    began: int
    settles: bool


class SourceIngestor:
    """The ingestion of one source's stream. One thread reads and is notified of partitions, another
    one commits.

    one_writer: whether one process at a time writes all partitions; then it holds `lease` while it
    does.
    inbox: where its events come in, if they are pushed; received_here: has the store say so.
    filled: whether views are filled right away, where this process holds the whole store; otherwise
    `open` does it, or the first commit. goes_on: whether the stream goes on meanwhile.

    Raises:
        UsageError: the store holds the stream as other writers have written it.
    """

    def __init__(
        self,
        source: Source,
        views: Sequence[FeatureView],
        store: OnlineStore,
        folder: Path | None,
        limits: IngestLimits,
        *,
        replayed_from: int | None = None,
        filled: bool = True,
        goes_on: bool = False,
    ) -> None:
        self.source, self.store, self.folder, self.limits, self.replayed_from = (
            source,
            store,
            folder,
            limits,
            replayed_from,
        )
        check_streams(store, source)
        claim(store, source)
        self._views = tuple(views)
        self._generations, self._looked = self._found_generations(), clock.stopwatch()
        self.acceptance = self._accepting(self._generations)
        self.one_writer = has_one_writer(
            self.acceptance.source, multi_process=store.capabilities.multi_process
        )
        check_writers(store, self.acceptance.source)
        self.acceptance.warm()
        if folder is not None:
            for name in FOLDERS.values():
                disk.own_if_there(folder / name)
            if settings.archive_url() is None:
                claim_folder(
                    folder / FOLDERS[keyspace.ARCHIVE] / self.acceptance.source.name, store
                )
        self._keep = {
            space: None if keep is None else micros(keep, name)
            for space, name, keep in (
                (keyspace.FILTERED, "filtered", limits.filtered),
                (keyspace.ARCHIVE, "archive", limits.archive),
                (keyspace.DEAD, "dead_letters", limits.dead_letters),
            )
        }
        self._expired, self._warns = -_HOUR, True
        self._acknowledged = AcknowledgedCommits.for_source(
            self.acceptance.source, None if folder is None else folder / FOLDERS[keyspace.ARCHIVE]
        )
        self.inbox: Inbox | None = None
        self.received_here: Callable[[], AbstractContextManager[None]] = nullcontext
        self.turns: Turns = {}
        self._writers: dict[str | None, PartitionWriter] = {}
        # views are being filled with their past; nothing is committed meanwhile
        self._filling: dict[str | None, PartitionWriter] = {}
        self._fill_thread = ThreadPoolExecutor(1, "fill") if goes_on else None
        self._fills: list[Future[None]] = []  # of views that are filled while the stream goes on
        self._rolling: Future[None] | None = None
        self._lock = threading.RLock()  # partitions come and go between commits
        if filled and not store.capabilities.multi_process:
            self.writer(None)

    def _look(self) -> None:
        """Look up which generations of its views the store has."""
        self._looked = clock.stopwatch()
        generations = self._found_generations()
        if generations != self._generations:
            self._generations, self.acceptance = generations, self._accepting(generations)

    def _found_generations(self) -> list[PlacedGenerations]:
        return [placed_generations(self.store, view) for view in self._views]

    def _accepting(self, generations: Sequence[PlacedGenerations]) -> Acceptance:
        return Acceptance(
            placed_source(self.store, self.source),
            tuple(view for held in generations for view in held.written),
            micros(self.limits.max_future_skew, "max_future_skew"),
        )

    @property
    def writers(self) -> list[PartitionWriter]:
        """The open writers."""
        return list(self._writers.values())

    @contextmanager
    def lease(self, wait: float) -> Iterator[None]:
        """Be the one process that writes the source; see `writer_lease`."""
        with writer_lease(self.store, self.acceptance.source, wait), self.received_here():
            yield

    def open(self) -> Feed:
        """Begin to read the stream, when views are filled with their past."""
        if self.one_writer:
            self.writer(None)
        assigned: Assigned = self._positions
        revoked: Revoked = self.forget
        if self.inbox is not None:
            return PushedFeed(self.inbox, assigned, revoked)
        feed = open_feed(self._read_source(), assigned, revoked, self._origin_of, self._in_store)
        if isinstance(self.source.stream, KafkaTopic) and self._warns:
            from headwater.ingestion.sources.kafka_inspect import lost_by_compaction

            self._warns = False
            if why := lost_by_compaction(self.source):
                _LOG.warning("source %s: %s", self.source.name, why)
        return feed

    @cached_property
    def _in_store(self) -> StreamInStore:
        source = self.acceptance.source
        return StreamInStore(
            self.store, source.name, whole=self.one_writer, with_ids=source.id_field is not None
        )

    def _read_source(self) -> Source:
        """The source, whose topic is read in the consumer group of this store."""
        stream = self.source.stream
        if not isinstance(stream, KafkaTopic):
            return self.source
        return replace(
            self.source,
            stream=stream.with_fields(group=group_of(self.store, self.source, write=True)),
        )

    def decoded(self, records: RecordBatch) -> RecordBatch:
        """The records with decoded payloads, so that the committing thread need not decode them."""
        return (
            replace(records, decoded=self.acceptance.decode(records.payloads))
            if records.frame is None
            else records
        )

    def forget(self, partitions: Sequence[str]) -> None:
        """Others write these partitions from now on; one writer keeps all of them until it has lost
        its lease.
        """
        if not self.one_writer:
            self.give_up(partitions)

    def give_up(self, partitions: Sequence[str | None]) -> None:
        """Read the store again before the next commit: another process writes these partitions, or
        all (None), or has done so.
        """
        with self._lock:
            self._rolled()  # their remaining blocks are for the new owners to move
            self.turns = {
                **self.turns,
                **{name: self.turns.get(name, 0) + 1 for name in partitions if name is not None},
            }
            for name in partitions:
                for writers in (self._writers, self._filling):
                    if name in writers:
                        writers[name].abandoned.set()
                self._writers.pop(name, None)

    def commit(
        self, records: Sequence[tuple[RecordBatch, Turns]], now: int, known: int | None = None
    ) -> list[Committed]:
        """Commit records, each read when `turns` were as they say, one writer after the other."""
        with self._lock:
            self._check_fills()
            if self._replaced and clock.stopwatch() - self._looked > _LOOK:
                self._follow()
            if self.one_writer:
                polls = [poll for poll, _ in records]
                return [self._apply(writer, polls, now, known) for writer in self.writers]
            commits = [] if records else [writer.apply([], now, known) for writer in self.writers]
            for name in dict.fromkeys(p for poll, _ in records for p in poll.positions):
                batches = [
                    batch
                    for poll, turns in records
                    if turns.get(name) == self.turns.get(name)
                    for batch in poll.of_partition(name)
                ]
                if batches and name in self._writers:
                    commits.append(self._apply(self._writers[name], batches, now, known))
            return commits

    def skip(self, error: RetentionError | RecreatedError, now: int) -> list[Committed]:
        """Commit that the stream is read on after the records that an error reports as lost."""
        with self._lock:
            if isinstance(error, RetentionError):
                return [
                    self.writer(error.partition).skip(
                        Skip(error.partition, error.position, error.lost), now
                    )
                ]
            return [
                self.writer(partition).adopt(Adopt(partition, origin), now)
                for partition, origin in error.origins.items()
            ]

    def committed(self) -> int:
        """When the last commit was made, microseconds."""
        if not self._writers:
            return max(
                (
                    progress.at
                    for progress in progresses(self.store, self.acceptance.source.name).values()
                ),
                default=0,
            )
        return max(writer.progress.at for writer in self.writers)

    def due(self) -> int | None:
        """When the first event that is held happens."""
        return min(
            (due for writer in self.writers if (due := writer.due()) is not None), default=None
        )

    def roll(self, *, least: int, background: bool = False) -> None:
        """Move blocks of the archive, of filtered rows and of refused records into files, of each
        where they hold so many bytes.

        background: in a thread of its own, so that commits go on meanwhile; an error there is
        raised by the next call.
        """
        if self.folder is None or (
            background and self._rolling is not None and not self._rolling.done()
        ):
            return
        with self._lock:
            self._rolled()
            due = [
                (writer, space)
                for writer in self.writers
                for space, size in writer.blocks.items()
                if size and size >= least
            ]
            for writer, space in due:
                writer.blocks[space] = 0  # later commits count towards the next file
            work: list[Callable[[], object]] = [
                self._roller(writer.partition, space).roll for writer, space in due
            ]
            latest = max((writer.progress.at for writer in self.writers), default=0)
            if latest - self._expired >= _HOUR and not self._fills:  # which read the files
                self._expired = latest
                work += [
                    partial(self._roller(s.partition, space).expire, s.progress.at)
                    for s in self.writers
                    for space in FOLDERS
                ]
            self._rolling = _in_background(work) if work else None
            if not background:
                self._rolled()

    def _check_fills(self) -> None:
        """Forget the fills that have ended, and raise the error of one that failed."""
        for fill in [fill for fill in self._fills if fill.done()]:
            self._fills.remove(fill)
            fill.result()

    def finish(self, stop: threading.Event) -> None:
        """Wait until views are filled and the filled records are read; or until `stop` is set."""
        while not stop.is_set():
            with self._lock:
                self._check_fills()
                fills = list(self._fills)
                if not fills and not (self._replaced and self._follow()):
                    return
            wait(fills, timeout=_LOOK)

    def close(self) -> None:
        """Stop filling views, and wait for unfinished files; a file that failed is made again
        later, and its error is raised then.
        """
        with self._lock:
            for writer in [*self._filling.values(), *self._writers.values()]:
                writer.abandoned.set()
        if self._fill_thread is not None:
            self._fill_thread.shutdown(cancel_futures=True)
        if self._rolling is not None:
            wait([self._rolling])

    def _rolled(self) -> None:
        """Wait for unfinished files, and raise their errors."""
        rolling, self._rolling = self._rolling, None
        if rolling is not None:
            rolling.result()

    def writer(self, partition: str | None) -> PartitionWriter:
        """The writer that a partition's records go to; its views are filled with their past, before
        it is given or while it commits.
        """
        name = self._writer_of(partition)
        with self._lock:
            if name in self._writers:
                return self._writers[name]
        writer = self._registered(name, None)
        try:  # the lock is free: other partitions are committed, and this one may be taken away
            while self._has_changed(writer):
                writer = self._registered(name, writer)
            first = not writer.progress.sequence  # nothing is read before all views are filled
            fill = self._fill_of(writer)
            fill_thread = None if first or not fill.goes_on else self._fill_thread
            if fill_thread is not None:
                fill.begin_next_to_stream()
            else:
                self._run(fill)
                if self._replaced and self._follow():
                    return self.writer(partition)  # it is opened without what was replaced
                self._wait_for_reads(writer)
                self._clear(writer)
        finally:
            with self._lock:
                if self._filling.get(name) is writer:
                    del self._filling[name]
        with self._lock:
            writer.check_mine()
            self._writers[name] = writer
            if fill_thread is not None:
                self._clear_concurrently(writer)
            if fill_thread is not None and fill.views:
                self._fills.append(fill_thread.submit(self._run_concurrently, fill))
        return writer

    def _writer_of(self, partition: str | None) -> str | None:
        """The partition that the writer of this one is named by; None is the one writer of the
        whole stream.
        """
        return None if self.one_writer else partition

    def _registered(self, name: str | None, before: PartitionWriter | None) -> PartitionWriter:
        """A new writer, in place of the one before it, that hears when its partition is taken
        away.
        """
        has_archive = self.folder is not None
        writer = PartitionWriter(
            self.acceptance,
            self.store,
            name,
            archive=has_archive,
            filtered=has_archive and self._keep[keyspace.FILTERED] != 0,
        )
        self._check_acknowledged(writer)
        with self._lock:
            if before is not None:
                before.check_mine()
            self._filling[name] = writer
        writer.wait_for_repair()
        return writer

    def _has_changed(self, writer: PartitionWriter) -> bool:
        """Apply today's rules to a writer, and begin new generations for records that are read
        although they lack something. Returns whether the writer does not know of such a generation
        yet.
        """
        judge(writer, self._logs(writer.partition), self._begins())
        missing = {tiles.view.tiles_fingerprint for tiles in new_views(writer)}
        begun = False
        for held in self._generations if writer.progress.sequence else ():
            tiles, source = held.read.tiles_fingerprint, self.acceptance.source.name
            if held.filling is None and tiles in missing:
                state = read_stream(self.store, tiles, source)
                if state is not None and state.seeded is not None:
                    begin_generation(self.store, held.read.first_generation)
                    begun = True
        if begun:
            self._look()
        return begun

    def _check_acknowledged(self, writer: PartitionWriter) -> None:
        acknowledged, made = self._acknowledged, writer.progress.sequence
        if acknowledged is not None and acknowledged.commit > made:
            raise LostError(
                f"source {self.source.name!r}: senders were told that commit {acknowledged.commit} "
                "is "
                f"made, and the online store has made {made}: a server without the last commits "
                f"took over, or an older copy was restored. {remedy(writer)}"
            )

    def _run(self, fill: Fill, alone: AbstractContextManager[object] | None = None) -> None:
        names = {tiles.view.tiles_fingerprint: tiles.view.name for tiles in fill.views}
        for name, events in fill.run(alone).items():
            _LOG.info(
                "feature view %s begins with %s events of its past", names[name], f"{events:,}"
            )

    def _run_concurrently(self, fill: Fill) -> None:
        """Fill while the stream is committed. Where another process writes now, it fills too."""
        try:
            self._run(fill, self._lock)
        except LostError:
            raise
        except FencedError as error:
            _LOG.info("%s; views are filled by who writes next", error)

    @property
    def _replaced(self) -> frozenset[str]:
        """The tiles fingerprints of generations that others take the place of."""
        return frozenset(
            held.read.tiles_fingerprint for held in self._generations if held.filling is not None
        )

    def _fill_of(self, writer: PartitionWriter) -> Fill:
        return Fill(
            writer,
            self._logs(writer.partition),
            self._begins(),
            replayed=self.replayed_from is not None,
            replaced=self._replaced,
        )

    def _switch(self) -> bool:
        """Have readers read the generations that are whole in every partition; whether they read
        others now than when this process looked last.

        Until then, every writer maintains both, so that either may be read.
        """
        before = self._replaced
        progress = progresses(self.store, self.acceptance.source.name)
        for held in self._generations:
            number, view = held.numbers.filling, held.filling
            if number is None or view is None or not progress:
                continue
            tiles = view.tiles_fingerprint
            if not misses(tiles, read_parts(self.store, tiles), progress):
                switch_generation(self.store, view.first_generation, number)
                _LOG.info("feature view %s is read as it was filled again", view.name)
        self._look()
        return self._replaced != before

    def _follow(self) -> bool:
        """Go on with the generations that are read now, and remove the others; whether they are
        others than before.
        """
        with self._lock:
            written = {view.tiles_fingerprint for view in self.acceptance.views}
            if not self._switch():
                return False
            retired = written - {view.tiles_fingerprint for view in self.acceptance.views}
            for writer in self.writers:
                writer.retire(retired)
                self._clear_concurrently(writer)
            return True

    def _clear_concurrently(self, writer: PartitionWriter) -> None:
        if self._fill_thread is not None and any(held.retired for held in self._generations):
            self._fills.append(self._fill_thread.submit(self._run_clear, writer))

    def _run_clear(self, writer: PartitionWriter) -> None:
        try:
            self._wait_for_reads(writer)
            self._clear(writer, self._lock)
        except LostError:
            raise
        except FencedError as error:
            _LOG.info("%s; who writes next removes records that are not read any more", error)

    def _wait_for_reads(self, writer: PartitionWriter) -> None:
        """Where the store is not atomic, a read that has begun looks at the progress first and at
        the records later.
        """
        retired = any(held.retired for held in self._generations)
        if retired and not self.store.capabilities.atomic:
            clock.wait(_READ, writer.abandoned)

    def _clear(
        self, writer: PartitionWriter, alone: AbstractContextManager[object] | None = None
    ) -> None:
        """Remove the records of generations that are not read any more, in a writer's partition."""
        retired = [view for held in self._generations for view in held.retired]
        for view in retired:
            clear_generation(writer, view, nullcontext() if alone is None else alone)
        for held in self._generations:
            for number, view in zip(held.numbers.retired, held.retired, strict=True):
                if not read_parts(self.store, view.tiles_fingerprint):
                    forget_generation(self.store, view.first_generation, number)

    def is_asked_to_fill(self) -> bool:
        """Whether views are to be filled again since this process looked last, at most once a
        second: its writers do not know of it, and are to be opened again.
        """
        with self._lock:
            if (
                not self.store.capabilities.multi_process
                or clock.stopwatch() - self._looked <= _LOOK
            ):
                return False
            written = {view.tiles_fingerprint for view in self.acceptance.views}
            if self._replaced:
                self._follow()
            else:
                self._look()
            return not {view.tiles_fingerprint for view in self.acceptance.views} <= written

    def begin_again(self, views: Sequence[FeatureView]) -> GenerationsToFill:
        """Ask for new generations of some views' records, beside those that are read meanwhile;
        whoever writes the source next, or does now, fills them.

        Raises:
            UsageError: the stream was never ingested.
        """
        parts = self._partitions()
        if not parts:
            raise UsageError(
                f"source {self.source.name!r} was never ingested, so nothing can be filled; run "
                "`headwater ingest`"
            )
        self._switch()  # what was whole when a process was killed
        began, fresh, names = clock.now_micros(), not self._replaced, dict[str, str]()
        for view in views:
            before = placed_generations(self.store, view)
            begin_generation(self.store, before.read.first_generation)
            after = placed_generations(self.store, view)
            generation = after.filling or after.read  # another process has filled it already
            names[generation.tiles_fingerprint] = view.tiles_fingerprint
        self._look()
        return GenerationsToFill(names, began, settles=fresh and len(names) == len(self._views))

    def fill_again(self, generations: GenerationsToFill) -> dict[str, int]:
        """Make the records of generations that were asked for, in every partition that has been
        read. Returns the number of events, by the views' tiles fingerprints.

        Raises:
            FencedError: another process writes to a partition, and fills the views.
        """
        parts = self._partitions()
        for partition in parts:
            writer = self._writer_of_part(partition)
            while self._has_changed(writer):
                writer = self._writer_of_part(partition)
            self._fill_of(writer).run()
        self._switch()
        written = {view.tiles_fingerprint for view in self.acceptance.views}
        writers = [self._writer_of_part(partition) for partition in parts]
        for writer in writers:
            writer.retire(writer.progress.views.keys() - written)
        self._wait_for_reads(writers[0])
        for writer in writers:
            self._clear(writer)
        self.settle_growth(generations)
        return self._counts(generations)

    def wait_for_fill(
        self, generations: GenerationsToFill, patience: float
    ) -> dict[str, int] | None:
        """Wait while another process makes the records of generations that were asked for; what
        `fill_again` returns, or None where nothing was done for some seconds.
        """
        since, before = clock.stopwatch(), None
        while True:
            self._switch()
            if not generations.names.keys() & {
                held.filling.tiles_fingerprint
                for held in self._generations
                if held.filling is not None
            }:
                return self._counts(generations)
            parts = [read_parts(self.store, name) for name in generations.names]
            if parts != before:
                since, before = clock.stopwatch(), parts
            elif clock.stopwatch() - since > patience:
                return None
            clock.wait(_LOOK)

    def _counts(self, generations: GenerationsToFill) -> dict[str, int]:
        return {
            view: sum(state.filled for state in read_parts(self.store, name).values())
            for name, view in generations.names.items()
        }

    def _partitions(self) -> list[str | None]:
        """Those that have been read."""
        names = progresses(self.store, self.acceptance.source.name)
        return [name.decode() or None for name in names]

    def settle_growth(self, generations: GenerationsToFill) -> None:
        """Have views count as complete, where all were filled without the copies that came by other
        partitions since some were added, and no copy can come any more.

        Raises:
            FencedError: another process has written meanwhile; it may be tried again.
        """
        if not generations.settles or self._replaced:
            return
        writers = [self._writer_of_part(partition) for partition in self._partitions()]
        key = count_key(self.acceptance.source.name)
        count = partition_count(self.store.get([key])[0])
        growth = max(writer.progress.growth for writer in writers)
        archives = [(writer, self._logs(writer.partition)) for writer in writers]
        if not 0 < growth <= generations.began or any(
            writer.progress.accepted > logs.count(logs.archive) for writer, logs in archives
        ):
            return
        settled = msgspec.msgpack.encode(msgspec.structs.replace(count, settled=True))
        self.store.commit({key: settled}, {key: msgspec.msgpack.encode(count)})
        for writer in writers:
            writer.load()
            writer.note(writer.progress, {}, writer.unmoved())

    def _writer_of_part(self, partition: str | None) -> PartitionWriter:
        """A writer that commits no records of the stream."""
        writer = PartitionWriter(self.acceptance, self.store, partition)
        self._check_acknowledged(writer)
        return writer

    def _begins(self) -> int:
        return clock.now_micros() if self.replayed_from is None else self.replayed_from

    def _positions(self, partitions: Sequence[str]) -> dict[str, Position]:
        """The known positions to read on from, by partition."""
        positions = {name: self.writer(name).positions for name in partitions}
        return {name: by_name[name] for name, by_name in positions.items() if name in by_name}

    def _origin_of(self, partition: str) -> str:
        """The origin of a partition's position; "" where it is not known."""
        writer = self._writers.get(self._writer_of(partition))
        return "" if writer is None else writer.origins.get(partition, "")

    def _apply(
        self, writer: PartitionWriter, records: Sequence[RecordBatch], now: int, known: int | None
    ) -> Committed:
        committed = writer.apply(records, now, known)
        if self.inbox is not None:
            if self._acknowledged is not None and PUSHED in writer.positions:
                self._acknowledged.note(committed.sequence, offset_at(writer.positions[PUSHED]))
            reasons = dict(
                zip(
                    committed.dead[OFFSET].to_list(),
                    committed.dead["reason"].to_list(),
                    strict=True,
                )
            )
            for poll, record_outcomes in zip(records, committed.record_outcomes, strict=True):
                self.inbox.settle(int(poll.offset[0]), record_outcomes, reasons, committed.sequence)
        return committed

    def _logs(self, partition: str | None) -> Logs:
        archive, filtered, dead = (
            self._roller(partition, space)
            for space in (keyspace.ARCHIVE, keyspace.FILTERED, keyspace.DEAD)
        )
        return Logs(archive, filtered, dead, part=_POLLS * self.limits.batch)

    def _roller(self, partition: str | None, space: bytes) -> Roller:
        folder = self.folder or settings.home()
        return Roller(
            self.store,
            space,
            folder / FOLDERS[space],
            self.acceptance.source.name,
            partition,
            self._keep[space],
        )


def check_streams(store: OnlineStore, source: Source) -> None:
    """Refuse a store that keeps no streams.

    Raises:
        UsageError: it keeps batch views and predictions alone.
    """
    if not store.capabilities.streams:
        raise UsageError(
            f"source {source.name!r}: this online store keeps batch views and predictions, and no "
            "streams. Nothing was written. Ingest into LMDB, Redis or PostgreSQL (--store "
            "redis://HOST:PORT/DB or postgresql://HOST:PORT/DATABASE), or give the views of the "
            "source a batch freshness, such as hw.batch('1h'), and run `headwater materialize`"
        )


def check_writers(store: OnlineStore, source: Source) -> None:
    """Refuse a stream that others write than the store's state of it is of: where one has written,
    a partition's writer has no state.

    source: as the store names it.

    Raises:
        UsageError: the store holds it as other writers have written it.
    """
    multi_process = store.capabilities.multi_process
    one_writer = has_one_writer(source, multi_process=multi_process)
    parts = progresses(store, source.name).keys()
    if all((part == b"") == one_writer for part in parts):
        return
    why, steps = (
        other_writers(source, one_writer=one_writer),
        steps_to_rewrite(source, one_writer=one_writer, multi_process=multi_process),
    )
    raise UsageError(f"{why}, as the online store holds it. Nothing was written. {steps}")


def _in_background(work: Sequence[Callable[[], object]]) -> Future[None]:
    """Do some things in a thread, one after the other."""
    done: Future[None] = Future()

    def run() -> None:
        try:
            for task in work:
                task()
            done.set_result(None)
        except BaseException as error:  # noqa: BLE001 (raised in the caller of result())
            done.set_exception(error)

    threading.Thread(target=run, name="roll").start()
    return done


_SLICE: Final = 1.0  # seconds of a wait, between two looks whether to stop

Lease = Callable[[float], AbstractContextManager[None]]
"""Holds a lease while its context lasts, after so many seconds of waiting at most; raises
HeldError.
"""


def stand_by(
    stack: ExitStack,
    lease: Lease,
    stop: threading.Event,
    *,
    limit: float | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> bool:
    """Hold a lease until `stack` is closed; that another process holds it is logged at once. False
    where it was stopped during the wait.

    Args:
        stack: the context of the lease.
        lease: what to hold.
        stop: ends the wait.
        limit: seconds to wait at most; None waits until it is stopped.
        meanwhile: called every second of the wait.

    Raises:
        HeldError: another process still holds it after the limit.
    """
    until, logged = clock.stopwatch() + (math.inf if limit is None else limit), False
    while not stop.is_set():
        remaining = until - clock.stopwatch()
        try:
            stack.enter_context(lease(max(0.0, min(remaining, _SLICE if logged else 0.0))))
        except HeldError as error:
            if remaining <= 0:
                raise
            if not logged:
                plan = (
                    "Standing by" if limit is None else f"Waiting up to {limit:g} s for it to end"
                )
                _LOG.warning("%s. %s, to go on in its place", str(error).partition("; ")[0], plan)
            logged = True
            meanwhile()
        else:
            return True
    return False


def writer_lease(store: OnlineStore, source: Source, wait: float) -> AbstractContextManager[None]:
    """Be the one process that writes a source, while the context lasts; nothing where every process
    may, or holds the store.

    The commits of a process that has lost it are refused: they expect what the store held when it
    wrote last. source: as the store names it.

    Raises:
        StoreError: another process still holds it after `wait` seconds.
    """
    multi_process = store.capabilities.multi_process
    if not multi_process or not has_one_writer(source, multi_process=multi_process):
        return nullcontext()
    return store.lease(f"writer of {source.name}", wait=wait)
