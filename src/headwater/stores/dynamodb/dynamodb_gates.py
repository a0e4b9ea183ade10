"""The gates of a store's state: eight items, every transaction checks one of them. Closing them
keeps all transactions out.

A gate has o, the name of the commit that closed it; d, the reference of that commit's log once it
is decided; l, the last commit that closed it; and f, the store's format, which every commit
expects.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Any

from headwater import clock
from headwater.errors import StoreError
from headwater.stores.dynamodb.dynamodb_items import CanceledError, Item, Items, Key, check, update

GATES = 8
# seconds after which a commit that has closed the gates, and is not decided, is given up
_ABANDONED = 10.0
_POLL = 0.02


class Gates:
    """The gates of one store."""

    def __init__(self, items: Items, prefix: bytes) -> None:
        self._items, self._prefix = items, prefix
        self._last: list[Item | None] = []  # what was read last, once something was

    def place(self, number: int | None = None) -> Key:
        """The key of a gate; of any one where none is named."""
        return self._prefix + b"G", bytes(
            [random.randrange(GATES) if number is None else number % GATES]  # noqa: S311
        )

    def passing(self, expected_format: bytes | None, *, formatted: bool) -> dict[str, Any]:
        """The action of a transaction that wants the gates open, and the store's format, where it
        is `formatted`, as expected.
        """
        if not formatted:
            return check(self.place(), "attribute_not_exists(o)")
        if expected_format is None:
            return check(self.place(), "attribute_not_exists(o) AND attribute_not_exists(f)")
        return check(
            self.place(), "attribute_not_exists(o) AND f = :f", {":f": {"B": expected_format}}
        )

    def within(self, token: bytes, number: int) -> dict[str, Any]:
        """The action of a transaction of the commit that has closed the gates."""
        return check(self.place(number), "o = :o", {":o": {"B": token}})

    def all(
        self, condition: str, assignments: str, values: Mapping[str, Any], *more: dict[str, Any]
    ) -> None:
        """Change all gates, in one transaction with more actions.

        Raises:
            CanceledError: the condition does not hold.
        """
        self._items.write(
            [
                *(
                    update(self.place(number), condition, assignments, values)
                    for number in range(GATES)
                ),
                *more,
            ]
        )

    def close(self, token: bytes, finish: Callable[[Item], None]) -> None:
        """Close the gates for a commit, once they are open."""
        while True:
            try:
                self.all(
                    "attribute_not_exists(o) OR (o = :o AND attribute_not_exists(d))",
                    "SET o = :o",
                    {":o": {"B": token}},
                )
            except CanceledError as error:
                self.wait(next(iter(error.failed.values())), finish)
            else:
                return

    def wait(self, gate: Item | None, finish: Callable[[Item], None]) -> None:
        """Wait until the commit that has closed a gate is over; finish it if it is decided, give it
        up if it stays undecided.
        """
        since = clock.stopwatch()
        first = gate
        while gate is not None and "o" in gate and first is not None and gate["o"] == first["o"]:
            if "d" in gate:
                finish(gate)
            elif clock.stopwatch() - since > _ABANDONED:
                self.give_up(gate["o"]["B"])
            else:
                time.sleep(_POLL)
            gate = self.read()

    def give_up(self, token: bytes) -> None:
        """Open the gates, if the commit that has closed them is not decided."""
        try:
            self.all("o = :o AND attribute_not_exists(d)", "REMOVE o", {":o": {"B": token}})
        except CanceledError:
            return

    def decide(self, token: bytes, log: bytes) -> None:
        """Decide the commit that has closed the gates.

        Raises:
            StoreError: it was given up meanwhile; nothing was written.
        """
        try:
            self.all("o = :o", "SET d = :d", {":o": {"B": token}, ":d": {"B": log}})
        except CanceledError as error:
            if (self.read() or {}).get("l") == {"B": token}:
                return  # an answer was lost, and another process has finished it
            raise StoreError(
                f"a commit to {self._items.where} took so long that it was given up, unless it "
                "was made: read the offsets again, and go on from them"
            ) from error

    def read(self) -> Item | None:
        """A gate: any one, since they change together."""
        place = self.place()
        return self.seen(self._items.get([place]).get(place))

    def seen(self, gate: Item | None) -> Item | None:
        """A gate that was read, without its key."""
        shown = (
            None
            if gate is None
            else {name: value for name, value in gate.items() if name not in ("p", "s")}
        )
        self._last = [shown]
        return shown

    def last(self) -> Item | None:
        """A gate as it was read last, if it was open. If another read finds the same, no commit
        behind the gates was made since.
        """
        last = self._last
        return last[0] if last and "o" not in (last[0] or {}) else self.read()

    def open(self, token: bytes, new_format: bytes | None, *more: dict[str, Any]) -> None:
        """Open the gates after a commit, which may have changed the store's format; with more
        actions.

        Raises:
            CanceledError: they are open.
        """
        values: dict[str, Any] = {":o": {"B": token}}
        if new_format is None:
            self.all("o = :o", "SET l = :o REMOVE o, d", values, *more)
        else:
            self.all(
                "o = :o",
                "SET l = :o, f = :f REMOVE o, d",
                {**values, ":f": {"B": new_format}},
                *more,
            )
