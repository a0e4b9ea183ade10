"""Parity: the values that the online store serves now, compared with what training would compute
from the same events.

Of a streaming view, offline is the archive (and the history that the view began with) up to the
very commit that was served, as of the moment served; of a batch view, its history at the cut
served. Values must be equal; sums, means and variances of floats to within 1e-9 of the size of what
was added up. An id counts once offline, in any partitions of the stream; and the archive is
compared with the source's history, where it has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from msgspec import structs

from headwater import clock, settings
from headwater.aggregations import moments
from headwater.aggregations.table import TABLE
from headwater.definitions.checks import parse_timestamp
from headwater.definitions.feature_view import Feature, FeatureView
from headwater.definitions.project import Project, StoredView, checked_call, chosen, stored
from headwater.definitions.source import producers_rule
from headwater.engine.engines import engine_name, open_engine
from headwater.engine.query import AsOf, EngineRun, FeatureValues, Query, RequestSet
from headwater.ingestion.archive import broken_files_named
from headwater.kernel.arrays import F64, I64, Bool
from headwater.monitoring.agreement import agree
from headwater.monitoring.history_parity import HistoryParity, compared_with_history
from headwater.monitoring.offline_events import Offline
from headwater.monitoring.orphans import OrphanedRecord, orphaned_records
from headwater.monitoring.unfilled import why_unfilled
from headwater.online.view_reader import OnlineView, ViewValues
from headwater.results.result import Result
from headwater.results.stored_runs import keep_run
from headwater.state.view_state import progresses
from headwater.stores import OnlineStore
from headwater.stores.keyspace import from_production, opened_for, placed
from headwater.training.resources import DEFAULT_RESOURCES, Resources

_ABS = "__abs_"
_ROWS = 1_000
AHEAD = "the store is ahead of the clock; see `headwater store rewind`"
_INCOMPLETE = (
    "the view is incomplete: its records lack events that were received; see `headwater status`"
)

_OF_PRODUCTION = "the view is read from production, and its archive is there; compare it there"


class Mismatch(Result, frozen=True):
    """A value that differs: the feature, the row's keys, both values, and why."""

    feature: str
    keys: Mapping[str, Any]
    online: Any
    offline: Any
    reason: str


class ParityRun(Result, frozen=True):
    """A comparison of several views, as stored in a run. served: whether it compares the serving
    log instead of the store.
    """

    project: str
    served: bool
    views: Sequence[Parity]

    @property
    def figures(self) -> Mapping[str, float]:
        """How many views and values were compared, and how many values differ."""
        values, differing = (
            sum(view.values for view in self.views),
            sum(len(view.mismatches) for view in self.views),
        )
        return {"views": len(self.views), "values": values, "mismatches": differing}

    def __str__(self) -> str:
        figures = self.figures
        return (
            f"{figures['mismatches']:,} of {figures['values']:,} values differ from what training "
            "computes"
        )


