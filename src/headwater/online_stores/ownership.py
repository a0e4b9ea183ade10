"""Whose a store is. It belongs to the project that wrote to it first; what other projects keep there has keys of its own.

A project is known by its name, and a source by its project, its name and where its stream comes from: two of them never share offsets, ids,
held events or tiles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from headwater.definitions.feature_view import FeatureView
from headwater.definitions.source import Source
from headwater.errors import FencedError, StoreError
from headwater.online_stores import Changes, OnlineStore, keyspace, opened
from headwater.online_stores.formats import check_still


class ScopedStore:
    """A store as one project sees it; `namespace` is what the names of its sources begin with there.

    A commit is made only while the store has this version's format.
    """

    def __init__(self, store: OnlineStore, namespace: str) -> None:
        self.store, self.namespace, self.capabilities = store, namespace, store.capabilities
        self.get, self.scan, self.mend = store.get, store.scan, store.mend
        self.lease, self.size, self.backup, self.close = store.lease, store.size, store.backup, store.close
        self.server_time, self.sizes = store.server_time, store.sizes

    def commit(self, changes: Changes, expect: Changes) -> None:
        """See `OnlineStore`.

        Raises:
            StoreError: also where a newer version has migrated the store since it was opened, or is doing it; nothing was written.
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


def scoped(store: OnlineStore, project: str, *, write: bool = False, shared: bool = False) -> OnlineStore:
    """A store as a project sees it; a store that was never written to becomes the project's own, if it is to `write`.

    Args:
        store: an online store.
        project: the project's name.
        write: claim the store, or a place in it.
        shared: where the store belongs to another project, keep this project's data in it too; given once, it holds for every later call.

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
        return ScopedStore(store, "")
    if store.get([mark])[0] is None:
        if not shared:
            raise StoreError(
                f"the online store belongs to project {belongs!r}, and this is project {project!r}. Give {project!r} a store of its own (another "
                "--store, or prefix= in a Redis URL), or let both keep their data in this one with --allow-shared-store (shared=True): each "
                "writes only its own. A project is known by its name: one that was renamed is another project"
            )
        if write:
            store.commit({mark: b""}, {})
    return ScopedStore(store, f"{project}.")


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
    """As `opened`, as a project sees the store; raises what `scoped` does."""
    with opened(store, readonly=readonly, for_requests=for_requests) as mine:
        yield scoped(mine, project, write=write, shared=shared)


def claim(store: OnlineStore, source: Source) -> None:
    """Note where the stream of a source comes from, if no earlier one is noted."""
    address_key, address = _place(store, source), None if source.stream is None else source.stream.address
    if address is not None and store.get([address_key])[0] is None:
        try:
            store.commit({address_key: address.encode()}, {address_key: None})
        except FencedError:
            return  # another process came first


def placed_source(store: OnlineStore, source: Source) -> Source:
    """The source, renamed to its name in the store; itself where the names are equal."""
    name, address = store.namespace + source.name, None if source.stream is None else source.stream.address
    first = None if address is None else store.get([_place(store, source)])[0]
    if address is not None and first is not None and first != address.encode():
        name += "@" + hashlib.sha256(address.encode()).hexdigest()[:8]
    return source if name == source.name else source.stored_as(name)


def placed(store: OnlineStore, view: FeatureView) -> FeatureView:
    """The view with the fingerprint under which the store keeps its state, and its source as of `placed_source`."""
    if view.is_placed:
        return view
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
