"""The keyspace of an online store: the key of each value, the format, and the owner.

The first byte of a key is its space.

Whose a store is. It belongs to the project that wrote to it first; what other projects keep
there has keys of its own.

A project is known by its name, and a source by its project, its name and where its stream comes
from: two of them never share offsets, ids, held events or tiles.

The generations of a streaming view: whole sets of its records, of which readers read one.

A view is filled again beside the records that are served: the new ones are another generation, with
sections, states and coverage of their own. One commit of one key switches what is read. The records
of the former generation are removed when nobody reads them any more.

A development environment: views that production has are read from its store, all others live in
a store of one's own.

Nothing is ever written to production: its store is opened read-only, and a commit that would change
the data read from it is refused. The environment's own keys have their own names (`NAMESPACE`), so
no key of the one store is a key of the other.

The format of a store: a number that is written into a new one. A store of another format is
refused.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, cast

import msgspec

from headwater import settings
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.project import Project, StoredView, stored
from headwater.definitions.source import Source
from headwater.errors import FencedError, LostError, StoreError, UsageError
from headwater.retries import Backoff, retry
from headwater.stores import Changes, OnlineStore, UnansweredError, open_store, opened

FORMAT_KEY = b"mformat"

FORMAT = b"3"
"""The format of a store; another one is refused."""

OWNER, SHARED, STREAM = b"mowner", b"mshared", b"mstream"
"""The project that the store belongs to; other projects that keep data in it; by source, where its
first stream came from.
"""

IDENTITY = b"midentity"
"""A name that no other store has; a backup that is restored gets another one."""

NOWHERE = b"n"
"""A key that never holds anything."""

RECORD, OFFSET, IDS, HELD, ARCHIVE, DEAD, FILTERED, PROGRESS, STATE = (
    b"t",
    b"o",
    b"i",
    b"h",
    b"a",
    b"d",
    b"f",
    b"p",
    b"b",
)

STATE_OF_SOURCE = STATE + b"source"

STREAM_STATE = b"s"
"""The states of streaming views."""

GENERATIONS = b"g"
"""By streaming view, which generation of its records is read."""

ORIGIN, FILLING, REPLAYED = b"y", b"z", b"r"

COUNT = b"c"
"""By source, the number of its stream's partitions, where each has a writer although events have
ids.
"""

TOMBSTONE = b"k"
"""By source, the keys that were erased while a history may still have them."""

LOG, REDO = b"w", b"x"
"""In a store that is log first, by writer: its last commit, and what of it is not applied yet."""

IMAGE, EVENT, DUE = b"v", b"l", b"e"
"""For events that can be retracted: their last images by id, their keys in a view by key and time,
and when they are dropped.
"""

_LONGEST = 400

_LONGEST_WRITER = 450
"""Bytes of the names of a source and a partition: a store's keys have at most 500."""


def name(text: str) -> bytes:
    """A name that no other begins with."""
    return text.encode() + b"\0"


def record(group: str, key: bytes, partition: str | None = None) -> bytes:
    """The store's key of the record of a key; `group` is the `FeatureView.record_group` of the
    views that have a section there.
    """
    return places(group, [key], partition)[0]


def places(group: str, keys: Sequence[bytes], partition: str | None = None) -> list[bytes]:
    """The store's keys of the records of some keys."""
    begin, end = records(group), b"" if partition is None else b"\0" + partition.encode()
    keys = shortened(keys)
    return [begin + key + end for key in keys] if end else [begin + key for key in keys]


def shortened(keys: Sequence[bytes]) -> Sequence[bytes]:
    """Keys of a view as part of the store's keys: a key that is too long is replaced by its
    beginning and a hash.
    """
    if not keys or max(map(len, keys)) <= _LONGEST:
        return keys
    return [
        key if len(key) <= _LONGEST else key[:64] + b"\0" + hashlib.sha256(key).digest()
        for key in keys
    ]


def records(group: str) -> bytes:
    """The prefix of the keys of all records of a group."""
    return RECORD + bytes.fromhex(group)


