"""The generations of a streaming view: whole sets of its records, of which readers read one.

A view is filled again beside the records that are served: the new ones are another generation, with
sections, states and coverage of their own. One commit of one key switches what is read. The records
of the former generation are removed when nobody reads them any more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from headwater.errors import FencedError, LostError
from headwater.stores import OnlineStore, keyspace


class Generations(msgspec.Struct, frozen=True, array_like=True):
    """Which generations of a view a store has.

    read: the one that readers read. filling: the one that takes its place when it is whole; None
    where none does. retired: those that were read before, whose records are not removed yet.
    """

    read: int = 0
    filling: int | None = None
    retired: tuple[int, ...] = ()


def generation_name(tiles: str, number: int) -> str:
    """The tiles fingerprint that a generation's records have in the store.

    tiles: the first one's, whose name is that of the view.

    >>> generation_name("00ff00ff00ff00ff", 0), len(generation_name("00ff00ff00ff00ff", 1))
    ('00ff00ff00ff00ff', 16)
    """
    if not number:
        return tiles
    return hashlib.sha256(f"{tiles}\0generation {number}".encode()).hexdigest()[:16]


def read_generations(store: OnlineStore, tiles: str) -> Generations:
    """The generations of a view, by the tiles fingerprint of the first one."""
    return _decoded(store.get([keyspace.generations(tiles)])[0])


def begin_generation(store: OnlineStore, tiles: str) -> None:
    """Have a new generation take the place of the one that is read; nothing where one does."""
    _change(store, tiles, _begun)


def switch_generation(store: OnlineStore, tiles: str, number: int) -> None:
    """Have readers read a generation that is whole; nothing where they do."""
    _change(
        store,
        tiles,
        lambda held: (
            Generations(number, None, (*held.retired, held.read))
            if held.filling == number
            else held
        ),
    )


def forget_generation(store: OnlineStore, tiles: str, number: int) -> None:
    """Note that the records of a generation that was retired are removed."""
    _change(
        store,
        tiles,
        lambda held: msgspec.structs.replace(
            held, retired=tuple(retired for retired in held.retired if retired != number)
        ),
    )


def _change(store: OnlineStore, tiles: str, change: Callable[[Generations], Generations]) -> None:
    """Commit the key of a view's generations alone, whoever else changes it meanwhile."""
    key = keyspace.generations(tiles)
    while True:
        stored = store.get([key])[0]
        held = _decoded(stored)
        changed = change(held)
        if changed == held:
            return
        try:
            store.commit({key: msgspec.msgpack.encode(changed)}, {key: stored})
        except LostError:
            raise
        except FencedError:
            if store.get([key])[0] == stored:
                raise
            continue  # another process came first
        return


def _begun(held: Generations) -> Generations:
    if held.filling is not None:
        return held
    return msgspec.structs.replace(held, filling=1 + max((held.read, *held.retired)))


def _decoded(value: bytes | None) -> Generations:
    return Generations() if value is None else msgspec.msgpack.decode(value, type=Generations)
