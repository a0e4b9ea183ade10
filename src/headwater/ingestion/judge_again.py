"""Rules of a source that changed: records received before are judged again, so that views are
filled with the events that these rules accept.

Every record of a stream is stored: accepted rows in the archive, rows that the filter left out in
the filtered log, refused records in the dead letters. Those that today's rules accept are added to
the archive by a commit of its own, with the time at which they became known, and the ids of events
are found again. Where some of it was not kept, or cannot be judged again, the source's progress
says so, and views that are filled from here on are incomplete until their longest window has
passed. Change images are not judged again: the archive holds those that had an effect by the old
rules, and views are filled with them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np
import polars as pl

from headwater.definitions.connectors import Pushed
from headwater.events.read_events import ROW, TIME
from headwater.ingestion.archive import KNOWN_AT, stamped
from headwater.ingestion.commit import PartitionWriter
from headwater.ingestion.past_events import Accepted, First, Logs, first_ids
from headwater.ingestion.tombstones import read_erased
from headwater.ingestion.validate import (
    AT,
    COPY,
    DUE,
    OFFSET,
    PARTITION,
    PAYLOAD,
    altered,
    changed_of,
    conformed,
    rules_of,
    waiting,
)
from headwater.kernel.arrays import Bool
from headwater.state import record
from headwater.stores import keyspace

_IN_COMMIT = 200_000  # rows that one commit adds to the archive

_AT_ONCE = 10_000  # keys that one commit takes out


def judge_again(writer: PartitionWriter, logs: Logs, T: int) -> int:
    """Judge the records of a writer that has committed by the rules of its definitions, which have
    changed; returns how many rows that were not accepted before are in the archive now.
    """
    rules, progress = rules_of(writer.acceptance), writer.progress
    changed = changed_of(progress.rules, rules)
    lost = _is_lost(writer, logs, changed)
    candidates = (
        _Candidates(writer, logs, first_ids(writer.store, writer.source), T)
        if writer.acceptance.source.changes is None and writer.archive and changed
        else None
    )
    changes: dict[bytes, bytes | None] = _held(writer) if changed & {"types", "select"} else {}
    views, counts = progress.views, dict(progress.counts)
    rows = pl.DataFrame()
    if candidates is not None:
        rows, lost = candidates.accepted, lost or candidates.lost
        if rows.height or "ids" in changed or (lost and "types" in changed):
            changes |= candidates.ids()
            views = {}
    elif writer.acceptance.source.changes is not None and changed - {"keys"}:
        views = {}
        _forget_images(writer)
    sequence = progress.sequence
    # rows in the archive are not found again
    for start in range(0, rows.height, _IN_COMMIT):
        chunk, sequence = rows.slice(start, _IN_COMMIT), sequence + 1
        known_at = chunk[KNOWN_AT]
        block = stamped(chunk.drop(KNOWN_AT), sequence, 0).with_columns(known_at)
        counts["rejudged"] = counts.get("rejudged", 0) + chunk.height
        stepped = msgspec.structs.replace(
            writer.progress, sequence=sequence, views={}, counts=dict(counts)
        )
        writer.note(
            stepped,
            {keyspace.block(keyspace.ARCHIVE, writer.name, sequence): record.frame_bytes(block)},
            writer.unmoved(),
        )
    done = msgspec.structs.replace(
        writer.progress, rules=rules, views=views, lost=max(T if lost else 0, progress.lost)
    )
    writer.note(done, changes, writer.unmoved())
    writer.load(claim=False)
    return rows.height


def _is_lost(writer: PartitionWriter, logs: Logs, changed: set[str]) -> bool:
    """Whether something that these rules might accept was not kept, or is not judged again."""
    counts = writer.progress.counts
    left_out = counts.get("filtered", 0) if changed & {"filter", "select", "types"} else 0
    refused = counts.get("dead", 0) + counts.get("copies", 0) if changed else 0
    if writer.acceptance.source.changes is not None:
        return (
            bool(left_out)
            or (
                changed - {"keys"}
                and any(counts.get(name, 0) for name in ("dead", "copies", "superseded"))
            )
            or ("types" in changed and altered(logs.accepted, writer.acceptance))
        )
    if not writer.archive:
        return bool(left_out or refused)
    if "types" in changed and altered(logs.accepted, writer.acceptance):
        return True
    if "ids" in changed and isinstance(writer.source.stream, Pushed) and counts.get("copies", 0):
        return True  # whether one was a copy by its id or by the key of its request is not known
    erased = counts.get("erased", 0)
    return left_out - erased > logs.count(logs.filtered) or refused - erased > logs.count(logs.dead)


@dataclass(frozen=True)
class _Candidates:
    """Rows that were left out or refused, judged again."""

    writer: PartitionWriter
    logs: Logs
    first: First
    T: int

    @cached_property
    def accepted(self) -> pl.DataFrame:
        """The accepted rows: the stream's columns, their origin, and when they became known."""
        return self._rows.filter(pl.Series(self._verdicts[0], dtype=pl.Boolean)).select(
            *self._columns
        )

    @property
    def lost(self) -> bool:
        """Whether some accepted rows would be of the future, for which only a stream's own records
        wait.
        """
        events = self.writer.acceptance.sound_events(self._all)
        return bool((events[TIME] >= self.T).any())

    def ids(self) -> dict[bytes, bytes | None]:
        """The changes of the store that replace its ids by the ids of the accepted events."""
        prefix = keyspace.IDS + keyspace.name(self.writer.name)
        changes: dict[bytes, bytes | None] = {
            key: None for key, _ in self.writer.store.scan(prefix)
        }
        block = self._verdicts[1]
        return (
            {**changes, keyspace.block(keyspace.IDS, self.writer.name, 0): block}
            if block
            else changes
        )

    @property
    def _columns(self) -> list[str]:
        return [*self.writer.acceptance.schema, PARTITION, OFFSET, AT, KNOWN_AT]

    @cached_property
    def _verdicts(self) -> tuple[Bool, bytes]:
        erased = read_erased(self.writer.store, self.writer.source)
        return Accepted(self.writer.acceptance, self.logs.accepted, erased, self.first).verdicts(
            self._rows, self.T
        )

    @cached_property
    def _rows(self) -> pl.DataFrame:
        events = self.writer.acceptance.sound_events(self._all)
        return self._all[events.filter(pl.col(TIME) < self.T)[ROW]]

    @cached_property
    def _all(self) -> pl.DataFrame:
        acceptance = self.writer.acceptance
        none = pl.DataFrame(
            schema={
                **acceptance.schema,
                PARTITION: pl.String,
                OFFSET: pl.Int64,
                AT: _UTC,
                KNOWN_AT: _UTC,
            }
        )
        conformed_frames = [
            conformed(frame, acceptance).select(none.columns).collect()
            for frame in self.logs.filtered.lazy_parts()
        ]
        dead = [self._decoded(frame.collect()) for frame in self.logs.dead.lazy_parts()]
        rows = pl.concat([none, *conformed_frames, *dead])
        there = [frame.select(PARTITION, OFFSET) for frame in self.logs.accepted]
        return (
            rows.join(
                pl.concat(there).collect(),
                on=[PARTITION, OFFSET],
                how="anti",
                maintain_order="left",
            )
            if there
            else rows
        )

    def _decoded(self, dead: pl.DataFrame) -> pl.DataFrame:
        source = self.writer.acceptance.source
        if isinstance(source.stream, Pushed):
            dead = dead.filter(pl.col("reason") != COPY)
        decoded = self.writer.acceptance.decode(dead["payload"].to_list())
        return pl.concat(
            [decoded.frame, dead.select(PARTITION, OFFSET, AT, KNOWN_AT)[decoded.rows]],
            how="horizontal",
        ).select(self._columns)