class Parity(Result, frozen=True, rename={"rows": "keys", "notes": "not_compared"}):
    """One view's comparison: rows and values as of T and K, the number of events, and the
    differences.

    notes: what was not compared, by reason. findings: why events count twice, or are missing, and
    what to do.
    """

    view: str
    rows: int
    values: int
    T: datetime
    K: datetime
    events: int
    mismatches: Sequence[Mismatch] = ()
    notes: Mapping[str, int] = {}
    findings: Sequence[str] = ()

    def __str__(self) -> str:
        word = "mismatch" if len(self.mismatches) == 1 else "mismatches"
        return (
            f"{self.view}: {len(self.mismatches)} {word} in {self.values:,} values of "
            f"{self.rows:,} keys, made of {self.events:,} events"
        )


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
    """Compare what the online store serves now with what training computes of the same events, for
    every view that is in it.

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
    wanted = chosen(
        there,
        views,
        lambda name: f"project {project.name!r} has no batch or streaming view {name!r}",
    )
    t = None if at is None else parse_timestamp(at, "at")
    home = settings.home() if data_dir is None else Path(data_dir)
    with (
        opened_for(project.name, store, readonly=True) as opened,
        (resources or DEFAULT_RESOURCES).shown() as used,
    ):
        comparisons = []
        for number, stored_view in enumerate(wanted):
            used.say("comparing", number, len(wanted))
            with broken_files_named(home, stored_view.view.source.name):
                comparison = check_view(
                    stored_view.view, opened, home, rows=rows, at=t, seed=seed, resources=used
                )
                comparisons.append(_told_if_ahead(comparison, stored_view, t))
    return keep_parity(
        ParityRun(project.name, served=False, views=comparisons), home, engine_name(used.engine)
    )


def keep_parity(comparison: ParityRun, folder: Path, engine: str) -> list[Parity]:
    """Keep a comparison as a run, and return it view by view."""
    run = keep_run(
        "parity",
        str(comparison),
        comparison,
        subject=comparison.project,
        folder=folder,
        engine=engine,
    )
    return list(run.views)


def _told_if_ahead(comparison: Parity, stored_view: StoredView, at: int | None) -> Parity:
    """With the view's name; and a note where the store is ahead of the clock, so that values are of
    a time that has not come.
    """
    now = clock.now_micros() if at is None else at
    ahead = clock.micros(comparison.K) - now > getattr(stored_view.view.freshness, "lag", 0)
    return structs.replace(
        comparison,
        view=stored_view.name,
        notes={**comparison.notes, **({AHEAD: comparison.rows} if ahead else {})},
    )


@dataclass(frozen=True)
class OfflineRequests:
    """Rows that ask offline for what was served: the view's keys, and T and K of each: int64
    (rows).
    """

    keys: pl.DataFrame
    T: I64
    K: I64

    @staticmethod
    def at(keys: pl.DataFrame, served: ViewValues, view: FeatureView) -> OfflineRequests:
        """Rows that ask as of one read version; every event that a stream had stored was known."""
        read_version = served.read_version
        T, K = (
            np.full(keys.height, time)
            for time in (read_version.T, view.freshness.known_by(read_version.T, read_version.K))
        )
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
    query = Query(
        view.source, view.keys, features, view.expires_after, retained=windows, events=events
    )
    request_set = RequestSet(requests.keys, requests.T, (AsOf(requests.T, requests.K),))
    return open_engine(resources.engine).features(
        query, [request_set], EngineRun(threads=resources.threads)
    )[0][0]


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
    offline, online = (
        Offline(placed(store, view.root), store, folder, resources),
        OnlineView(view.root, store),
    )
    if (
        not view.freshness.scheduled
        and from_production(store, view)
        and _has_accepted(store, offline.view)
    ):
        return Parity(
            view.name, 0, 0, clock.timestamp(t), clock.timestamp(t), 0, [], {_OF_PRODUCTION: 1}
        )
    if online.read_version(t).incomplete:
        return Parity(
            view.name, 0, 0, clock.timestamp(t), clock.timestamp(t), 0, [], {_INCOMPLETE: 1}
        )
    every, nobody = _keys(offline, online, t)
    drawn = _drawn(every, nobody, rows, seed)
    served = online.read(drawn, t)
    events = offline.events(served)
    requests = OfflineRequests.at(drawn, served, offline.view)
    recomputed = answer(offline.view, view.outputs, events, requests, resources)
    mismatches, twice = list[Mismatch](), _in_two_partitions(offline, drawn)
    for feature, online_values, offline_values, online_statuses, offline_statuses in zip(
        view.outputs,
        served.features,
        recomputed.values,
        served.statuses,
        recomputed.statuses,
        strict=True,
    ):
        alike = agree(
            feature,
            online_values,
            offline_values,
            lambda f=feature: sizes(offline.view, f, events, requests, resources),  # type: ignore[misc]
        )
        same = online_statuses.cast(pl.String) == offline_statuses.cast(pl.String)
        for row in np.flatnonzero(~(alike & same.to_numpy())).tolist():
            reason = (
                "the value differs"
                if not alike[row]
                else f"the status is {online_statuses[row]}, and offline {offline_statuses[row]}"
            )
            reason += "; copies of events of the key are in two partitions" if twice[row] else ""
            keys = drawn.row(row, named=True) if view.keys else {}
            mismatches.append(
                Mismatch(
                    f"{view.name}__{feature.name}",
                    keys,
                    online_values[row],
                    offline_values[row],
                    reason,
                )
            )
    orphaned = _orphans(offline, online, every, served.read_version.T, rows)
    mismatches += _orphan_mismatches(online, orphaned, recomputed, served) if orphaned else []
    count = drawn.height * len(view.outputs)
    T, K = served.read_version.T, served.read_version.K
    against = HistoryParity() if view.freshness.scheduled else compared_with_history(offline, T, K)
    mismatches += [Mismatch(view.name, *difference) for difference in against.differences[:rows]]
    notes, findings = {**offline.notes, **against.notes}, [*_copies(offline), *against.findings]
    return Parity(
        view.name,
        drawn.height,
        count,
        clock.timestamp(T),
        clock.timestamp(K),
        events.height,
        mismatches,
        notes,
        findings,
    )


def _in_two_partitions(offline: Offline, drawn: pl.DataFrame) -> Bool:
    """The keys with duplicates of an event in two partitions of the archive, bool (n)."""
    keys = list(offline.view.keys)
    if not offline.repeated.height or not keys:
        return np.full(drawn.height, bool(offline.repeated.height))
    repeated = drawn.with_row_index("headwater_row").join(
        offline.repeated.select(keys).cast(drawn.select(keys).schema).unique(), on=keys, how="semi"
    )["headwater_row"]
    return np.isin(np.arange(drawn.height), repeated.to_numpy())


def _copies(offline: Offline) -> list[str]:
    rule = producers_rule(offline.view.source)
    if not offline.repeated.height or rule is None:
        return []
    return [
        (
            "copies in two partitions of the archive, which both count: "
            f"{offline.repeated.height:,}; {rule}"
        )
    ]


def _has_accepted(store: OnlineStore, view: FeatureView) -> bool:
    """Whether a view has events that an archive has to have: all but those of its history."""
    return any(
        progress.counts.get("accepted", 0)
        for progress in progresses(store, view.source.name).values()
    )


def _keys(offline: Offline, online: OnlineView, t: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The keys that have events, sorted; and one that is null."""
    names = list(offline.view.keys)
    if not names:
        return pl.DataFrame({"": pl.Series([], dtype=pl.Int64)}), pl.DataFrame({"": [0]})
    nobody = pl.DataFrame(
        {name: [None] for name in names}, schema={name: online.state.dtypes[name] for name in names}
    )
    served = online.read(nobody, t)
    return offline.events(served).select(names).drop_nulls().unique().sort(names), nobody


