"""Parity: the values that the online store serves now, compared with what training would compute from the same events.

Of a streaming view, offline is the archive (and the history that the view began with) up to the very commit that was served, as of the
moment served; of a batch view, its history at the cut served. Values must be equal; sums, means and variances of floats to within 1e-9 of
the size of what was added up.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from headwater import clock, settings
from headwater.aggregations.table import TABLE
from headwater.definitions import aggregation as make
from headwater.definitions.durations import micros
from headwater.definitions.feature_view import Feature, FeatureView
from headwater.definitions.project import Project
from headwater.definitions.readable import Readable
from headwater.definitions.served_views import StoredView, chosen, stored
from headwater.definitions.timestamps import parse_timestamp
from headwater.engine.local import compute
from headwater.engine.query import Query, Request
from headwater.events.change_images import ended, in_force
from headwater.events.read_events import Notes, Reach, read_events
from headwater.events.selection import KNOWN, ROW
from headwater.ingestion.archive import KNOWN_AT, SEQUENCE, Roller
from headwater.ingestion.archive_columns import as_today, broken_files_named
from headwater.ingestion.bootstrap import first_ids, history_before
from headwater.ingestion.change_bootstrap import images_before
from headwater.ingestion.revalidate import Accepted
from headwater.ingestion.source_ingestor import IngestLimits
from headwater.ingestion.validate import Acceptance
from headwater.kernel.arrays import F64, I64, Bool
from headwater.kernel.as_of import NEVER
from headwater.monitoring.orphans import OrphanedRecord, orphaned_records
from headwater.online.feature_reader import OnlineView, ViewValues
from headwater.online_stores import OnlineStore, keyspace
from headwater.online_stores.ownership import opened_for, placed
from headwater.training.feature_frames import tables

_ABS = "__abs_"
_TOLERANCE = 1e-9
_ROWS = 1_000
AHEAD = "the store is ahead of the clock; see `headwater store repair-clock`"
_INCOMPLETE = "the view is incomplete: its records lack events that were received; see `headwater status`"


def _json(value: object) -> object:
    """A value as JSON can say it."""
    return json.loads(json.dumps(value, default=str))


@dataclass(frozen=True)
class Mismatch:
    """A value that differs: the feature, the row's keys, both values, and why."""

    feature: str
    keys: Mapping[str, object]
    online: object
    offline: object
    reason: str


@dataclass(frozen=True)
class Parity(Readable):
    """The values of one view compared: how many rows and values, as of T and K, of how many events, and those that differ.

    notes: what was not compared, by reason.
    """

    view: str
    rows: int
    values: int
    T: int
    K: int
    events: int
    mismatches: list[Mismatch] = field(default_factory=list)
    notes: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """What was compared, as JSON can say it."""
        differ = [_json(dataclasses.asdict(m)) for m in self.mismatches]
        moments = {"T": clock.moment(self.T).isoformat(), "K": clock.moment(self.K).isoformat()}
        document = {"view": self.view, "keys": self.rows, "values": self.values, "events": self.events, **moments, "mismatches": differ}
        return document | ({"not_compared": dict(self.notes)} if self.notes else {})

    def __str__(self) -> str:
        word = "mismatch" if len(self.mismatches) == 1 else "mismatches"
        return f"{self.view}: {len(self.mismatches)} {word} in {self.values:,} values of {self.rows:,} keys, made of {self.events:,} events"


def parity(
    project: Project,
    views: Sequence[str] = (),
    *,
    store: OnlineStore | str | None = None,
    folder: str | Path | None = None,
    rows: int = _ROWS,
    at: datetime | str | None = None,
    seed: int = 0,
) -> list[Parity]:
    """Compare what the online store serves now with what training computes of the same events, for every view that is in it.

    Args:
        project: whose views.
        views: names of views; none is all batch and streaming ones.
        store: an online store, or its URL; None is that of the settings (HEADWATER_STORE).
        folder: where ingestion keeps the archive; None is headwater's home.
        rows: how many keys of each view at most.
        at: the moment of asking, tz-aware, or ISO 8601 with an offset; None is now.
        seed: of the draw of keys.

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
    home = settings.home() if folder is None else Path(folder)
    with opened_for(project.name, store, readonly=True) as mine:
        comparisons = []
        for stored_view in wanted:
            with broken_files_named(home, stored_view.view.source.name):
                comparisons.append(_told_if_ahead(check_view(stored_view.view, mine, home, rows=rows, at=t, seed=seed), stored_view, t))
        return comparisons


def _told_if_ahead(comparison: Parity, stored_view: StoredView, at: int | None) -> Parity:
    """With the view's name; and a note where the store is ahead of the clock, so that values are of a time that has not come."""
    ahead = comparison.K - (clock.now_micros() if at is None else at) > getattr(stored_view.view.freshness, "lag", 0)
    return dataclasses.replace(comparison, view=stored_view.name, notes={**comparison.notes, **({AHEAD: comparison.rows} if ahead else {})})


