"""Parity: the values that the online store serves now, compared with what training would compute from the same events.

Of a streaming view, offline is the archive (and the history that the view began with) up to the very commit that was served, as of the
moment served; of a batch view, its history at the cut served. Values must be equal; sums, means and variances of floats to within 1e-9 of
the size of what was added up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from msgspec import structs

from headwater import clock, settings
from headwater.aggregations.table import TABLE
from headwater.definitions import aggregation as make
from headwater.definitions.checked_call import checked_call
from headwater.definitions.deprecated_keywords import renamed
from headwater.definitions.durations import micros
from headwater.definitions.feature import Feature
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.project import Project
from headwater.definitions.served_views import StoredView, chosen, stored
from headwater.definitions.timestamps import parse_timestamp
from headwater.engine.engines import engine_name, open_engine
from headwater.engine.query import AsOf, EngineRun, EventQuery, FeatureValues, Query, RequestSet
from headwater.events.change_images import ended, in_force
from headwater.events.read_events import Notes, Reach
from headwater.events.selection import KNOWN, ROW
from headwater.ingestion.archive import KNOWN_AT, SEQUENCE, Roller
from headwater.ingestion.archive_columns import as_today, broken_files_named
from headwater.ingestion.bootstrap import first_ids, history_before
from headwater.ingestion.change_bootstrap import images_before
from headwater.ingestion.revalidate import Accepted
from headwater.ingestion.source_ingestor import IngestLimits
from headwater.ingestion.validate import Acceptance
from headwater.kernel.arrays import F64, I64
from headwater.kernel.as_of import NEVER
from headwater.monitoring.agreement import agree
from headwater.monitoring.archived_sources import check_archive
from headwater.monitoring.orphans import OrphanedRecord, orphaned_records
from headwater.monitoring.unfilled import why_unfilled
from headwater.online.view_reader import OnlineView, ViewValues
from headwater.online_stores import OnlineStore, keyspace
from headwater.online_stores.ownership import from_production, opened_for, placed
from headwater.results.result import Result
from headwater.results.stored_runs import keep_run
from headwater.state.view_state import folded_into, progresses
from headwater.training.feature_frames import tables
from headwater.training.resources import DEFAULT_RESOURCES, Resources

_ABS = "__abs_"
_ROWS = 1_000
AHEAD = "the store is ahead of the clock; see `headwater store repair-clock`"
_INCOMPLETE = "the view is incomplete: its records lack events that were received; see `headwater status`"

_OF_PRODUCTION = "the view is read from production, and its archive is there; compare it there"


class Mismatch(Result, frozen=True):
    """A value that differs: the feature, the row's keys, both values, and why."""

    feature: str
    keys: Mapping[str, Any]
    online: Any
    offline: Any
    reason: str


class ParityRun(Result, frozen=True):
    """A comparison of several views as it is kept as a run; served: of the serving log instead of what the store serves now."""

    project: str
    served: bool
    views: Sequence[Parity]

    @property
    def figures(self) -> Mapping[str, float]:
        """How many views and values were compared, and how many values differ."""
        values, differing = sum(view.values for view in self.views), sum(len(view.mismatches) for view in self.views)
        return {"views": len(self.views), "values": values, "mismatches": differing}

    def __str__(self) -> str:
        figures = self.figures
        return f"{figures['mismatches']:,} of {figures['values']:,} values differ from what training computes"


class Parity(Result, frozen=True, rename={"rows": "keys", "notes": "not_compared"}):
    """The values of one view compared: how many rows and values, as of T and K, of how many events, and those that differ.

    notes: what was not compared, by reason.
    """

    view: str
    rows: int
    values: int
    T: datetime
    K: datetime
    events: int
    mismatches: Sequence[Mismatch] = ()
    notes: Mapping[str, int] = {}

    def __str__(self) -> str:
        word = "mismatch" if len(self.mismatches) == 1 else "mismatches"
        return f"{self.view}: {len(self.mismatches)} {word} in {self.values:,} values of {self.rows:,} keys, made of {self.events:,} events"


