"""What a store says of a view's records: whether they are whole, and as of when."""

from __future__ import annotations

import io
from collections.abc import Mapping

import msgspec
import polars as pl

from headwater.online_stores import OnlineStore, spaces


class Cut(msgspec.Struct, frozen=True):
    """A cut whose records are whole: T and K in microseconds, and how many events the run that made it added."""

    T: int
    K: int
    events: int = 0


class Making(msgspec.Struct, frozen=True):
    """A cut that is being written: its T, how its events are dealt into parts, and how many parts, events and keys are done."""

    T: int
    dealt: str = ""
    parts: int = 0
    events: int = 0
    keys: int = 0


class State(msgspec.Struct, frozen=True):
    """The records of a view.

    view: its name. schema: the columns that its records are made of, as an empty Arrow stream.
    cuts: of a batch view, those that are whole, rising; the last two at most. making: the one after them, while it is not whole.
    seeded: of a stream's view, the sequence of the commit from which on its records are whole; None while they are being made.
    from_history: before when the events are of a history that headwater did not write, microseconds; 0 where none are.
    exact_from: from when on values are exact, microseconds; later than now where the past before the stream is not known.
    """

    view: str
    schema: bytes
    cuts: list[Cut] = []
    seeded: int | None = None
    from_history: int = 0
    exact_from: int = 0
    making: Making | None = None

    def cut(self, due: int) -> Cut | None:
        """The cut to read where that of `due` should be: the last whole one that is not later; None where none is whole.

        A cut that is being written takes the room of the one before last, which nobody should read any more then. Whoever does, by a
        clock that is behind, gets the next.
        """
        if not self.cuts:
            return None
        last = self.cuts[-1]
        lost = self.making is not None and self.making.T > last.T
        return last if lost else next((cut for cut in reversed(self.cuts) if due >= cut.T), self.cuts[0])

    @property
    def dtypes(self) -> Mapping[str, pl.DataType]:
        """The columns by name."""
        return dtypes_of(self.schema)


def schema_bytes(dtypes: Mapping[str, pl.DataType]) -> bytes:
    """Columns as `State.schema`."""
    out = io.BytesIO()
    pl.DataFrame(schema=dtypes).write_ipc_stream(out)
    return out.getvalue()


def dtypes_of(schema: bytes) -> Mapping[str, pl.DataType]:
    """What `schema_bytes` was given."""
    return dict(pl.read_ipc_stream(io.BytesIO(schema)).schema)


class Begun(msgspec.Struct, frozen=True):
    """The history that a source's stream goes on from: its events before `until`, microseconds, in the part of one partition."""

    until: int
    partition: str | None = None


def read_state(store: OnlineStore, tiles: str, partition: str | None = None) -> State | None:
    """What is stored of a view, or of a partition's part of it; None where nothing is."""
    return decoded(store.get([spaces.state(tiles, partition)])[0])


def read_stream(store: OnlineStore, tiles: str, source: str) -> State | None:
    """What is stored of a streaming view: in a store of several writers, whole when the part of each partition is."""
    if not store.partitioned:
        return read_state(store, tiles)
    prefix, name = spaces.state(tiles, ""), spaces.PROGRESS + spaces.name(source)
    parts = {key[len(prefix) :]: msgspec.msgpack.decode(value, type=State) for key, value in store.scan(prefix)}
    if not parts:
        return None
    begun = {key[len(name) : -1] for key, _ in store.scan(name)}
    seeded = [part.seeded for part in parts.values()]
    whole = begun <= parts.keys() and None not in seeded
    return msgspec.structs.replace(
        next(iter(parts.values())),
        seeded=max(s for s in seeded if s is not None) if whole else None,
        from_history=max(part.from_history for part in parts.values()),
        exact_from=max(part.exact_from for part in parts.values()),
    )


def decoded(value: bytes | None) -> State | None:
    """What `encoded` made."""
    return None if value is None else msgspec.msgpack.decode(value, type=State)


def encoded(state: State) -> bytes:
    """A state as the value of its key."""
    return msgspec.msgpack.encode(state)
