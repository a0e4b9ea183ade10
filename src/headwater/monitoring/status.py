"""Status of an online store: each stream and view of a project, and the stored amounts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import polars as pl

from headwater import clock, settings
from headwater.definitions.checks import parse_timestamp
from headwater.definitions.definition import Readable
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.level import ModelVariant
from headwater.definitions.project import (
    Project,
    StoredView,
    backtest_only,
    checked_call,
    fingerprint,
    precomputed_of,
    served,
    stored,
)
from headwater.definitions.source import Source, producers_rule
from headwater.errors import UsageError, nearest
from headwater.ingestion.archive import KNOWN_AT, Roller
from headwater.ingestion.partition_count import PARTITIONS_GREW, count_key, incomplete_until
from headwater.ingestion.validate import DEAD_SCHEMA, OFFSET, waiting
from headwater.kernel.as_of import as_of
from headwater.models.latest_results import LATEST_DRIFT
from headwater.models.promises import deliveries
from headwater.models.registry import ModelRegistry
from headwater.monitoring.freshness_objectives import FreshnessObjective, freshness_objectives
from headwater.monitoring.unfilled import PASSED_OVER, passed_over
from headwater.results.drift_result import DriftResult
from headwater.results.promise_result import DeliveryResult
from headwater.state.prediction_codec import read_precomputed
from headwater.state.record import stored_sections
from headwater.state.view_state import (
    Progress,
    State,
    known_through,
    merged,
    misses,
    out_of_reach,
    progresses,
    read_parts,
    read_state,
)
from headwater.stores import OnlineStore, keyspace
from headwater.stores.keyspace import opened_for, placed, placed_generations, placed_source, scoped

STREAM_WAITS = (
    "; where no view of its source is whole the stream waits, since the stored images are made "
    "again too"
)


@dataclass(frozen=True)
class StreamStatus(Readable):
    """A source's stream, or one partition of it: what was read, as of when, and what became of the
    records.

    known: all that was received by then has been read; latest: of the events; both microseconds.
    held: events that wait for their time.
    archived: events in the archive. dead: refused records by reason. clock: whether ingestion
    compares the wall clock with that of the stream's broker: "compared", or "not compared: " and
    why; None where there is no broker.
    """

    source: str
    partition: str | None
    commits: int
    known: int
    latest: int
    held: int
    archived: int
    counts: Mapping[str, int]
    dead: Mapping[str, int]
    clock: str | None = None

    def behind(self, now: int) -> float:
        """Seconds since everything received had been read."""
        return (now - self.known) / 1e6


@dataclass(frozen=True)
class ViewStatus(Readable):
    """A view: its freshness, its state, how old its values are.

    state: "current", "stale", "ahead" of the clock, "incomplete", "filling", "absent",
    "approximate" or "not stored".
    age: seconds, None where there is nothing. T: of a batch view the cut that is read,
    microseconds. keys, bytes: stored.
    note: why it is absent or incomplete although ingestion runs, and what to do; how far it is
    filled; "" of others.
    """

    view: str
    freshness: str
    state: str
    age: float | None
    T: int | None
    keys: int
    bytes: int
    note: str = ""


@dataclass(frozen=True)
class PredictionStatus(Readable):
    """Precomputed predictions: for which keys, how fresh, their state ("current", "stale", "ahead",
    "absent"), how old they are.

    age: seconds from K, None where there is nothing. T: the cut that is read, published_at: when it
    was there; microseconds. keys: scored.
    version: of the model. otherwise: what a request without a score gets.
    """

    model: str
    level: str
    by: list[str]
    freshness: str
    otherwise: str
    state: str
    age: float | None
    T: int | None
    published_at: int | None
    keys: int
    version: str


@dataclass(frozen=True)
class Status(Readable):
    """An online store; `now` in microseconds, `size` in bytes.

    deliveries, drifts: the latest comparison of each served model with its promise and with its
    training.
    objectives: how the views keep their freshness objectives.
    producers: by source with several partitions, what the producers of its stream must keep so that
    copies count once.
    """

    now: int
    size: int
    streams: list[StreamStatus]
    views: list[ViewStatus]
    predictions: list[PredictionStatus]
    deliveries: list[DeliveryResult] = field(default_factory=list)
    drifts: list[DriftResult] = field(default_factory=list)
    objectives: list[FreshnessObjective] = field(default_factory=list)
    producers: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """The same, as JSON can say it."""
        fields = cast(
            "dict[str, object]", msgspec.to_builtins(replace(self, deliveries=[], drifts=[]))
        )
        deliveries = [delivery.to_dict() for delivery in self.deliveries]
        return {
            **fields,
            "deliveries": deliveries,
            "drifts": [drift.to_dict() for drift in self.drifts],
        }


@checked_call
def status(
    project: Project,
    *,
    store: OnlineStore | str | None = None,
    data_dir: str | Path | None = None,
    at: datetime | str | None = None,
    models: str | Path | None = None,
) -> Status:
    """How the streams and views of a project stand in its online store.

    Args:
        project: whose.
        store: an online store, or its URL; None is that of the settings (HEADWATER_STORE).
        data_dir: where ingestion keeps the archive; None is headwater's home.
        at: the moment to judge ages by, tz-aware, or ISO 8601 with an offset; None is now.
        models: the folder of fitted models, where `watch` keeps what was delivered; None is
            `models` in headwater's home.

    Raises:
        StoreError: the store does not exist.

    >>> import headwater as hw
    >>> from headwater.testing.examples import temporary_store, visiting
    >>> project = visiting(hw.batch("1h"))
    >>> with temporary_store() as store:
    ...     _ = hw.materialize(project, store=store, at="2024-05-01T12:00Z")
    ...     for at in ("2024-05-01T12:30Z", "2024-05-01T13:30Z"):
    ...         (view,) = hw.status(project, store=store, at=at).views
    ...         print(view.view, view.state, view.age, view.keys)
    user current 1800.0 2
    user stale 5400.0 2
    """
    at_micros = None if at is None else parse_timestamp(at, "at")
    home = settings.home() if data_dir is None else Path(data_dir)
    with opened_for(project.name, store, readonly=True) as opened:
        streams = [s for source in project.sources for s in _streams(opened, source, home)]
        t = clock.now_micros() if at_micros is None else at_micros
        registry, names = ModelRegistry(models), {model.name for model in project.models}
        predictions = [
            _predictions(opened, variant, t)
            for variant in served(project)
            if variant.precomputed is not None and backtest_only(variant) is None
        ]
        views = [_view(opened, stored_view, at_micros) for stored_view in stored(project)]
        promises = [
            delivery for delivery in deliveries(registry) if delivery.promise.model in names
        ]
        drifted = [drift for drift in LATEST_DRIFT.all(registry) if drift.model in names]
        objectives = freshness_objectives(project, home, t)
        several = [
            name
            for name, count in Counter(stream.source for stream in streams).items()
            if count > 1
        ]
        rules = {
            source.name: producers_rule(source)
            for source in project.sources
            if source.name in several
        }
        producers = {name: rule for name, rule in rules.items() if rule is not None}
        return Status(
            t, opened.size(), streams, views, predictions, promises, drifted, objectives, producers
        )


def _streams(store: OnlineStore, defined_source: Source, folder: Path) -> list[StreamStatus]:
    statuses, source = [], placed_source(store, defined_source).name
    prefix = keyspace.PROGRESS + keyspace.name(source)
    clock_note = store.get([keyspace.broker_clock(store.namespace + defined_source.name)])[0]
    compared = None if clock_note is None else clock_note.decode()
    for key, value in store.scan(prefix):
        partition = key[len(prefix) : -1].decode() or None
        progress = msgspec.msgpack.decode(value, type=Progress)
        name = source if partition is None else f"{source}\0{partition}"
        held = sum(
            waiting(rows, progress.at).height
            for _, rows in store.scan(keyspace.HELD + keyspace.name(name))
        )
        archive = Roller(store, keyspace.ARCHIVE, folder / "archive", source, partition).rows()
        dead = Roller(store, keyspace.DEAD, folder / "dead_letters", source, partition).rows()
        reasons = (
            {}
            if dead is None
            else dict(
                dead.group_by("reason").len().sort("len", descending=True).collect().iter_rows()
            )
        )
        archived = 0 if archive is None else int(archive.select(pl.len()).collect().item())
        statuses.append(
            StreamStatus(
                *(
                    defined_source.name,
                    partition,
                    progress.sequence,
                    progress.known,
                    progress.latest,
                    held,
                    archived,
                    progress.counts,
                    reasons,
                    compared,
                )
            )
        )
    return statuses


def _view(store: OnlineStore, stored_view: StoredView, at_micros: int | None) -> ViewStatus:
    """at_micros: as of when, microseconds; None is when the view is read."""
    view = placed(store, stored_view.view)
    keys, size, last = 0, 0, b""
    for record_key, record in stored_sections(store, view):
        # a batch view has up to two records a key
        key = record_key[:-1] if view.freshness.scheduled else record_key
        keys, size, last = keys + (key != last), size + len(record), key
    t = clock.now_micros() if at_micros is None else at_micros
    state, age, T = standing(store, view, t)
    note = (
        PASSED_OVER
        if state in ("absent", "incomplete") and passed_over(stored_view.view, store, t)
        else ""
    )
    if (
        state == "incomplete"
        and not note
        and incomplete_until(store.get([count_key(view.source.name)])[0], 0)
    ):
        note = PARTITIONS_GREW
    if state == "filling":
        note = _filled(read_parts(store, view.tiles_fingerprint).values())
    replacing = (
        placed_generations(store, stored_view.view).filling if view.freshness.streamed else None
    )
    if replacing is not None:
        parts = read_parts(store, replacing.tiles_fingerprint)
        note = f"filling again: {_filled(parts.values()) or 'waits for ingestion'}"
        waits = view.source.changes is not None and state == "incomplete"
        note += STREAM_WAITS if waits else ""
    return ViewStatus(stored_view.name, str(view.freshness), state, age, T, keys, size, note)


def _filled(parts: Iterable[State]) -> str:
    """How far a view is filled with its past, of all partitions that have begun."""
    fills = [state.filling for state in parts if state.filling is not None]
    done, every, events = (
        sum(getattr(fill, name) for fill in fills) for name in ("done", "parts", "events")
    )
    return f"{done:,} of {every:,} parts of its past are done, {events:,} events" if fills else ""


def _predictions(store: OnlineStore, variant: ModelVariant, t: int) -> PredictionStatus:
    precomputed = precomputed_of(variant)
    held = read_precomputed(store, fingerprint(variant, store.namespace))
    (due,), (_,) = as_of(precomputed.freshness, np.array([t]))
    cut = None if held is None else held.cut(int(due))
    description = (
        variant.model.name,
        variant.name,
        list(precomputed.keys),
        str(precomputed.freshness),
        precomputed.otherwise,
    )
    if cut is None:
        return PredictionStatus(*description, "absent", None, None, None, 0, "")
    state = "ahead" if due < cut.T else "stale" if due > cut.T else "current"
    return PredictionStatus(
        *description, state, (t - cut.K) / 1e6, cut.T, cut.published_at, cut.keys, cut.version
    )


def standing(store: OnlineStore, view: FeatureView, t: int) -> tuple[str, float | None, int | None]:
    """The state of a view at time t, its age in seconds, and of a batch view the cut that is read,
    as of `ViewStatus`; no key is read.
    """
    if view.freshness.scheduled:
        state = read_state(store, view.tiles_fingerprint)
        (due,), (_,) = as_of(view.freshness, np.array([t]))
        cut = None if state is None else state.cut(int(due))
        if cut is None:
            return "absent", None, None
        return (
            "ahead" if due < cut.T else "stale" if due > cut.T else "current",
            (t - cut.K) / 1e6,
            cut.T,
        )
    if not view.freshness.streamed:
        return "not stored", None, None
    tiles, parts = view.tiles_fingerprint, read_parts(store, view.tiles_fingerprint)
    state, progress = merged(store, parts, view.source.name), progresses(store, view.source.name)
    if state is None or state.seeded is None:
        return "absent" if state is None else "filling", None, None
    age = (t - known_through(progress.values())) / 1e6 if progress else None
    if age is not None and -age > view.freshness.worst_age / 1e6:
        return "ahead", age, None
    doubtful = out_of_reach(view, max((done.doubtful for done in progress.values()), default=0))
    if max(state.complete_from, doubtful) > t or misses(tiles, parts, progress):
        return "incomplete", age, None
    if state.exact_from > t:
        return "approximate", age, None
    return (
        "current" if age is not None and age <= view.freshness.worst_age / 1e6 else "stale",
        age,
        None,
    )


def refused(store: OnlineStore, project: Project, source: str, folder: Path) -> pl.DataFrame:
    """The records of a source that were refused, the latest first: `reason`, partition, offset,
    when received and refused, `payload`.

    Raises:
        UsageError: the project has no such source.
    """
    names = {s.name: s for s in project.sources}
    if source not in names:
        raise UsageError(
            f"project {project.name!r} has no source {source!r}; {nearest(source, names)}"
        )
    store = scoped(store, project.name)
    source = placed_source(store, names[source]).name
    prefix = keyspace.PROGRESS + keyspace.name(source)
    partitions = [key[len(prefix) : -1].decode() or None for key, _ in store.scan(prefix)]
    rollers = [
        Roller(store, keyspace.DEAD, folder / "dead_letters", source, partition)
        for partition in partitions
    ]
    frames = [rows.collect() for rows in (roller.rows() for roller in rollers) if rows is not None]
    none = pl.DataFrame(schema=DEAD_SCHEMA)
    return pl.concat([none, *(rows.select(none.columns) for rows in frames)]).sort(
        KNOWN_AT, OFFSET, descending=True
    )
