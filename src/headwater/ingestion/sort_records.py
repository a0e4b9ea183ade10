"""The records of one commit, sorted by outcome: accepted, duplicate, held, filtered, rejected; and
held events that are due.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from headwater.events.read_events import BEFORE, ROW, TIME
from headwater.ingestion.change_state import ImageBatch
from headwater.ingestion.deduplicate import Deduplication
from headwater.ingestion.held_events import DUE, PAYLOAD
from headwater.ingestion.record_outcomes import ACCEPTED, COPY, FILTERED, HELD, REFUSED
from headwater.ingestion.sources.stream_reader import RecordBatch
from headwater.ingestion.validate import Arrived
from headwater.ingestion.writer_state import WriterState


class SortedRecords:
    """What becomes of records in a commit at `now`, microseconds, after `state`.

    rows: of accepted events, for the archive; events: the same as views read them; images: those of
    a source with `changes=`.
    filtered: rows that the source's filter leaves out. rejected: every rejected record;
    dead_letters: those to store, and duplicates.
    to_hold: rows whose event time has not come. held: the held events without those released.
    positions, origins: see `WriterState`. misplaced: partitions of records that do not follow the
    position there; they are left out.
    outcomes: of the records of each batch, int8 (n). received, latest: see `Progress`.
    """

    def __init__(self, state: WriterState, now: int) -> None:
        self.state, self.now = state, now
        self.counts: Counter[str] = Counter()
        self.positions, self.origins = dict(state.positions), dict(state.origins)
        self.misplaced: set[str] = set()
        self.rows: list[pl.DataFrame] = []
        self.events: list[pl.DataFrame] = []
        self.images: list[ImageBatch] = []
        self.filtered: list[pl.DataFrame] = []
        self.rejected: list[pl.DataFrame] = []
        self.dead_letters: list[pl.DataFrame] = []
        self.to_hold: list[pl.DataFrame] = []
        self.outcomes: list[NDArray[np.int8]] = []
        self.deduplication = Deduplication(state.ids, now, self.counts)
        self.received, self.latest = state.progress.received, state.progress.latest
        released, self.held = state.held.release(now)
        for rows in released:
            self._release(rows)

    def unread(self, records: RecordBatch) -> RecordBatch:
        """The records that follow the positions of the state and of earlier calls; the partitions
        of others are `misplaced`.
        """
        misplaced = records.misplaced(self.positions)
        unread = records.unread(misplaced, self.state.progress.since)
        self.counts["read_before"] += len(records.offset) - len(unread.offset)
        self.misplaced |= misplaced
        moved = records.positions.keys() - misplaced
        self.positions |= {name: records.positions[name][1] for name in moved}
        self.origins |= {name: origin for name, origin in records.origins.items() if name in moved}
        return unread

    def add(self, records: RecordBatch) -> None:
        """Validate and sort more records."""
        arrived = self.state.rules.acceptance(records)
        outcomes = np.full(len(records.offset), REFUSED, np.int8)
        outcomes[arrived.kept] = FILTERED
        outcomes[arrived.refused] = REFUSED
        self.outcomes.append(outcomes)
        self.counts["records"] += len(records.offset)
        self.counts.update(arrived.unexpected or {})
        if len(records.at):
            self.received = max(self.received, int(records.at.max()))
        self._leave_out(records, arrived)
        if self.state.changes is None:
            outcomes[arrived.kept[arrived.events[ROW].to_numpy()]] = COPY
            events, duplicates = self.deduplication.requests(records, arrived)
            self.dead_letters += duplicates
            events = self._hold(records, arrived, events, events[TIME] >= self.now, outcomes)
            events = self._accept(records, arrived, events, "accepted")
            outcomes[arrived.kept[events[ROW].to_numpy()]] = ACCEPTED
        else:
            later = (arrived.events[TIME] >= self.now).fill_null(value=False) & ~arrived.events[
                BEFORE
            ]
            events = self._hold(records, arrived, arrived.events, later, outcomes)
            self.images.append(ImageBatch(records, replace(arrived, events=events), outcomes))

    def follow(self, events: pl.DataFrame) -> None:
        """Count the events that are late, and note the latest."""
        self.counts["late"] += int((events[TIME] < self.latest).sum())
        self.latest = max(self.latest, int(events[TIME].max() or 0))  # type: ignore[arg-type]

    def _accept(
        self, records: RecordBatch, arrived: Arrived, events: pl.DataFrame, outcome: str
    ) -> pl.DataFrame:
        """Accept the events that are no duplicates: of these that become known with this commit."""
        events, duplicates = self.deduplication.events(records, arrived, events)
        self.dead_letters += duplicates
        if events.height:
            self.counts[outcome] += events.height
            self.follow(events)
            self.rows.append(
                arrived.rows if events.height == arrived.rows.height else arrived.rows[events[ROW]]
            )
            self.events.append(events)
        return events

    def _release(self, held: pl.DataFrame) -> None:
        """Accept held rows that are due, by the rules of today; they are known now, so their ids
        are looked up and kept now.
        """
        records, arrived = self.state.rules.acceptance.released(held)
        outcomes = np.zeros(held.height, np.int8)
        self._leave_out(records, arrived)
        if self.state.changes is None:
            events = self._hold(
                records, arrived, arrived.events, arrived.events[TIME] >= self.now, outcomes
            )
            self._accept(records, arrived, events, "released")
        else:
            self.images.append(ImageBatch(records, arrived, outcomes, "released"))

    def _hold(
        self,
        records: RecordBatch,
        arrived: Arrived,
        events: pl.DataFrame,
        later: pl.Series,
        outcomes: NDArray[np.int8],
    ) -> pl.DataFrame:
        """The events without the later ones, which are held until their time."""
        if not later.any():
            return events
        rows = events[ROW].filter(later)
        which = arrived.kept[rows.to_numpy()]
        outcomes[which] = HELD
        payloads = (
            [records.payloads[n] for n in which.tolist()]
            if len(records.payloads)
            else [None] * len(which)
        )
        times = events[TIME].filter(later).alias(DUE)
        self.to_hold.append(
            arrived.rows[rows].with_columns(times, pl.Series(PAYLOAD, payloads, pl.Binary))
        )
        self.counts["held"] += len(which)
        return events.filter(~later)

    def _leave_out(self, records: RecordBatch, arrived: Arrived) -> None:
        """Keep the rows that the source's filter leaves out, and the rejected records."""
        self.counts["filtered"] += len(arrived.filtered)
        if self.state.rules.filtered and len(arrived.filtered):
            self.filtered.append(arrived.rows[arrived.filtered])
        if not arrived.dead.height:
            return
        self.rejected.append(arrived.dead)
        dead = self.deduplication.refused(records, arrived)
        if dead.height:
            self.counts["dead"] += dead.height
            self.dead_letters.append(dead)
