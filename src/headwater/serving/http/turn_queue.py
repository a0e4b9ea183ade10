"""A queue that collects the requests of one turn of the event loop into batches, without a wait for
more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class TurnQueue(Generic[T]):
    """Collects the entries of a turn of the event loop, and passes them on in the next callbacks,
    at most `most` in each.

    Args:
        answer: called with each batch; further entries wait for the callback after the next, so
            that responses are sent in between.
        most: in a batch.
    """

    def __init__(self, answer: Callable[[Sequence[T]], None], most: int) -> None:
        self._answer, self._most = answer, most
        self._waiting: list[T] = []

    def put(self, entry: T) -> None:
        """Add an entry; it is passed on in the loop's next turn, alone or with others."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append(entry)

    def _flush(self) -> None:
        batch = self._waiting[: self._most]
        del self._waiting[: self._most]
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._answer(batch)