@dataclass
class Offline:
    """The events of a view as training has them.

    folder: where the archive of streams lies. notes: of the archive, what cannot be told as the stream is now, by reason.
    """

    view: FeatureView
    store: OnlineStore
    folder: Path | None
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
        enriched = tables(last, known, Notes())
        enriched.read(self.view.source, {*self.view.keys, *self.columns}, begin)
        return read_events(enriched.readable(self.view.source), self.view.keys, self.columns, Reach(begin, last, known), [], Notes())

    def committed(self, commits: Mapping[str | None, tuple[int, pl.Expr]]) -> pl.DataFrame:
        """The events of the archive, and of the history that the view began with, where it did: known at NEVER.

        commits: by partition, the last commit that counts, and what says when an event of the archive was known.
        """
        acceptance = Acceptance(self.view.source, (self.view,), micros(IngestLimits().future, "future"))
        nothing = acceptance.events_of(pl.DataFrame(schema=acceptance.schema))
        columns = {KNOWN_AT: pl.Datetime("us", "UTC"), SEQUENCE: pl.Int64(), **acceptance.schema}
        self.notes.clear()
        frames = [nothing.with_columns(pl.lit(0, pl.Int64).alias(KNOWN), pl.lit(0, pl.Int64).alias(SEQUENCE))]
        for partition, (last, known) in commits.items():
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
        moment = served.read_version
        T, K = (np.full(keys.height, time) for time in (moment.T, view.freshness.known_by(moment.T, moment.K)))
        return OfflineRequests(keys, T, K)


def answer(view: FeatureView, features: Sequence[Feature], events: pl.DataFrame, requests: OfflineRequests) -> list[pl.Series]:
    """Features of a view, then their statuses, recomputed from its events."""
    windows = tuple(dict.fromkeys(f.window for f in view.outputs))
    query = Query(view.source, view.keys, features, view.expires_after, retained=windows)
    return compute.answer(query, events, [Request(requests.keys, requests.T, requests.T, requests.K)])[0]


def check_view(
    view: FeatureView, store: OnlineStore, folder: Path | None, *, rows: int = _ROWS, at: int | None = None, seed: int = 0
) -> Parity:
    """Compare the values of a view for some keys, drawn from its events, and for one that has none.

    Args:
        view: which view.
        store: the store that is read.
        folder: where the archive of streams lies.
        rows: how many keys at most.
        at: the moment of asking, microseconds; None is now.
        seed: of the draw.

    Raises:
        StoreError: the view is not in the store.
        DataError: its history or archive cannot be read.
    """
    offline, online = Offline(placed(store, view.root), store, folder), OnlineView(view.root, store)
    t = clock.now_micros() if at is None else at
    if online.read_version(t).incomplete:
        return Parity(view.name, 0, 0, t, t, 0, [], {_INCOMPLETE: 1})
    every, nobody = _keys(offline, online, t)
    drawn = _drawn(every, nobody, rows, seed)
    served = online.read(drawn, t)
    events = offline.events(served)
    requests = OfflineRequests.at(drawn, served, offline.view)
    recomputed = answer(offline.view, view.outputs, events, requests)
    values, statuses = recomputed[: len(view.outputs)], recomputed[len(view.outputs) : 2 * len(view.outputs)]
    mismatches: list[Mismatch] = []
    for feature, mine, theirs, online_statuses, offline_statuses in zip(
        view.outputs, served.features, values, served.statuses, statuses, strict=True
    ):
        alike = agree(feature, mine, theirs, lambda f=feature: sizes(offline.view, f, events, requests))  # type: ignore[misc]
        same = online_statuses.cast(pl.String) == offline_statuses.cast(pl.String)
        for row in np.flatnonzero(~(alike & same.to_numpy())).tolist():
            reason = "the value differs" if not alike[row] else f"the status is {online_statuses[row]}, and offline {offline_statuses[row]}"
            keys = drawn.row(row, named=True) if view.keys else {}
            mismatches.append(Mismatch(f"{view.name}__{feature.name}", keys, mine[row], theirs[row], reason))
    orphaned = _orphans(offline, online, every, served.read_version.T, rows)
    mismatches += _orphan_mismatches(online, orphaned, recomputed, served) if orphaned else []
    count = drawn.height * len(view.outputs)
    return Parity(
        view.name, drawn.height, count, served.read_version.T, served.read_version.K, events.height, mismatches, dict(offline.notes)
    )


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
    online: OnlineView, orphaned: Sequence[OrphanedRecord], recomputed: Sequence[pl.Series], served: ViewValues
) -> list[Mismatch]:
    """Their values that are not those of the null key, the last of `recomputed`."""
    view = online.view.root
    K = view.freshness.known_by(served.read_version.T, served.read_version.K)
    values, statuses = online.tiles.values(
        [records for _, records in orphaned], *(np.full(len(orphaned), at) for at in (served.read_version.T, K))
    )
    mismatches = []
    for index, feature in enumerate(view.outputs):
        nothing, missing = recomputed[index][-1], recomputed[len(view.outputs) + index][-1]
        for (keys, _), value, status in zip(orphaned, values[index].to_list(), statuses[index].to_list(), strict=True):
            if status != missing:
                reason = "the store has a record of a key that no event names"
                mismatches.append(Mismatch(f"{view.name}__{feature.name}", keys, value, nothing, reason))
    return mismatches


