"""Online stores keep the values that are served: one small interface, and a table of its
implementations.

A store is a sorted map of bytes that is changed by commits. What the bytes mean (`records`,
`spaces`) is the same in every store.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Final, Protocol, cast, runtime_checkable
from urllib.parse import urlsplit

from headwater import settings
from headwater.definitions.definition import Readable
from headwater.errors import NoStoreError, StoreError, UsageError, nearest
from headwater.rows import Rows

STORES: Final = Rows(
    "stores",
    {
        "lmdb": "headwater.stores.lmdb",
        "redis": "headwater.stores.redis.redis_client",
        "rediss": "headwater.stores.redis.redis_client",
        "unix": "headwater.stores.redis.redis_client",
        "postgresql": "headwater.stores.postgres",
    },
    paths=True,
)
"""By the scheme of a URL, the module whose `open_store` opens the store."""

Changes = Mapping[bytes, bytes | None]
"""The values of keys; None for no value."""
Marks = Mapping[bytes, int]
"""By shard of a feature table, how many writes it had confirmed; a shard that has confirmed fewer
has lost some.
"""
NO_MARKS: Marks = MappingProxyType({})


class UnansweredError(StoreError):
    """The server of a store cannot be reached; asking again immediately would wait for it again."""


class HeldError(StoreError):
    """Another process holds a lease."""


INGEST_LEASE = "ingest"
"""The lease of the process that ingests into a store that one process writes."""


@dataclass(frozen=True)
class Capabilities:
    """The capabilities of a kind of store.

    atomic: records and the state of ingestion change in one transaction; otherwise the store is log
        first (`log_first`): records may become visible before the rest of their commit, and `mend`
        finishes a commit that a crash cut short.
    multi_process: several processes may write at the same time. A record holds the commit sequence
        of its writer through which it is complete, and is only replaced by one that is complete
        through as much or more. Otherwise one process writes, under a lease.
    remote: a server answers, which may take long; requests read it in a thread.
    streams: it keeps streaming views; otherwise batch views and predictions alone.
    """

    atomic: bool
    multi_process: bool
    remote: bool
    streams: bool = True


def is_multi_process(url: str) -> bool:
    """Whether several processes may write to the store at a URL, which is not opened.

    >>> is_multi_process("lmdb:online"), is_multi_process("redis://localhost:6379/0")
    (False, True)
    """
    return urlsplit(url).scheme != "lmdb"


@dataclass(frozen=True)
class CreatedStore(Readable):
    """The result of `create_store`.

    table: by its full name, where the store is in a table of its own; "" of other stores.
    new_table, new_store: whether it was created.
    """

    table: str
    new_table: bool
    new_store: bool


class FeatureTable(Protocol):
    """Records, by the keys of `keyspace.RECORD`: read by many, and only ever moved forward. Safe to
    use from several threads.

    It may have shards; each shard changes atomically. outrun: how many records were not written
    because the stored ones were complete through more.
    """

    outrun: int

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of some keys."""
        ...

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every record whose key begins with `prefix`, each once, in any order."""
        ...

    def upsert(self, writer: bytes, turn: int, n: int, records: Changes) -> Marks:
        """Write the records of a writer's commit n; shards that hold n or a later commit keep
        theirs. It may be repeated.

        Raises:
            FencedError: a later turn was fenced; some shards may have been written.
            LostError: a shard has lost commits.
        """
        ...

    def fence(self, writer: bytes, turn: int) -> int | None:
        """Accept no more commits of earlier turns of a writer.

        Returns the greatest n of its commits, or None if that turn, or a later one, is there.
        """
        ...

    def writers(self) -> Mapping[bytes, tuple[int, int]]:
        """By writer, its turn and the n of its last commit: the greatest of all shards."""
        ...

    def confirmed(self) -> Marks:
        """See `Marks`; empty where shards lose no writes by themselves."""
        ...

    def empty(self, writers: Sequence[bytes], turn: int, marks: Marks) -> None:
        """Remove all records; accept commits of these writers, from the first on, in turns from
        `turn` on. It may be repeated.

        marks: what each shard has confirmed from here on, at least.
        """
        ...

    def replace(self, records: Changes, expect: Changes) -> Marks:
        """Write records that belong to no writer's commit, in each shard if it holds the expected
        values.

        Raises:
            FencedError: some shard holds something else; others may have been written.
        """
        ...

    def size(self) -> int:
        """Bytes taken."""
        ...

    def close(self) -> None:
        """Close files and connections."""
        ...


class IngestState(Protocol):
    """All but the records: a sorted map from bytes (at most 500) to bytes, changed by atomic
    commits. Safe to use from several threads.

    For each partition of a stream it holds offsets, ids, held events, progress, and the blocks that
    are to be archived.
    """

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of some keys, all of one moment."""
        ...

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every key that begins with `prefix`, rising, with its value.

        Keys are read in pages, each as of one time, so a reader that takes long holds nothing up:
        what changes meanwhile behind the last page is seen as it is then.
        """
        ...

    def sizes(self, prefix: bytes) -> Iterator[tuple[bytes, int]]:
        """As `scan`, with the bytes of each value instead of the value, which is not read."""
        ...

    def snapshot(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys with their values, as of one time."""
        ...

    def commit(self, changes: Changes, expect: Changes, marks: Marks = NO_MARKS) -> None:
        """Make all changes atomically and durably, if the keys of `expect` hold the expected
        values.

        marks: kept where they are greater than those that are kept; see `Marks`.

        Raises:
            FencedError: they hold something else; nothing was changed.
            StoreError: the disk is full, or the store cannot be written; nothing was changed.
        """
        ...

    def marks(self) -> Marks:
        """The marks that were committed, the greatest of each shard."""
        ...

    def lease(self, name: str, *, wait: float) -> AbstractContextManager[None]:
        """Be the only one that holds `name`, while the context lasts; seconds to wait for it at
        most.

        Raises:
            HeldError: another process holds it.
        """
        ...

    def server_time(self) -> int | None:
        """The time of the store's server in microseconds; None where it has none, or does not
        say.
        """
        ...

    def size(self) -> int:
        """Bytes taken."""
        ...

    def close(self) -> None:
        """Close files and connections."""
        ...


