"""What a commit may read: the values that the store holds, and nothing that changes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol


class StoredValues(Protocol):
    """The stored keys and values as of the writer's last commit: an online store, or a dictionary
    in tests.
    """

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The value of each key."""
        ...

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every key that begins with `prefix`, rising, with its value."""
        ...

    def sizes(self, prefix: bytes) -> Iterator[tuple[bytes, int]]:
        """As `scan`, with the bytes of each value instead of the value."""
        ...
