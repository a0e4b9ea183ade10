"""Which events and refused records of one commit came before: events by their ids, when they become
known; requests when they arrive.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
import polars as pl

from headwater.events.read_events import IDENT, ROW
from headwater.ingestion.dedup_index import DedupIndex
from headwater.ingestion.sources.stream_reader import RecordBatch
from headwater.ingestion.validate import Arrived, content_of, copies


@dataclass
class Deduplication:
    """The duplicates of one commit at `now`, microseconds.

    ids: those accepted so far, in earlier commits and in this one; None where events have no ids.
    counts: of duplicates, conflicts, and records refused again. blocks: the ids that the commit is
    to store.
    """

    ids: DedupIndex | None
    now: int
    counts: Counter[str]
    blocks: list[bytes] = field(default_factory=list)

    def events(
        self, records: RecordBatch, arrived: Arrived, events: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
        """Of events that become known with this commit, those that are no duplicates; and the
        others as refused rows.
        """
        return self._first(
            records, arrived, events, events[IDENT] if IDENT in events.columns else None
        )

    def requests(
        self, records: RecordBatch, arrived: Arrived
    ) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
        """Of events without an id, those whose request arrives for the first time; and the others
        as refused rows.
        """
        events = arrived.events
        if IDENT in events.columns or records.ids is None:
            return events, []
        return self._first(
            records, arrived, events, records.ids.gather(arrived.kept[events[ROW].to_numpy()])
        )

    def _first(
        self, records: RecordBatch, arrived: Arrived, events: pl.DataFrame, idents: pl.Series | None
    ) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
        ids = self.ids
        if ids is None or idents is None or not events.height:
            return events, []
        known = idents.is_not_null().to_numpy()
        checked = ids.accept(idents.filter(known), content_of(events)[known], self.now)
        self.ids = checked.index
        accepted = ~known
        accepted[known] = checked.accepted
        self.blocks.append(checked.block)
        self.counts["copies"] += events.height - int(accepted.sum())
        self.counts["conflicts"] += checked.conflicts
        if accepted.all():
            return events, []
        return events.filter(accepted), [
            copies(records, arrived, events[ROW].filter(~accepted).to_list())
        ]

    def refused(self, records: RecordBatch, arrived: Arrived) -> pl.DataFrame:
        """The refused rows that are to be kept: what may be sent again, only the first time."""
        dead = arrived.dead
        if not dead.height or records.ids is None or self.ids is None:
            return dead
        idents = records.ids.gather(arrived.refused).fill_null("")
        names = [
            f"refused\0{key}\0{sha256(payload or b'').hexdigest()}"
            for key, payload in zip(idents, dead["payload"], strict=True)
        ]
        checked = self.ids.accept(
            pl.Series(names, dtype=pl.String), np.zeros(len(names), np.int64), self.now
        )
        self.ids = checked.index
        self.blocks.append(checked.block)
        self.counts["refused_again"] += len(names) - int(checked.accepted.sum())
        return dead.filter(checked.accepted)
