"""The stored state of a view's records: whether they are complete, and as of when."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping

import msgspec
import polars as pl

from headwater.stores import OnlineStore, keyspace


class Cut(msgspec.Struct, frozen=True):
    """A cut whose records are whole: T and K in microseconds, and how many events the run that made
    it added.
    """

    T: int
    K: int
    events: int = 0


class CutInProgress(msgspec.Struct, frozen=True):
    """A cut that is being written: its T, how its events are dealt into parts, and how many parts,
    events and keys are done.
    """

    T: int
    dealt: str = ""
    parts: int = 0
    events: int = 0
    keys: int = 0


class Filling(msgspec.Struct, frozen=True):
    """How far the fill of a stream's view is: `done` of the `parts` parts of what commits after
    `since` and up to `upto` have accepted.

    Of the first commits, with the history before them. T: as of when, microseconds. events: of
    these and all parts before.
    token: of the process that fills, as `keyspace.filling` has it. made_of: a digest of what the
    parts are made of.
    """

    token: bytes
    made_of: bytes
    T: int
    since: int
    upto: int
    parts: int
    done: int = 0
    events: int = 0


class State(msgspec.Struct, frozen=True):
    """The records of a view.

    view: its name. schema: the columns that its records are made of, as an empty Arrow stream.
    cuts: of a batch view, those that are whole, rising; the last two at most. making: the one after
    them, while it is not whole.
    seeded: of a stream's view, the sequence of the commit from which on its records are whole; None
    while they are being made.
    filling: how far they are made, of a stream's view that is not whole.
    coverage: of a stream's view, names these records: `Progress.views` holds the same for as long
    as every commit has maintained them.
    from_history: before when the events are of a history that headwater did not write,
    microseconds; 0 where none are.
    exact_from: from when on values are exact, microseconds; later than now where history and stream
    may hold the same events.
    complete_from: from when on no window reaches events that the records lack, microseconds; 0
    where they lack none.
    """

    view: str
    schema: bytes
    cuts: list[Cut] = []
    seeded: int | None = None
    from_history: int = 0
    exact_from: int = 0
    complete_from: int = 0
    coverage: str = ""
    making: CutInProgress | None = None
    filling: Filling | None = None

    def cut(self, due: int) -> Cut | None:
        """The cut to read where that of `due` should be: the last whole one that is not later; None
        where none is whole.

        A cut that is being written takes the room of the one before last, which is not due to be
        read any more. A reader whose clock is behind gets the next cut.
        """
        if not self.cuts:
            return None
        last = self.cuts[-1]
        lost = self.making is not None and self.making.T > last.T
        return (
            last
            if lost
            else next((cut for cut in reversed(self.cuts) if due >= cut.T), self.cuts[0])
        )

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
    """The columns that `schema_bytes` encoded."""
    return dict(pl.read_ipc_stream(io.BytesIO(schema)).schema)


class StreamStart(msgspec.Struct, frozen=True):
    """The history that a source's stream goes on from: its events before `until`, microseconds, in
    the part of one partition.
    """

    until: int
    partition: str | None = None


def read_state(store: OnlineStore, tiles: str) -> State | None:
    """The stored state of a batch view; None where there is none."""
    return decoded(store.get([keyspace.state(tiles)])[0])


def read_part(store: OnlineStore, tiles: str, partition: str | None) -> State | None:
    """The stored state of a streaming view, or of a partition's part of it; None where there is
    none.
    """
    return decoded(store.get([keyspace.stream_state(tiles, partition)])[0])


class Progress(msgspec.Struct, frozen=True, array_like=True):
    """How far a source's stream has been read; stored as an array.

    sequence: of the last commit. at: its moment. received: when the last record read was received.
    counts: since the beginning, by what became of records.
    views: `State.coverage` of each view that every commit has maintained since its records were
    complete. A writer leaves out what it does not maintain, so a view that missed a commit is
    missing here. rules: digests of what decides which records become events, by part.
    lost: when records were last given up that these rules would accept, microseconds; 0 where none
    were.
    gap: by when events have happened that were lost before they were read, microseconds; 0 where
    none were. Every view lacks them.
    """

    sequence: int = 0
    at: int = 0
    received: int = 0
    latest: int = 0
    known: int = 0
    since: int = 0
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    views: dict[str, str] = msgspec.field(default_factory=dict)
    rules: dict[str, str] = msgspec.field(default_factory=dict)
    lost: int = 0
    gap: int = 0

    @property
    def accepted(self) -> int:
        """How many events were accepted and not erased: as many rows as an archive holds that lacks
        none.
        """
        return sum(
            self.counts.get(name, 0) for name in ("accepted", "released", "rejudged")
        ) - self.counts.get("erased", 0)

    def maintained(self, names: Iterable[str]) -> dict[str, str]:
        """The entries of `views` for some views."""
        return {name: self.views[name] for name in names if name in self.views}

    def covers(self, tiles: str, state: State) -> bool:
        """Whether the records of a view are whole, and every commit since has maintained them."""
        named = state.coverage != "" and self.views.get(tiles) == state.coverage
        return state.seeded is not None and (named or not self.sequence)


def known_through(progress: Iterable[Progress]) -> int:
    """All that was received by then is readable, microseconds, given the progress of each
    partition, of one at least.
    """
    return min(done.known for done in progress)


def read_progress(value: bytes | None) -> Progress:
    """The stored progress of a stream; the beginning where none is stored."""
    return Progress() if value is None else msgspec.msgpack.decode(value, type=Progress)


def read_parts(store: OnlineStore, tiles: str) -> dict[bytes, State]:
    """The stored state of each partition's part of a streaming view; by b"" where there is one
    writer.
    """
    prefix = keyspace.stream_state(tiles)
    return {
        key[len(prefix) + 1 :]: msgspec.msgpack.decode(value, type=State)
        for key, value in store.scan(prefix)
    }


def progresses(store: OnlineStore, source: str) -> dict[bytes, Progress]:
    """How far each partition of a source's stream has been read; by b"" where there is one
    writer.
    """
    prefix = keyspace.PROGRESS + keyspace.name(source)
    return {key[len(prefix) : -1]: read_progress(value) for key, value in store.scan(prefix)}


def misses(tiles: str, parts: Mapping[bytes, State], progress: Mapping[bytes, Progress]) -> bool:
    """Whether a view's records miss a commit of some partition."""
    return not all(
        partition in parts and done.covers(tiles, parts[partition])
        for partition, done in progress.items()
    )


def read_stream(store: OnlineStore, tiles: str, source: str) -> State | None:
    """The stored state of a streaming view: where each partition has a writer, complete when the
    part of each is.
    """
    return merged(store, read_parts(store, tiles), source)


def merged(store: OnlineStore, parts: Mapping[bytes, State], source: str) -> State | None:
    """The parts of a streaming view as one state."""
    if not parts or b"" in parts:
        return parts.get(b"")
    seeded = [state.seeded for state in parts.values()]
    whole = progresses(store, source).keys() <= parts.keys() and None not in seeded
    return msgspec.structs.replace(
        next(iter(parts.values())),
        seeded=max((s for s in seeded if s is not None), default=0) if whole else None,
        from_history=max(state.from_history for state in parts.values()),
        exact_from=max(state.exact_from for state in parts.values()),
        complete_from=max(state.complete_from for state in parts.values()),
    )


def decoded(value: bytes | None) -> State | None:
    """Decode the bytes of `encoded`."""
    return None if value is None else msgspec.msgpack.decode(value, type=State)


def encoded(state: State) -> bytes:
    """A state as the value of its key."""
    return msgspec.msgpack.encode(state)
