"""JSON: an object a record."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from headwater.definitions.connectors import Stream


def reader(stream: Stream, row: type[msgspec.Struct]) -> Callable[[bytes], msgspec.Struct]:
    """What reads one record. Of a name that comes twice, the last counts; what the schema does not
    name is only skipped.
    """
    del stream
    return msgspec.json.Decoder(row).decode