def state(tiles: str) -> bytes:
    """The key of a batch view's stored state."""
    return STATE + bytes.fromhex(tiles)


def stream_state(tiles: str, partition: str | None = None) -> bytes:
    """The key of a streaming view's stored state; of a partition's part of it, where that has a
    writer.
    """
    return (
        STREAM_STATE
        + bytes.fromhex(tiles)
        + (b"" if partition is None else b"\0" + partition.encode())
    )


def generations(tiles: str) -> bytes:
    """The key of the generations of a streaming view; `tiles` is the first one's fingerprint."""
    return GENERATIONS + bytes.fromhex(tiles)


def begun(source: str) -> bytes:
    """The key of the start of a source's stream."""
    return STATE_OF_SOURCE + name(source)


def broker_clock(source: str) -> bytes:
    """The key of the flag that the wall clock is compared with the clock of a source's broker."""
    return b"mbroker clock" + name(source)


def receiver(source: str) -> tuple[bytes, bytes]:
    """The keys of where the pushed events of a source are received.

    The first one holds the address of the process that writes the source; the second one the secret
    with which a process that forwards events proves that it can read the store.
    """
    return b"mreceiver" + name(source), b"mreceiver secret" + name(source)


def offset(source: str, partition: str) -> bytes:
    """The key of the position from which a partition is read on.

    Raises:
        UsageError: the names are too long for keys of a store.
    """
    key = OFFSET + name(source) + partition.encode()
    if len(key) > _LONGEST_WRITER:
        raise UsageError(
            f"source {source!r}: its partition "
            f"{partition[:100]!r}{'...' * (len(partition) > 100)} has a name of "
            f"{len(partition.encode()):,} bytes, and keys of a store take "
            f"{_LONGEST_WRITER - len(name(source)) - 1}. Give files a shorter path, or the query "
            "or shard a shorter name"
        )
    return key


def origin(source: str, partition: str) -> bytes:
    """The key of a partition's origin: the identity that its positions count in (Kafka: the topic's
    id); see `RecordBatch.origins`.
    """
    return ORIGIN + name(source) + partition.encode()


def replayed(source: str) -> bytes:
    """Prefix of the keys of replayed dead letters; `source` as in `block`."""
    return REPLAYED + name(source)


def filling(source: str, partition: str | None) -> bytes:
    """Key of the token of the process that fills a writer's views, or did so last."""
    return FILLING + name(source) + (partition or "").encode()


def tombstones(source: str) -> bytes:
    """The prefix of the keys of a source's tombstones."""
    return TOMBSTONE + name(source)


def tombstone(source: str, digest: bytes) -> bytes:
    """The key of the tombstone of an erased key, by its digest."""
    return tombstones(source) + digest


def events(tiles: str, partition: str | None = None) -> bytes:
    """The prefix of the keys of a view's events (of one partition, where that has a writer)."""
    return (
        EVENT
        + bytes.fromhex(tiles)
        + (b"" if partition is None else hashlib.sha256(partition.encode()).digest()[:8])
    )


def block(space: bytes, source: str, sequence: int) -> bytes:
    """The key of a commit's block in `space`."""
    return space + name(source) + struct.pack(">Q", sequence)


def end_of(prefix: bytes) -> bytes | None:
    """The least key above all keys that begin with a prefix; None where there is none."""
    short = prefix.rstrip(b"\xff")
    return short[:-1] + bytes([short[-1] + 1]) if short else None


def sequence_of(key: bytes) -> int:
    """The sequence that a key made by `block` ends with."""
    return int(struct.unpack(">Q", key[-8:])[0])


def complete_through(record: bytes) -> int:
    """The commit that the value of a record is complete through: its second word."""
    return int(struct.unpack_from("<q", record, 8)[0]) if len(record) >= 16 else -1


def number(value: int) -> bytes:
    """An integer as the value of a key."""
    return struct.pack("<q", value)


def as_number(value: bytes | None, otherwise: int = 0) -> int:
    """Decode the bytes of `number`."""
    return otherwise if value is None else int(struct.unpack("<q", value)[0])


