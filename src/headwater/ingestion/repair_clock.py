"""Repair a store that a wrong clock has put ahead of the present, so that its values are of the present again, and exact."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from headwater import clock, settings
from headwater.definitions.durations import micros
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.project import Project
from headwater.definitions.served_views import stored
from headwater.definitions.source import Source
from headwater.events.selection import IDENT, ROW, TIME
from headwater.ingestion.archive import FOLDERS, KNOWN_AT, SEQUENCE, Roller, repeatable
from headwater.ingestion.dedup_index import WIDTH, words
from headwater.ingestion.held_events import DUE, waiting
from headwater.ingestion.validate import OFFSET, PARTITION, Acceptance, content_of
from headwater.kernel.arrays import I64
from headwater.online_stores import OnlineStore, ingest_lease, keyspace
from headwater.online_stores.ownership import opened_for, placed
from headwater.state import frame_codec
from headwater.state.view_state import Progress, StreamStart

_AT_ONCE = 100  # blocks in one commit


@dataclass(frozen=True)
class Repaired:
    """A stream, or one partition of it, that was ahead: by how many seconds, and which views the next ingestion fills again.

    incomplete: views that cannot be filled again, since the archive lacks events: they are incomplete until their windows have passed.
    """

    source: str
    partition: str | None
    ahead: float
    refilled: Sequence[str]
    incomplete: Sequence[str]


def repair_clock(
    project: Project, *, store: OnlineStore | str | None = None, data_dir: Path | None = None, now: int | None = None
) -> list[Repaired]:
    """Set the streams of a project that are ahead of the clock back to the present. Ingestion must not run.

    - The time of the last commit, and by when all was known, become the present, so T of the next read is the present.
    - Events, ids and refused records that were known later than now become known now, in the store and in the files of the archive.
    - A commit in the future has dropped tiles that no window reached any more, so the views are filled again from archive and history by
      the next `headwater ingest`, and are absent until then. Values are exact where the archive holds all that was accepted.

    Args:
        project: whose streams.
        store: an online store, or its URL; None is that of the settings (HEADWATER_STORE).
        data_dir: where ingestion keeps the archive; None is headwater's home.
        now: microseconds; None is the present.

    Raises:
        StoreError: the store or a file cannot be written, or a process ingests into the store.
    """
    t = clock.now_micros() if now is None else now
    home = settings.home() if data_dir is None else data_dir
    streaming = [stored_view.view for stored_view in stored(project) if stored_view.view.freshness.streamed]
    with opened_for(project.name, store) as mine, ingest_lease(mine, wait=0.0):
        views = {view.tiles_fingerprint: view for view in (placed(mine, view) for view in streaming)}
        repaired = []
        for source in dict.fromkeys(view.source for view in views.values()):
            prefix = keyspace.PROGRESS + keyspace.name(source.name)
            for key, value in list(mine.scan(prefix)):
                progress = msgspec.msgpack.decode(value, type=Progress)
                if progress.at > t:
                    partition = key[len(prefix) : -1].decode() or None
                    own = {tiles: view for tiles, view in views.items() if view.source == source}
                    with repeatable(home):
                        repaired.append(_Repair(mine, home, source, partition, key, value, progress, t).run(own))
        return repaired


@dataclass(frozen=True)
class _Repair:
    store: OnlineStore
    folder: Path
    origin: Source
    partition: str | None
    key: bytes
    value: bytes
    progress: Progress
    now: int

    def run(self, views: Mapping[str, FeatureView]) -> Repaired:
        """Blocks and files first, which may be done twice; then all that belongs together in one commit."""
        acceptance = Acceptance(self.origin, tuple(views.values()), 0)
        early, waits = self._hold_early(acceptance)
        for batch in self._in_parts(self._blocks(acceptance, waits)):
            self.store.commit(batch, {self.key: self.value})
        for space, name in FOLDERS.items():
            archive = Roller(self.store, space, self.folder / name, self.source, self.partition).archive
            for part in archive.parts():
                rows = part.read()
                if self._is_ahead(rows):
                    archive.rewrite(part, self._clipped(rows, acceptance if space == keyspace.ARCHIVE else None))
        at, now = self.progress.at, self.now
        counts = {**self.progress.counts, "released": self.progress.counts.get("released", 0) - early}
        whole = self._archived() >= counts.get("accepted", 0) + counts["released"] + counts.get("rejudged", 0) - counts.get("erased", 0)
        gap = 0 if whole else now
        progress = msgspec.structs.replace(
            self.progress,
            at=now,
            known=min(self.progress.known, now),
            received=min(self.progress.received, now),
            counts=counts,
            views={} if whole else self.progress.views,  # what serves notices that they are to be filled again
            lost=max(min(self.progress.lost, now), gap),
            gap=max(min(self.progress.gap, now), gap),
        )
        changes: dict[bytes, bytes | None] = {self.key: msgspec.msgpack.encode(progress)}
        for key, value in self.store.scan(keyspace.HELD + keyspace.name(self._name)):
            rows = waiting(value, at)
            if key != self._held:
                changes[key] = frame_codec.encoded(rows) if rows.height else None
        changes |= self._ids(acceptance)
        begun = self.store.get([keyspace.begun(self.source)])[0]
        if begun is not None:
            old = msgspec.msgpack.decode(begun, type=StreamStart)
            changes[keyspace.begun(self.source)] = msgspec.msgpack.encode(StreamStart(min(old.until, now), old.partition))
        there = {tiles: self.store.get([keyspace.stream_state(tiles, self.partition)])[0] for tiles in views}
        changes |= {keyspace.stream_state(tiles, self.partition): None for tiles in there if whole}
        self.store.commit(changes, {self.key: self.value})
        names = [views[tiles].name for tiles, state in there.items() if state is not None]
        return Repaired(self.source, self.partition, (at - now) / 1e6, names if whole else [], [] if whole else names)

    @property
    def source(self) -> str:
        return self.origin.name

    @property
    def _name(self) -> str:
        return self.source if self.partition is None else f"{self.source}\0{self.partition}"

    def _blocks(self, acceptance: Acceptance, waits: Collection[tuple[int, int]]) -> Iterator[tuple[bytes, bytes | None]]:
        """The blocks that hold times that are later than now, as they are to be; waits: the ids of events that are held again."""
        for key, value in self.store.scan(keyspace.IDS + keyspace.name(self._name)):
            rows = np.frombuffer(value, np.int64).reshape(-1, WIDTH).copy()
            ahead = rows[:, 2] > self.now
            if ahead.any():
                known = np.array([(first, second) not in waits for first, second in rows[:, :2].tolist()], np.bool_)
                rows[:, 2] = np.minimum(rows[:, 2], self.now)
                yield key, rows[known | ~ahead].tobytes() or None
        for space in FOLDERS:
            for key, value in self.store.scan(space + keyspace.name(self._name)):
                rows_of = pl.read_ipc_stream(io.BytesIO(value))
                if self._is_ahead(rows_of):
                    yield key, frame_codec.encoded(self._clipped(rows_of, acceptance if space == keyspace.ARCHIVE else None))

    def _ids(self, acceptance: Acceptance) -> dict[bytes, bytes | None]:
        """The ids of the archive that are within the horizon: the commit in the future has dropped them."""
        rows = self._archive.rows() if self.origin.changes is None and self.origin.id_field is not None else None
        if rows is None:
            return {}
        first = clock.timestamp(self.now - micros(self.origin.id_horizon, "id_horizon"))
        accepted = rows.filter(pl.col(KNOWN_AT) > first).collect()
        events = acceptance.events_of(accepted.select(list(acceptance.schema)))
        known = accepted[KNOWN_AT].dt.epoch("us")[events[ROW]].to_numpy()
        id_rows = np.column_stack([*words(events[IDENT]), np.minimum(known, self.now), content_of(events)])
        key = keyspace.block(keyspace.IDS, self._name, 0)
        there = self.store.get([key])[0] or b""
        return {key: there + id_rows.tobytes()} if len(id_rows) else {}

    def _in_parts(self, blocks: Iterator[tuple[bytes, bytes | None]]) -> Iterator[dict[bytes, bytes | None]]:
        batch: dict[bytes, bytes | None] = {}
        for key, value in blocks:
            batch[key] = value
            if len(batch) == _AT_ONCE:
                yield batch
                batch = {}
        if batch:
            yield batch

    def _is_ahead(self, rows: pl.DataFrame) -> bool:
        last = rows[KNOWN_AT].max()
        return isinstance(last, datetime) and last > clock.timestamp(self.now)

    def _clipped(self, rows: pl.DataFrame, acceptance: Acceptance | None) -> pl.DataFrame:
        """Rows known now at the latest; of the archive, without those whose time has not come."""
        if acceptance is not None:
            rows = rows[np.setdiff1d(np.arange(rows.height), self._early(rows, acceptance))]
        return rows.with_columns(pl.min_horizontal(KNOWN_AT, pl.lit(clock.timestamp(self.now))).cast(rows.schema[KNOWN_AT]))

    def _early(self, rows: pl.DataFrame, acceptance: Acceptance) -> I64:
        """Which rows of the archive are events whose time has not come, int64: the commit in the future has released them."""
        if self.origin.changes is not None:
            return np.empty(0, np.int64)
        events = acceptance.events_of(rows.select(list(acceptance.schema)))
        return events.filter(pl.col(TIME) >= self.now)[ROW].cast(pl.Int64).to_numpy()

    def _hold_early(self, acceptance: Acceptance) -> tuple[int, set[tuple[int, int]]]:
        """Hold those again, under a key that no commit uses, before they are taken out of the archive; how many, and their ids."""
        rows = self._archive.rows()
        there = self.store.get([self._held])[0]
        frames = [] if there is None else [frame_codec.decoded(there)]
        if rows is not None and self.origin.changes is None:
            ahead = rows.filter(pl.col(KNOWN_AT) > clock.timestamp(self.now)).collect()
            which = self._early(ahead, acceptance)
            times = acceptance.events_of(ahead.select(list(acceptance.schema))).filter(pl.col(TIME) >= self.now)[TIME]
            frames.append(ahead[which].drop(KNOWN_AT, SEQUENCE).with_columns(times.cast(pl.Int64).alias(DUE)))
        held = pl.concat(frames).unique([PARTITION, OFFSET], maintain_order=True) if frames else pl.DataFrame()
        if held.height:
            self.store.commit({self._held: frame_codec.encoded(held)}, {self.key: self.value})
        if not held.height or self.origin.id_field is None:
            return held.height, set()
        ids = words(acceptance.events_of(held.drop(DUE))[IDENT])
        return held.height, set(zip(*(word.tolist() for word in ids), strict=True))

    @property
    def _held(self) -> bytes:
        return keyspace.block(keyspace.HELD, self._name, 0)

    @property
    def _archive(self) -> Roller:
        return Roller(self.store, keyspace.ARCHIVE, self.folder / FOLDERS[keyspace.ARCHIVE], self.source, self.partition)

    def _archived(self) -> int:
        """How many events the archive holds."""
        rows = self._archive.rows()
        return 0 if rows is None else int(rows.select(pl.len()).collect().item())
