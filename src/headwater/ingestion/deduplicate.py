"""Which events and refused records of one commit came before: by their ids or, where they carry none, those of their records."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
import polars as pl

from headwater.events.selection import IDENT, ROW
from headwater.ingestion.dedup_index import DedupIndex
from headwater.ingestion.sources.stream_reader import RecordBatch
from headwater.ingestion.validate import Arrived, content_of, copies


@dataclass
class Deduplication:
    """The duplicates of one commit at `now`, microseconds.

    ids: those accepted so far, in earlier commits and in this one; None where events have no ids. counts: of duplicates, conflicts, and
    records refused again. blocks: the ids that the commit is to store.
    """

    ids: DedupIndex | None
    now: int
    counts: Counter[str]
    blocks: list[bytes] = field(default_factory=list)

    def events(self, records: RecordBatch, arrived: Arrived) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
        """The events that are no duplicates; and the others as refused rows."""
        events, ids = arrived.events, self.ids
        if ids is None or not events.height:
            return events, []
        idents = events[IDENT] if IDENT in events.columns else None
        if idents is None and records.ids is not None:
            idents = records.ids.gather(arrived.kept[events[ROW].to_numpy()])
        if idents is None:
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
        return events.filter(accepted), [copies(records, arrived, events[ROW].filter(~accepted).to_list())]

    def refused(self, records: RecordBatch, arrived: Arrived) -> pl.DataFrame:
        """The refused rows that are to be kept: what may be sent again, only the first time."""
        dead = arrived.dead
        if not dead.height or records.ids is None or self.ids is None:
            return dead
        idents = records.ids.gather(arrived.refused).fill_null("")
        names = [f"refused\0{key}\0{sha256(payload or b'').hexdigest()}" for key, payload in zip(idents, dead["payload"], strict=True)]
        checked = self.ids.accept(pl.Series(names, dtype=pl.String), np.zeros(len(names), np.int64), self.now)
        self.ids = checked.index
        self.blocks.append(checked.block)
        self.counts["refused_again"] += len(names) - int(checked.accepted.sum())
        return dead.filter(checked.accepted)
