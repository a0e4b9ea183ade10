"""Upkeep of an online store: what no window reaches any more is dropped, while events are ingested
and values are served.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from headwater import clock
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.project import Project, stored
from headwater.errors import FencedError
from headwater.online.read_versions import newest
from headwater.online.view_reader import OnlineView
from headwater.state.compaction import (
    Compaction,
    Size,
    compact,
    drop_sections,
    section_size,
    shrunk,
)
from headwater.state.record import fingerprints, section, through_of
from headwater.state.view_state import progresses, read_parts
from headwater.stores import Changes, OnlineStore, keyspace
from headwater.stores.keyspace import ScopedStore, opened_for, own_views, placed, placed_generations

_AT_ONCE = 1000


@dataclass(frozen=True)
class CompactedView:
    """What a compaction found of a view, and left."""

    view: str
    compaction: Compaction


def compact_store(
    project: Project,
    *,
    store: OnlineStore | str | None = None,
    now: int | None = None,
    dry_run: bool = False,
) -> list[CompactedView]:
    """Drop the keys of a project's views that no window reaches any more, and the tiles of the
    others that none does.

    Of a streaming view as of the last commit; of a batch view as of the cut before the last, which
    is read until the last one's delay is over. No value changes. Sections of earlier definitions of
    a streaming view are dropped where no process maintains them any more. In a development
    environment, views that are read from production are left out.

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
        target = _Unwritten(opened) if dry_run else opened
        views = [
            (stored_view.name, placed(target, stored_view.view))
            for stored_view in own_views(opened, stored(project))
        ]
        there = [(name, view) for name, view in views if _is_stored(target, view)]
        compacted = [CompactedView(name, _compacted(target, view, t)) for name, view in there]
        filling = [
            held.filling
            for stored_view in own_views(opened, stored(project))
            if stored_view.view.freshness.streamed
            and (held := placed_generations(target, stored_view.view)).filling is not None
        ]
        return [*compacted, *_superseded(target, [*(view for _, view in views), *filling])]


class _Unwritten(ScopedStore):
    """A store whose commits change nothing."""

    def __init__(self, store: OnlineStore) -> None:
        super().__init__(store, store.namespace, "")

    def commit(self, changes: Changes, expect: Changes) -> None:
        """Write nothing."""


def _compacted(store: OnlineStore, view: FeatureView, now: int) -> Compaction:
    online = OnlineView(view, store)
    if view.freshness.scheduled:
        cuts = online.state.cuts
        return _cuts(online, cuts[0].T) if cuts else Compaction(Size(), Size(), 0)
    at = [done.at for done in progresses(store, view.source.name).values()]
    return compact(store, online.view.root, online.tiles.records, min([now, *at]))


def _superseded(store: OnlineStore, views: Sequence[FeatureView]) -> list[CompactedView]:
    """Drop the sections and states of views that share records with a project's views, and that
    neither it nor a writer has any more.
    """
    streaming = [view for view in views if not view.freshness.scheduled]
    maintained = {
        tiles
        for view in streaming
        for done in progresses(store, view.source.name).values()
        for tiles in done.views
    }
    live = maintained | {view.tiles_fingerprint for view in streaming}
    sizes: dict[str, Size] = {}
    places: dict[str, list[bytes]] = {}
    for group in sorted({view.record_group for view in streaming}):
        for key, record in store.scan(keyspace.records(group)):
            for tiles in fingerprints(record):
                if tiles not in live:
                    sizes[tiles] = sizes.get(tiles, Size()) + section_size(
                        key, section(record, tiles)
                    )
                    places.setdefault(tiles, []).append(key)
    dropped = []
    for tiles, keys in places.items():
        name = next((state.view for state in read_parts(store, tiles).values()), "")
        store.commit(dict.fromkeys(key for key, _ in store.scan(keyspace.stream_state(tiles))), {})
        busy = sum(
            drop_sections(store, keys[at : at + _AT_ONCE], tiles)
            for at in range(0, len(keys), _AT_ONCE)
        )
        dropped.append(
            CompactedView(
                f"{name} (earlier definition)".lstrip(), Compaction(sizes[tiles], Size(), busy)
            )
        )
    return sorted(dropped, key=lambda row: row.view)


def _is_stored(store: OnlineStore, view: FeatureView) -> bool:
    state_key = keyspace.state if view.freshness.scheduled else keyspace.stream_state
    return any(True for _ in store.scan(state_key(view.tiles_fingerprint)))


def _cuts(online: OnlineView, T: int) -> Compaction:
    """Drop keys of a batch view whose record of the cut has no tile that is live at it, and that no
    later cut has added to.
    """
    store, fingerprint = online.store, online.view.tiles_fingerprint
    before, after, busy = Size(), Size(), 0
    stems = iter(sorted({key[:-1] for key, _ in store.scan(keyspace.records(fingerprint))}))
    while batch := list(itertools.islice(stems, _AT_ONCE)):
        records = store.get([stem + slot for stem in batch for slot in (b"0", b"1")])
        pairs = list(zip(records[::2], records[1::2], strict=True))
        read = [newest(pair, T) for pair in pairs]
        later = [any(r is not None and through_of(r) > T for r in pair) for pair in pairs]
        empty = [
            not section_bytes
            for section_bytes in shrunk(
                online.tiles.records, [section(r, fingerprint) for r in read], T
            )
        ]
        for stem, pair, is_empty, grown in zip(batch, pairs, empty, later, strict=True):
            stored_records = {
                stem + slot: record
                for slot, record in zip((b"0", b"1"), pair, strict=True)
                if record is not None
            }
            size = _size(stored_records, fingerprint)
            before += size
            if is_empty and not grown and not _dropped(store, stored_records):
                busy += len(stored_records)
            elif is_empty and not grown:
                continue
            after += size
    return Compaction(before, after, busy)


def _dropped(store: OnlineStore, records: dict[bytes, bytes]) -> bool:
    try:
        store.commit(dict.fromkeys(records), records)
    except FencedError:
        return False
    return True


def _size(records: dict[bytes, bytes], fingerprint: str) -> Size:
    parts = {key: section(record, fingerprint) for key, record in records.items()}
    tiles = sum(int.from_bytes(section_bytes[16:24], "little") for section_bytes in parts.values())
    return Size(len(parts), sum(len(key) + len(part) for key, part in parts.items()), tiles)