class OnlineStore(Protocol):
    """A sorted map from bytes (at most 500) to bytes, changed by commits of records and state
    together. Safe to use from several threads.

    An atomic store makes a commit in one transaction. Of a feature table and a state that lie in
    different places, `log_first` makes one.
    `namespace`: what the names of sources begin with in it; see `keyspace.ScopedStore`.
    """

    capabilities: Capabilities
    namespace: str

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of some keys; all of one moment where the store is atomic."""
        ...

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """As `IngestState.scan`; records may come in any order."""
        ...

    def sizes(self, prefix: bytes) -> Iterator[tuple[bytes, int]]:
        """As `IngestState.sizes`."""
        ...

    def commit(self, changes: Changes, expect: Changes) -> None:
        """As `IngestState.commit`."""
        ...

    def mend(self, offset: bytes) -> None:
        """Finish the last commit that expects this key: of an offset, of progress, or of a job's
        cuts. Call it before reading where to resume.

        Where the store is log first, the partition or job is this writer's from here on: of others
        that mended it before, no commit with records is made. An atomic store has nothing to
        finish.

        Raises:
            StoreError: the store cannot be written.
            LostError: records are ahead of the state.
        """
        ...

    def reconcile(self, *, dry_run: bool = False) -> bool:
        """Whether records and state of ingestion are of different commits, since a server has lost
        some; an atomic store's never are.

        Unless `dry_run`, all records are removed, and the states of views: views are filled again.
        Call it while nothing else writes.

        Raises:
            LostError: a commit that was decided has lost its log, so that not even the state is
                whole.
            StoreError: the store is written meanwhile.
        """
        ...

    def lease(self, name: str, *, wait: float) -> AbstractContextManager[None]:
        """As `IngestState.lease`."""
        ...

    def server_time(self) -> int | None:
        """As `IngestState.server_time`."""
        ...

    def size(self) -> int:
        """Bytes taken."""
        ...

    def backup(self, to: Path) -> None:
        """Write all of one moment into a new folder, which is an LMDB store; see
        `backups.restore`.
        """
        ...

    def close(self) -> None:
        """Close files and connections."""
        ...


@runtime_checkable
class KeepsPages(Protocol):
    """A store whose file keeps deleted bytes until their pages are used again."""

    def free_pages(self) -> int:
        """How many pages of the file hold nothing now."""
        ...


@contextmanager
def ingest_lease(store: OnlineStore, *, wait: float, instead: str = "") -> Iterator[None]:
    """Keep other processes that write streams out of a store with one such process.

    Args:
        store: the store.
        wait: seconds to wait for it at most.
        instead: the work while ingestion is stopped, for the error, such as "erase".

    Raises:
        StoreError: another process writes.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(
                nullcontext()
                if store.capabilities.multi_process
                else store.lease(INGEST_LEASE, wait=wait)
            )
        except StoreError as error:
            if not instead:
                raise
            raise StoreError(
                f"{error}. Ingestion runs: stop `headwater ingest` (or `serve --ingest`), "
                f"{instead}, and start it again"
            ) from error
        yield


