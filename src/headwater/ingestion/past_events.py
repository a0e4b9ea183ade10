"""The past of a source's stream: events of the history that it goes on from, and the records that
headwater kept of it.

Fills make records of it, parity and explanations compare with it, and erasure looks for a key in
it: all read the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np
import polars as pl

from headwater.definitions.checks import micros
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.source import Source
from headwater.engine.engines import open_engine
from headwater.engine.query import EngineRun, EventQuery
from headwater.errors import DataError
from headwater.events.read_events import BEFORE, IDENT, KNOWN, ROW, TIME, Reach
from headwater.ingestion.acceptance_rules import conformed
from headwater.ingestion.archive import KNOWN_AT, Roller
from headwater.ingestion.dedup_index import WIDTH, DedupIndex
from headwater.ingestion.validate import AT, OFFSET, PARTITION, Acceptance, content_of
from headwater.kernel.arrays import I64, Bool
from headwater.state.view_state import StreamStart
from headwater.stores import OnlineStore, keyspace

ROWS = 500_000  # of the archive that are read together
_MORE = "headwater_more"
First = tuple[pl.Series, int] | None
"""The ids of a history that a stream goes on from, and when they were known."""


def history_before(
    view: FeatureView, first: int | None, until: int, also: frozenset[str] = frozenset()
) -> pl.DataFrame:
    """The events of a view's history that had happened and were known by `until`, when its stream
    began; from `first` on at least.

    also: further columns of the source to read.
    """
    return _known_by(
        view.source, view.keys, sorted((view.read_columns | also) - set(view.keys)), first, until
    )


def _known_by(
    source: Source, keys: Sequence[str], columns: Sequence[str], first: int | None, until: int
) -> pl.DataFrame:
    events = open_engine().events(
        EventQuery(source, keys, columns, Reach(first, until, until)), EngineRun()
    )
    late = source.delay if KNOWN not in events.columns and source.window_on == "timestamp" else 0
    return events.filter(pl.col(TIME) + late <= until)


def overlap(source: Source, now: int) -> tuple[int, pl.Series] | None:
    """Of a history that headwater did not write: from when on the stream is to be read,
    microseconds, and the ids that both may hold.
    """
    if source.history is None or source.id_field is None:
        return None
    horizon = micros(source.id_horizon, "id_horizon")
    if source.changes is not None:
        known = images_before(Acceptance(source, (), 0), now)[KNOWN]
        return (int(known.max()) - horizon, pl.Series(dtype=pl.Int64)) if len(known) else None  # type: ignore[arg-type]
    events = _known_by(source, [], [], None, now)
    if not events.height:
        return None
    last = int(events[TIME].max())  # type: ignore[arg-type]
    return last - horizon, events.filter(pl.col(TIME) >= last - 2 * horizon)[IDENT]


def images_before(acceptance: Acceptance, until: int) -> pl.DataFrame:
    """The images of a source's history that were known by `until`, as `Acceptance.events_in` gives
    them, without those of later events.

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
    return images


def first_ids(store: OnlineStore, source: Source) -> First:
    """The ids of the history that a source's stream goes on from, and when they were known; None
    where there are none.
    """
    value = store.get([keyspace.begun(source.name)])[0]
    if value is None or source.id_field is None or source.changes is not None:
        return None
    until = msgspec.msgpack.decode(value, type=StreamStart).until
    shared = overlap(source, until)
    return None if shared is None else (shared[1], until)


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
    copy counts once.

    archive: of one partition or of several. first: ids of a history, and when they were known, that
    copies in the archive are copies of.
    also: further columns of its rows that are read. distinct: it holds no copies by the rules of
    today.
    """

    def __init__(
        self,
        acceptance: Acceptance,
        archive: Sequence[pl.LazyFrame],
        first: First = None,
        also: Sequence[str] = (),
        *,
        distinct: bool = False,
    ) -> None:
        self.acceptance, self.archive, self.first, self.also = acceptance, archive, first, also
        source = acceptance.source
        self.ordered = source.id_field is not None and source.changes is None and not distinct

    def parts(self) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """Events as of `Acceptance.events_of`, and the rows that they are among."""
        return ((events, rows) for events, _, rows in self.judged())

    def judged(self) -> Iterator[tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]]:
        """As `parts`, with the events that are copies of others second."""
        ids = self._ids()
        for rows in self._rows(self.archive):
            events, known = self._sound(rows)
            copies = events.clear()
            if self.ordered and events.height:
                checked = ids.accept(events[IDENT], content_of(events), known)
                accepted = pl.Series(checked.accepted)
                ids, events, copies = (
                    checked.index,
                    events.filter(accepted),
                    events.filter(~accepted),
                )
            yield events, copies, rows

    def verdicts(self, more: pl.DataFrame, T: int) -> tuple[Bool, bytes]:
        """Which further rows are accepted in addition to those of the archive, bool (n); and the
        ids accepted within a horizon of T.
        """
        ids, blocks, accepted = self._ids(), [], np.zeros(more.height, np.bool_)
        for rows in self._rows(
            [*(self.archive if self.ordered else []), more.with_row_index(_MORE).lazy()],
            sort=self.ordered,
        ):
            events, known = self._sound(rows)
            fresh = np.ones(events.height, np.bool_)
            if self.ordered and events.height:
                checked = ids.accept(events[IDENT], content_of(events), known)
                ids, fresh = checked.index, checked.accepted
                block = np.frombuffer(checked.block, np.int64).reshape(-1, WIDTH)
                blocks.append(block[known[fresh] > T - ids.horizon].tobytes())
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
        own = rows.select(*self.acceptance.schema, PARTITION, OFFSET, AT)
        events = (
            self.acceptance.sound_events(own)
            if self.acceptance.source.changes is None
            else self.acceptance.events_of(own)
        )
        return events, rows[KNOWN_AT].dt.epoch("us").gather(events[ROW]).to_numpy()

    def _ids(self) -> DedupIndex:
        ids = DedupIndex(micros(self.acceptance.source.id_horizon, "id_horizon"))
        if self.first is not None and self.ordered:
            first_idents, known = self.first
            return ids.accept(first_idents, np.zeros(len(first_idents), np.int64), known).index
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
        """Whether rows were added to the archive that had become known before others that are in
        it.
        """
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
