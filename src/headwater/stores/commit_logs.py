"""The logs of a store that is log first: their names, by what a commit expects, and the last known
commit of each.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

import msgspec

from headwater.stores.keyspace import OFFSET, PROGRESS, REDO, STATE, STATE_OF_SOURCE


class LogHead(msgspec.Struct, frozen=True, array_like=True):
    """The last commit of a writer.

    turn: how often its partition or job was taken over. decided: the turn in which the commit was
    decided; 0 once it is published.
    """

    turn: int = 0
    n: int = 0
    decided: int = 0


class Redo(msgspec.Struct, frozen=True, array_like=True):
    """What steps 2 and 3 of a decided commit write."""

    records: dict[bytes, bytes | None]
    published: dict[bytes, bytes | None]


def writer_of(key: bytes) -> bytes | None:
    """The source and partition whose offset or progress a key holds, or the job whose cuts it
    holds.
    """
    if key.startswith(STATE) and not key.startswith(STATE_OF_SOURCE):
        return b"\0" + key  # which no source's name begins with
    return key[1:] if key.startswith(OFFSET) else key[1:-1] if key.startswith(PROGRESS) else None


def log_of(expected: Iterable[bytes]) -> bytes | None:
    """The log of a commit that expects these keys; None where it is of no writer."""
    keys = list(expected)
    by_progress = {writer_of(key) for key in keys if key.startswith(PROGRESS)}
    writers = by_progress or {writer_of(key) for key in keys} - {None}
    return next(iter(writers)) if len(writers) == 1 else None


def head_of(value: bytes | None) -> LogHead:
    """The stored head of a log; that of one without commits where none is stored."""
    return LogHead() if value is None else msgspec.msgpack.decode(value, type=LogHead)


def is_at_odds(head: LogHead, applied: tuple[int, int]) -> bool:
    """Whether a table that has applied these, a turn and a commit, is ahead of a writer's log, or
    behind what it has published.
    """
    turn, n = applied
    return turn > head.turn or n > head.n or is_behind(n, head)


def is_behind(n: int, head: LogHead) -> bool:
    """Whether a table whose last commit is `n` lacks one that was published."""
    return n < head.n - (head.decided > 0)


def place_of(writer: bytes, head: LogHead) -> bytes:
    """Where the log of a commit is that was decided: a place of its own, which no other process
    writes.
    """
    return REDO + writer + struct.pack(">qq", head.decided, head.n)
