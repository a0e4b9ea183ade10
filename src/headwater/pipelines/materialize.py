"""Materialization: batch views from their history into the online store, cut by cut.

A run adds to the records of the cut before exactly the events of its own (T, K) that were not in that cut's. It writes them beside those
that are being read, and publishes all keys at once by one commit, at the end. So a run that was killed has changed nothing that is
read, and the next one goes on from what it has done. Readers take a cut up when its delay is over (`pipelines.online`), and no run is more
than one cut ahead of them, since a key has room for two records.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import cast

import msgspec
import polars as pl

from headwater.compute.arrays import LASTS
from headwater.definitions.base import HeadwaterWarning, stack_level
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.freshness import Batch
from headwater.definitions.moments import moment_text, parse_moment
from headwater.definitions.project import Project
from headwater.definitions.readable import Readable
from headwater.definitions.sizes import Size, in_bytes
from headwater.definitions.source import Source
from headwater.engines.events import GONE, Notes, Reach, Scan, arrived, scan_events, timeless
from headwater.engines.reading import IDENT, KNOWN, TIME, collect
from headwater.engines.split import bucket_files, hash_of, split
from headwater.engines.tiles import ViewTiles
from headwater.engines.workplace import read_json, renamed, workplace, write_json
from headwater.errors import DataError, UsageError
from headwater.online_stores import OnlineStore, spaces
from headwater.online_stores.ownership import opened_for, placed
from headwater.online_stores.states import Cut, Making, State, encoded, read_state, schema_bytes
from headwater.pipelines.arms import Stored, chosen, stored
from headwater.pipelines.clock_check import present
from headwater.pipelines.cuts import computable, due_after
from headwater.pipelines.historical import tables
from headwater.pipelines.last_commit import last_commit
from headwater.pipelines.moments import SLOTS, newest

_EVENT = 400  # bytes an event takes at most while its tiles are made
_LEFT_OUT = "left_out.json"
_KEYS = 50_000  # whose records are written in one commit

Tick = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Materialized(Readable):
    """What a run did: the view, its cut (T and K, microseconds), the cut before, how many events and keys it touched, what it left out."""

    view: str
    cut: Cut
    before: Cut | None
    events: int
    keys: int
    left_out: dict[str, int]

    @property
    def done_before(self) -> bool:
        """Whether the store had the cut already."""
        return self.before == self.cut


def cuts_at(view: FeatureView, t: int) -> list[tuple[int, int]]:
    """T and K of the cut that is to be read at `t`, and of the one after it where that can be computed: its K has passed.

    Raises:
        UsageError: the view is not a batch view.
    """
    if not isinstance(view.freshness, Batch):
        raise UsageError(f"feature view {view.name!r} is not a batch view ({view.freshness}); `headwater ingest` keeps streaming views")
    return computable(view.freshness, t)


def materialize_view(
    view: FeatureView, store: OnlineStore, t: int, *, memory: Size | None = None, tick: Tick | None = None, wait: float = 60.0
) -> Materialized:
    """Bring the records of a batch view to the cut that is to be read at `t`, microseconds, and to the one after it where that can be.

    Args:
        view: which view; an alias shares the records of its view.
        store: where to.
        t: the moment of the job.
        memory: what events may take while they are worked on, such as "4GB"; None is whatever they take.
        tick: called with what is being done, how much is done, and of how much.
        wait: seconds to wait for another run of the same view.

    Raises:
        UsageError: the view is not a batch view.
        DataError: its history cannot be read, or has columns of other types than at the cut before.
        StoreError: the store cannot be written, or another run of this view is under way.
    """
    view = placed(store, view.root)
    cuts = cuts_at(view, t)
    with store.lease(f"materialize-{view.tiles_fingerprint}", wait=wait):
        state = read_state(store, view.tiles_fingerprint)
        before = state.cuts[-1] if state is not None and state.cuts else None
        made = [] if before is None else [Materialized(view.name, before, before, 0, 0, {})]
        for T, K in cuts:
            if before is None or T > before.T:
                made.append(_Run(view, store, T, K, state, memory, tick).publish())
                state = read_state(store, view.tiles_fingerprint)
                before = made[-1].cut
    return _together(made)


def _together(made: Sequence[Materialized]) -> Materialized:
    """What runs did one after the other."""
    events, keys = sum(m.events for m in made), sum(m.keys for m in made)
    return Materialized(made[0].view, made[-1].cut, made[0].before, events, keys, made[-1].left_out)


class _Run:
    """One cut of one view."""

    def __init__(
        self, view: FeatureView, store: OnlineStore, T: int, K: int, state: State | None, memory: Size | None, tick: Tick | None
    ) -> None:
        self.view, self.store, self.T, self.K, self.tick = view, store, T, K, tick
        self.memory = None if memory is None else in_bytes(memory, "memory")
        windows = [f.window.reach for f in view.outputs]
        self.first = None if None in windows else T - max(w for w in windows if w is not None)
        self.anew = view.source.changes is not None  # what was merged cannot be taken back: every cut is made of all events
        self.columns = sorted(view.read_columns - set(view.keys))
        self.source = self._readable()
        schema = arrived(self.source, view.keys, self.columns, []).collect_schema()
        self.tiles = ViewTiles(view, dict(schema))
        self.tiles.check()
        self.notes = Notes()
        self.state = State(view.name, schema_bytes(self.tiles.schema)) if state is None else state
        self.before = self.state.cuts[-1] if self.state.cuts else None
        self._check_types()

    def publish(self) -> Materialized:
        """Add the events, then say that the cut is whole."""
        if self.memory is None:
            done = self._of(None)
        else:
            base = 0 if self.before is None else self.before.T
            with workplace(f"materialize-{self.view.tiles_fingerprint}", f"{self.T}-{self.K}-{base}-{self.memory}") as folder:
                done = self._of(folder)
        if self.anew:
            self._bury()
        cut = Cut(self.T, self.K, done.events)
        self._say(cuts=[*self.state.cuts, cut][-2:], making=None)
        return Materialized(self.view.name, cut, self.before, done.events, done.keys, dict(self.notes.left_out))

    def _of(self, folder: Path | None) -> Making:
        """Write the records of all parts, from the first that is not done."""
        parts, dealt = self._parts(folder)
        was = self.state.making
        done = was if was is not None and (was.T, was.dealt) == (self.T, dealt) else Making(self.T, dealt)
        self._say(making=done)
        for number in range(done.parts, len(parts)):
            if self.tick is not None:
                self.tick(self.view.name, number, len(parts))
            events, keys = self._add(collect(parts[number], f"source {self.source.name!r}"))
            done = Making(self.T, dealt, number + 1, done.events + events, done.keys + keys)
            self._say(making=done)
        return done

    def _say(self, **more: object) -> None:
        self.state = msgspec.structs.replace(self.state, **more)
        self.store.commit({spaces.state(self.view.tiles_fingerprint): encoded(self.state)}, {})

    def _check_types(self) -> None:
        """Refuse columns of other types than those that the records are made of."""
        for name, dtype in self.state.dtypes.items():
            if self.tiles.schema.get(name) != dtype:
                raise DataError(
                    f"source {self.source.name!r}: the column {name!r} is {self.tiles.schema.get(name)}, and was {dtype} when {self.view.name!r} "
                    "was materialized before; cast it in the source's select. A view whose source selects otherwise is made anew"
                )

    def _readable(self) -> Source:
        made = tables(self.T, self.K, Notes())
        made.read(self.view.source, {*self.view.keys, *self.columns}, self.first)
        return made.readable(self.view.source)

    def _parts(self, folder: Path | None) -> tuple[list[pl.LazyFrame], str]:
        """The events to add in parts by keys, which fit into memory, and how they were dealt."""
        scan = scan_events(self.source, self.view.keys, self.columns, Reach(self._since(), self.T, self.K), [])
        count = 0 if self.memory is None else collect(scan.near.select(pl.len()), scan.what, streaming=True).item()
        buckets = 1 if self.memory is None else max(1, -(-count * _EVENT // self.memory))
        if folder is None or buckets == 1:
            rows = scan.counting(collect(scan.frame, scan.what), self.notes)
            return [self._fresh(rows.lazy())], "whole"
        place = folder / "events"
        if not place.exists():
            with renamed(place) as draft:
                self._deal(scan, buckets, draft)
                write_json(draft / _LEFT_OUT, dict(self.notes.left_out))
        self.notes.left_out.update(cast("dict[str, int]", read_json(place / _LEFT_OUT) or {}) if not self.notes.left_out else {})
        files = [[file for of in sorted(place.glob("part*")) for file in bucket_files([of], bucket)] for bucket in range(buckets)]
        parts = [pl.scan_parquet(some, hive_partitioning=False) for some in files if some]
        return parts, f"{buckets} {len(parts)} {pl.__version__}"  # a hash is the same in one version of polars

    def _deal(self, scan: Scan, buckets: int, draft: Path) -> None:
        """Write the events that are to be added into folders, by a hash of their keys."""
        bucket = hash_of({key: self.tiles.schema[key] for key in self.view.keys}) % buckets
        if scan.source.id_field is None:
            self._count_uncertain(scan)
            split(self._fresh(scan.frame).filter(pl.col(TIME).is_not_null()), bucket, draft / "part0", scan.what)
            return
        split(scan.frame, pl.col(IDENT).hash() % buckets, draft / "ids", scan.what)
        for of in range(buckets):
            files = bucket_files([draft / "ids"], of)
            if files:
                notes = Notes()
                rows = scan.counting(pl.read_parquet(files, hive_partitioning=False), notes)
                self.notes.left_out.update(notes.left_out)
                split(self._fresh(rows.lazy()), bucket, draft / f"part{of}", scan.what)
            for file in files:
                file.unlink()

    def _count_uncertain(self, scan: Scan) -> None:
        """Count the rows without a time, as `Scan.counting` does of those that are in memory."""
        reasons = {name: reason for name, reason in timeless(self.source).items() if name in scan.frame.collect_schema()}
        names = list(reasons)
        first = [pl.all_horizontal(pl.col(name).is_null(), *(pl.col(n).is_not_null() for n in names[:at])) for at, name in enumerate(names)]
        counts = [rows.sum().alias(name) for name, rows in zip(names, first, strict=True)]
        for reason, rows in zip(reasons.values(), collect(scan.frame.select(counts), scan.what, streaming=True).row(0), strict=True):
            if rows:
                self.notes.leave_out(reason, rows)

    def _since(self) -> int | None:
        """Before which time no event can be new to this cut."""
        if self.before is None or self.anew or self.source.known_at_field is not None or self.source.id_field is not None:
            return self.first
        since = min(self.before.T, self.before.K - self.source.delay + 1)
        return since if self.first is None else max(since, self.first)

    def _fresh(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Those of the events known by K that were not in the cut before."""
        schema = rows.collect_schema()
        known = pl.col(KNOWN) if KNOWN in schema else pl.col(TIME) + (self.source.delay if self.source.window_on == "timestamp" else 0)
        rows = rows.filter(known <= self.K)
        if GONE in schema:
            rows = rows.filter(pl.col(GONE) > self.K, pl.col(GONE) <= LASTS)
        if self.before is None or self.anew:
            return rows
        return rows.filter((pl.col(TIME) >= self.before.T) | (known > self.before.K))

    def _add(self, events: pl.DataFrame) -> tuple[int, int]:
        """Write the records of all keys that have events among these; how many events and keys."""
        if not events.height:
            return 0, 0
        keys = self.tiles.keyed(events)[2]
        if len(keys) <= _KEYS:
            return events.height, self._write(events)
        shares = -(-len(keys) // _KEYS)
        share = events.select(hash_of({key: self.tiles.schema[key] for key in self.view.keys}) // 65_537 % shares).to_series()
        return events.height, sum(self._write(events.filter(share == n)) for n in range(shares))

    def _write(self, events: pl.DataFrame) -> int:
        slots: dict[bytes, bytes] = {}

        def fetch(keys: list[bytes]) -> list[bytes]:
            found = self.store.get([self._place(key, slot) for key in keys for slot in SLOTS])
            base = []
            for key, *pair in zip(keys, found[::2], found[1::2], strict=True):
                record = (None if self.before is None else newest(pair, self.before.T)) or b""
                slots[key] = self._place(key, "1" if record and record == pair[0] else "0")
                base.append(b"" if self.anew else record)
            return base

        made = self.tiles.update(events, self.T, self.T, fetch)
        self.store.commit({slots[key]: record or None for key, record in made.items()}, {})
        return len(made)

    def _bury(self) -> None:
        """Of a view that is made anew: keys that have no events any more get records of none, beside those that are being read."""
        nothing, read = self.tiles.records.none(self.T), -1 if self.before is None else self.before.T
        buried: list[bytes] = []
        for stem, places in groupby(self.store.scan(spaces.records(self.view.tiles_fingerprint)), key=lambda found: found[0][:-1]):
            held = {place[-1:].decode(): record for place, record in places}
            pair = [held.get(slot, b"") for slot in SLOTS]
            last, kept = newest(pair, self.T), newest(pair, read)
            if last and last[8:16] != nothing[8:16] and last[16:] != nothing[16:]:
                buried.append(stem + ("1" if kept and kept == pair[0] else "0").encode())
        for first in range(0, len(buried), _KEYS):
            self.store.commit(dict.fromkeys(buried[first : first + _KEYS], nothing), {})

    def _place(self, key: bytes, slot: str) -> bytes:
        return spaces.record(self.view.tiles_fingerprint, key, slot)


def materialize(
    project: Project,
    views: Sequence[str] = (),
    *,
    store: OnlineStore | str | None = None,
    at: datetime | str | None = None,
    memory: Size | None = None,
    tick: Tick | None = None,
    shared: bool = False,
) -> list[Materialized]:
    """Bring the batch views of a project to the cut that is to be read now, and to the one after it where that can be computed.

    To be called once for every cut, after its `wait`: from cron, Airflow, or `headwater materialize --watch`. A cut that the store has
    is not made again, and a run that was killed is gone on with.

    Args:
        project: whose views, as defined and at the levels that are served.
        views: names of batch views; none is all of them. A view that is batch at several levels is made at each; `user@nightly` is that of
            one level.
        store: an online store, or its URL; None is that of the settings (HEADWATER_STORE).
        at: the moment of the job, tz-aware, or ISO 8601 with an offset; None is now.
        memory: what the events of a view may take while they are worked on, such as "4GB"; None is whatever they take.
        tick: called with what is being done, how much is done, and of how much.
        shared: keep the project's data in a store that belongs to another project, beside that one's; needed once.

    Warns:
        HeadwaterWarning: a view whose cut in the store is later than the one for `at`: a store does not go back.

    Raises:
        UsageError: a name that no batch view has.
        DataError: a history that cannot be read.
        StoreError: the store cannot be written, or another run of a view is under way.
        ClockError: without `at`, the wall clock differs by more than 5 minutes from that of the store's server, or is as much
            behind its last commit.

    >>> import headwater as hw
    >>> from headwater.testing.examples import temporary_store, visiting
    >>> project = visiting(hw.batch("1h", delay="10m"))
    >>> with temporary_store() as store:
    ...     for at in ("2024-05-01T11:00Z", "2024-05-01T12:00Z"):
    ...         (made,) = hw.materialize(project, store=store, at=at)
    ...         print(made.view, made.events, "events added")
    user 10 events added
    user 2 events added
    """
    wanted = batch_views(project, views)
    with opened_for(project.name, store, write=True, shared=shared) as mine:
        t = present(mine.server_time, last_commit(project, mine)) if at is None else parse_moment(at, "at")
        made = [replace(materialize_view(one.view, mine, t, memory=memory, tick=tick), view=one.name) for one in wanted]
    _warn_later(wanted, made, t)
    return made


def _warn_later(wanted: Sequence[Stored], made: Sequence[Materialized], t: int) -> None:
    """Warn where nothing was done, since the store's cut is later than the ones of a job at t."""
    later = [m for m, one in zip(made, wanted, strict=True) if m.done_before and max(T for T, _ in cuts_at(one.view, t)) < m.cut.T]
    if later:
        listed = "; ".join(f"{m.view!r} has the cut {moment_text(m.cut.T)}" for m in later)
        warnings.warn(
            f"nothing was done for at={moment_text(t)}: {listed}, which is later, and a store does not go back. Values as of an earlier time are "
            "those of get_historical_features",
            HeadwaterWarning,
            stacklevel=stack_level(),
        )


def batch_views(project: Project, names: Sequence[str] = ()) -> list[Stored]:
    """The batch views of a project, without aliases, or those of these names.

    Raises:
        UsageError: there is none, or none of a name.
    """
    found = [one for one in stored(project) if isinstance(one.view.freshness, Batch)]
    if not found and not names:
        raise UsageError(f"project {project.name!r} has no batch view; `headwater ingest` keeps streaming views")
    return chosen(found, names, lambda name: f"project {project.name!r} has no batch view {name!r}")


def next_due(views: Sequence[FeatureView], t: int) -> int:
    """When the next cut of any of these batch views can be computed, after `t`; microseconds."""
    return min(due_after(cast("Batch", view.freshness), t) for view in views)
