"""Erasing one entity: everything that headwater stores under a key, with a receipt of the removed
records and the places that could not be searched.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
import polars as pl

from headwater import clock, settings
from headwater.definitions.connectors import BrokerStream
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.model import precomputed_views
from headwater.definitions.project import Project, StoredView, fingerprint, served, stored
from headwater.definitions.source import Source
from headwater.engine.checkpoint import lock
from headwater.errors import DataError, UsageError, nearest
from headwater.events.read_events import IDENT, Notes, arrived
from headwater.ingestion.archive import FOLDERS, Roller, every_part, repeatable
from headwater.ingestion.change_state import tokens_of
from headwater.ingestion.commit import PartitionWriter
from headwater.ingestion.past_events import images_before, known_by
from headwater.ingestion.source_ingestor import streamed
from headwater.ingestion.tombstones import (
    ErasedRows,
    Tombstone,
    as_text,
    drop_tombstones,
    read_tombstones,
    tombstone_of,
    write_tombstone,
)
from headwater.ingestion.validate import Acceptance
from headwater.jobs.erase_archive import erase_parts, note_objects
from headwater.jobs.erase_datasets import mark_manifests
from headwater.jobs.erase_journal import (
    PLACES,
    erase_exposures,
    erase_journal,
    erased_requests,
    key_columns,
    of_outcomes,
    request_keys,
)
from headwater.jobs.erase_stream import StreamState, partitions
from headwater.jobs.erasure_receipt import ErasureJournal, Receipt
from headwater.jobs.key_match import ErasedKey, any_matches, key_of
from headwater.journal.conversion import CONVERTED
from headwater.journal.format import EXPOSURES, OUTCOMES, RecordKind
from headwater.journal.shipping import shipping_state
from headwater.monitoring.orphans import spelt
from headwater.state.prediction_codec import SLOTS, read_precomputed, state_key
from headwater.state.view_state import encoded, progresses, read_state, read_stream
from headwater.stores import KeepsPages, OnlineStore, ingest_lease, keyspace, open_store
from headwater.stores.keyspace import (
    from_production,
    opened_for,
    own_views,
    placed,
    placed_generations,
    placed_source,
)
from headwater.training.feature_cache import Cache
from headwater.training.feature_frames import tables


def erase(
    project: Project,
    key: Mapping[str, object],
    *,
    store: OnlineStore | str | None = None,
    data_dir: str | PathLike[str] | None = None,
    dry_run: bool = False,
    wait: float = 10.0,
) -> Receipt:
    """Remove one entity from everything that headwater stores of a project.

    That is: records of every view at every freshness, ids, held events, change images, the archive,
    filtered rows, dead letters, the serving log, exposures of experiments, posted outcomes,
    precomputed predictions, and the cache. Records of other keys that counted its events are
    computed again without them. A killed run goes on where it was when it is started again. An
    event of the key that arrives later counts as new.

    A history that still has the key is a table of yours. Fills leave the key out of it, by a
    salted digest in the store, until its rows are removed there and this is called again.

    With LMDB, `headwater ingest` must be stopped; with Redis it may run.

    Args:
        project: whose data.
        key: the columns of the key, as views name them, and their values: `{"user": 7}`. A view by
            more columns loses every key with these.
        store: an online store, or its URL; None is that of the settings (HEADWATER_STORE).
        data_dir: where archive and logs are; None is headwater's home.
        dry_run: only count; nothing is changed and no receipt is written.
        wait: seconds to wait for a process that writes the same views.

    Returns:
        The receipt, which is also a file in `erasures` of the folder.

    Raises:
        UsageError: no view has such a key, or the value is of another type.
        StoreError: the store or a file cannot be written, or another process writes to the store.

    >>> import headwater as hw, tempfile
    >>> from headwater.testing.examples import temporary_store, visiting
    >>> project = visiting(hw.batch("1h"))
    >>> with temporary_store() as store, tempfile.TemporaryDirectory() as folder:
    ...     _ = hw.materialize(project, store=store, at="2024-05-01T12:00Z")
    ...     receipt = hw.operations.erase(project, {"user": 1}, store=store, data_dir=folder)
    ...     receipt.rows["online records of user"], hw.status(project, store=store).views[0].keys
    (1, 1)
    """
    home = settings.home() if data_dir is None else Path(data_dir)
    url = settings.store() if store is None else store
    if isinstance(url, str):
        open_store(url, readonly=True).close()  # no receipt of a store that is not there
    with opened_for(project.name, url) as opened_store, repeatable(home):
        erased = _checked(project, key, opened_store)
        journal = ErasureJournal.begin(
            project.name, erased.texts, _shown(url), home, dry_run=dry_run
        )
        journal.forget_unreplaced()
        _Erasure(project, erased, opened_store, home, journal, wait).run()
    return journal.receipt


def _readable(source: Source, columns: Collection[str], until: int) -> Source:
    """A source whose table can be read, also where its events are enriched: these columns of what
    was known by `until`, microseconds.
    """
    made = tables(until, until, Notes())
    made.read(source, columns, None)
    return made.readable(source)


def _stored_as(store: OnlineStore, view: FeatureView) -> tuple[FeatureView, ...]:
    """A view with all records that the store has of it."""
    if not view.freshness.streamed:
        return (placed(store, view),)
    held = placed_generations(store, view)
    return (*held.written, *held.retired)


class _Erasure:
    """The steps of one erasure, in their order. Each leaves nothing to do when it is run again."""

    def __init__(
        self,
        project: Project,
        key: ErasedKey,
        store: OnlineStore,
        folder: Path,
        journal: ErasureJournal,
        wait: float,
    ) -> None:
        self.project, self.key, self.store, self.folder, self.journal, self.wait = (
            project,
            key,
            store,
            folder,
            journal,
            wait,
        )
        self.views = [
            dataclasses.replace(stored_view, view=view)
            for stored_view in own_views(store, stored(project))
            for view in _stored_as(store, stored_view.view)
        ]
        self.requests = request_keys(project, key)
        self.streams = streamed([stored_view.view for stored_view in self.views])
        streams = {source.name for source in self.streams}
        read_by_jobs = [
            *(each.view for each in self.views if each.view.freshness.scheduled),
            *(
                view
                for variant in served(project)
                if variant.precomputed is not None
                for view in precomputed_views(variant.model, variant.precomputed)
            ),
        ]
        jobs = [placed_source(store, view.source) for view in read_by_jobs]
        # names of sources, by those that the store has for them
        self.declared = {
            name: declared.name
            for declared in project.sources
            for name in (declared.name, placed_source(store, declared).name)
        }
        # sources that jobs alone read
        self.histories = {
            source.name: source
            for source in jobs
            if source.name not in streams and source.history is not None
        }.values()
        if not journal.receipt.until:
            journal.receipt.until = max(self._committed(), default=clock.now_micros())
            journal.save()

    def run(self) -> None:
        """Every step that is not done."""
        journal = self.journal
        with self._alone():
            for source in self.histories:
                self._history_tombstone(source)
            # before the serving log, which says which requests they are of
            self._step(PLACES[OUTCOMES], self._outcomes)
            for kind in CONVERTED:
                self._step(PLACES[kind], lambda kind=kind: self._requests(kind))  # type: ignore[misc]
            self._step(PLACES[EXPOSURES], self._exposures)
            for source in self.streams:
                self._source(source)
            # after all tombstones: a job that begins now leaves the key out
            for stored_view in self.views:
                if stored_view.view.freshness.scheduled:
                    self._step(
                        f"view {stored_view.name}",
                        lambda stored_view=stored_view: self._batch_view(stored_view),  # type: ignore[misc]
                    )
            self._step("precomputed predictions", self._scores)
            for source in self.histories:
                self._forget(source)
            self._step("caches", self._caches)
            self._step("manifests", self._manifests)
        self._name_the_rest()
        journal.receipt.pending = {}
        journal.finish()

    def _committed(self) -> list[int]:
        """When each partition of a stream was committed last, microseconds."""
        return [
            progress.at
            for source in self.streams
            for progress in progresses(self.store, source.name).values()
        ]

    def _step(self, name: str, run: Callable[[], Mapping[str, int]]) -> None:
        if not self.journal.is_done(name):
            self.journal.finish_step(name, run())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other erasures out, and ingestion where the store has one writer."""
        if self.journal.dry_run:
            yield
            return
        with ExitStack() as stack:
            stack.enter_context(self.store.lease("erase", wait=self.wait))
            stack.enter_context(ingest_lease(self.store, wait=self.wait, instead="erase"))
            yield

    # ------------------------------------------------------------ logs

    def _outcomes(self) -> Mapping[str, int]:
        if (shipped := shipping_state(self.folder)) is not None:
            self.journal.not_searched(
                f"logs shipped to {shipped.url}",
                "delete them there, and erase the key in each folder of fetched logs",
            )
        requests = self.journal.keep_pending(
            "requests", erased_requests(self.folder, self.requests, self.journal)
        )
        is_of = of_outcomes(self.requests, requests)
        erase_journal(self.folder, OUTCOMES, is_of, self.journal)
        return self._in_files(OUTCOMES)

    def _requests(self, kind: RecordKind) -> Mapping[str, int]:
        """Rows that requests of the key were served, or third parties answered them with."""
        is_of, columns = partial(any_matches, self.requests), key_columns(self.requests)
        erase_journal(self.folder, kind, is_of, self.journal, columns=columns)
        return self._in_files(kind)

    def _exposures(self) -> Mapping[str, int]:
        erase_exposures(self.folder, self.project, self.requests, self.journal)
        return self._in_files(EXPOSURES)

    def _in_files(self, kind: RecordKind) -> Mapping[str, int]:
        return {PLACES[kind]: self.journal.rows_in_files(PLACES[kind])}

    # ------------------------------------------------------------ the online store

    def _batch_view(self, stored_view: StoredView) -> Mapping[str, int]:
        """Drop the records of a batch view by the key."""
        view = stored_view.view
        state = read_state(self.store, view.tiles_fingerprint)
        if state is None:
            return {}
        by_key = self.key.columns <= set(view.keys)
        if not by_key:
            if view.source.columns is not None and not self.key.columns <= set(view.source.columns):
                return {}
            self.journal.not_searched(
                f"online records of {stored_view.name}",
                "a batch view by other keys, which still counts the events: headwater materialize "
                f"{stored_view.name} --full-refresh makes it without them",
            )
        with self.store.lease(f"materialize-{view.tiles_fingerprint}", wait=self.wait):
            self._mend(keyspace.state(view.tiles_fingerprint))
            self._begin_again(view)
            if not by_key:
                return {}
            erased_keys = self._by_key(
                keyspace.records(view.record_group), view.keys, state.dtypes, 2
            )
            self._drop(erased_keys)
        return {
            f"online records of {stored_view.name}": len(
                {record_key[:-2] for record_key in erased_keys}
            )
        }

    def _begin_again(self, view: FeatureView) -> None:
        """Have the next run make a whole cut again that a killed run has begun: it may hold erased
        rows.
        """
        state_key = keyspace.state(view.tiles_fingerprint)
        (stored_state,) = self.store.get([state_key])
        state = read_state(self.store, view.tiles_fingerprint)
        if state is not None and state.making is not None and not self.journal.dry_run:
            again = msgspec.structs.replace(state, making=None)
            self.store.commit({state_key: encoded(again)}, {state_key: stored_state})

    def _scores(self) -> Mapping[str, int]:
        """Drop precomputed predictions of the key."""
        rows: Counter[str] = Counter()
        for variant in served(self.project):
            if variant.precomputed is None:
                continue
            name = fingerprint(variant, self.store.namespace)
            stored_predictions = read_precomputed(self.store, name)
            if stored_predictions is None:
                continue
            dtypes = stored_predictions.dtypes
            if not all(cut.names for cut in stored_predictions.cuts):
                self.journal.not_searched(
                    f"lists of {variant.model.name}",
                    "lists of other keys may hold it as an item until the next cut is made",
                )
            with self.store.lease(f"score-{name}", wait=self.wait):
                self._mend(state_key(name))
                for key in self.requests:
                    if key.columns <= set(dtypes):
                        erased_keys = self._by_key(
                            keyspace.records(name), list(dtypes), dtypes, len(SLOTS[0]), key
                        )
                        self._drop(erased_keys)
                        rows[f"predictions of {variant.model.name}"] += len(
                            {record_key[: -len(SLOTS[0])] for record_key in erased_keys}
                        )
            self.journal.not_searched(
                f"tables that predictions of {variant.model.name} are published to",
                "remove the rows there, if there are such tables",
            )
        return rows

    def _by_key(
        self,
        begin: bytes,
        columns: Sequence[str],
        dtypes: Mapping[str, pl.DataType],
        slot: int,
        key: ErasedKey | None = None,
    ) -> list[bytes]:
        """The places, in both slots, of records whose keys contain the erased one."""
        key = key or self.key
        if set(columns) == key.columns:
            exact = key.bytes_of(columns, dtypes)
            record_keys = (
                []
                if exact is None
                else [begin + keyspace.shortened([exact])[0] + end for end in SLOTS]
            )
            return [
                record_key
                for record_key, record in zip(record_keys, self.store.get(record_keys), strict=True)
                if record is not None
            ]
        key_dtypes = {name: dtypes[name] for name in columns}
        return [
            record_key
            for record_key, _ in self.store.scan(begin)
            if key.is_row(spelt(record_key[len(begin) : -slot], key_dtypes), key_dtypes)
        ]

    def _mend(self, state_key: bytes) -> None:
        """Finish the decided commit of a killed run of a job, so that it writes no erased record
        later.
        """
        if not self.journal.dry_run:
            self.store.mend(state_key)

    def _drop(self, places: list[bytes]) -> None:
        if places and not self.journal.dry_run:
            self.store.commit(dict.fromkeys(places), {})

    # ------------------------------------------------------------ streams

    def _source(self, source: Source) -> None:
        """Erase from the state of a stream, and then from its files; both while no other process
        rolls its files.
        """
        acceptance = Acceptance(source, self.streams[source], 0)
        values = key_of(acceptance, self.key)
        if values is None:
            return
        rollers = {
            space: Roller(self.store, space, self.folder / name, source.name)
            for space, name in FOLDERS.items()
        }
        parts = partitions(self.store, source.name)
        with ExitStack() as stack:
            if not self.journal.dry_run:
                for roller in rollers.values():
                    if parts or roller.source_folder.is_dir():
                        stack.enter_context(roller.archive.alone())
            tombstone = self._tombstone(acceptance, values, parts)
            for partition in parts:
                name = source.name if partition is None else f"{source.name}, partition {partition}"
                self._step(
                    f"stream {name}",
                    lambda partition=partition: self._partition(  # type: ignore[misc]
                        self._state(acceptance, tombstone, partition)
                    ),
                )
            if any(every_part(roller.folder, roller.source) for roller in rollers.values()):
                state = self._state(acceptance, tombstone, next(iter(parts), None))
                self._step(f"files {source.name}", lambda: self._files(state, rollers))
        self._forget(source)
        note_objects(source, self.store, self.journal)
        if isinstance(source.stream, BrokerStream):
            self.journal.not_searched(
                str(source.stream), "delete the records there, or wait until its retention has"
            )
        if source.id_field is None:
            self.journal.not_searched(
                f"ids of source {source.name}",
                "hashes of idempotency keys are dropped after id_horizon",
            )

    def _tombstone(
        self, acceptance: Acceptance, values: Mapping[str, object], parts: Sequence[str | None]
    ) -> Tombstone:
        """The tombstone by which every fill leaves the key out; it is written before anything is
        changed that a fill reads.
        """
        source, until = acceptance.source, self.journal.receipt.until
        tombstone = tombstone_of(self.store, source.name, values, until)
        if source.changes is not None:
            tokens = {
                token
                for partition in parts
                for token in self._state(acceptance, tombstone, partition).tokens_of_key()
            }
            if source.history is not None:
                images = self._past(source, [], until)
                of_key = images.filter(pl.Series(self.key.matches(images), dtype=pl.Boolean))
                tokens |= set(tokens_of(of_key[IDENT]))
            name = f"tokens {source.name}"
            every = self.journal.keep_pending(name, {token.hex() for token in tokens})
            tokens = set(map(bytes.fromhex, every))
            tombstone = tombstone_of(self.store, source.name, values, until, tokens)
        if not self.journal.dry_run:
            write_tombstone(self.store, source.name, tombstone)
        return tombstone

    def _history_tombstone(self, source: Source) -> None:
        """Have every job leave the key out of the history of a source without a stream, as far as
        it was known at the request for the erasure.
        """
        columns = sorted(self.key.columns)
        if source.columns is not None and not self.key.columns <= set(source.columns):
            return
        try:
            readable = _readable(source, columns, 0)
            values = self.key.values(arrived(readable, columns, [], []).collect_schema())
        except DataError as error:
            self.journal.not_searched(f"views of source {source.name!r} by other keys", str(error))
            return
        if values is None:
            return
        requested_at = datetime.fromisoformat(self.journal.receipt.requested_at)
        until, tokens = max(clock.micros(requested_at), self.journal.receipt.until), set[bytes]()
        if source.changes is not None:
            events = self._past(source, columns, until)
            of_key = events.filter(pl.Series(self.key.matches(events), dtype=pl.Boolean))
            tokens = set(tokens_of(of_key[IDENT]))
        if not self.journal.dry_run:
            tombstone = tombstone_of(self.store, source.name, values, until, tokens)
            write_tombstone(self.store, source.name, tombstone)

    def _past(self, source: Source, columns: Sequence[str], until: int) -> pl.DataFrame:
        """The history of a source, as far as it was known by `until`, microseconds."""
        if source.changes is not None and source in self.streams:
            return images_before(Acceptance(source, self.streams[source], 0), until, ErasedRows())
        return known_by(_readable(source, columns, until), [], columns, None, until, ErasedRows())

    def _forget(self, source: Source) -> None:
        """Drop the tombstones of keys that the source's history does not have any more."""
        erased = ErasedRows(tuple(read_tombstones(self.store, source.name)))
        remaining: list[Tombstone] = []
        if self.journal.dry_run or not erased.tombstones:
            return
        if source.history is not None:
            past = self._past(source, sorted(erased.columns), clock.now_micros())
            remaining = erased.remaining(past)
        dropped = [tombstone for tombstone in erased.tombstones if tombstone not in remaining]
        drop_tombstones(self.store, source.name, dropped)
        named, declared = self.journal.receipt.left_out, self.declared[source.name]
        if declared not in named and any(
            tombstone.is_of(self.key.texts) for tombstone in remaining
        ):
            named.append(declared)

    def _state(
        self, acceptance: Acceptance, tombstone: Tombstone, partition: str | None
    ) -> StreamState:
        """The stored state of a partition."""
        pending = self.journal.receipt.pending.get(f"tokens {acceptance.source.name}", [])
        return StreamState(
            PartitionWriter(acceptance, self.store, partition),
            self.key,
            tombstone,
            self.folder,
            frozenset(map(bytes.fromhex, pending)),
        )

    def _partition(self, state: StreamState) -> Mapping[str, int]:
        source = state.acceptance.source
        if not state.parts and state.writer.progress.counts.get("accepted", 0):
            self.journal.not_searched(
                f"source {source.name}",
                f"no archive in {self.folder}: records by other keys still count the events",
            )
        matches = state.find() if self.journal.dry_run else state.erase()
        self._unread(source, matches.unread)
        return matches.rows

    def _files(self, state: StreamState, rollers: Mapping[bytes, Roller]) -> Mapping[str, int]:
        for roller in rollers.values():
            self._unread(state.acceptance.source, erase_parts(roller, state, self.journal))
        return {name: self.journal.rows_in_files(name) for name in FOLDERS.values()}

    def _unread(self, source: Source, payloads: int) -> None:
        if payloads:
            self.journal.not_searched(
                f"dead letters of {source.name}",
                f"{payloads} payloads can be read neither as its format nor as JSON",
            )

    # ------------------------------------------------------------ caches, manifests, other places

    def _caches(self) -> Mapping[str, int]:
        """Clear the feature cache and the work folders of killed runs: their contents do not name
        their keys.
        """
        cache = Cache(self.folder / "cache")
        files = sum(path.is_file() for path in cache.folder.rglob("*"))
        work = [
            work_folder for work_folder in (self.folder / "work").glob("*") if work_folder.is_dir()
        ]
        if not self.journal.dry_run:
            cache.clear()
            for work_folder in work:
                with (work_folder / "lock").open("ab") as file:
                    if lock(file):
                        shutil.rmtree(work_folder, ignore_errors=True)
                    else:
                        self.journal.not_searched(
                            f"work folder {work_folder.name}",
                            "a run is using it; it is removed when that ends",
                        )
        return {"cache files": files, "work folders": len(work)}

    def _manifests(self) -> Mapping[str, int]:
        return {"manifests": mark_manifests(self.folder, self.requests, self.journal)}

    def _name_the_rest(self) -> None:
        """Name the places that no step searches."""
        for stored_view in stored(self.project):
            if from_production(self.store, stored_view.view):
                self.journal.not_searched(
                    f"view {stored_view.name}",
                    "read from the production store: erase the key there",
                )
        for source in self.project.sources:
            if source.history is not None:
                self.journal.not_searched(
                    f"history of source {source.name}",
                    "a table of yours, which jobs and training read: remove the rows there",
                )
        for labels in dict.fromkeys(model.labels.name for model in self.project.models):
            self.journal.not_searched(
                f"table of labels {labels}", "a table of yours: remove the rows there"
            )
        for system, why in _ELSEWHERE.items():
            self.journal.not_searched(system, why)
        _note_deleted_bytes(self.store, self.journal)