# seconds in which a starting service asks for a store's owner; each try has the short timeout of
# requests
_START: Final = 10.0

_PAUSES: Final = Backoff(first=0.1, longest=0.1)


class ScopedStore:
    """A store as seen by one project, `project`; `namespace` begins the names of its sources there.

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
            self.store.commit(changes, {**expect, FORMAT_KEY: FORMAT})
        except FencedError:
            check_still(self.store)
            raise

    def __getattr__(self, name: str) -> object:
        return getattr(self.store, name)


def owner(store: OnlineStore) -> str | None:
    """The project that a store belongs to; None where none has written to it."""
    stored_owner = store.get([OWNER])[0]
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
    belongs, mark = owner(store), SHARED + name(project)
    if belongs is None and write:
        try:
            store.commit({OWNER: project.encode()}, {OWNER: None})
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
            stored_view.name
            for stored_view in every
            if production.holds(placed(production.store, stored_view.view))
        )


def own_views(store: OnlineStore, views: Iterable[StoredView]) -> list[StoredView]:
    """The views that a store keeps: all of them, without the views that a development environment
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
    return (store.get([IDENTITY])[0] or b"").decode()


def identified(store: OnlineStore) -> str:
    """As `identity`; a store that has none yet is given one."""
    if not identity(store):
        with suppress(FencedError):  # another process came first
            store.commit({IDENTITY: uuid.uuid4().hex[:12].encode()}, {IDENTITY: None})
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
    """As `scoped`; the owner of a store across the network is asked for again while the store is
    slow, and the store is claimed once.
    """
    if not store.capabilities.remote:
        return scoped(store, project, write=write, shared=shared)
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
    """As `opened`, as seen by the project; raises the errors of `scoped`.

    In a development environment (`settings.reads`), views that production has are read from there;
    one's own store is created.
    """
    reads = settings.reads() if store is None or isinstance(store, str) else None
    if reads is None:
        with opened(store, readonly=readonly, for_requests=for_requests) as opened_store:
            yield _scoped_patiently(opened_store, project, write=write, shared=shared)
        return
    if reads == (settings.store() if store is None else store):
        raise UsageError(
            f"--store and --reads name one store, {reads!r}; a development environment writes to "
            "a store of its own"
        )
    with opened(store, for_requests=for_requests) as development_store:
        make_own(development_store)
        opened_store = developing(
            scoped(development_store, project, write=True, shared=shared),
            project,
            reads,
            for_requests=for_requests,
        )
        try:
            yield opened_store
        finally:
            production = cast("DevelopmentStore", opened_store.store).production.store
            production.close()


