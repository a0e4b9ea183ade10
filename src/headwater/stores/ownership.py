"""Whose a store is. It belongs to the project that wrote to it first; what other projects keep
there has keys of its own.

A project is known by its name, and a source by its project, its name and where its stream comes
from: two of them never share offsets, ids, held events or tiles.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, cast

from headwater import settings
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.project import Project
from headwater.definitions.served_views import StoredView, stored
from headwater.definitions.source import Source
from headwater.errors import FencedError, StoreError, UsageError
from headwater.retries import Backoff, retry
from headwater.stores import Changes, OnlineStore, UnansweredError, keyspace, open_store, opened
from headwater.stores.development import NAMESPACE, DevelopmentStore, ProductionViews, make_own
from headwater.stores.formats import check_still
from headwater.stores.generations import Generations, generation_name, read_generations

# seconds in which a service that starts asks whose a store is; each answer has the short time that
# requests have
_START: Final = 10.0
_PAUSES: Final = Backoff(first=0.1, longest=0.1)


class ScopedStore:
    """A store as one project, `project`, sees it; `namespace` is what the names of its sources
    begin with there.

    A commit is made only while the store has this version's format.
    """

    def __init__(self, store: OnlineStore, namespace: str, project: str) -> None:
        self.store, self.namespace, self.project, self.capabilities = (
            store,
            namespace,
            project,
            store.capabilities,
        )
        self.get, self.scan, self.mend, self.reconcile = (
            store.get,
            store.scan,
            store.mend,
            store.reconcile,
        )
        self.lease, self.size, self.backup, self.close = (
            store.lease,
            store.size,
            store.backup,
            store.close,
        )
        self.server_time, self.sizes = store.server_time, store.sizes

    def commit(self, changes: Changes, expect: Changes) -> None:
        """See `OnlineStore`.

        Raises:
            StoreError: also where a newer version has migrated the store since it was opened, or is
                doing it; nothing was written.
        """
        try:
            self.store.commit(changes, {**expect, keyspace.FORMAT_KEY: keyspace.FORMAT})
        except FencedError:
            check_still(self.store)
            raise

    def __getattr__(self, name: str) -> object:
        return getattr(self.store, name)


def owner(store: OnlineStore) -> str | None:
    """The project that a store belongs to; None where none has written to it."""
    stored_owner = store.get([keyspace.OWNER])[0]
    return None if stored_owner is None else stored_owner.decode()


def scoped(
    store: OnlineStore, project: str, *, write: bool = False, shared: bool = False
) -> OnlineStore:
    """A store as a project sees it; a store that was never written to becomes the project's own, if
    it is to `write`.

    Args:
        store: an online store.
        project: the project's name.
        write: claim the store, or a place in it.
        shared: where the store belongs to another project, keep this project's data in it too;
            given once, it holds for every later call.

    Raises:
        StoreError: the store belongs to another project, and is not shared.
    """
    if isinstance(store, ScopedStore):
        return store
    belongs, mark = owner(store), keyspace.SHARED + keyspace.name(project)
    if belongs is None and write:
        try:
            store.commit({keyspace.OWNER: project.encode()}, {keyspace.OWNER: None})
        except FencedError:  # another process came first
            return scoped(store, project, write=write, shared=shared)
        belongs = project
    if belongs in (None, project):
        return ScopedStore(store, "", project)
    if store.get([mark])[0] is None:
        if not shared:
            raise StoreError(
                f"the online store belongs to project {belongs!r}, and this is project "
                f"{project!r}. Give {project!r} a store of its own (another --store, or prefix= "
                "in a Redis URL), or let both keep their data in this one with "
                "--allow-shared-store (shared=True): each writes only its own. A project is "
                "known by its name: one that was renamed is another project"
            )
        if write:
            store.commit({mark: b""}, {})
    return ScopedStore(store, f"{project}.", project)


def from_production(store: OnlineStore, view: FeatureView) -> bool:
    """Whether a development environment reads a view from production; False for any other store."""
    if not isinstance(store, ScopedStore) or not isinstance(store.store, DevelopmentStore):
        return False
    production = store.store.production
    return production.holds(placed(production.store, view.root))


def views_of_production(project: Project) -> tuple[str, ...]:
    """The names of the views that a development environment reads from production; none outside
    such an environment.

    Raises:
        StoreError: the production store cannot be opened.
    """
    reads = settings.reads()
    if reads is None:
        return ()
    with opened(reads, readonly=True) as store:
        production = ProductionViews(scoped(store, project.name))
        every = stored(project)
        return tuple(
            kept.name for kept in every if production.holds(placed(production.store, kept.view))
        )


def own_views(store: OnlineStore, views: Iterable[StoredView]) -> list[StoredView]:
    """The views that are kept in a store: all of them, but for those that a development environment
    reads from production.
    """
    return [stored_view for stored_view in views if not from_production(store, stored_view.view)]


def environment(store: OnlineStore) -> str | None:
    """The name of a development environment, which no other has; None of any other store."""
    return (
        store.store.environment()
        if isinstance(store, ScopedStore) and isinstance(store.store, DevelopmentStore)
        else None
    )


def identity(store: OnlineStore) -> str:
    """A name that no other store has; "" where the store has none yet. See `identified`."""
    return (store.get([keyspace.IDENTITY])[0] or b"").decode()


def identified(store: OnlineStore) -> str:
    """As `identity`; a store that has none yet is given one."""
    if not identity(store):
        with suppress(FencedError):  # another process came first
            store.commit(
                {keyspace.IDENTITY: uuid.uuid4().hex[:12].encode()}, {keyspace.IDENTITY: None}
            )
    return identity(store)


def developing(
    store: OnlineStore, project: str, reads: str, *, for_requests: bool = False
) -> ScopedStore:
    """A store of one's own as a development environment of a project sees it: views that production
    has are read from there.

    Args:
        store: one's own, which everything is written to.
        project: the project's name.
        reads: the URL of the production store, which is opened read-only.
        for_requests: as for `open_store`.

    Raises:
        StoreError: the production store cannot be opened, or does not belong to the project; or
            both are one store.
    """
    production = _scoped_patiently(
        open_store(reads, readonly=True, for_requests=for_requests), project
    )
    return ScopedStore(
        DevelopmentStore(store, ProductionViews(production)), store.namespace + NAMESPACE, project
    )


def _scoped_patiently(
    store: OnlineStore, project: str, *, write: bool = False, shared: bool = False
) -> OnlineStore:
    """As `scoped`; whom the store belongs to is asked again while it is slow, and it is claimed
    once.
    """
    seen = retry(
        lambda: scoped(store, project, shared=shared),
        on=UnansweredError,
        pauses=_PAUSES.within(_START),
    )
    return scoped(store, project, write=write, shared=shared) if write else seen


@contextmanager
def opened_for(
    project: str,
    store: OnlineStore | str | None,
    *,
    readonly: bool = False,
    write: bool = False,
    shared: bool = False,
    for_requests: bool = False,
) -> Iterator[OnlineStore]:
    """As `opened`, as a project sees the store; raises what `scoped` does.

    In a development environment (`settings.reads`), views that production has are read from there;
    one's own store is created.
    """
    reads = settings.reads() if store is None or isinstance(store, str) else None
    if reads is None:
        with opened(store, readonly=readonly, for_requests=for_requests) as mine:
            yield _scoped_patiently(mine, project, write=write, shared=shared)
        return
    if reads == (settings.store() if store is None else store):
        raise UsageError(
            f"--store and --reads name one store, {reads!r}; a development environment writes to "
            "a store of its own"
        )
    with opened(store, for_requests=for_requests) as own:
        make_own(own)
        mine = developing(
            scoped(own, project, write=True, shared=shared),
            project,
            reads,
            for_requests=for_requests,
        )
        try:
            yield mine
        finally:
            production = cast("DevelopmentStore", mine.store).production.store
            production.close()


def claim(store: OnlineStore, source: Source) -> None:
    """Note where the stream of a source comes from, if no earlier one is noted."""
    address_key, address = (
        _place(store, source),
        None if source.stream is None else source.stream.address,
    )
    if address is not None and store.get([address_key])[0] is None:
        try:
            store.commit({address_key: address.encode()}, {address_key: None})
        except FencedError:
            return  # another process came first


def placed_source(store: OnlineStore, source: Source) -> Source:
    """The source, renamed to its name in the store; itself where the names are equal."""
    name, address = (
        store.namespace + source.name,
        None if source.stream is None else source.stream.address,
    )
    first = None if address is None else store.get([_place(store, source)])[0]
    if address is not None and first is not None and first != address.encode():
        name += "@" + hashlib.sha256(address.encode()).hexdigest()[:8]
    return source if name == source.name else source.stored_as(name)


def placed(store: OnlineStore, view: FeatureView) -> FeatureView:
    """The view with the fingerprint under which the store keeps the records that are read, and its
    source as of `placed_source`.
    """
    if view.is_placed:
        return view
    if isinstance(store, ScopedStore) and isinstance(store.store, DevelopmentStore):
        theirs = placed(store.store.production.store, view)
        if store.store.production.holds(theirs):
            return theirs
    first = _first_generation(store, view)
    if not view.freshness.streamed:
        return first
    return _generation(first, read_generations(store, first.tiles_fingerprint).read)


@dataclass(frozen=True)
class PlacedGenerations:
    """A streaming view as of `placed`, by generation.

    numbers: of the generations. read: the one that readers read. filling: the one that takes its
    place; None where none does. retired: those that are removed.
    """

    numbers: Generations
    read: FeatureView
    filling: FeatureView | None
    retired: tuple[FeatureView, ...]

    @property
    def written(self) -> tuple[FeatureView, ...]:
        """Those that ingestion fills and maintains."""
        return (self.read,) if self.filling is None else (self.read, self.filling)


def placed_generations(store: OnlineStore, view: FeatureView) -> PlacedGenerations:
    """A streaming view, which is not placed, with all that its own store has or is to have."""
    first = _first_generation(store, view)
    held = read_generations(store, first.tiles_fingerprint)
    of = partial(_generation, first)
    return PlacedGenerations(
        held,
        of(held.read),
        None if held.filling is None else of(held.filling),
        tuple(map(of, held.retired)),
    )


def _generation(first: FeatureView, number: int) -> FeatureView:
    """first: the view as its first generation."""
    tiles = first.tiles_fingerprint
    return first.stored_as(generation_name(tiles, number), first.source, tiles) if number else first


def _first_generation(store: OnlineStore, view: FeatureView) -> FeatureView:
    batch = view.freshness.scheduled
    source = view.source if batch else placed_source(store, view.source)
    space = store.namespace if batch else source.name
    if source is view.source and not store.namespace:
        return view
    tiles = hashlib.sha256(f"{space}\0{view.tiles_fingerprint}".encode()).hexdigest()[:16]
    return view.stored_as(tiles, source)


def has_moved(source: Source) -> bool:
    """Whether the store has known the source, as of `placed_source`, by an earlier stream."""
    return "@" in source.name


def _place(store: OnlineStore, source: Source) -> bytes:
    return keyspace.STREAM + keyspace.name(store.namespace + source.name)