def agree(feature: Feature, online: pl.Series, offline: pl.Series, size_of: Callable[[], F64]) -> Bool:
    """Whether each pair of values is equal, or close enough for floats that are added up."""
    equal = same_values(online, offline) if online.dtype.is_nested() else np.asarray(online.eq_missing(offline).to_numpy(), np.bool_)
    adds = TABLE[feature.aggregation.function].adds
    if equal.all() or adds is None or not online.dtype.is_float():
        return equal if feature.aggregation.secondary is None else equal | _close_maps(online, offline)
    a, b, size = online.fill_null(np.nan).to_numpy(), offline.fill_null(np.nan).to_numpy(), size_of()
    if adds == "deviation":
        a, b, size = a**2, b**2, size**2 + b**2
    elif adds == "variance":
        size = size**2 + np.abs(b)
    close: Bool = np.abs(a - b) <= _TOLERANCE * size  # NaN is close to nothing
    return equal | close


def same_values(online: pl.Series, offline: pl.Series) -> Bool:
    """Whether each pair of values is equal, lists and maps too."""
    return np.array([bool(a == b) for a, b in zip(online.to_list(), offline.to_list(), strict=True)], np.bool_)


def _close_maps(online: pl.Series, offline: pl.Series) -> Bool:
    """Maps of floats that were added up: the same keys in the same order, values within 1e-9 of the largest."""

    def close(a: object, b: object) -> bool:
        mine, theirs = _items(a), _items(b)
        if mine is None or theirs is None or [k for k, _ in mine] != [k for k, _ in theirs]:
            return False
        size = max((abs(v) for _, v in theirs if isinstance(v, float)), default=0.0)
        return all(
            x == y or (isinstance(x, float) and isinstance(y, float) and abs(x - y) <= _TOLERANCE * max(size, 1.0))
            for (_, x), (_, y) in zip(mine, theirs, strict=True)
        )

    return np.array([close(a, b) for a, b in zip(online.to_list(), offline.to_list(), strict=True)], np.bool_)


def _items(value: object) -> list[tuple[object, object]] | None:
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, list):
        return [(v["key"], v["value"]) for v in value]
    return None


def sizes(view: FeatureView, feature: Feature, events: pl.DataFrame, requests: OfflineRequests) -> F64:
    """The scale of rounding errors: the sum of the sizes of the added values; of a mean or variance their mean."""
    a, column = feature.aggregation, feature.columns[0]
    larger = events.with_columns(pl.col(column).cast(pl.Float64).abs().alias(_ABS + column))
    kind = make.sum if TABLE[a.function].adds == "sum" else make.mean
    size = Feature("size", kind(_ABS + column, where=a.where), (_ABS + column,), feature.window)
    return np.asarray(answer(view, [size], larger, requests)[0].fill_null(0).to_numpy(), np.float64)
