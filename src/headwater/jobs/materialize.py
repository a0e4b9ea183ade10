"""Materialization: batch views from their history into the online store, cut by cut.

A run adds to the records of the cut before exactly the events of its own (T, K) that were not in
that cut's. It writes them into a second slot, and publishes all keys by one commit at the end. So a
run that was killed has changed nothing that is read, and the next one goes on from what it has
done. Readers take a cut up when its delay is over (`online.feature_reader`), and no run is more
than one cut ahead of them, since a key has room for two records.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import groupby

import msgspec

from headwater.connectors.snapshots import one_version
from headwater.definitions.checks import timestamp_text
from headwater.definitions.definition import Readable, stack_level
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.project import Project, StoredView, checked_call, chosen, stored
from headwater.definitions.source import Source
from headwater.engine.engines import open_engine
from headwater.engine.query import EngineRun, Head, StateParts, StateQuery
from headwater.errors import DataError, HeadwaterWarning, UsageError
from headwater.events.read_events import Notes, arrived
from headwater.ingestion.clock_check import job_time
from headwater.ingestion.tombstones import read_erased
from headwater.jobs.last_commit import last_commit
from headwater.kernel.as_of import computable, due_after
from headwater.online.read_versions import SLOTS, newest
from headwater.state.record import alone, section, through_of
from headwater.state.view_state import (
    Cut,
    CutInProgress,
    KeyStates,
    State,
    ViewTiles,
    encoded,
    read_state,
    schema_bytes,
)
from headwater.stores import Changes, OnlineStore, keyspace
from headwater.stores.keyspace import opened_for, own_views, placed, placed_source
from headwater.training.feature_frames import tables
from headwater.training.history_expectations import warn_of_broken
from headwater.training.resources import DEFAULT_RESOURCES, Resources

_KEYS = 50_000  # whose records are written in one commit
_DAY = 86_400_000_000
_CHECKED_DAYS = 2  # before today whose history is checked against its expectations


@dataclass(frozen=True)
class Materialized(Readable):
    """What a run did: the view, its cut (T and K, microseconds), the cut before, how many events
    and keys it touched, what it left out, and its processor time, of all threads.
    """

    view: str
    cut: Cut
    before: Cut | None
    events: int
    keys: int
    left_out: dict[str, int]
    cpu_seconds: float = field(default=0.0, compare=False)

    @property
    def done_before(self) -> bool:
        """Whether the store had the cut already."""
        return self.before == self.cut


def cuts_at(view: FeatureView, t: int) -> list[tuple[int, int]]:
    """T and K of the cut that is to be read at `t`, and of the one after it where that can be
    computed: its K has passed.

    Raises:
        UsageError: the view is not a batch view.
    """
    schedule = view.freshness.schedule
    if schedule is None:
        raise UsageError(
            f"feature view {view.name!r} is not a batch view ({view.freshness}); `headwater "
            "ingest` keeps streaming views"
        )
    return computable(schedule, t)


def materialize_view(
    view: FeatureView,
    store: OnlineStore,
    t: int,
    *,
    wait: float = 60.0,
    resources: Resources = DEFAULT_RESOURCES,
) -> Materialized:
    """Bring the records of a batch view to the cut that is to be read at `t`, microseconds, and to
    the one after it where that can be.

    Args:
        view: which view; an alias shares the records of its view.
        store: where to.
        t: the time of the job.
        wait: seconds to wait for another run of the same view.
        resources: memory for processing events, and progress.

    Raises:
        UsageError: the view is not a batch view.
        DataError: its history cannot be read, or has columns of other types than at the cut before.
        StoreError: the store cannot be written, or another run of this view is under way.
        LostError: the store holds records of cuts that its state has lost.
    """
    view = placed(store, view.root)
    cuts = cuts_at(view, t)
    with store.lease(f"materialize-{view.tiles_fingerprint}", wait=wait):
        store.mend(keyspace.state(view.tiles_fingerprint))
        state = read_state(store, view.tiles_fingerprint)
        before = state.cuts[-1] if state is not None and state.cuts else None
        runs = [] if before is None else [Materialized(view.name, before, before, 0, 0, {})]
        for T, K in cuts:
            if before is None or T > before.T:
                began = time.process_time()
                done = _MaterializeRun(view, store, T, K, state, resources).publish()
                runs.append(replace(done, cpu_seconds=time.process_time() - began))
                state = read_state(store, view.tiles_fingerprint)
                before = runs[-1].cut
    return _together(runs)


def _together(runs: Sequence[Materialized]) -> Materialized:
    """What runs did one after the other."""
    events, keys = sum(m.events for m in runs), sum(m.keys for m in runs)
    return Materialized(
        runs[0].view,
        runs[-1].cut,
        runs[0].before,
        events,
        keys,
        runs[-1].left_out,
        sum(m.cpu_seconds for m in runs),
    )


class _MaterializeRun:
    """One cut of one view."""

    def __init__(
        self,
        view: FeatureView,
        store: OnlineStore,
        T: int,
        K: int,
        state: State | None,
        resources: Resources,
    ) -> None:
        self.view, self.store, self.T, self.K, self.resources = view, store, T, K, resources
        windows = [f.window.reach for f in view.outputs]
        self.first = None if None in windows else T - max(w for w in windows if w is not None)
        # what was merged cannot be taken back: every cut is made of all events
        self.full_refresh = view.source.changes is not None
        self.columns = sorted(view.read_columns - set(view.keys))
        self.erased = read_erased(store, placed_source(store, view.source))
        self.source = self._readable()
        schema = arrived(self.source, view.keys, self.columns, []).collect_schema()
        self.tiles = ViewTiles(view, dict(schema))
        self.tiles.check()
        self.notes = Notes()
        self.state_key = keyspace.state(view.tiles_fingerprint)
        self.stored = store.get([self.state_key])[0]
        self.state = State(view.name, schema_bytes(self.tiles.schema)) if state is None else state
        self.before = self.state.cuts[-1] if self.state.cuts else None
        self._check_types()

    def publish(self) -> Materialized:
        """Add the events, then say that the cut is whole."""
        before = (
            None if self.before is None or self.full_refresh else Head(self.before.T, self.before.K)
        )
        query = StateQuery(
            f"materialize-{self.view.tiles_fingerprint}{self.erased.digest}",
            self.source,
            self.view.keys,
            sorted({*self.columns, *self.erased.columns} - set(self.view.keys)),
            Head(self.T, self.K),
            before,
            self.first,
            partial(self.tiles.states, T=self.T, most=_KEYS),
            self.erased if self.erased.tombstones else None,
        )
        with open_engine(self.resources.engine).states(
            query,
            EngineRun(self.notes, threads=self.resources.threads, memory=self.resources.bytes),
        ) as states:
            done = self._write_parts(states)
        if self.full_refresh:
            self._clear_removed_keys()
        cut = Cut(self.T, self.K, done.events)
        self._say(cuts=[*self.state.cuts, cut][-2:], making=None)
        return Materialized(
            self.view.name, cut, self.before, done.events, done.keys, dict(self.notes.left_out)
        )

    def _write_parts(self, states: StateParts[KeyStates]) -> CutInProgress:
        """Write the records of all parts, from the first that is not done."""
        was = self.state.making
        done = (
            was
            if was is not None and (was.T, was.dealt) == (self.T, states.layout)
            else CutInProgress(self.T, states.layout)
        )
        self._say(making=done)
        for number in range(done.parts, len(states.parts)):
            self.resources.say(self.view.name, number, len(states.parts))
            part = states.parts[number]()
            keys = sum(map(self._write, part.states))
            done = CutInProgress(
                self.T, states.layout, number + 1, done.events + part.events, done.keys + keys
            )
            self._say(making=done)
        return done

    def _say(self, **more: object) -> None:
        self.state = msgspec.structs.replace(self.state, **more)
        stated = encoded(self.state)
        self._commit({self.state_key: stated})
        self.stored = stated

    def _commit(self, changes: Changes) -> None:
        """Write as the writer of this view's state: expecting it makes a log of the records where
        the store is log first.
        """
        self.store.commit(changes, {self.state_key: self.stored})

    def _check_types(self) -> None:
        """Refuse columns of other types than those that the records are made of."""
        for name, dtype in self.state.dtypes.items():
            if self.tiles.schema.get(name) != dtype:
                raise DataError(
                    f"source {self.source.name!r}: the column {name!r} is "
                    f"{self.tiles.schema.get(name)}, and was {dtype} when {self.view.name!r} was "
                    "materialized before; cast it in the source's select. After a change of the "
                    "select, the view is rebuilt"
                )

    def _readable(self) -> Source:
        enriched = tables(self.T, self.K, Notes(), Resources(engine=self.resources.engine))
        columns = {*self.view.keys, *self.columns, *self.erased.columns}
        enriched.read(self.view.source, columns, self.first)
        return enriched.readable(self.view.source)

    def _write(self, states: KeyStates) -> int:
        """Add the states of some keys to their records; how many keys."""
        slots: dict[bytes, bytes] = {}

        def fetch(keys: list[bytes]) -> list[bytes]:
            records = self.store.get(
                [self._record_key(key, slot) for key in keys for slot in SLOTS]
            )
            base = []
            for key, *pair in zip(keys, records[::2], records[1::2], strict=True):
                record = (None if self.before is None else newest(pair, self.before.T)) or b""
                slots[key] = self._record_key(key, "1" if record and record == pair[0] else "0")
                base.append(
                    b"" if self.full_refresh else section(record, self.view.tiles_fingerprint)
                )
            return base

        updated = self.tiles.add(states, self.T, self.T, fetch)
        tiles = self.view.tiles_fingerprint
        self._commit({slots[key]: alone(state, tiles) or None for key, state in updated.items()})
        return len(updated)

    def _clear_removed_keys(self) -> None:
        """On a full refresh, write empty records for keys that have no events any more, into the
        slot that is not being read.
        """
        tiles, nothing, read = (
            self.view.tiles_fingerprint,
            self.tiles.records.none(self.T),
            -1 if self.before is None else self.before.T,
        )
        cleared: list[bytes] = []
        for stem, entries in groupby(
            self.store.scan(keyspace.records(self.view.record_group)),
            key=lambda entry: entry[0][:-1],
        ):
            held = {key[-1:].decode(): record for key, record in entries}
            pair = [held.get(slot, b"") for slot in SLOTS]
            last, previous = newest(pair, self.T), newest(pair, read)
            if last and through_of(last) != self.T and section(last, tiles)[16:] != nothing[16:]:
                cleared.append(stem + ("1" if previous and previous == pair[0] else "0").encode())
        for first in range(0, len(cleared), _KEYS):
            self._commit(dict.fromkeys(cleared[first : first + _KEYS], alone(nothing, tiles)))

    def _record_key(self, key: bytes, slot: str) -> bytes:
        return keyspace.record(self.view.record_group, key, slot)


@checked_call
@one_version()
def materialize(
    project: Project,
    views: Sequence[str] = (),
    *,
    store: OnlineStore | str | None = None,
    at: datetime | str | None = None,
    shared: bool = False,
    resources: Resources | None = None,
) -> list[Materialized]:
    """Bring the batch views of a project to the cut that is to be read now, and to the one after it
    where that can be computed.

    To be called once for every cut, after its `wait`: from cron, Airflow, or `headwater materialize
    --watch`. A cut that the store has is not made again, and a run that was killed is gone on with.

    Args:
        project: whose views, as defined and at the levels that are served.
        views: names of batch views; none is all of them. A view that is batch at several levels is
            made at each; `user@nightly` is that of one level.
        store: an online store, or its URL; None is that of the settings (HEADWATER_STORE).
        at: the time of the job, tz-aware, or ISO 8601 with an offset; None is now.
        shared: keep the project's data in a store that belongs to another project, in addition to
            that one's; needed once.
        resources: what the call may use: memory, progress.

    Warns:
        HeadwaterWarning: a view whose cut in the store is later than the one for `at`: a store does
            not go back.

    Raises:
        UsageError: a name that no batch view has, or `at` has not come.
        DataError: a history that cannot be read.
        StoreError: the store cannot be written, or another run of a view is under way.
        ClockError: without `at`, the wall clock differs by more than 5 minutes from that of the
            store's server, or is as much behind its last commit.

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
    named = batch_views(project, views)
    with (
        opened_for(project.name, store, write=True, shared=shared) as opened_store,
        (resources or DEFAULT_RESOURCES).shown() as used,
    ):
        chosen_views = own_views(opened_store, named)
        if views and not chosen_views:
            raise UsageError(
                f"{', '.join(views)}: read from production, so nothing is materialized in this "
                "development environment"
            )
        t = job_time(at, opened_store.server_time, last_commit(project, opened_store))
        runs = [
            replace(
                materialize_view(stored_view.view, opened_store, t, resources=used),
                view=stored_view.name,
            )
            for stored_view in chosen_views
        ]
    _warn_later(chosen_views, runs, t)
    today = t // _DAY
    warn_of_broken(
        dict.fromkeys(stored_view.view.source for stored_view in chosen_views),
        days=(today - _CHECKED_DAYS, today),
    )
    return runs