_UTC = pl.Datetime("us", "UTC")


def _forget_images(writer: PartitionWriter) -> None:
    """Delete the per-event state of the old rules. The mark that views are complete goes first, so
    a killed run refills them.
    """
    writer.note(msgspec.structs.replace(writer.progress, views={}), {}, writer.unmoved())
    keys = [
        key
        for space in (keyspace.IMAGE, keyspace.DUE)
        for key, _ in writer.store.sizes(space + keyspace.name(writer.name))
    ]
    for start in range(0, len(keys), _AT_ONCE):
        writer.store.commit(dict.fromkeys(keys[start : start + _AT_ONCE]), writer.unmoved())


def _held(writer: PartitionWriter) -> dict[bytes, bytes | None]:
    """The changes of the store that give held events today's columns of the stream, and times by
    today's rules.

    The rest of these rules judges them when they are released.
    """
    changes: dict[bytes, bytes | None] = {}
    for key, value in writer.store.scan(keyspace.HELD + keyspace.name(writer.name)):
        held = waiting(value, writer.progress.at)
        rows = conformed(held.lazy(), writer.acceptance, DUE, PAYLOAD).collect()
        events = writer.acceptance.events_of(rows.drop(DUE, PAYLOAD, strict=False)).drop_nulls(TIME)
        due = rows[DUE].to_numpy(writable=True)
        due[events[ROW].to_numpy()] = np.maximum(events[TIME].to_numpy(), writer.progress.at)
        changes[key] = (
            record.frame_bytes(rows.with_columns(pl.Series(DUE, due))) if rows.height else None
        )
    return changes