@contextmanager
def opened(
    store: OnlineStore | str | None, *, readonly: bool = False, for_requests: bool = False
) -> Iterator[OnlineStore]:
    """The given online store, one opened by its URL, or by default that of the settings. It is
    closed if it was opened here.
    """
    if store is not None and not isinstance(store, str):
        yield store
        return
    own_store = open_store(
        settings.store() if store is None else store, readonly=readonly, for_requests=for_requests
    )
    try:
        yield own_store
    finally:
        own_store.close()


def open_store(url: str, *, readonly: bool = False, for_requests: bool = False) -> OnlineStore:
    """The online store at `url`.

    Args:
        url: `lmdb:FOLDER` (`lmdb:FOLDER?size=10GB` bounds it), or `redis://host:port/db?prefix=`,
            `rediss://`, `unix://`, `redis+cluster://host:port`, `redis+sentinel://host:port/name`,
            or `postgresql://host:port/database?prefix=`; or that of a plugin, see `STORES`.
        readonly: refuse to write; fails where no store exists yet.
        for_requests: give up what a server does not answer within the URL's `read_timeout`, since a
            request waits for it.

    Raises:
        UsageError: another kind of URL.
        StoreError: the store is of a format that this version does not read, or cannot be opened.
    """
    return cast(
        "OnlineStore", _module_of(url).open_store(url, readonly=readonly, for_requests=for_requests)
    )


def create_store(url: str) -> CreatedStore:
    """Create the online store at `url`, if it is not there.

    Commands that write do so themselves, in a folder, a server or a database that is there. A table
    that is billed by itself (a plugin's `create_table`) is created only here, so that a mistyped
    name is an error, and no empty store.

    Raises:
        UsageError, StoreError: as of `open_store`.
    """
    module = _module_of(url)
    table, new_table = module.create_table(url) if hasattr(module, "create_table") else ("", False)
    try:
        open_store(url, readonly=True).close()
    except NoStoreError:
        open_store(url).close()
        return CreatedStore(table, new_table, new_store=True)
    return CreatedStore(table, new_table, new_store=False)


def _module_of(url: str) -> ModuleType:
    """The module that opens the store of a URL."""
    scheme = urlsplit(url).scheme.partition("+")[0]
    try:
        name = STORES[scheme]
    except KeyError:
        shown = re.sub("//[^/]*@", "//", url)  # without a password
        raise UsageError(
            f"the online store {shown!r} is not known; give lmdb:FOLDER, redis://HOST:PORT/DB or "
            f"postgresql://HOST:PORT/DATABASE ({nearest(scheme, STORES)})"
        ) from None
    return importlib.import_module(name)