def _warn_later(chosen_views: Sequence[StoredView], runs: Sequence[Materialized], t: int) -> None:
    """Warn where nothing was done, since the store's cut is later than the ones of a job at t."""
    later = [
        m
        for m, stored_view in zip(runs, chosen_views, strict=True)
        if m.done_before and max(T for T, _ in cuts_at(stored_view.view, t)) < m.cut.T
    ]
    if later:
        listed = "; ".join(f"{m.view!r} has the cut {timestamp_text(m.cut.T)}" for m in later)
        warnings.warn(
            f"nothing was done for at={timestamp_text(t)}: {listed}, which is later, and a store "
            "does not go back. Values as of an earlier time are those of get_historical_features",
            HeadwaterWarning,
            stacklevel=stack_level(),
        )


def batch_views(project: Project, names: Sequence[str] = ()) -> list[StoredView]:
    """The batch views of a project, without aliases, or those of these names.

    Raises:
        UsageError: there is none, or none of a name.
    """
    scheduled = [
        stored_view for stored_view in stored(project) if stored_view.view.freshness.scheduled
    ]
    if not scheduled and not names:
        raise UsageError(
            f"project {project.name!r} has no batch view; `headwater ingest` keeps streaming views"
        )
    return chosen(
        scheduled, names, lambda name: f"project {project.name!r} has no batch view {name!r}"
    )


def next_due(views: Sequence[FeatureView], t: int) -> int:
    """When the next cut of any of these batch views can be computed, after `t`; microseconds."""
    return min(due_after(schedule, t) for view in views if (schedule := view.freshness.schedule))
