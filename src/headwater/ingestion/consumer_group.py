"""The Kafka consumer group of a source: its members write to one store, so no other store takes
partitions away.
"""

from __future__ import annotations

from typing import Final

from headwater.definitions.connectors import KafkaTopic
from headwater.definitions.source import Source
from headwater.stores import OnlineStore
from headwater.stores.keyspace import environment, identified, identity

_PREFIX: Final = "headwater-"


def group_of(store: OnlineStore, source: Source, *, write: bool = False) -> str | None:
    """The group of the processes that read a source into a store; None where the store has no
    identity yet.

    It is the stream's `group=`, else `headwater-`, the source's name, the project's namespace in
    the store, and the store's identity. A development environment has groups of its own in any
    case.

    Args:
        store: as its project sees it.
        source: whose stream is a `KafkaTopic`.
        write: give a store that has no identity one.
    """
    assert isinstance(source.stream, KafkaTopic)
    name, given_group = environment(store), source.stream.group
    if name is not None:
        return f"{given_group or _PREFIX + source.name}-development-{name}"
    if given_group is not None:
        return given_group
    store_id = identified(store) if write else identity(store)
    return f"{_PREFIX}{source.name}-{store.namespace}{store_id}" if store_id else None
