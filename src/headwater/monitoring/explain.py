"""Explain a feature value: its events, counted or not and why, their tiles, and the recomputed
value.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from msgspec.structs import replace

from headwater import clock, settings
from headwater.definitions.checks import parse_timestamp
from headwater.definitions.feature_view import Feature, FeatureView
from headwater.definitions.project import Project, checked_call
from headwater.definitions.source import bottom_of
from headwater.errors import UsageError, nearest
from headwater.events.change_images import ANOTHER
from headwater.events.read_events import KNOWN, REMOVED_AT, ROW, TIME, Notes, arrived
from headwater.ingestion.archive import broken_files_named
from headwater.ingestion.validate import Acceptance
from headwater.kernel.as_of import as_of
from headwater.monitoring.event_trace import EventTrace
from headwater.monitoring.parity import OfflineRequests, answer
from headwater.online.read_versions import ReadVersion, newest
from headwater.online.view_reader import OnlineView, ViewValues
from headwater.results.result import Result
from headwater.state.record import key_bytes, section
from headwater.state.tiles import ALL
from headwater.stores import OnlineStore
from headwater.stores.keyspace import opened_for, placed
from headwater.training.feature_frames import tables

_FAR = 2**60
WHY = "why"
COUNTS = "counts"


class Explanation(Result, frozen=True, rename={"notes": "not_known"}):
    """A value and what it is made of.

    at, T, K: as timestamps in UTC. age: seconds from K to `at`.
    online, offline: the value served (None for a time other than now) and the recomputed value.
    events: of the key, those that count first, then those nearest to T: `timestamp`, `known_at`,
    what they say, `why` and `counts`.
    tiles: `start`, and how many `events`. notes: values of the archive that cannot be told as the
    stream is now, by reason.
    """

    feature: str
    keys: Mapping[str, Any]
    at: datetime
    T: datetime
    K: datetime
    age: float
    status: str
    online: Any
    offline: Any
    served: bool
    events: pl.DataFrame
    tiles: pl.DataFrame
    notes: Mapping[str, int] = {}

    def first(self, events: int) -> Explanation:
        """The explanation with so many events."""
        return replace(self, events=self.events.head(events))


def explain_feature(
    view: FeatureView,
    feature: str,
    keys: Mapping[str, object],
    store: OnlineStore | None,
    folder: Path | None,
    *,
    at: int | None = None,
) -> Explanation:
    """Explain one feature of a view for one key.

    Args:
        view: the feature's view.
        feature: its name, with or without the view's.
        keys: the view's keys.
        store: the online store; None explains the history alone.
        folder: where the archive of streams lies.
        at: the moment of asking, microseconds; None is now, where the online value is read too.

    Raises:
        DefinitionError: the view has no such feature.
        UsageError: a key that the view does not have, or one that is missing.
    """
    chosen = next(f for f in view.outputs if f.name == view[feature].feature)
    view = view.root if store is None else placed(store, view.root)
    for name in {*view.keys} ^ {*keys}:
        raise UsageError(
            f"feature view {view.name!r} has the keys {list(view.keys)}, and {list(keys)} were "
            f"given; {nearest(name, view.keys)}"
        )
    t = clock.now_micros() if at is None else at
    online = None if store is None else OnlineView(view, store)
    served = _served(view, online, keys, t, now=at is None)
    T, K = served.read_version.T, served.read_version.K
    evidence = EventTrace(view, store, folder)
    with broken_files_named(folder, bottom_of(view.source).name):
        events = evidence.events(keys, served)
    judged = _explained_events(view, chosen, events, T, K)
    frame = (
        pl.DataFrame(keys, schema={k: events.schema[k] for k in view.keys})
        if view.keys
        else pl.DataFrame({"": [0]})
    )
    rows = events.filter(pl.col("__ok") & ~pl.col("__late")).drop("__ok", "__why", "__late", ROW)
    recomputed = answer(view, view.outputs, rows, OfflineRequests.at(frame, served, view))
    index = [f.name for f in view.outputs].index(chosen.name)
    offline, status = recomputed.values[chosen.name][0], str(recomputed.statuses[chosen.name][0])
    online_value = served.features[index][0] if served.features else None
    tiles = _tiles(view, online, keys, T) if online is not None and at is None else _NO_TILES
    near = (pl.col("timestamp").dt.epoch("us") - T).abs()
    shown = judged.sort(~pl.col(COUNTS), near, ROW, nulls_last=True).drop(ROW)
    return Explanation(
        f"{view.name}__{chosen.name}",
        keys,
        clock.timestamp(t),
        clock.timestamp(T),
        clock.timestamp(K),
        age=(t - K) / 1e6,
        status=status,
        online=online_value,
        offline=offline,
        served=bool(served.features),
        events=shown,
        tiles=tiles,
        notes=evidence.notes,
    )


@checked_call
def explain(
    project: Project,
    feature: str,
    keys: Mapping[str, object],
    *,
    store: OnlineStore | str | None = None,
    data_dir: str | Path | None = None,
    at: datetime | str | None = None,
) -> Explanation:
    """Why a feature has the value that it has, or had at another moment.

    Args:
        project: whose feature.
        feature: its full name, such as `card__mean_amount_30d`; of one version of its view
            `card@2__mean_amount_30d`, else of the one that the models are written with.
        keys: the keys of its view.
        store: an online store, or its URL; None is that of the settings (HEADWATER_STORE).
        data_dir: where ingestion keeps the archive; None is headwater's home.
        at: the moment of asking, tz-aware, or ISO 8601 with an offset; None is now, and reads the
            online value too.

    Raises:
        UsageError: a feature or key that there is not.
        StoreError: a view that is not in the store.

    >>> import headwater as hw
    >>> from headwater.testing.examples import temporary_store, visiting
    >>> project = visiting(hw.batch("1h"))
    >>> with temporary_store() as store:
    ...     _ = hw.materialize(project, store=store, at="2024-05-01T11:00Z")
    ...     found = hw.operations.explain(
    ...         project, "user__count_1d", {"user": 1}, store=store, at="2024-05-01T11:10Z"
    ...     )
    >>> found.offline, found.status, found.events["why"].value_counts(sort=True)["count"].to_list()
    (5, 'present', [5, 1])
    >>> found.events["why"][-1]
    'outside: it happened at or after 2024-05-01 11:00:00.000000, where the window ends'
    """
    view, name = _view_of(project, feature)
    home = settings.home() if data_dir is None else Path(data_dir)
    with opened_for(project.name, store, readonly=True) as opened:
        explained = explain_feature(
            view, name, keys, opened, home, at=None if at is None else parse_timestamp(at, "at")
        )
        return replace(explained, feature=feature)


def typed_keys(project: Project, feature: str, strings: Mapping[str, str]) -> dict[str, object]:
    """Parse keys that were given as strings to the types of the feature's view.

    Raises:
        UsageError: an unknown feature or key, a key without a value, or a string that is not of the
            key's type.
    """
    view, _ = _view_of(project, feature)
    schema = key_types(view)
    typed_values: dict[str, object] = {}
    for name, text in strings.items():
        if name not in view.keys:
            raise UsageError(
                f"feature view {view.name!r} has no key {name!r}; {nearest(name, view.keys)}"
            )
        value = typed(text, schema[name])
        if value is None:
            raise UsageError(f"the key {name!r} is {schema[name]}, and {text!r} is not")
        typed_values[name] = value
    if missing := [name for name in view.keys if name not in typed_values]:
        example = " ".join([feature, *(f"{name}=VALUE" for name in view.keys)])
        raise UsageError(
            f"no value for {', '.join(map(repr, missing))}, of the keys of feature view "
            f"{view.name!r}; explain {example}"
        )
    return typed_values


def key_types(view: FeatureView) -> Mapping[str, pl.DataType]:
    """The type of each column of a view's events, by its history or its stream; no row is read.

    Raises:
        DataError: the history is not there.
    """
    if view.freshness.scheduled or view.source.stream is None:
        enriched = tables(0, 0, Notes())
        enriched.read(view.source, view.keys, None)
        return dict(arrived(enriched.readable(view.source), view.keys, [], []).collect_schema())
    acceptance = Acceptance(view.source, (view,), 0)
    return dict(acceptance.events_of(pl.DataFrame(schema=acceptance.schema)).schema)


def typed(text: str, dtype: pl.DataType) -> object:
    """What a text says in a type; None where it says nothing of the kind."""
    try:
        match dtype:
            case pl.Boolean():
                return {"true": True, "false": False}.get(text.lower())
            case pl.Date():
                return date.fromisoformat(text)
            case pl.Datetime(time_zone=zone):
                timestamp = datetime.fromisoformat(text)
                return timestamp if (timestamp.tzinfo is None) == (zone is None) else None
            case _:
                return pl.Series([text]).cast(dtype, strict=False)[0]
    except ValueError:
        return None


def _view_of(project: Project, feature: str) -> tuple[FeatureView, str]:
    """The view of a feature, and the feature's name in it."""
    named = {name: (view, name) for view in project.roots for name in view.feature_names}
    if feature not in named:
        raise UsageError(
            f"project {project.name!r} has no feature {feature!r}; {nearest(feature, named)}"
        )
    return named[feature]


