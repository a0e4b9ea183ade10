"""How fresh views and sources are: their age now against the promise, and what became of the
records. Cheap: no key and no tile is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import polars as pl

from headwater import clock
from headwater.definitions.project import Project, stored
from headwater.definitions.source import Source
from headwater.ingestion.archive import KNOWN_AT, Roller
from headwater.ingestion.validate import waiting
from headwater.monitoring.status import standing
from headwater.results.freshness_result import FreshnessResult, SourceFreshness, ViewFreshness
from headwater.state.view_state import Progress
from headwater.stores import OnlineStore, keyspace
from headwater.stores.keyspace import placed, placed_source

_SAMPLED: Final = 10_000  # of the latest events of a partition


def freshness(project: Project, store: OnlineStore, folder: Path, t: int) -> FreshnessResult:
    """Every stored view and every streamed source of a project at time t, microseconds; `folder`:
    the data directory.
    """
    return FreshnessResult(
        clock.timestamp(t),
        view_freshness(project, store, t),
        source_freshness(project, store, folder, t),
    )


def view_freshness(project: Project, store: OnlineStore, t: int) -> list[ViewFreshness]:
    """Each stored view of a project at time t, microseconds.

    >>> import headwater as hw
    >>> from headwater.testing.examples import temporary_store, visiting
    >>> project = visiting(hw.batch("1h"))
    >>> with temporary_store() as store:
    ...     _ = hw.materialize(project, store=store, at="2024-05-01T12:00Z")
    ...     noon = 1714564800_000000
    ...     for minutes in (30, 90):
    ...         (view,) = view_freshness(project, store, noon + minutes * 60_000_000)
    ...         print(view.view, view.state, view.promise, view.age)
    user current 3600.0 1800.0
    user stale 3600.0 5400.0
    """
    views = []
    for stored_view in stored(project):
        view = placed(store, stored_view.view)
        state, age, T = standing(store, view, t)
        promise = view.freshness.worst_age / 1e6 if view.freshness.stored else None
        cut = None if T is None else clock.timestamp(T)
        views.append(
            ViewFreshness(
                stored_view.name,
                stored_view.view.source.name,
                str(view.freshness),
                state,
                promise,
                age,
                cut,
                list(stored_view.levels),
            )
        )
    return views


def source_freshness(
    project: Project, store: OnlineStore, folder: Path, t: int
) -> list[SourceFreshness]:
    """Each partition of each streamed source of a project at time t, microseconds; `folder`: the
    data directory.
    """
    promises: dict[str, int] = {}
    for stored_view in stored(project):
        view = stored_view.view
        if view.freshness.streamed:
            promises[view.source.name] = min(
                view.freshness.worst_age, promises.get(view.source.name, view.freshness.worst_age)
            )
    streamed = [source for source in project.sources if source.stream is not None]
    return [
        row
        for source in streamed
        for row in _partitions(store, source, folder, t, promises.get(source.name))
    ]


def _partitions(
    store: OnlineStore, defined_source: Source, folder: Path, t: int, promise: int | None
) -> list[SourceFreshness]:
    source, rows = placed_source(store, defined_source).name, []
    prefix = keyspace.PROGRESS + keyspace.name(source)
    for key, value in store.scan(prefix):
        partition = key[len(prefix) : -1].decode() or None
        progress = msgspec.msgpack.decode(value, type=Progress)
        name = source if partition is None else f"{source}\0{partition}"
        held = sum(
            waiting(held_rows, progress.at).height
            for _, held_rows in store.scan(keyspace.HELD + keyspace.name(name))
        )
        median, p95, late = _delays(
            Roller(store, keyspace.ARCHIVE, folder / "archive", source, partition),
            defined_source.timestamp_field,
            promise,
        )
        dead = _reasons(Roller(store, keyspace.DEAD, folder / "dead_letters", source, partition))
        newest = clock.timestamp(progress.latest) if progress.latest > 0 else None
        lag = (t - progress.known) / 1e6
        rows.append(
            SourceFreshness(
                defined_source.name,
                partition,
                lag,
                newest,
                progress.counts,
                held,
                median,
                p95,
                late,
                dead,
            )
        )
    return rows


def _delays(
    roller: Roller, timestamp: str, promise: int | None
) -> tuple[float | None, float | None, float | None]:
    """Median and 95 % of the delays of the latest events in seconds, and the share that is longer
    than the promise.
    """
    delays, count = list[np.ndarray[tuple[int], np.dtype[np.float64]]](), 0
    for part in reversed(roller.lazy_parts()):
        schema = part.collect_schema()
        if not isinstance(schema.get(timestamp), pl.Datetime):
            return None, None, None
        happened = pl.col(timestamp).dt.epoch("us")
        rows = part.select(pl.col(KNOWN_AT).dt.epoch("us") - happened).tail(_SAMPLED).collect()
        delays.append(rows.to_series().drop_nulls().cast(pl.Float64).to_numpy() / 1e6)
        count += len(delays[-1])
        if count >= _SAMPLED:
            break
    every = np.concatenate(delays) if delays else np.empty(0)
    if not len(every):
        return None, None, None
    late = None if promise is None else float((every > promise / 1e6).mean())
    return float(np.median(every)), float(np.quantile(every, 0.95)), late


def _reasons(roller: Roller) -> Mapping[str, int]:
    rows = roller.rows()
    return (
        {}
        if rows is None
        else Counter(
            dict(rows.group_by("reason").len().sort("len", descending=True).collect().iter_rows())
        )
    )
