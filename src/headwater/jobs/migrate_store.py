"""Migrate an online store of an older version to this version's format, in place and resumable."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path

import msgspec

from headwater import settings
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.project import Project
from headwater.definitions.served_views import stored
from headwater.errors import StoreError
from headwater.online_stores import Changes, OnlineStore, ingest_lease, keyspace, open_store
from headwater.online_stores.formats import MIGRATING, Page, Step, is_older, migrate, opened_for_migration, pending
from headwater.online_stores.keyspace import FORMAT, FORMAT_KEY, as_number
from headwater.online_stores.lmdb import LmdbStore
from headwater.online_stores.ownership import placed, scoped
from headwater.state import prediction_codec
from headwater.state.key_record import alone, with_section
from headwater.state.record_kernels import size_of
from headwater.state.view_state import Progress, decoded


class Migration(msgspec.Struct, frozen=True):
    """Summary of a migration: formats before and after, and how many keys each step converted (or would)."""

    before: str
    after: str
    keys: dict[str, int]


def migrate_store(project: Project, *, store: str | None = None, backup: Path | None = None, dry_run: bool = False) -> Migration:
    """Convert what an older version wrote, in bounded transactions. After a crash, call it again: it goes on.

    Stop all processes that use the store first: until the migration is complete, no version opens it. The way back to the older version is
    the backup, which that version restores.

    Args:
        project: whose views are in the store.
        store: the URL of an online store; None is that of the settings (HEADWATER_STORE).
        backup: a new folder, for a copy of the store as it is; see `headwater store restore`.
        dry_run: only count the keys that would be converted; nothing is written.

    Raises:
        StoreError: the store cannot be written, its format is unknown, or another process uses it.

    >>> import tempfile
    >>> import headwater as hw
    >>> from headwater.testing.examples import visiting
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     url = f"lmdb:{folder}/store"
    ...     hw.operations.open_store(url).close()
    ...     hw.operations.migrate_store(visiting(hw.batch("1h")), store=url)
    Migration(before='3', after='3', keys={})
    """
    with opened_for_migration():
        opened = open_store(settings.store() if store is None else store, readonly=dry_run)
    try:
        (stored_format,) = opened.get([FORMAT_KEY])
        steps = migration_steps(project, opened) if is_older(stored_format) else []
        before = (stored_format or b"none").decode(errors="replace")
        if dry_run:
            return Migration(before, FORMAT.decode(), pending(opened, steps))
        _check_alone(opened)
        with ingest_lease(opened, wait=0.0) if is_older(stored_format) else nullcontext():
            if backup is not None:
                if stored_format == MIGRATING:
                    raise StoreError("the migration began before; a backup would hold two layouts. Migrate without one: it goes on")
                opened.backup(backup)
            return Migration(before, FORMAT.decode(), migrate(opened, steps))
    finally:
        opened.close()


def migration_steps(project: Project, store: OnlineStore) -> list[Step]:
    """The steps from the older formats to this version's; see `Step`.

    Older formats held a record for each key and view. Records of batch views get a directory, those of the project's streaming views become
    sections of the records that views with their source and keys share. Other streaming views are backfilled by `headwater ingest`.
    The progress of streams comes first: a process of an older version that is still running can neither read it nor commit from then on.
    """
    steps = [Step("progress of streams", keyspace.PROGRESS, _as_array)]
    for key, value in store.scan(keyspace.STATE):
        state = None if key.startswith(_OTHER_STATES) else decoded(value)
        if state is not None and (state.cuts or state.making is not None):
            tiles = key[1:9].hex()
            steps.append(Step(f"records of batch view {state.view}", keyspace.records(tiles), partial(_with_directory, tiles)))
    mine = scoped(store, project.name)
    views = [(stored_view.name, placed(mine, stored_view.view.root)) for stored_view in stored(project)]
    for name, view in views:
        if not view.freshness.scheduled:
            steps.append(Step(f"records of {name}", keyspace.records(view.tiles_fingerprint), partial(_shared, view)))
    for name, view in views:
        if not view.freshness.scheduled:
            steps.append(Step(f"state of {name}", keyspace.state(view.tiles_fingerprint), _moved_state))
    return steps


_OTHER_STATES = (keyspace.begun("")[:-1], prediction_codec.place(""))


def _as_array(store: OnlineStore, page: Page) -> Changes:  # noqa: ARG001 (as `Step.convert`)
    maps = {key: fields for key, value in page if isinstance(fields := msgspec.msgpack.decode(value), dict)}
    names = Progress.__struct_fields__
    return {
        key: msgspec.msgpack.encode(Progress(**{name: fields[name] for name in names if name in fields})) for key, fields in maps.items()
    }


def _with_directory(tiles: str, store: OnlineStore, page: Page) -> Changes:  # noqa: ARG001 (as `Step.convert`)
    return {key: alone(value, tiles) for key, value in page if size_of(as_number(value[:8])) < 0}


def _shared(view: FeatureView, store: OnlineStore, page: Page) -> Changes:
    begin, tiles = keyspace.records(view.record_group), view.tiles_fingerprint
    places = [begin + key[len(begin) :] for key, _ in page]
    parts = [section for _, section in page]
    merged = [with_section(record, tiles, part) for record, part in zip(store.get(places), parts, strict=True)]
    return {**dict(zip(places, merged, strict=True)), **{key: None for key, _ in page}}


def _moved_state(store: OnlineStore, page: Page) -> Changes:  # noqa: ARG001 (as `Step.convert`)
    return {**{keyspace.STREAM_STATE + key[1:]: value for key, value in page}, **{key: None for key, _ in page}}


def _check_alone(store: OnlineStore) -> None:
    """Raise if processes have the store open, as far as the store knows them."""
    if isinstance(store, LmdbStore) and (others := store.other_processes()):
        numbers = ", ".join(map(str, others))
        raise StoreError(f"other processes have the online store in {store.folder} open: {numbers}. Stop them, and migrate it then")