@renamed("data_dir", "folder")
@checked_call
def parity(
    project: Project,
    views: Sequence[str] = (),
    *,
    store: OnlineStore | str | None = None,
    data_dir: str | Path | None = None,
    rows: int = _ROWS,
    at: datetime | str | None = None,
    seed: int = 0,
    resources: Resources | None = None,
) -> list[Parity]:
    """Compare what the online store serves now with what training computes of the same events, for every view that is in it.

    Args:
        project: whose views.
        views: names of views; none is all batch and streaming ones.
        store: an online store, or its URL; None is that of the settings (HEADWATER_STORE).
        data_dir: where ingestion keeps the archive; None is headwater's home.
        rows: how many keys of each view at most.
        at: the moment of asking, tz-aware, or ISO 8601 with an offset; None is now.
        seed: of the draw of keys.
        resources: what the call may use: threads, progress.

    Raises:
        UsageError: a name that no view has.
        StoreError: a view that is not in the store.
        DataError: a history or an archive that cannot be read.

    >>> import headwater as hw
    >>> from headwater.testing.examples import temporary_store, visiting
    >>> project = visiting(hw.batch("1h"))
    >>> with temporary_store() as store:
    ...     _ = hw.materialize(project, store=store, at="2024-05-01T12:00Z")
    ...     print(*hw.parity(project, store=store, at="2024-05-01T12:10Z"))
    user: 0 mismatches in 6 values of 3 keys, made of 12 events
    """
    there = [stored_view for stored_view in stored(project) if stored_view.view.freshness.stored]
    wanted = chosen(there, views, lambda name: f"project {project.name!r} has no batch or streaming view {name!r}")
    t = None if at is None else parse_timestamp(at, "at")
    home = settings.home() if data_dir is None else Path(data_dir)
    with opened_for(project.name, store, readonly=True) as mine, (resources or DEFAULT_RESOURCES).shown() as used:
        comparisons = []
        for number, stored_view in enumerate(wanted):
            used.say("comparing", number, len(wanted))
            with broken_files_named(home, stored_view.view.source.name):
                comparison = check_view(stored_view.view, mine, home, rows=rows, at=t, seed=seed, resources=used)
                comparisons.append(_told_if_ahead(comparison, stored_view, t))
    return keep_parity(ParityRun(project.name, served=False, views=comparisons), home, engine_name(used.engine))


def keep_parity(comparison: ParityRun, folder: Path, engine: str) -> list[Parity]:
    """Keep a comparison as a run, and return it view by view."""
    kept = keep_run("parity", str(comparison), comparison, subject=comparison.project, folder=folder, engine=engine)
    return list(kept.views)


def _told_if_ahead(comparison: Parity, stored_view: StoredView, at: int | None) -> Parity:
    """With the view's name; and a note where the store is ahead of the clock, so that values are of a time that has not come."""
    now = clock.now_micros() if at is None else at
    ahead = clock.micros(comparison.K) - now > getattr(stored_view.view.freshness, "lag", 0)
    return structs.replace(comparison, view=stored_view.name, notes={**comparison.notes, **({AHEAD: comparison.rows} if ahead else {})})


@dataclass
class Offline:
    """The events of a view as training has them.

    folder: where the archive of streams lies. notes: of the archive, what cannot be told as the stream is now, by reason.
    """

    view: FeatureView
    store: OnlineStore
    folder: Path | None
    resources: Resources = DEFAULT_RESOURCES
    notes: Counter[str] = field(default_factory=Counter)

    @cached_property
    def columns(self) -> list[str]:
        """The columns that the view's features read, without its keys."""
        return sorted(self.view.read_columns - set(self.view.keys))

    def events(self, served: ViewValues) -> pl.DataFrame:
        """The events that count for what was served: keys, columns, TIME, and KNOWN where it does not follow from the event time."""
        if self.view.freshness.scheduled:
            return self.history(served.read_version.T, served.read_version.T, served.read_version.K)
        known = pl.col(KNOWN_AT).dt.epoch("us")
        return self.committed({partition: (last, known) for partition, last in served.read_version.sequences.items()})

    def history(self, first: int, last: int, known: int) -> pl.DataFrame:
        """The events of history that any T from first to last can count, and that were known by `known`: microseconds all."""
        reaches = [f.window.reach for f in self.view.outputs]
        begin = None if None in reaches else first - max(r for r in reaches if r is not None)
        enriched = tables(last, known, Notes(), Resources(engine=self.resources.engine))
        enriched.read(self.view.source, {*self.view.keys, *self.columns}, begin)
        query = EventQuery(enriched.readable(self.view.source), self.view.keys, self.columns, Reach(begin, last, known))
        return open_engine(self.resources.engine).events(query, EngineRun())

    def committed(self, commits: Mapping[str | None, tuple[int, pl.Expr]]) -> pl.DataFrame:
        """The events of the archive, and of the history that the view began with, where it did: known at NEVER.

        commits: by partition, the last commit that counts, and what says when an event of the archive was known.
        """
        acceptance = Acceptance(self.view.source, (self.view,), micros(IngestLimits().max_future_skew, "max_future_skew"))
        nothing = acceptance.events_of(pl.DataFrame(schema=acceptance.schema))
        columns = {KNOWN_AT: pl.Datetime("us", "UTC"), SEQUENCE: pl.Int64(), **acceptance.schema}
        self.notes.clear()
        frames = [nothing.with_columns(pl.lit(0, pl.Int64).alias(KNOWN), pl.lit(0, pl.Int64).alias(SEQUENCE))]
        if self.folder is not None:
            check_archive(self.store, self.folder, self.view.source.name)
        for partition, (last, known) in {**self._folded(commits), **commits}.items():
            if self.folder is None:
                continue
            roller = Roller(self.store, keyspace.ARCHIVE, self.folder / "archive", self.view.source.name, partition)
            for read in roller.parts():
                self.notes.update(as_today(read().filter(pl.col(SEQUENCE) <= last), columns)[1])
            for events, rows in Accepted(acceptance, roller.lazy_parts(), first_ids(self.store, self.view.source), last).parts():
                kept = rows.select(known.cast(pl.Int64).alias(KNOWN), SEQUENCE)[events[ROW]]
                frames.append(events.with_columns(kept))
        every = pl.concat([*frames, *self._before(acceptance)], how="diagonal_relaxed")
        return every.drop(SEQUENCE) if self.view.source.changes is None else ended(every, self.view.source, SEQUENCE)

    def _folded(self, commits: Mapping[str | None, object]) -> dict[str | None, tuple[int, pl.Expr]]:
        """As the argument of `committed`, of closed partitions that are folded into these: all of their events count."""
        progress = progresses(self.store, self.view.source.name)
        names = {name for heir in commits if heir is not None for name in folded_into(progress, heir)} - commits.keys()
        return {name: (progress[name.encode()].sequence, pl.lit(NEVER)) for name in sorted(names)}

    def _before(self, acceptance: Acceptance) -> list[pl.DataFrame]:
        begun = OnlineView(self.view, self.store).state.from_history
        if self.view.source.history is None or not begun:
            return []
        if self.view.source.changes is None:
            events = history_before(self.view, None, begun)
        else:
            events = images_before(acceptance, begun)
            events = events.filter(pl.Series(in_force(events, self.view.source)))
        return [events.with_columns(pl.lit(NEVER, pl.Int64).alias(KNOWN), pl.lit(-1, pl.Int64).alias(SEQUENCE))]