def _drawn(every: pl.DataFrame, nobody: pl.DataFrame, rows: int, seed: int) -> pl.DataFrame:
    """Some of the keys, all as likely, and the null one, last."""
    chosen = np.sort(np.random.default_rng(seed).permutation(every.height)[:rows])
    return pl.concat([every[chosen], nobody], how="vertical_relaxed")


def _orphans(
    offline: Offline, online: OnlineView, every: pl.DataFrame, T: int, most: int
) -> list[OrphanedRecord]:
    """Keys that the store has records of and no event names, not even one that was committed
    meanwhile.
    """
    orphans = orphaned_records(online, every, T, most) if offline.view.keys else []
    if not orphans or offline.view.freshness.scheduled:
        return orphans
    named = set(_keys(offline, online, T)[0].iter_rows())
    return [(keys, records) for keys, records in orphans if tuple(keys.values()) not in named]


def _orphan_mismatches(
    online: OnlineView,
    orphaned: Sequence[OrphanedRecord],
    recomputed: FeatureValues,
    served: ViewValues,
) -> list[Mismatch]:
    """Their values that are not those of the null key, the last of `recomputed`."""
    view = online.view.root
    K = view.freshness.known_by(served.read_version.T, served.read_version.K)
    values, statuses = online.tiles.values(
        [records for _, records in orphaned],
        *(np.full(len(orphaned), at) for at in (served.read_version.T, K)),
    )
    mismatches = []
    for index, feature in enumerate(view.outputs):
        nothing, missing = (
            recomputed.values[feature.name][-1],
            recomputed.statuses[feature.name][-1],
        )
        for (keys, _), value, status in zip(
            orphaned, values[index].to_list(), statuses[index].to_list(), strict=True
        ):
            if status != missing:
                reason = "the store has a record of a key that no event names"
                mismatches.append(
                    Mismatch(f"{view.name}__{feature.name}", keys, value, nothing, reason)
                )
    return mismatches


def sizes(
    view: FeatureView,
    feature: Feature,
    events: pl.DataFrame,
    requests: OfflineRequests,
    resources: Resources = DEFAULT_RESOURCES,
) -> F64:
    """The scale of rounding errors: the sum of the sizes of the added values; of a mean or variance
    their mean.
    """
    a, column = feature.aggregation, feature.columns[0]
    larger = events.with_columns(pl.col(column).cast(pl.Float64).abs().alias(_ABS + column))
    kind = moments.sum if TABLE[a.function].adds == "sum" else moments.mean
    size = Feature("size", kind(_ABS + column, where=a.where), (_ABS + column,), feature.window)
    return np.asarray(
        answer(view, [size], larger, requests, resources).values["size"].fill_null(0).to_numpy(),
        np.float64,
    )
