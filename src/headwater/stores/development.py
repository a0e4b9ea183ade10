"""A development environment: views that production has are read from its store, all others live in
a store of one's own.

Nothing is ever written to production: its store is opened read-only, and a commit that would change
the data read from it is refused. The environment's own keys have their own names (`NAMESPACE`), so
no key of the one store is a key of the other.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from headwater.definitions.feature_view import FeatureView
from headwater.errors import FencedError, StoreError, UsageError
from headwater.stores import Changes, OnlineStore, keyspace

NAMESPACE: Final = "development."
"""What the names of sources begin with in a store of one's own."""
ENVIRONMENT: Final = b"mdevelopment"
"""The key of the name of an environment, in its own store: a store without it, that a project has
written to, is not an environment's.
"""


class ProductionViews:
    """Which views a production store has, and the keys that they are read by; threads share one.

    Args:
        store: the production store as the project sees it, read-only.
    """

    def __init__(self, store: OnlineStore) -> None:
        self.store = store
        self._prefixes: tuple[bytes, ...] = ()

    def holds(self, view: FeatureView) -> bool:
        """Whether the store has a view, as it is placed there; its keys are read from it from now
        on.
        """
        tiles = view.tiles_fingerprint
        there = keyspace.state(tiles) if view.freshness.scheduled else keyspace.stream_state(tiles)
        if not any(True for _ in self.store.scan(there)):
            return False
        source = keyspace.name(view.source.name)
        streamed = (
            () if view.freshness.scheduled else (keyspace.PROGRESS + source, keyspace.HELD + source)
        )
        mine = (
            there,
            keyspace.generations(view.first_generation),
            keyspace.records(view.record_group),
            keyspace.events(tiles),
            *streamed,
        )
        self._prefixes = tuple(dict.fromkeys((*self._prefixes, *mine)))
        return True

    def has(self, key: bytes) -> bool:
        """Whether a key is one of theirs."""
        return key.startswith(self._prefixes)


class DevelopmentStore:
    """A store of one's own, over a production store for the views that it has. See `OnlineStore`.

    Args:
        own: where everything is written.
        production: the views that are read from the other one.
    """

    def __init__(self, own: OnlineStore, production: ProductionViews) -> None:
        self.own, self.production = own, production
        self.namespace = own.namespace + NAMESPACE
        mine, theirs = own.capabilities, production.store.capabilities
        self.capabilities = replace(mine, remote=mine.remote or theirs.remote)
        self.lease, self.size, self.backup, self.server_time = (
            own.lease,
            own.size,
            own.backup,
            own.server_time,
        )
        self.mend, self.reconcile = own.mend, own.reconcile

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of some keys: each of the store that it belongs to."""
        theirs = [n for n, key in enumerate(keys) if self.production.has(key)]
        if not theirs:
            return self.own.get(keys)
        if len(theirs) == len(keys):
            return self.production.store.get(keys)
        chosen = frozenset(theirs)
        mine = iter(self.own.get([key for n, key in enumerate(keys) if n not in chosen]))
        found = iter(self.production.store.get([keys[n] for n in theirs]))
        return [next(found) if n in chosen else next(mine) for n in range(len(keys))]

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every key that begins with `prefix`, of the store that the prefix belongs to."""
        return (self.production.store if self.production.has(prefix) else self.own).scan(prefix)

    def sizes(self, prefix: bytes) -> Iterator[tuple[bytes, int]]:
        """As `scan`, with the bytes of each value instead of the value."""
        return (self.production.store if self.production.has(prefix) else self.own).sizes(prefix)

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
        self.own.commit(changes, expect)

    def environment(self) -> str:
        """A name that no other environment has: of consumer groups, so that no partition is taken
        away from production.
        """
        return (self.own.get([ENVIRONMENT])[0] or b"").decode()

    def close(self) -> None:
        """Close both stores."""
        self.own.close()
        self.production.store.close()


def make_own(store: OnlineStore) -> None:
    """Make a new store that of a development environment; one that is stays as it is.

    Raises:
        UsageError: a project has written to it as its store, such as production's.
    """
    name, owner = store.get([ENVIRONMENT, keyspace.OWNER])
    if name is None and owner is not None:
        raise UsageError(
            f"--store is the store of project {owner.decode()!r}, and a development environment "
            "writes to a store of its own; name a new one"
        )
    if name is None:
        with suppress(FencedError):  # another process came first
            store.commit({ENVIRONMENT: uuid.uuid4().hex[:12].encode()}, {ENVIRONMENT: None})
