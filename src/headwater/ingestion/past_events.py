"""The past of a source's stream: events of the history that it goes on from, and the records that
headwater kept of it.

Fills make records of it, parity and explanations compare with it, and erasure looks for a key in
it: all read the same.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, pairwise

import msgspec
import numpy as np
import polars as pl

from headwater import clock
from headwater.definitions.checks import micros
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.source import Source
from headwater.engine.engines import open_engine
from headwater.engine.query import EngineRun, EventQuery
from headwater.errors import DataError
from headwater.events.change_images import folded, in_force
from headwater.events.read_events import BEFORE, IDENT, KNOWN, ROW, TIME, Reach
from headwater.ingestion.archive import KNOWN_AT, Roller
from headwater.ingestion.change_state import ChangeState, latest_of
from headwater.ingestion.commit import PartitionWriter
from headwater.ingestion.ids import WIDTH, DedupIndex
from headwater.ingestion.partition_count import partition_count
from headwater.ingestion.tombstones import ErasedRows, read_erased
from headwater.ingestion.validate import (
    AT,
    OFFSET,
    PARTITION,
    Acceptance,
    conformed,
    content_of,
)
from headwater.kernel.arrays import I64, Bool
from headwater.state.view_state import (
    Filling,
    State,
    StreamStart,
    ViewTiles,
    out_of_reach,
    progresses,
    reach,
    schema_bytes,
)
from headwater.stores import OnlineStore, keyspace

ROWS = 500_000  # of the archive that are read together

_WRITER, _LEFT_ROW, _MORE = "headwater_writer", "headwater_left_row", "headwater_more"  # columns

First = tuple[pl.Series, int] | None
"""The ids of a history that a stream goes on from, and when they were known."""


@dataclass(frozen=True)
class FillParts:
    """The events that the commits after `since` up to `upto` accepted, as of T; for the first
    commits, with the history before them.

    digest: of all that decides what the parts hold. read: gives each part: its events; of change
    images, all those of some events.
    """

    T: int
    since: int
    upto: int
    count: int
    digest: bytes
    read: Callable[[], Iterator[pl.DataFrame]]

    def begun(self, token: bytes, events: int = 0) -> Filling:
        """None of them is done; events: of the parts before these."""
        return Filling(token, self.digest, self.T, self.since, self.upto, self.count, events=events)


@dataclass(frozen=True)
class Past:
    """The past of a writer's source, before its views are filled. begun: the history that the
    stream continues; None for none.
    """

    writer: PartitionWriter
    logs: Logs
    begun: StreamStart | None
    replayed: bool

    @cached_property
    def erased(self) -> ErasedRows:
        """Which of its rows were erased, and are left out."""
        return read_erased(self.writer.store, self.writer.source)

    def parts(self, tiles: ViewTiles, T: int, since: int, upto: int) -> FillParts:
        """The parts that a view is filled with."""
        if since == upto:
            return FillParts(T, since, upto, 0, b"", lambda: iter(()))
        corrections = self.writer.corrections
        if corrections is None:
            return self._events(tiles, T, since, upto)
        images = self._images(corrections, since, upto)
        digest = self._digest(tiles, T, since, upto, images)
        parts = _by_events(corrections, images, T, self.logs.part)
        return FillParts(
            T, since, upto, len(parts), digest, lambda: (images[rows] for rows in parts)
        )

    def events_of(self, part: pl.DataFrame) -> pl.DataFrame:
        """The events of a part, of change images those that hold."""
        if self.writer.corrections is None:
            return part
        return part.filter(pl.Series(in_force(part, self.writer.source), dtype=pl.Boolean))

    def _events(self, tiles: ViewTiles, T: int, since: int, upto: int) -> FillParts:
        """The events of the history, then the events of the archive."""
        history, archived = (
            self._history(tiles, T, since),
            self.logs.count(self.logs.archive, since, upto),
        )

        def read() -> Iterator[pl.DataFrame]:
            for events, rows in chain([(history, history.height)], self._archived(since, upto)):
                for first in range(0, rows, self.logs.part):
                    yield events.slice(first, self.logs.part)

        chunks, rest = divmod(archived, ROWS)
        count = sum(-(-rows // self.logs.part) for rows in [history.height, rest, *chunks * [ROWS]])
        return FillParts(T, since, upto, count, self._digest(tiles, T, since, upto, history), read)

    def _images(self, corrections: ChangeState, since: int, upto: int) -> pl.DataFrame:
        """All images, of the history too."""
        archived = (events.drop(ROW) for events, _ in self._archived(since, upto))
        return pl.concat(
            [corrections.none, *(self._images_before(corrections) if since < 0 else []), *archived]
        )

    def _digest(self, tiles: ViewTiles, T: int, since: int, upto: int, read: pl.DataFrame) -> bytes:
        archived = self.logs.count(self.logs.archive, since, upto)
        fixed = [
            ROWS,
            self.logs.part,
            T,
            since,
            upto,
            archived,
            self.writer.progress.rules,
            schema_bytes(tiles.schema),
            self._copies.rows(),
        ]
        digest = hashlib.sha256(msgspec.msgpack.encode(fixed))
        digest.update(read.hash_rows(seed=0).to_numpy().tobytes() if read.width else b"")
        return digest.digest()

    def state(self, tiles: ViewTiles, T: int) -> State:
        """The state of a view whose records have become whole."""
        until = 0 if self.begun is None else self.begun.until
        sequence = self.writer.progress.sequence
        doubtful = until and self.writer.source.id_field is None and not self.replayed
        lost = max(T if self.is_missing else 0, self.writer.progress.lost)
        return State(
            tiles.view.name,
            schema_bytes(tiles.schema),
            seeded=sequence,
            from_history=until,
            exact_from=out_of_reach(tiles.view, until if doubtful else 0),
            complete_from=out_of_reach(tiles.view, lost),
            coverage=f"{sequence}-{secrets.token_hex(4)}",
        )

    @property
    def is_missing(self) -> bool:
        """Whether more was accepted than the archive holds; erased rows that it still has do not
        count.
        """
        archived = self.logs.count(self.logs.archive)
        if self.erased.tombstones:
            parts = (read() for read in self.logs.archive.parts())
            acceptance = self.writer.acceptance
            archived -= sum(int(self.erased.of_rows(acceptance, rows).sum()) for rows in parts)
        return self.writer.progress.accepted > archived

    def _archived(self, since: int, upto: int) -> Iterator[tuple[pl.DataFrame, int]]:
        """The events of the archive, and how many of its rows they are among, some at a time."""
        first = first_ids(self.writer.store, self.writer.source) if since < 0 else None
        parts = self.logs.archive.lazy_parts(since, upto)
        for events, rows in Accepted(
            self.writer.acceptance, parts, self.erased, first, distinct=since >= 0
        ).parts():
            yield _without(self._copies, events, rows), rows.height

    @cached_property
    def _copies(self) -> pl.DataFrame:
        """Where copies of other partitions' events stand in the archive: writers could not know
        them when partitions had been added.
        """
        writer, archive = self.writer, self.logs.archive
        count = partition_count(writer.state.partitions)
        none = pl.DataFrame(schema={PARTITION: pl.String, OFFSET: pl.Int64})
        if not count.grown:
            return none
        horizon = micros(writer.source.id_horizon, "id_horizon")
        since = clock.timestamp(count.first - 2 * horizon)
        until = clock.timestamp(count.grown + horizon + writer.acceptance.future)
        frames = [
            frame.filter(pl.col(KNOWN_AT).is_between(since, until)).with_columns(
                pl.lit(name.decode()).alias(_WRITER)
            )
            for name in sorted(progresses(writer.store, writer.source.name))
            for frame in replace(archive, partition=name.decode()).lazy_parts()
        ]
        judged = Accepted(writer.acceptance, frames, self.erased, also=[_WRITER]).judged()
        copies = (rows[copies[ROW]] for _, copies, rows in judged)
        return pl.concat(
            [
                none,
                *(
                    rows.filter(pl.col(_WRITER) == writer.partition).select(PARTITION, OFFSET)
                    for rows in copies
                ),
            ]
        )

    def _history(self, tiles: ViewTiles, T: int, since: int) -> pl.DataFrame:
        if (
            since >= 0
            or self.begun is None
            or self.begun.partition != self.writer.partition
            or self.writer.source.history is None
        ):
            return pl.DataFrame()
        furthest = reach(tiles.view)
        return history_before(
            tiles.view,
            None if furthest is None else T - furthest,
            self.begun.until,
            self.erased,
        )

    def _images_before(self, corrections: ChangeState) -> list[pl.DataFrame]:
        """The images of the history known when the stream began."""
        if self.begun is None or self.writer.source.history is None:
            return []
        images = images_before(corrections.acceptance, self.begun.until, self.erased)
        return [
            images.select(pl.col(name).cast(dtype) for name, dtype in corrections.schema.items())
        ]


def _without(copies: pl.DataFrame, events: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Events without the events of some rows, which are given by partition and offset."""
    if not copies.height:
        return events
    remaining = rows.select(PARTITION, OFFSET).with_row_index(_LEFT_ROW)
    remaining = remaining.join(copies, on=[PARTITION, OFFSET], how="anti")
    return events.filter(
        pl.Series(np.isin(events[ROW].to_numpy(), remaining[_LEFT_ROW].to_numpy()))
    )


