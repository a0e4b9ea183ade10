"""CSV lines, each after the header of its file."""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import lru_cache

import msgspec

from headwater.definitions.connectors import Stream


def reader(stream: Stream, row: type[msgspec.Struct]) -> Callable[[bytes], msgspec.Struct]:
    """The decoder of one line, in bytes after its header and a newline. An empty field is null.

    Numbers and booleans are written as in JSON; true and false in any case.
    """
    del stream

    def read(payload: bytes) -> msgspec.Struct:
        head, _, line = payload.partition(b"\n")
        names, values = _header(head), _fields(line)
        if len(values) != len(names):
            raise ValueError(f"{len(values)} fields under a header of {len(names)}")
        return msgspec.convert(
            {name: value for name, value in zip(names, values, strict=True) if value},
            row,
            strict=False,
        )

    return read


@lru_cache(maxsize=256)
def _header(head: bytes) -> tuple[str, ...]:
    return tuple(_fields(head.removeprefix(b"\xef\xbb\xbf")))


def _fields(line: bytes) -> list[str]:
    """The fields of a line; a quoted one ends on it."""
    return next(csv.reader([line.decode().rstrip("\r")], strict=True))