_ELSEWHERE: Final[Mapping[str, str]] = {
    "training sets already written": (
        "manifests that are marked name them; write them again, or delete them"
    ),
    "models already trained": "train them again where that is required",
    "kept runs": (
        "a comparison by parity names the keys whose values differ, and a slice may be one: "
        "delete their files in `runs`"
    ),
    "backups": "delete those that were made before, or erase again after a restore",
    "answers of third parties by other fields": (
        "files in `answers` name the fields of a request: remove those that point to the key by "
        "another one"
    ),
    "processes that serve": (
        "requests of the last minute may not be in the serving log yet: run the same command "
        "again later"
    ),
}


def _note_deleted_bytes(store: OnlineStore, journal: ErasureJournal) -> None:
    """Note where deleted bytes may remain."""
    if store.capabilities.remote:
        journal.not_searched(
            "files of the store's server",
            "Redis keeps what was deleted in its append-only file until that is rewritten, "
            "PostgreSQL in dead rows until it vacuums, and in its write-ahead log",
        )
        return
    pages = f"{store.free_pages():,}" if isinstance(store, KeepsPages) else "some"
    journal.not_searched(
        "free pages of the store",
        f"{pages} pages of LMDB's file hold nothing now, and keep the bytes of what they held "
        "until they are used again: `headwater store backup` into a new folder writes a copy "
        "without them; use that in place of this one, and delete this one",
    )


