"""The format version of a store: each release of headwater reads it, refuses it, or migrates it in place.

A migration is a list of steps. A step converts the keys with one prefix, a page at a time. The keys still in the old layout are the
remaining work: after a crash, the same command continues with them. During a migration, the store has a format that no version opens, so
nothing is read or written in two layouts.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from headwater.errors import FencedError, StoreError
from headwater.online_stores import Changes, OnlineStore
from headwater.online_stores.keyspace import EPOCH, FORMAT, FORMAT_KEY, OLDER

MIGRATING = b"migrating to " + FORMAT
_PAGE, _PAGE_BYTES = 5_000, 8_000_000  # keys and bytes that one transaction converts, at most, except for the last value
_migrates: ContextVar[bool] = ContextVar("migrates", default=False)

Page = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Step:
    """A conversion of the keys that begin with a prefix.

    name: shown with the number of its keys, such as "records of streaming views".
    prefix: what the keys of the old layout begin with.
    convert: the changes for a page of keys and values: new values, and None for keys that go. What it does not change was converted
        before, or stays. After a crash, it may get keys whose changes were partly written: in a store that is not atomic, new
        values may exist next to the old keys.

    >>> Step("ids", b"i", lambda store, page: {key: value + b"!" for key, value in page if not value.endswith(b"!")}).prefix
    b'i'
    """

    name: str
    prefix: bytes
    convert: Callable[[OnlineStore, Page], Changes]


def check_format(store: OnlineStore, where: str, *, readonly: bool) -> None:
    """Note the format of a store that is new.

    Raises:
        StoreError: another version wrote it, or it is the state of ingestion of another store; it is left as it is.
    """
    stored_format, epoch = store.get([FORMAT_KEY, EPOCH])
    if epoch is not None and store.capabilities.atomic:
        raise StoreError(
            f"{where} holds the state of ingestion of a store whose records are elsewhere; give the URL of that store, such as "
            "dynamodb://TABLE?state=postgresql://..., or another prefix="
        )
    if stored_format is None and not readonly:
        store.commit({FORMAT_KEY: FORMAT}, {})
    elif stored_format in (None, FORMAT) or (_migrates.get() and is_older(stored_format)):
        return
    elif stored_format == MIGRATING:
        raise StoreError(
            f"the migration of the online store in {where} to format {FORMAT.decode()} is not complete; `headwater store migrate` completes it"
        )
    elif is_older(stored_format):
        raise StoreError(
            f"the online store in {where} has format {stored_format!r}, and this version of headwater reads {FORMAT!r}; stop all processes "
            "that use it, and migrate it with `headwater store migrate` (--dry-run shows what it would change)"
        )
    else:
        raise StoreError(
            f"the online store in {where} has format {stored_format!r}, and this version of headwater reads {FORMAT!r}; use the version that "
            "wrote it, or rebuild it from the archive (see `headwater materialize` and the page on operations)"
        )


def check_still(store: OnlineStore) -> None:
    """Check the format of a store that has been open for a while.

    Raises:
        StoreError: a newer version has migrated it meanwhile, or is doing it.
    """
    (stored_format,) = store.get([FORMAT_KEY])
    if stored_format not in (None, FORMAT):
        raise StoreError(
            f"the online store has format {stored_format!r} now, and this process reads {FORMAT!r}: a newer version of headwater migrates it, or "
            "has done so. Start this process again with that version"
        )


def is_older(stored_format: bytes | None) -> bool:
    """Whether a store of this format can be migrated; also one whose migration is not complete."""
    return stored_format == MIGRATING or stored_format in OLDER


@contextmanager
def opened_for_migration() -> Iterator[None]:
    """Within it, `open_store` also opens stores that can be migrated."""
    token = _migrates.set(True)
    try:
        yield
    finally:
        _migrates.reset(token)


def migrate(store: OnlineStore, steps: Iterable[Step]) -> dict[str, int]:
    """Convert a store to this version's format; how many keys each step changed. It may be called again after a crash, at any point.

    Each page is converted in one transaction, which compares the old values. A store that is not atomic gets the new values first.

    Raises:
        FencedError: another process writes to the store.
        StoreError: the store cannot be written, or its format is not one that can be migrated.
    """
    (stored_format,) = store.get([FORMAT_KEY])
    if stored_format == FORMAT:
        return {}
    if not is_older(stored_format):
        raise StoreError(f"a store of format {stored_format!r} cannot be migrated; formats that can be: {', '.join(map(repr, OLDER))}")
    if stored_format != MIGRATING:
        store.commit({FORMAT_KEY: MIGRATING}, {FORMAT_KEY: stored_format})
    counts: dict[str, int] = {}
    for step in steps:
        counts[step.name] = 0
        while changed := sum(_convert(store, step, page) for page in _pages(store, step)):  # until a pass finds nothing in the old layout
            counts[step.name] += changed
    store.commit({FORMAT_KEY: FORMAT}, {FORMAT_KEY: MIGRATING})
    return counts


def pending(store: OnlineStore, steps: Iterable[Step]) -> dict[str, int]:
    """How many keys each step would change now; nothing is written."""
    return {step.name: sum(_affected(page, step.convert(store, page)) for page in _pages(store, step)) for step in steps}


def _convert(store: OnlineStore, step: Step, page: Page) -> int:
    changes = step.convert(store, page)
    if not changes:
        return 0
    affected = _affected(page, changes)
    expect: Changes = {**{key: value for key, value in page if key in changes}, FORMAT_KEY: MIGRATING}
    try:
        if not store.capabilities.atomic:
            new = {key: value for key, value in changes.items() if value is not None}
            store.commit(new, expect)
            changes = {key: None for key, value in changes.items() if value is None}
            expect = {key: value for key, value in expect.items() if key not in new}
        store.commit(changes, expect)
    except FencedError as error:
        raise FencedError(f"another process wrote to the store while it was migrated: stop it, and migrate again. {error}") from error
    return affected


def _affected(page: Page, changes: Changes) -> int:
    return sum(key in changes for key, _ in page)


def _pages(store: OnlineStore, step: Step) -> Iterator[Page]:
    """The keys of a step's prefix with their values, some at a time."""
    pairs = store.scan(step.prefix)
    while page := list(_until(itertools.islice(pairs, _PAGE))):
        yield page


def _until(pairs: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    taken = 0
    for key, value in pairs:
        yield key, value
        taken += len(value)
        if taken > _PAGE_BYTES:
            return