def _by_events(corrections: ChangeState, images: pl.DataFrame, T: int, most: int) -> list[I64]:
    """The rows of all images in parts, those of `most` events in one; without events that no window
    reaches as of T.
    """
    merged = folded(images[:0], np.empty(0, np.bool_), images, corrections.acceptance.source)
    latest, lasting = latest_of(images, merged), corrections.lasting
    reached = np.arange(len(latest)) if lasting is None else np.flatnonzero(latest + lasting > T)
    part_of = np.full(len(latest), -1)
    part_of[reached] = np.arange(len(reached)) // most
    part, count = part_of[merged.event], -(-len(reached) // most)
    order = np.argsort(part, kind="stable")
    bounds = np.searchsorted(part[order], np.arange(count + 1))
    return [order[first:last] for first, last in pairwise(bounds.tolist())]


def history_before(
    view: FeatureView,
    first: int | None,
    until: int,
    erased: ErasedRows,
    also: frozenset[str] = frozenset(),
) -> pl.DataFrame:
    """The events of a view's history that had happened and were known by `until`, when its stream
    began, and were not erased; from `first` on at least.

    also: further columns of the source to read.
    """
    columns = sorted((view.read_columns | also) - set(view.keys))
    return known_by(view.source, view.keys, columns, first, until, erased)


def known_by(
    source: Source,
    keys: Sequence[str],
    columns: Sequence[str],
    first: int | None,
    until: int,
    erased: ErasedRows,
) -> pl.DataFrame:
    """As `history_before`, of these columns of a source."""
    also = sorted(erased.columns - {*keys, *columns})
    events = open_engine().events(
        EventQuery(source, keys, [*columns, *also], Reach(first, until, until)), EngineRun()
    )
    late = source.delay if KNOWN not in events.columns and source.window_on == "timestamp" else 0
    events = events.filter(pl.col(TIME) + late <= until)
    remains = pl.Series(~erased.of_events(events, source), dtype=pl.Boolean)
    return events.filter(remains).drop(also)


def overlap(source: Source, now: int, erased: ErasedRows) -> tuple[int, pl.Series] | None:
    """The overlap with a history that headwater did not write: the time to read the stream from,
    microseconds, and the ids that both may hold.
    """
    if source.history is None or source.id_field is None:
        return None
    horizon = micros(source.id_horizon, "id_horizon")
    if source.changes is not None:
        known_at = images_before(Acceptance(source, (), 0), now, erased)[KNOWN]
        return (int(known_at.max()) - horizon, pl.Series(dtype=pl.Int64)) if len(known_at) else None  # type: ignore[arg-type]
    events = known_by(source, [], [], None, now, erased)
    if not events.height:
        return None
    last = int(events[TIME].max())  # type: ignore[arg-type]
    return last - horizon, events.filter(pl.col(TIME) >= last - 2 * horizon)[IDENT]


def images_before(acceptance: Acceptance, until: int, erased: ErasedRows) -> pl.DataFrame:
    """The images of a source's history known by `until`, in the form of `Acceptance.events_in`,
    without later events and erased ones.

    Raises:
        DataError: an image without an id, or not said to be before or after a change.
    """
    source = acceptance.source
    images = acceptance.events_in(source).filter(
        pl.col(KNOWN) <= until,
        pl.col(BEFORE) | (pl.col(TIME) >= until).not_().fill_null(value=True),
    )
    for name, called in ((IDENT, source.id_field), (BEFORE, source.changes)):
        if images[name].null_count():
            raise DataError(
                f"source {source.name!r}: {images[name].null_count()} rows have no {called!r}; "
                "fill it in select, or filter them out"
            )
    return images.filter(pl.Series(~erased.of_events(images, source), dtype=pl.Boolean))


def first_ids(store: OnlineStore, source: Source) -> First:
    """The ids of the history that a source's stream goes on from, and when they were known; None
    where there are none.
    """
    start = stream_start(store, source.name)
    if start is None or source.id_field is None or source.changes is not None:
        return None
    shared = overlap(source, start.until, read_erased(store, source))
    return None if shared is None else (shared[1], start.until)


def stream_start(store: OnlineStore, source: str) -> StreamStart | None:
    """The history that a source's stream goes on from; None where it goes on from none."""
    value = store.get([keyspace.begun(source)])[0]
    return None if value is None else msgspec.msgpack.decode(value, type=StreamStart)


@dataclass(frozen=True)
class Logs:
    """The stored records of one writer of a stream: archive, filtered log and dead letters; a fill
    commits `part` of its rows together.
    """

    archive: Roller
    filtered: Roller
    dead: Roller
    part: int = ROWS

    @cached_property
    def accepted(self) -> list[pl.LazyFrame]:
        """The archive, by the columns that the stream had."""
        return self.archive.lazy_parts()

    def count(self, roller: Roller, since: int = -1, upto: int | None = None) -> int:
        """How many rows are there, of commits as of `Roller.lazy_parts`."""
        return sum(
            int(frame.select(pl.len()).collect().item()) for frame in roller.lazy_parts(since, upto)
        )


class Accepted:
    """The events of an archive that the rules accept, in the order in which they became known; a
    duplicate counts once.

    archive: of one partition or of several. erased: which rows were erased, and are not read.
    first: ids of a history, and when they were known, that
    copies in the archive are copies of.
    also: further columns of its rows that are read. distinct: it holds no copies by the rules of
    today.
    """

    def __init__(
        self,
        acceptance: Acceptance,
        archive: Sequence[pl.LazyFrame],
        erased: ErasedRows,
        first: First = None,
        also: Sequence[str] = (),
        *,
        distinct: bool = False,
    ) -> None:
        self.acceptance, self.archive, self.first, self.also = acceptance, archive, first, also
        self.erased = erased
        source = acceptance.source
        self.ordered = source.id_field is not None and source.changes is None and not distinct

    def parts(self) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """Events as of `Acceptance.events_of`, and the rows that they are among."""
        return ((events, rows) for events, _, rows in self.judged())

    def judged(self) -> Iterator[tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]]:
        """As `parts`, with the events that are copies of others second."""
        ids = self._ids()
        for rows in self._rows(self.archive):
            events, known_at = self._sound(rows)
            copies = events.clear()
            if self.ordered and events.height:
                checked = ids.accept(events[IDENT], content_of(events), known_at)
                accepted = pl.Series(checked.accepted)
                ids, events, copies = (
                    checked.index,
                    events.filter(accepted),
                    events.filter(~accepted),
                )
            yield events, copies, rows

    def verdicts(self, more: pl.DataFrame, T: int) -> tuple[Bool, bytes]:
        """Which further rows are accepted in addition to the archive's, bool (n); and the ids
        accepted within a horizon of T.
        """
        ids, blocks, accepted = self._ids(), [], np.zeros(more.height, np.bool_)
        for rows in self._rows(
            [*(self.archive if self.ordered else []), more.with_row_index(_MORE).lazy()],
            sort=self.ordered,
        ):
            events, known_at = self._sound(rows)
            fresh = np.ones(events.height, np.bool_)
            if self.ordered and events.height:
                checked = ids.accept(events[IDENT], content_of(events), known_at)
                ids, fresh = checked.index, checked.accepted
                block = np.frombuffer(checked.block, np.int64).reshape(-1, WIDTH)
                blocks.append(block[known_at[fresh] > T - ids.horizon].tobytes())
            accepted[
                rows[_MORE]
                .gather(events[ROW])
                .filter(pl.Series(fresh, dtype=pl.Boolean))
                .drop_nulls()
                .to_numpy()
            ] = True
        return accepted, b"".join(blocks)

    def _sound(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, I64]:
        """The events of some rows, and when each became known in microseconds."""
        own_rows = rows.select(*self.acceptance.schema, PARTITION, OFFSET, AT)
        events = (
            self.acceptance.sound_events(own_rows)
            if self.acceptance.source.changes is None
            else self.acceptance.events_of(own_rows)
        )
        erased = self.erased.of_rows(self.acceptance, rows)
        events = events.filter(pl.Series(~erased[events[ROW].to_numpy()], dtype=pl.Boolean))
        return events, rows[KNOWN_AT].dt.epoch("us").gather(events[ROW]).to_numpy()

    def _ids(self) -> DedupIndex:
        ids = DedupIndex(micros(self.acceptance.source.id_horizon, "id_horizon"))
        if self.first is not None and self.ordered:
            first_idents, known_at = self.first
            return ids.accept(first_idents, np.zeros(len(first_idents), np.int64), known_at).index
        return ids

    def _rows(
        self, frames: Sequence[pl.LazyFrame], *, sort: bool = False
    ) -> Iterator[pl.DataFrame]:
        if not frames:
            return
        rows = pl.concat(
            [conformed(frame, self.acceptance, _MORE, *self.also) for frame in frames],
            how="diagonal_relaxed",
        )
        if sort or (self.ordered and self._is_out_of_order()):
            rows = rows.sort(KNOWN_AT, PARTITION, OFFSET, maintain_order=True).collect().lazy()
        count = int(rows.select(pl.len()).collect().item())
        for first in range(0, count, ROWS):
            yield rows.slice(first, ROWS).collect()

    def _is_out_of_order(self) -> bool:
        """Whether rows were added to the archive that had become known before others in it."""
        last = None
        for frame in self.archive:
            low, high, rising = (
                frame.select(
                    pl.col(KNOWN_AT).min().alias("low"),
                    pl.col(KNOWN_AT).max().alias("high"),
                    (pl.col(KNOWN_AT).diff() >= 0).all().alias("up"),
                )
                .collect()
                .row(0)
            )
            if not rising or (last is not None and low is not None and low < last):
                return True
            last = high if high is not None else last
        return False
