"""The version at which the records of a view are read: the keys that state it, and which of a key's
records count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol, cast

from headwater import clock
from headwater.definitions.feature_view import FeatureView
from headwater.errors import IncompleteError, RebuiltError, StaleError, StoreError
from headwater.events.columns import STATUSES
from headwater.kernel.as_of import CutLookup, lookup
from headwater.state.view_state import (
    Progress,
    State,
    ViewTiles,
    decoded,
    known_through,
    merged,
    out_of_reach,
    progresses,
    read_parts,
    read_progress,
)
from headwater.stores import OnlineStore, keyspace
from headwater.stores.keyspace import generation_name, read_generations

_NEW_TUPLE = tuple.__new__
_NONE: Mapping[str | None, int] = {}
SLOTS = ("0", "1")
"""What the places of a key's two records in a batch view end with."""
REFRESH = 1.0
"""Seconds after which a reader looks for new partitions."""
# the parts of a view and the progress of partitions are two scans, between which a partition may
# begin or be folded
_LOOKS = 2
# seconds that a new reader waits for partitions that begin, and between two looks
_PATIENCE, _PAUSE = 5.0, 0.1


class ReadVersion(NamedTuple):
    """What values are as of: T, by what was known at K, int64 microseconds.

    sequences: by partition (None where there is one writer), the last commit that counts; none in a
    batch view.
    stale: whether the view promises fresher values, or they are of a time that has not come: a
    commit may be made while one asks, and clocks of two machines differ, so a view that promises 2
    s may be as much ahead.
    incomplete: whether a window of the view may lack events that were received.
    """

    T: int
    K: int
    sequences: Mapping[str | None, int]
    stale: bool
    incomplete: bool = False

    def age(self, t: int) -> int:
        """Microseconds from K to the request time t; below 0 only where the values are of a time
        that has not come, which is stale.
        """
        return t - self.K if self.stale else max(0, t - self.K)


class VersionReader(Protocol):
    """The version keys that are read of a store together with the records of a view."""

    @property
    def like(self) -> object:
        """Equal for views with the same read version, as long as `lacks` is called with the stored
        values before `read_version` is.
        """
        ...

    def look(self) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """The keys to read; and what the places of a key's records end with, for each that it may
        have one of.
        """
        ...

    def read_version(self, values: Sequence[bytes | None], t: int) -> ReadVersion:
        """The version to read at request time t, given the values of the keys. `lacks` checks each
        view for missing commits before.

        Raises:
            StoreError: nothing whole is there yet.
        """
        ...

    def lacks(self, values: Sequence[bytes | None]) -> bool:
        """Whether the view's records miss a commit, by what the keys hold; the same for as long as
        these are.

        Raises:
            RebuiltError: the view was filled again since it was opened.
        """
        ...

    def chosen(
        self, records: Sequence[bytes | None], read_version: ReadVersion
    ) -> list[bytes | None]:
        """Of the records of some keys, key after key, those that count: as many for each."""
        ...


def heads_of(view: FeatureView, store: OnlineStore) -> VersionReader:
    """What says as of when a view's records are."""
    return CutVersionReader(view) if view.freshness.scheduled else StreamVersionReader(view, store)