def claim(store: OnlineStore, source: Source) -> None:
    """Note where the stream of a source comes from, if no earlier one is noted."""
    address_key, address = (
        _stream_key(store, source),
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
    first = None if address is None else store.get([_stream_key(store, source)])[0]
    if address is not None and first is not None and first != address.encode():
        name += "@" + hashlib.sha256(address.encode()).hexdigest()[:8]
    return source if name == source.name else source.stored_as(name)


def placed(store: OnlineStore, view: FeatureView) -> FeatureView:
    """The view with the fingerprint of the records that are read in this store, and its source as
    of `placed_source`.
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
        """The generations that ingestion fills and maintains."""
        return (self.read,) if self.filling is None else (self.read, self.filling)


def placed_generations(store: OnlineStore, view: FeatureView) -> PlacedGenerations:
    """The generations of a streaming view, which is not placed, in its own store: present and
    future ones.
    """
    first = _first_generation(store, view)
    held = read_generations(store, first.tiles_fingerprint)
    generation = partial(_generation, first)
    return PlacedGenerations(
        held,
        generation(held.read),
        None if held.filling is None else generation(held.filling),
        tuple(map(generation, held.retired)),
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


def _stream_key(store: OnlineStore, source: Source) -> bytes:
    return STREAM + name(store.namespace + source.name)


class Generations(msgspec.Struct, frozen=True, array_like=True):
    """Which generations of a view a store has.

    read: the one that readers read. filling: the one that takes its place when it is whole; None
    where none does. retired: those that were read before, whose records are not removed yet.
    """

    read: int = 0
    filling: int | None = None
    retired: tuple[int, ...] = ()


def generation_name(tiles: str, number: int) -> str:
    """The tiles fingerprint that a generation's records have in the store.

    tiles: the first one's, whose name is that of the view.

    >>> generation_name("00ff00ff00ff00ff", 0), len(generation_name("00ff00ff00ff00ff", 1))
    ('00ff00ff00ff00ff', 16)
    """
    if not number:
        return tiles
    return hashlib.sha256(f"{tiles}\0generation {number}".encode()).hexdigest()[:16]


def read_generations(store: OnlineStore, tiles: str) -> Generations:
    """The generations of a view, by the tiles fingerprint of the first one."""
    return _decoded(store.get([generations(tiles)])[0])


def begin_generation(store: OnlineStore, tiles: str) -> None:
    """Have a new generation take the place of the one that is read; nothing where one does."""
    _change(store, tiles, _begun)


def switch_generation(store: OnlineStore, tiles: str, number: int) -> None:
    """Have readers read a generation that is whole; nothing where they do."""
    _change(
        store,
        tiles,
        lambda held: (
            Generations(number, None, (*held.retired, held.read))
            if held.filling == number
            else held
        ),
    )


def forget_generation(store: OnlineStore, tiles: str, number: int) -> None:
    """Note that the records of a retired generation are removed."""
    _change(
        store,
        tiles,
        lambda held: msgspec.structs.replace(
            held, retired=tuple(retired for retired in held.retired if retired != number)
        ),
    )


def _change(store: OnlineStore, tiles: str, change: Callable[[Generations], Generations]) -> None:
    """Commit the key of a view's generations alone, whoever else changes it meanwhile."""
    key = generations(tiles)
    while True:
        stored = store.get([key])[0]
        held = _decoded(stored)
        changed = change(held)
        if changed == held:
            return
        try:
            store.commit({key: msgspec.msgpack.encode(changed)}, {key: stored})
        except LostError:
            raise
        except FencedError:
            if store.get([key])[0] == stored:
                raise
            continue  # another process came first
        return


def _begun(held: Generations) -> Generations:
    if held.filling is not None:
        return held
    return msgspec.structs.replace(held, filling=1 + max((held.read, *held.retired)))


def _decoded(value: bytes | None) -> Generations:
    return Generations() if value is None else msgspec.msgpack.decode(value, type=Generations)


NAMESPACE: Final = "development."
"""What the names of sources begin with in a store of one's own."""

ENVIRONMENT: Final = b"mdevelopment"
"""The key of the name of an environment, in its own store: a store without it, that a project has
written to, is not an environment's.
"""


class ProductionViews:
    """The views of a production store, and the keys that they are read by; threads share one.

    Args:
        store: the production store as the project sees it, read-only.
    """

    def __init__(self, store: OnlineStore) -> None:
        self.store = store
        self._prefixes: tuple[bytes, ...] = ()

    def holds(self, view: FeatureView) -> bool:
        """Whether the store has a view, as placed there; its keys are read from that store from now
        on.
        """
        tiles = view.tiles_fingerprint
        there = state(tiles) if view.freshness.scheduled else stream_state(tiles)
        if not any(True for _ in self.store.scan(there)):
            return False
        source = name(view.source.name)
        streamed = () if view.freshness.scheduled else (PROGRESS + source, HELD + source)
        view_prefixes = (
            there,
            generations(view.first_generation),
            records(view.record_group),
            events(tiles),
            *streamed,
        )
        self._prefixes = tuple(dict.fromkeys((*self._prefixes, *view_prefixes)))
        return True

    def has(self, key: bytes) -> bool:
        """Whether a key is one of theirs."""
        return key.startswith(self._prefixes)


class DevelopmentStore:
    """A store of one's own, over a production store for the views that it has. See `OnlineStore`.

    Args:
        store: where everything is written.
        production: the views that are read from the other one.
    """

    def __init__(self, store: OnlineStore, production: ProductionViews) -> None:
        self.writable, self.production = store, production
        self.namespace = store.namespace + NAMESPACE
        capabilities, theirs = store.capabilities, production.store.capabilities
        self.capabilities = replace(capabilities, remote=capabilities.remote or theirs.remote)
        self.lease, self.size, self.backup, self.server_time = (
            store.lease,
            store.size,
            store.backup,
            store.server_time,
        )
        self.mend, self.reconcile = store.mend, store.reconcile

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of some keys: each of the store that it belongs to."""
        theirs = [n for n, key in enumerate(keys) if self.production.has(key)]
        if not theirs:
            return self.writable.get(keys)
        if len(theirs) == len(keys):
            return self.production.store.get(keys)
        chosen = frozenset(theirs)
        own_values = iter(self.writable.get([key for n, key in enumerate(keys) if n not in chosen]))
        production_values = iter(self.production.store.get([keys[n] for n in theirs]))
        return [
            next(production_values) if n in chosen else next(own_values) for n in range(len(keys))
        ]

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every key that begins with `prefix`, from the store that the prefix belongs to."""
        return (self.production.store if self.production.has(prefix) else self.writable).scan(
            prefix
        )

    def sizes(self, prefix: bytes) -> Iterator[tuple[bytes, int]]:
        """As `scan`, with the bytes of each value instead of the value."""
        return (self.production.store if self.production.has(prefix) else self.writable).sizes(
            prefix
        )

    def commit(self, changes: Changes, expect: Changes) -> None:
        """Write to one's own store.

        Raises:
            StoreError: a key of a view that is read from production.
        """
        if any(map(self.production.has, changes)):
            raise StoreError(
                "a view is read from the production store, and a development environment writes "
                "nothing there; change the view, and it is built in the store of this environment"
            )
        self.writable.commit(changes, expect)

    def environment(self) -> str:
        """A unique name of the environment, for consumer groups, so that no partition is taken away
        from production.
        """
        return (self.writable.get([ENVIRONMENT])[0] or b"").decode()

    def close(self) -> None:
        """Close both stores."""
        self.writable.close()
        self.production.store.close()


def make_own(store: OnlineStore) -> None:
    """Make a new store the store of a development environment; one that is already stays as it is.

    Raises:
        UsageError: a project has written to it as its store, such as production's.
    """
    name, owner = store.get([ENVIRONMENT, OWNER])
    if name is None and owner is not None:
        raise UsageError(
            f"--store is the store of project {owner.decode()!r}, and a development environment "
            "writes to a store of its own; name a new one"
        )
    if name is None:
        with suppress(FencedError):  # another process came first
            store.commit({ENVIRONMENT: uuid.uuid4().hex[:12].encode()}, {ENVIRONMENT: None})


def check_format(store: OnlineStore, where: str, *, readonly: bool) -> None:
    """Note the format of a store that is new.

    Raises:
        StoreError: another version wrote it; it is left as it is.
    """
    (stored_format,) = store.get([FORMAT_KEY])
    if stored_format is None and not readonly:
        store.commit({FORMAT_KEY: FORMAT}, {})
    elif stored_format not in (None, FORMAT):
        raise StoreError(
            f"the online store in {where} has format {stored_format!r}, and this version of "
            f"headwater reads {FORMAT!r}; use the version that wrote it, or rebuild it from the "
            "archive (see `headwater materialize` and the page on operations)"
        )


def check_still(store: OnlineStore) -> None:
    """Check the format of a store that has been open for a while.

    Raises:
        StoreError: another version has written it again meanwhile.
    """
    (stored_format,) = store.get([FORMAT_KEY])
    if stored_format not in (None, FORMAT):
        raise StoreError(
            f"the online store has format {stored_format!r} now, and this process reads "
            f"{FORMAT!r}: another version of headwater wrote it. Start this process with that "
            "version"
        )