@dataclass(frozen=True)
class OfflineRequests:
    """Rows that ask offline for what was served: the view's keys, and T and K of each: int64 (rows)."""

    keys: pl.DataFrame
    T: I64
    K: I64

    @staticmethod
    def at(keys: pl.DataFrame, served: ViewValues, view: FeatureView) -> OfflineRequests:
        """Rows that ask as of one read version; every event that a stream had stored was known."""
        read_version = served.read_version
        T, K = (np.full(keys.height, time) for time in (read_version.T, view.freshness.known_by(read_version.T, read_version.K)))
        return OfflineRequests(keys, T, K)


def answer(
    view: FeatureView,
    features: Sequence[Feature],
    events: pl.DataFrame,
    requests: OfflineRequests,
    resources: Resources = DEFAULT_RESOURCES,
) -> FeatureValues:
    """Features of a view and their statuses, recomputed from its events."""
    windows = tuple(dict.fromkeys(f.window for f in view.outputs))
    query = Query(view.source, view.keys, features, view.expires_after, retained=windows, events=events)
    request_set = RequestSet(requests.keys, requests.T, (AsOf(requests.T, requests.K),))
    return open_engine(resources.engine).features(query, [request_set], EngineRun(threads=resources.threads))[0][0]


def check_view(
    view: FeatureView,
    store: OnlineStore,
    folder: Path | None,
    *,
    rows: int = _ROWS,
    at: int | None = None,
    seed: int = 0,
    resources: Resources = DEFAULT_RESOURCES,
) -> Parity:
    """Compare the values of a view for some keys, drawn from its events, and for one that has none.

    Args:
        view: which view.
        store: the store that is read.
        folder: where the archive of streams lies.
        rows: how many keys at most.
        at: the moment of asking, microseconds; None is now.
        seed: of the draw.
        resources: threads, and the engine that recomputes.

    Raises:
        StoreError: the view is not in the store.
        DataError: its history or archive cannot be read.
    """
    t = clock.now_micros() if at is None else at
    if why := why_unfilled(view, store):
        return Parity(view.name, 0, 0, clock.timestamp(t), clock.timestamp(t), 0, [], {why: 1})
    offline, online = Offline(placed(store, view.root), store, folder, resources), OnlineView(view.root, store)
    if not view.freshness.scheduled and from_production(store, view) and _has_accepted(store, offline.view):
        return Parity(view.name, 0, 0, clock.timestamp(t), clock.timestamp(t), 0, [], {_OF_PRODUCTION: 1})
    if online.read_version(t).incomplete:
        return Parity(view.name, 0, 0, clock.timestamp(t), clock.timestamp(t), 0, [], {_INCOMPLETE: 1})
    every, nobody = _keys(offline, online, t)
    drawn = _drawn(every, nobody, rows, seed)
    served = online.read(drawn, t)
    events = offline.events(served)
    requests = OfflineRequests.at(drawn, served, offline.view)
    recomputed = answer(offline.view, view.outputs, events, requests, resources)
    mismatches: list[Mismatch] = []
    for feature, mine, theirs, online_statuses, offline_statuses in zip(
        view.outputs, served.features, recomputed.values, served.statuses, recomputed.statuses, strict=True
    ):
        alike = agree(feature, mine, theirs, lambda f=feature: sizes(offline.view, f, events, requests, resources))  # type: ignore[misc]
        same = online_statuses.cast(pl.String) == offline_statuses.cast(pl.String)
        for row in np.flatnonzero(~(alike & same.to_numpy())).tolist():
            reason = "the value differs" if not alike[row] else f"the status is {online_statuses[row]}, and offline {offline_statuses[row]}"
            keys = drawn.row(row, named=True) if view.keys else {}
            mismatches.append(Mismatch(f"{view.name}__{feature.name}", keys, mine[row], theirs[row], reason))
    orphaned = _orphans(offline, online, every, served.read_version.T, rows)
    mismatches += _orphan_mismatches(online, orphaned, recomputed, served) if orphaned else []
    count = drawn.height * len(view.outputs)
    T, K = (clock.timestamp(of) for of in (served.read_version.T, served.read_version.K))
    return Parity(view.name, drawn.height, count, T, K, events.height, mismatches, dict(offline.notes))


