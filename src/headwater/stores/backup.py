"""Backups of online stores: folders that are LMDB stores themselves, for every kind of store."""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from headwater.errors import HeadwaterError, NoStoreError, StoreError
from headwater.stores import OnlineStore, open_store
from headwater.stores.keyspace import FORMAT_KEY, IDENTITY, RECORD

_PARTITIONED = b"mpartitioned"
_AT_ONCE = 10_000


def back_up(
    store: OnlineStore, to: Path, pairs: Iterable[tuple[bytes, bytes]] | None = None
) -> None:
    """Write a store's whole contents into a new folder: records last, so that they are complete
    through the offsets at least.

    pairs: all of it, where the store can read it as of one time; None scans it.
    """
    if to.exists():
        raise StoreError(f"{to} is there already; give a folder that is not")
    target = open_store(f"lmdb:{to}")
    try:
        target.commit({_PARTITIONED: b"1"} if store.capabilities.multi_process else {}, {})
        _write(store.scan(b"") if pairs is None else pairs, target)
    except HeadwaterError:
        shutil.rmtree(to, ignore_errors=True)
        raise
    finally:
        target.close()


def restore(backup: Path, url: str) -> None:
    """Write a backup into the store at `url`, which must be empty; see `restore_into`."""
    target = open_store(url)
    try:
        restore_into(backup, target)
    finally:
        target.close()


def check_restorable(backup: Path, url: str) -> None:
    """Raise the errors that `restore` would raise before it writes; nothing is written.

    Raises:
        StoreError: the backup is missing, or the store at `url` is not empty or of another kind.
    """
    source = open_store(f"lmdb:{backup}", readonly=True)
    target = None
    try:
        with contextlib.suppress(NoStoreError):
            target = open_store(url, readonly=True)
            _check(backup, source, target)
    finally:
        source.close()
        if target is not None:
            target.close()


def restore_into(backup: Path, target: OnlineStore) -> None:
    """Write a backup into an empty store; records first, so that an interrupted restore leaves no
    offsets without their records.

    Raises:
        StoreError: the store is not empty, or keeps its records in another way: a store with
            partitions has one for each of them.
    """
    source = open_store(f"lmdb:{backup}", readonly=True)
    try:
        _check(backup, source, target)
        _write(source.scan(RECORD), target)
        identity_keys = (_PARTITIONED, FORMAT_KEY, IDENTITY)
        rest = {
            key: value
            for key, value in source.scan(b"")
            if not key.startswith(RECORD) and key not in identity_keys
        }
        target.commit(rest, {})
    finally:
        source.close()


def _check(backup: Path, source: OnlineStore, target: OnlineStore) -> None:
    held = next((key for key, _ in target.scan(b"") if key != FORMAT_KEY), None)
    if held is not None:
        raise StoreError(
            f"the store to restore {backup} into is not empty (it holds {held[:40]!r}); give an "
            "empty one"
        )
    partitioned = source.get([_PARTITIONED])[0] is not None
    if partitioned != target.capabilities.multi_process:
        kinds = ("a store on a server", "LMDB")
        source_kind, target_kind = kinds if partitioned else kinds[::-1]
        raise StoreError(
            f"{backup} is a backup of {source_kind}, whose records are other than those of "
            f"{target_kind}; "
            f"restore it into {source_kind}"
        )


def _write(pairs: Iterable[tuple[bytes, bytes]], target: OnlineStore) -> None:
    rest: Iterator[tuple[bytes, bytes]] = iter(pairs)
    while batch := dict(itertools.islice(rest, _AT_ONCE)):
        target.commit(batch, {})
