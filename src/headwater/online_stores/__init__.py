"""Online stores keep the values that are served: one small interface, and a table of its implementations.

A store is a sorted map of bytes that is changed by commits. What the bytes mean (`records`, `spaces`) is the same in every store.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, cast
from urllib.parse import urlsplit

from headwater import settings
from headwater.errors import UsageError

_STORES: Mapping[str, str] = {
    "lmdb": "headwater.online_stores.lmdb",
    "redis": "headwater.online_stores.redis.redis_client",
    "rediss": "headwater.online_stores.redis.redis_client",
    "unix": "headwater.online_stores.redis.redis_client",
}

Changes = Mapping[bytes, bytes | None]
"""The values of keys; None for no value."""


class OnlineStore(Protocol):
    """A sorted map from bytes (at most 500) to bytes, changed by atomic commits. Safe to use from several threads.

    `partitioned`: whether several processes write, each for its own partitions of a stream. There, a view's record is one of a key and a
    partition, holds the offset through which it is complete, and only ever makes way for one that is complete through a greater one; so
    the records of a commit may become visible before the rest of it. After a crash between the two, `mend` takes them back.
    `namespace`: what the names of sources begin with in it; see `ownership`.
    """

    partitioned: bool
    namespace: str

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of some keys, all of one moment."""
        ...

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every key that begins with `prefix`, rising, with its value.

        Keys are read in pages, each as of one time, so a reader that takes long holds nothing up: what changes meanwhile behind the last
        page is seen as it is then.
        """
        ...

    def sizes(self, prefix: bytes) -> Iterator[tuple[bytes, int]]:
        """As `scan`, with the bytes of each value instead of the value, which is not read."""
        ...

    def commit(self, changes: Changes, expect: Changes) -> None:
        """Make all changes atomically and durably, if the keys of `expect` hold the expected values.

        Raises:
            FencedError: they hold something else; nothing was changed.
            StoreError: the disk is full, or the store cannot be written; nothing was changed.
        """
        ...

    def mend(self, offset: bytes) -> None:
        """Undo what half of a commit left, of those that expect this key of an offset; call it before reading what to go on from.

        From here on the partition is this writer's: of others that mended it before, no commit with records is made.

        Raises:
            StoreError: the store cannot be written.
        """
        ...

    def lease(self, name: str, *, wait: float) -> AbstractContextManager[None]:
        """Be the only one that holds `name`, while the context lasts; seconds to wait for it at most.

        Raises:
            StoreError: another process holds it.
        """
        ...

    def server_time(self) -> int | None:
        """The time of the store's server in microseconds; None where it has none, or does not say."""
        ...

    def size(self) -> int:
        """Bytes taken."""
        ...

    def backup(self, to: Path) -> None:
        """Write all of one moment into a new folder, which is an LMDB store; see `backups.restore`."""
        ...

    def close(self) -> None:
        """Close files and connections."""
        ...


@contextmanager
def opened(store: OnlineStore | str | None, *, readonly: bool = False, for_requests: bool = False) -> Iterator[OnlineStore]:
    """The given online store, one opened by its URL, or by default that of the settings. It is closed if it was opened here."""
    if store is not None and not isinstance(store, str):
        yield store
        return
    own_store = open_store(settings.store() if store is None else store, readonly=readonly, for_requests=for_requests)
    try:
        yield own_store
    finally:
        own_store.close()


def open_store(url: str, *, readonly: bool = False, for_requests: bool = False) -> OnlineStore:
    """The online store at `url`.

    Args:
        url: `lmdb:FOLDER` (`lmdb:FOLDER?size=10GB` bounds it), or `redis://host:port/db?prefix=`, `rediss://`,
            `unix://`, `redis+cluster://host:port`.
        readonly: refuse to write; fails where no store exists yet.
        for_requests: give up what a server does not answer within the URL's `read_timeout`, since a request waits for it.

    Raises:
        UsageError: another kind of URL.
        StoreError: the store is of a format that this version does not read, or cannot be opened.
    """
    scheme = urlsplit(url).scheme.partition("+")[0]
    if scheme not in _STORES:
        raise UsageError(f"the online store {url!r} is not known; give lmdb:FOLDER or redis://HOST:PORT/DB")
    return cast("OnlineStore", importlib.import_module(_STORES[scheme]).open_store(url, readonly=readonly, for_requests=for_requests))
