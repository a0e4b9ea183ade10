"""An online store whose calls are seen by a `faults.Watch`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from headwater.errors import StoreError
from headwater.stores import Changes, OnlineStore, UnansweredError
from headwater.testing.call_watch import CallWatch

T = TypeVar("T")


class FaultyStore:
    """See `OnlineStore`; each call goes to the store through the watch."""

    def __init__(self, store: OnlineStore, watch: CallWatch) -> None:
        self.watched, self._watch = store, watch
        self.capabilities, self.namespace = store.capabilities, store.namespace
        self._error: type[StoreError] = UnansweredError if store.capabilities.remote else StoreError

    def __repr__(self) -> str:
        return f"FaultyStore({self.watched!r})"

    def _make(self, name: str, function: Callable[[], T], *, changes: bool = False) -> T:
        return self._watch.make("store", name, function, self._error, changes=changes)

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `OnlineStore`."""
        return self._make("get", lambda: self.watched.get(keys))

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """See `OnlineStore`."""
        return self._make("scan", lambda: self.watched.scan(prefix))

    def sizes(self, prefix: bytes) -> Iterator[tuple[bytes, int]]:
        """See `OnlineStore`."""
        return self._make("sizes", lambda: self.watched.sizes(prefix))

    def commit(self, changes: Changes, expect: Changes) -> None:
        """See `OnlineStore`."""
        self._make("commit", lambda: self.watched.commit(changes, expect), changes=True)

    def mend(self, offset: bytes) -> None:
        """See `OnlineStore`."""
        self._make("mend", lambda: self.watched.mend(offset), changes=not self.capabilities.atomic)

    def reconcile(self, *, dry_run: bool = False) -> bool:
        """See `OnlineStore`."""
        changes = not dry_run and not self.capabilities.atomic
        return self._make(
            "reconcile", lambda: self.watched.reconcile(dry_run=dry_run), changes=changes
        )

    @contextmanager
    def lease(self, name: str, *, wait: float) -> Iterator[None]:
        """See `OnlineStore`; the call is to get it."""
        with ExitStack() as stack:
            self._make("lease", lambda: stack.enter_context(self.watched.lease(name, wait=wait)))
            yield

    def server_time(self) -> int | None:
        """See `OnlineStore`."""
        return self._make("server_time", self.watched.server_time)

    def size(self) -> int:
        """See `OnlineStore`."""
        return self._make("size", self.watched.size)

    def backup(self, to: Path) -> None:
        """See `OnlineStore`."""
        self._make("backup", lambda: self.watched.backup(to))

    def close(self) -> None:
        """See `OnlineStore`; no call."""
        self.watched.close()
