"""Leases in DynamoDB: an item that its holder changes again and again; who sees it unchanged for
long enough takes it over.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

from headwater import clock
from headwater.errors import StoreError
from headwater.stores import HeldError
from headwater.stores.dynamodb.dynamodb_items import (
    CanceledError,
    Item,
    Items,
    Key,
    at,
    delete,
    put,
)
from headwater.stores.renewed_leases import LEASE, renewed

_POLL = 0.05


Watched = dict[str, tuple[Item, float]]
"""By lease, how its item was seen last, and since when it has been so; kept between calls, so that
a wait may be in short ones.
"""


@contextmanager
def held(
    items: Items, place: Key, name: str, owner: str, wait: float, watched: Watched
) -> Iterator[None]:
    """Hold the lease of a place; seconds to wait for it at most. No clocks are compared. Safety
    rests on what commits expect, not on it.

    Raises:
        HeldError: another process holds it.
    """
    mine, until = _Lease(items, place, owner), clock.stopwatch() + wait
    while not mine.take(seen := mine.read(), lapsed=_lapsed(watched, name, seen)):
        if clock.stopwatch() >= until:
            holder = f": process {seen['o']['S']}" if seen else ""
            raise HeldError(
                f"another process holds the lease {name!r} of {items.where}{holder}; stop it, or "
                "wait longer"
            )
        time.sleep(_POLL)
    try:
        with renewed(mine.renew):
            yield
    finally:
        mine.release()


def _lapsed(watched: Watched, name: str, seen: Item | None) -> bool:
    """Whether the item of a lease has stood still for long enough."""
    if seen is None:
        watched.pop(name, None)
        return False
    if name not in watched or watched[name][0] != seen:
        watched[name] = seen, clock.stopwatch()
    return clock.stopwatch() - watched[name][1] > LEASE


class _Lease:
    def __init__(self, items: Items, place: Key, owner: str) -> None:
        self._items, self._place, self._owner, self._mark = items, place, owner, b""

    def read(self) -> Item | None:
        return self._items.get([self._place]).get(self._place)

    def take(self, seen: Item | None, *, lapsed: bool) -> bool:
        """Whether the lease is this one's now: it was free, or it was not renewed."""
        if seen is not None and not lapsed:
            return False
        return (
            self._write("attribute_not_exists(m)", b"")
            if seen is None
            else self._write("m = :m", seen["m"]["B"])
        )

    def renew(self) -> None:
        self._write("m = :m", self._mark)

    def release(self) -> None:
        with contextlib.suppress(StoreError, CanceledError):
            self._items.write([delete(self._place, "m = :m", {":m": {"B": self._mark}})])

    def _write(self, condition: str, known: bytes) -> bool:
        mark = secrets.token_bytes(16)
        item = {**at(self._place), "m": {"B": mark}, "o": {"S": self._owner}}
        try:
            self._items.write([put(item, condition, {":m": {"B": known}} if known else None)])
        except CanceledError:
            return False
        self._mark = mark
        return True