def _has_accepted(store: OnlineStore, view: FeatureView) -> bool:
    """Whether a view has events that an archive has to have: all but those of its history."""
    return any(progress.counts.get("accepted", 0) for progress in progresses(store, view.source.name).values())


def _keys(offline: Offline, online: OnlineView, t: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The keys that have events, sorted; and one that is null."""
    names = list(offline.view.keys)
    if not names:
        return pl.DataFrame({"": pl.Series([], dtype=pl.Int64)}), pl.DataFrame({"": [0]})
    nobody = pl.DataFrame({name: [None] for name in names}, schema={name: online.state.dtypes[name] for name in names})
    served = online.read(nobody, t)
    return offline.events(served).select(names).drop_nulls().unique().sort(names), nobody


def _drawn(every: pl.DataFrame, nobody: pl.DataFrame, rows: int, seed: int) -> pl.DataFrame:
    """Some of the keys, all as likely, and the null one, last."""
    chosen = np.sort(np.random.default_rng(seed).permutation(every.height)[:rows])
    return pl.concat([every[chosen], nobody], how="vertical_relaxed")


def _orphans(offline: Offline, online: OnlineView, every: pl.DataFrame, T: int, most: int) -> list[OrphanedRecord]:
    """Keys that the store has records of and no event names, not even one that was committed meanwhile."""
    orphans = orphaned_records(online, every, T, most) if offline.view.keys else []
    if not orphans or offline.view.freshness.scheduled:
        return orphans
    named = set(_keys(offline, online, T)[0].iter_rows())
    return [(keys, records) for keys, records in orphans if tuple(keys.values()) not in named]


def _orphan_mismatches(
    online: OnlineView, orphaned: Sequence[OrphanedRecord], recomputed: FeatureValues, served: ViewValues
) -> list[Mismatch]:
    """Their values that are not those of the null key, the last of `recomputed`."""
    view = online.view.root
    K = view.freshness.known_by(served.read_version.T, served.read_version.K)
    values, statuses = online.tiles.values(
        [records for _, records in orphaned], *(np.full(len(orphaned), at) for at in (served.read_version.T, K))
    )
    mismatches = []
    for index, feature in enumerate(view.outputs):
        nothing, missing = recomputed.values[feature.name][-1], recomputed.statuses[feature.name][-1]
        for (keys, _), value, status in zip(orphaned, values[index].to_list(), statuses[index].to_list(), strict=True):
            if status != missing:
                reason = "the store has a record of a key that no event names"
                mismatches.append(Mismatch(f"{view.name}__{feature.name}", keys, value, nothing, reason))
    return mismatches


def sizes(
    view: FeatureView, feature: Feature, events: pl.DataFrame, requests: OfflineRequests, resources: Resources = DEFAULT_RESOURCES
) -> F64:
    """The scale of rounding errors: the sum of the sizes of the added values; of a mean or variance their mean."""
    a, column = feature.aggregation, feature.columns[0]
    larger = events.with_columns(pl.col(column).cast(pl.Float64).abs().alias(_ABS + column))
    kind = make.sum if TABLE[a.function].adds == "sum" else make.mean
    size = Feature("size", kind(_ABS + column, where=a.where), (_ABS + column,), feature.window)
    return np.asarray(answer(view, [size], larger, requests, resources).values["size"].fill_null(0).to_numpy(), np.float64)
