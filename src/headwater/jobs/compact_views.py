"""Upkeep of an online store: what no window reaches any more is dropped, while events are ingested and values are served."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import msgspec

from headwater import clock
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.project import Project
from headwater.definitions.served_views import stored
from headwater.errors import FencedError
from headwater.online.feature_reader import OnlineView
from headwater.online.read_versions import newest
from headwater.online_stores import Changes, OnlineStore, keyspace
from headwater.online_stores.ownership import ScopedStore, opened_for, placed
from headwater.state.compaction import Compaction, Size, compact, shrunk
from headwater.state.view_state import Progress

_AT_ONCE = 1000


@dataclass(frozen=True)
class CompactedView:
    """What a compaction found of a view, and left."""

    view: str
    compaction: Compaction


def compact_store(
    project: Project, *, store: OnlineStore | str | None = None, now: int | None = None, dry_run: bool = False
) -> list[CompactedView]:
    """Drop the keys of a project's views that no window reaches any more, and the tiles of the others that none does.

    Of a streaming view as of the last commit; of a batch view as of the cut before the last, which is read until the last one's delay is
    over. No value changes.

    Args:
        project: whose views.
        store: an online store, or its URL; None is that of the settings (HEADWATER_STORE).
        now: microseconds; None is the present.
        dry_run: only compute what would be left; nothing is written.

    Raises:
        StoreError: the store cannot be written.
    """
    t = clock.now_micros() if now is None else now
    with opened_for(project.name, store, readonly=dry_run) as opened:
        mine = _Unwritten(opened) if dry_run else opened
        views = [(stored_view.name, placed(mine, stored_view.view)) for stored_view in stored(project)]
        there = [(name, view) for name, view in views if any(True for _ in mine.scan(keyspace.state(view.tiles_fingerprint)))]
        return [CompactedView(name, _compacted(mine, view, t)) for name, view in there]


class _Unwritten(ScopedStore):
    """A store whose commits change nothing."""

    def __init__(self, store: OnlineStore) -> None:
        super().__init__(store, store.namespace)
        self.commit = self._unwritten

    def _unwritten(self, changes: Changes, expect: Changes) -> None:
        """A commit that writes nothing."""


def _compacted(store: OnlineStore, view: FeatureView, now: int) -> Compaction:
    online = OnlineView(view, store)
    if view.freshness.scheduled:
        cuts = online.state.cuts
        return _cuts(online, cuts[0].T) if cuts else Compaction(Size(), Size(), 0)
    entries = store.scan(keyspace.PROGRESS + keyspace.name(view.source.name))
    at = [msgspec.msgpack.decode(value, type=Progress).at for _, value in entries]
    return compact(store, view.tiles_fingerprint, online.tiles.records, min([now, *at]))


def _cuts(online: OnlineView, T: int) -> Compaction:
    """Drop keys of a batch view whose record of the cut has no tile that is live at it, and that no later cut has added to."""
    store, fingerprint = online.store, online.view.tiles_fingerprint
    before, after, busy = Size(), Size(), 0
    stems = iter(sorted({key[:-1] for key, _ in store.scan(keyspace.records(fingerprint))}))
    while batch := list(itertools.islice(stems, _AT_ONCE)):
        records = store.get([stem + slot for stem in batch for slot in (b"0", b"1")])
        pairs = list(zip(records[::2], records[1::2], strict=True))
        read = [newest(pair, T) for pair in pairs]
        later = [any(r is not None and _through(r) > T for r in pair) for pair in pairs]
        empty = [not record for record in shrunk(online.tiles.records, [r or b"" for r in read], T)]
        for stem, pair, gone, grown in zip(batch, pairs, empty, later, strict=True):
            mine = {stem + slot: record for slot, record in zip((b"0", b"1"), pair, strict=True) if record is not None}
            before += _size(mine)
            if gone and not grown and not _dropped(store, mine):
                busy += len(mine)
            elif gone and not grown:
                continue
            after += _size(mine)
    return Compaction(before, after, busy)


def _dropped(store: OnlineStore, records: dict[bytes, bytes]) -> bool:
    try:
        store.commit(dict.fromkeys(records), records)
    except FencedError:
        return False
    return True


def _through(record: bytes) -> int:
    return int.from_bytes(record[8:16], "little", signed=True)


def _size(records: dict[bytes, bytes]) -> Size:
    tiles = sum(int.from_bytes(record[16:24], "little") for record in records.values())
    return Size(len(records), sum(len(key) + len(record) for key, record in records.items()), tiles)
