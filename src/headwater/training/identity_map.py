"""Values by definition, where two equal definitions are two keys: to compare definitions over
frames would read all rows of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class IdentityMap(Generic[Key, Value]):
    """A map whose keys are compared by `is`; for few keys: a lookup passes over all of them.

    >>> first, equal = [1], [1]
    >>> found = IdentityMap()
    >>> (
    ...     found.setdefault(first, lambda: "a"),
    ...     found.setdefault(equal, lambda: "b"),
    ...     found.setdefault(first, lambda: "c"),
    ... )
    ('a', 'b', 'a')
    """

    def __init__(self) -> None:
        self._pairs: list[tuple[Key, Value]] = []

    def __contains__(self, key: object) -> bool:
        return any(stored is key for stored, _ in self._pairs)

    def __getitem__(self, key: Key) -> Value:
        return next(value for stored, value in self._pairs if stored is key)

    def __iter__(self) -> Iterator[tuple[Key, Value]]:
        return iter(self._pairs)

    def setdefault(self, key: Key, make: Callable[[], Value]) -> Value:
        """The key's value; `make` makes it where there is none."""
        for stored, value in self._pairs:
            if stored is key:
                return value
        made = make()
        self._pairs.append((key, made))
        return made