def _checked(project: Project, key: Mapping[str, object], store: OnlineStore) -> ErasedKey:
    """The key, if views or predictions have its columns and the stored types can hold its values.

    Raises:
        UsageError: they do not.
    """
    if not key:
        raise UsageError(
            "no key is given; give the columns of a view's key and their values, such as user=7"
        )
    erased = ErasedKey({name: as_text(value) for name, value in key.items()})
    views = [placed(store, stored_view.view) for stored_view in stored(project)]
    names_known = {name for view in views for name in view.keys} | {
        name
        for variant in served(project)
        if variant.precomputed
        for name in variant.precomputed.keys
    }
    for name, value in key.items():
        if name not in names_known:
            raise UsageError(
                f"no feature view of project {project.name!r} has the key {name!r}; "
                f"{nearest(name, names_known)}"
            )
        if value is None:
            raise UsageError(f"the key {name!r} is null; a view has no record of a null key")
    for view in views:
        if erased.columns <= set(view.keys):
            batch = view.freshness.scheduled
            state = (
                read_state(store, view.tiles_fingerprint)
                if batch
                else read_stream(store, view.tiles_fingerprint, view.source.name)
            )
            if state is not None and erased.values(state.dtypes) is None:
                wrong = {
                    name: str(state.dtypes.get(name))
                    for name in erased.columns
                    if ErasedKey({name: erased.texts[name]}).values(state.dtypes) is None
                }
                raise UsageError(
                    f"feature view {view.name!r} has the key as {wrong}, and "
                    f"{[erased.texts[name] for name in wrong]} is not of that type"
                )
    return erased


def _shown(store: OnlineStore | str) -> str:
    """The store without its password."""
    if not isinstance(store, str):
        return type(store).__name__
    parts = urlsplit(store)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