@dataclass
class StreamVersionReader:
    """The progress of a source's stream, of each partition where several processes write."""

    view: FeatureView
    store: OnlineStore
    _located: tuple[Sequence[bytes], Sequence[bytes]] = ((), ())
    _located_at: float = -REFRESH
    _state: State | None = None
    _parts: Mapping[bytes, State] = field(default_factory=dict)
    _decoded_from: tuple[Sequence[bytes | None], tuple[int, int, Mapping[str | None, int]]] = (
        [],
        (0, 0, _NONE),
    )
    _complete_from: int = 0  # as of what the store held when `lacks` was last called

    @cached_property
    def _lag(self) -> int:
        return int(getattr(self.view.freshness, "lag", 0))

    @property
    def like(self) -> object:
        state = self._whole()
        return (
            self.view.source.name,
            self.view.freshness,
            state.exact_from,
            max(self._complete_from, state.complete_from),
        )

    def look(self) -> tuple[Sequence[bytes], Sequence[bytes]]:
        now = clock.stopwatch()
        if now - self._located_at > REFRESH or not self._located[0]:
            name = keyspace.PROGRESS + keyspace.name(self.view.source.name)
            keys = [key for key, _ in self.store.scan(name)] or [name]
            if keys != self._located[0] and self._state is not None:
                self._read()  # a partition that is new may not be whole
            self._located = (
                keys,
                [b"\0" + key[len(name) : -1] if key != name else b"" for key in keys],
            )
            self._located_at = now
        return self._located

    def read_version(self, values: Sequence[bytes | None], t: int) -> ReadVersion:
        state = self._state or self._whole()
        previous, (latest, known, sequences) = self._decoded_from
        if values is not previous and values != previous:
            progress = [read_progress(p) for p in values]
            parts = [end[1:].decode() if end else None for end in self._located[1]]
            latest, known = max(p.at for p in progress), known_through(progress)
            sequences = {
                partition: p.sequence for partition, p in zip(parts, progress, strict=True)
            }
            # nothing writes to what a store gave
            self._decoded_from = values, (latest, known, sequences)
        T = latest if latest > t else t  # noqa: FURB136 (`max` takes longer)
        stale = not -self._lag <= t - known <= self._lag or state.exact_from > T
        incomplete = self._complete_from > T or state.complete_from > T
        # half as long as `ReadVersion(...)`
        return _NEW_TUPLE(ReadVersion, (T, known, sequences, stale, incomplete))

    def lacks(self, values: Sequence[bytes | None]) -> bool:
        self._whole()
        progress = [read_progress(p) for p in values]
        if not self._covered(progress):
            self._read()
        doubtful = max((p.doubtful for p in progress), default=0)
        self._complete_from = out_of_reach(self.view, doubtful)
        return not self._covered(progress)

    def chosen(
        self,
        records: Sequence[bytes | None],
        read_version: ReadVersion,  # noqa: ARG002
    ) -> list[bytes | None]:
        return list(records)

    def _covered(self, progress: Sequence[Progress]) -> bool:
        """Whether each partition's part of the view is whole and misses no commit."""
        tiles = self.view.tiles_fingerprint
        parts = [self._parts.get(end[1:]) for end in self._located[1]]
        return all(
            state is not None and p.covers(tiles, state)
            for state, p in zip(parts, progress, strict=True)
        )

    def _read(self) -> None:
        """Read again what the store says of the view; a view that was whole once is read on while
        it is filled, as incomplete.

        Raises:
            RebuiltError: another generation of its records is read now, or they are made of columns
                of other types.
        """
        tiles, before = self.view.tiles_fingerprint, self._state
        first = self.view.first_generation
        if generation_name(first, read_generations(self.store, first).read) != tiles:
            raise RebuiltError(
                f"feature view {self.view.name!r} was filled again since this reader opened it; "
                "open it again"
            )
        self._parts = read_parts(self.store, tiles)
        state = merged(self.store, self._parts, self.view.source.name)
        if (
            before is not None
            and state is not None
            and not ViewTiles(self.view, before.dtypes).reads_alike(state.dtypes)
        ):
            raise RebuiltError(
                f"feature view {self.view.name!r} is filled again with columns of other types "
                "than this reader knows; open it again"
            )
        self._state = state if before is None else state or before

    def _whole(self) -> State:
        since, looks = clock.stopwatch(), 0
        while self._state is None:
            self._read()
            looks += 1
            if self._state is not None and self._state.seeded is None:
                self._state = None
            if self._state is None and looks >= _LOOKS:
                if clock.stopwatch() - since > _PATIENCE or not self._begins():
                    raise StoreError(
                        f"feature view {self.view.name!r} is not filled yet: `headwater ingest` "
                        "fills it with its past; see `headwater status`"
                    )
                clock.wait(_PAUSE)
        return self._state

    def _begins(self) -> bool:
        """Whether the view lacks nothing but the parts of partitions that have made no commit
        yet.
        """
        made = progresses(self.store, self.view.source.name)
        return bool(made) and all(
            name in self._parts and self._parts[name].seeded is not None for name in made
        )


@dataclass
class CutVersionReader:
    """The cuts of a batch view; each key has a record of two of them."""

    view: FeatureView
    _decoded_from: tuple[bytes | None, State | None] = (None, None)

    @property
    def like(self) -> object:
        return self.view.tiles_fingerprint, self.view.freshness

    def lacks(self, values: Sequence[bytes | None]) -> bool:  # noqa: ARG002 (as `VersionReader`)
        return False  # every cut is made of the history

    @cached_property
    def _due(self) -> CutLookup:
        schedule = self.view.freshness.schedule
        assert schedule is not None
        return lookup(schedule)

    def look(self) -> tuple[Sequence[bytes], Sequence[bytes]]:
        return (keyspace.state(self.view.tiles_fingerprint),), (b"\0000", b"\0001")

    def read_version(self, values: Sequence[bytes | None], t: int) -> ReadVersion:
        if values[0] != self._decoded_from[0]:
            self._decoded_from = values[0], decoded(values[0])
        due = self._due.at(t)
        state = self._decoded_from[1]
        cut = None if state is None else state.cut(due)
        if cut is None:
            raise StoreError(
                f"feature view {self.view.name!r} has no whole cut in the online store yet; run "
                f"`headwater materialize {self.view.name}`"
            )
        return ReadVersion(cut.T, cut.K, _NONE, due != cut.T)

    def chosen(
        self, records: Sequence[bytes | None], read_version: ReadVersion
    ) -> list[bytes | None]:
        return [newest(records[i : i + 2], read_version.T) for i in range(0, len(records), 2)]


FALLBACK = STATUSES.index("fallback")


def falls_back(view: FeatureView, read_version: ReadVersion) -> bool:
    """Whether no value of the view is served, since they are older than promised, or incomplete.

    Raises:
        StaleError: the view has on_stale="refuse".
        IncompleteError: it has on_incomplete="refuse".
    """
    if read_version.incomplete and view.on_incomplete == "refuse":
        raise IncompleteError(
            f"feature view {view.name!r} is incomplete: its records lack events that were "
            "received, and it has on_incomplete='refuse'; see `headwater status`"
        )
    if read_version.incomplete and view.on_incomplete == "null":
        return True
    if not read_version.stale or view.on_stale == "previous":
        return False
    if view.on_stale == "refuse":
        raise StaleError(
            f"feature view {view.name!r} is older than it promises ({view.freshness}), and has "
            "on_stale='refuse'; see `headwater status`"
        )
    return True


def newest(records: Sequence[bytes | None], cut: int) -> bytes | None:
    """Of the two records of a key in a batch view, the one to read at a cut; None where there is
    none.
    """
    through = [int.from_bytes(r[8:16], "little", signed=True) if r else None for r in records]
    best = max(
        (n for n, at in enumerate(through) if at is not None and at <= cut),
        key=lambda n: cast("int", through[n]),
        default=None,
    )
    return None if best is None else records[best]