_NO_TILES = pl.DataFrame(schema={"start": pl.Datetime("us", "UTC"), "events": pl.Int64})


def _served(
    view: FeatureView, online: OnlineView | None, keys: Mapping[str, object], t: int, *, now: bool
) -> ViewValues:
    """The value served now, or the T and K of another time."""
    if online is not None and now:
        frame = (
            pl.DataFrame({name: [keys[name]] for name in view.keys})
            if view.keys
            else pl.DataFrame({"": [0]})
        )
        return online.read(frame, t)
    if view.freshness.scheduled:
        (T,), (K,) = as_of(view.freshness, np.array([t]))
        return ViewValues([], [], ReadVersion(int(T), int(K), {}, stale=False))
    return ViewValues([], [], ReadVersion(t, t, {None: _FAR}, stale=False))


def _explained_events(
    view: FeatureView, feature: Feature, events: pl.DataFrame, T: int, K: int
) -> pl.DataFrame:
    """The events with their times as datetimes, whether each counts, and why."""
    window = feature.window
    begin = (
        None
        if window.length is None
        else (T - window.offset - window.length) // window.hop * window.hop
    )
    end = T if not window.offset else (T - window.offset) // window.hop * window.hop
    a = feature.aggregation
    checks: list[tuple[pl.Expr, str]] = [
        (
            pl.col(TIME) >= end,
            (
                f"outside: it happened at or after {clock.timestamp(end):%Y-%m-%d %H:%M:%S.%f}, "
                "where the window ends"
            ),
        ),
        (
            pl.col("__late"),
            f"late: it became known after {clock.timestamp(K):%Y-%m-%d %H:%M:%S.%f}, which is K",
        ),
    ]
    if REMOVED_AT in events.columns:
        checks.append(
            (
                (pl.col(REMOVED_AT) <= K) & pl.col(ANOTHER),
                "corrected: K knows a later version of it",
            )
        )
        checks.append((pl.col(REMOVED_AT) <= K, "deleted, as K knows"))
    if begin is not None:
        checks.append(
            (
                pl.col(TIME) < begin,
                (
                    f"outside: it happened before {clock.timestamp(begin):%Y-%m-%d %H:%M:%S.%f}, "
                    "where the window begins"
                ),
            )
        )
    if a.where is not None:
        checks.append(
            (~pl.col(a.where).fill_null(value=False), f"filtered: where={a.where!r} is not true")
        )
    if a.facts.queue:
        ended, known = pl.col(feature.columns[0]).dt.epoch("us"), view.freshness.known_by(T, K)
        checks.append(
            (
                (ended < T) & (ended + view.source.delay <= known),
                f"ended: its {feature.columns[0]} is before T",
            )
        )
    nullable = [
        *(feature.columns if a.skips_null else ()),
        *([a.secondary.column] if a.secondary is not None else []),
    ]
    for name in nullable:
        missing = (
            pl.col(name).is_null() | pl.col(name).is_nan()
            if events.schema[name].is_float()
            else pl.col(name).is_null()
        )
        checks.append((missing, f"filtered: {name} is null"))
    why = pl.coalesce(
        pl.col("__why"), *(pl.when(wrong).then(pl.lit(reason)) for wrong, reason in checks)
    )
    shown = [c for c in dict.fromkeys(feature.reads) if c not in view.keys]
    timestamps = [
        pl.col(TIME).cast(pl.Datetime("us", "UTC")).alias("timestamp"),
        pl.col(KNOWN).cast(pl.Datetime("us", "UTC")).alias("known_at"),
    ]
    judged = events.select(ROW, *timestamps, *shown, why.alias(WHY)).with_columns(
        pl.col(WHY).is_null().alias(COUNTS)
    )
    return judged.with_columns(pl.col(WHY).fill_null("it counts"))


def _tiles(
    view: FeatureView, online: OnlineView, keys: Mapping[str, object], T: int
) -> pl.DataFrame:
    """The tiles of the key's records: where each begins, and how many events it holds."""
    frame = (
        pl.DataFrame({name: [keys[name]] for name in view.keys}) if view.keys else pl.DataFrame()
    )
    typed = frame.select(pl.col(name).cast(online.state.dtypes[name]) for name in view.keys)
    key = key_bytes(typed)[0] if view.keys else b""
    stored = online.store.get(online.places([key], online.version_reader.look()[1]))
    read = [newest(stored, T)] if view.freshness.scheduled else stored
    records = [section(record, online.view.tiles_fingerprint) for record in read]
    tiles, _, _ = online.tiles.records.load(records)
    counted = next(
        i
        for i, slot in enumerate(online.tiles.records.stored.slots)
        if not slot.use.columns and slot.use.where is None
    )
    starts = [None if s == ALL else clock.timestamp(s) for s in tiles.start.tolist()]
    return pl.DataFrame(
        {"start": starts, "events": tiles.states[counted][0]}, schema=_NO_TILES.schema
    ).sort("start", nulls_last=False)
