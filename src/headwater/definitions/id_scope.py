"""Where ids of a stream are looked up: by one writer in the whole stream, else in each partition alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headwater.definitions.kinesis_stream import KinesisStream
from headwater.definitions.source import Source
from headwater.definitions.streams import AppendedFiles, KafkaTopic, Stream

_PARTS: Final[Mapping[type[Stream], tuple[str, str]]] = {
    KafkaTopic: (
        "partition",
        "Produce records with {id}, or a column that it determines, as their key; or use a topic of one partition",
    ),
    KinesisStream: ("shard", "Put records with {id}, or a column that it determines, as their partition key; or use a stream of one shard"),
    AppendedFiles: ("file", "Append copies of an event to the file that has it; or use one file"),
}
"""By kind of stream, what its parts are called that a store of several writers gives a writer each; and how copies get into one of them."""


def producers_rule(source: Source) -> str | None:
    """What the producers of a stream must keep where each of its partitions has a writer of its own; None where ids are exact anyway.

    >>> import headwater as hw
    >>> stream = hw.kafka("payments", schema={"id": int, "at": hw.definitions.streams.datetime})
    >>> producers_rule(hw.Source("payments", stream=stream, timestamp_field="at", id_field="id"))
    "equal 'id' must be in one partition, since this store looks an id up in its partition alone: copies in two partitions count twice. \
Produce records with 'id', or a column that it determines, as their key; or use a topic of one partition, or an LMDB store"
    """
    parts = None if source.stream is None else _PARTS.get(type(source.stream))
    if parts is None or source.id_field is None or source.changes is not None:
        return None
    part, remedy = parts
    name = repr(source.id_field)
    return (
        f"equal {name} must be in one {part}, since this store looks an id up in its {part} alone: copies in two {part}s count twice. "
        f"{remedy.format(id=name)}, or an LMDB store"
    )
