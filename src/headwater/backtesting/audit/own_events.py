"""The events of a source, next to the label rows with the same keys: which of them are the row's
own?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
import polars as pl

from headwater.backtesting.audit import thresholds
from headwater.backtesting.audit.inputs import AuditInputs
from headwater.backtesting.audit.labelled_rows import spread
from headwater.backtesting.audit.own_label_rows import furthest, value_columns
from headwater.connectors import scan
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.level import Level
from headwater.definitions.source import Source, bottom_of
from headwater.events.read_events import collect, selected, timestamp_micros
from headwater.kernel.arrays import F64, I64, Bool
from headwater.kernel.as_of import as_of

HOUR = 3_600_000_000
STAMP = "__stamp "  # before the name of a timestamp of the events' table
ID = "__id "  # before the name of a column of the events' table that tells label rows apart
REQUEST_TIME = "the request time"
_TEXTS = (pl.String, pl.Categorical, pl.Enum)
_MISSING = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Spike:
    """Label rows that count an event of their own keys at a constant offset from one of their own
    timestamps.

    offsets: one, or two that are an hour apart. event: int64 (rows looked at), the position of that
    event, -1 without. grid: the share that other offsets reach.
    """

    column: str
    offsets: Sequence[int]
    share: float
    event: I64
    grid: float

    @property
    def excess(self) -> float:
        """By how much the share exceeds the share at other offsets; 0 if chance explains it, or
        below 1 %.
        """
        excess = self.share - self.grid
        variance = sum(share * max(1 - share, 0.0) for share in (self.share, self.grid)) / max(
            len(self.event), 1
        )
        return (
            excess
            if excess >= max(thresholds.LEAK_SHARE, thresholds.ERRORS * float(np.sqrt(variance)))
            else 0.0
        )


@dataclass(frozen=True)
class OwnEvents:
    """The events of one source, and the label rows that are looked at.

    table: the events with their columns, sorted by key and time. rows: the label rows (all columns
    of their table), position: int64, their places among the requests. weight: float64 (rows), how
    many requests each stands for. code and row_code: int64, the key of each event and row, -1 for a
    key without events. time, known: int64 of events; request_times, T, K: int64 of rows, reach: of
    the longest window, None for a lifetime.
    """

    view: FeatureView
    keys: Sequence[tuple[str, str]]
    table: pl.DataFrame
    rows: pl.DataFrame
    position: I64
    weight: F64
    code: I64
    row_code: I64
    time: I64
    known: I64
    request_times: I64
    T: I64
    K: I64
    reach: int | None

    @property
    def subject(self) -> str:
        """The source's name."""
        return self.view.source.name

    def share(self, counted: Bool) -> float:
        """The share of requests for which this is true: bool (rows)."""
        return float(self.weight[counted].sum() / self.weight.sum())

    @property
    def columns(self) -> list[str]:
        """The columns that the level reads from the events, besides their keys."""
        keys = {event_key for event_key, _ in self.keys}
        return [
            name for name in self.table.columns if not name.startswith("__") and name not in keys
        ]

    @cached_property
    def timestamps(self) -> Mapping[str, I64]:
        """The timestamps of the label rows, by column, int64 microseconds; each series of values
        once.
        """
        by_name: dict[str, I64] = {REQUEST_TIME: self.request_times}
        for series in self.rows.get_columns():
            if isinstance(series.dtype, pl.Datetime):
                stamps = series.dt.epoch("us").fill_null(_MISSING).to_numpy()
                if not any(np.array_equal(stamps, earlier) for earlier in by_name.values()):
                    by_name[series.name] = stamps
        return by_name

    def counted(self, event: I64, row: I64) -> Bool:
        """Whether rows count events: positions of both, int64 (pairs)."""
        time = self.time[event]
        early = (
            np.ones(len(event), np.bool_)
            if self.reach is None
            else time >= self.T[row] - self.reach
        )
        return early & (time < self.T[row]) & (self.known[event] <= self.K[row])

    def exact_event(self, stamps: I64) -> I64:
        """The position of the event of each row's keys at exactly this time, counted or not; -1
        without.
        """
        wanted = pl.DataFrame({"code": self.row_code, "time": stamps})
        return (
            wanted.join(self._by_time, on=["code", "time"], how="left", maintain_order="left")[
                "event"
            ]
            .fill_null(-1)
            .to_numpy()
        )

    def at(self, stamps: I64) -> I64:
        """The same, if the row counts the event."""
        event = self.exact_event(stamps)
        ok = event >= 0
        ok[ok] = self.counted(event[ok], np.flatnonzero(ok))
        return np.where(ok, event, -1)

    @cached_property
    def _by_time(self) -> pl.DataFrame:
        events = pl.DataFrame(
            {"code": self.code, "time": self.time, "event": np.arange(len(self.time))}
        )
        return events.unique(["code", "time"], keep="last", maintain_order=True)

    @cached_property
    def spike(self) -> Spike | None:
        """The offset at which most rows count an event, above the level of other offsets; None
        where none stands out.
        """
        spikes = [
            spike
            for column, stamps in self.timestamps.items()
            if (spike := self._spike(column, stamps)) is not None
        ]
        return max(spikes, key=lambda spike: spike.share - spike.grid, default=None)

    def _spike(self, column: str, stamps: I64) -> Spike | None:
        offsets = self.offsets(stamps)
        if not offsets:
            return None
        there = stamps != _MISSING
        matches = {
            offset: self.at(np.where(there, stamps + offset, _MISSING)) for offset in offsets
        }
        shares = {offset: self.share(event >= 0) for offset, event in matches.items()}
        best = max(shares, key=lambda offset: shares[offset])
        partners = {
            offset: self.share((matches[best] < 0) & (matches[offset] >= 0))
            for offset in offsets
            if abs(offset - best) == HOUR
        }
        chosen, event = [best], matches[best]
        partner = max(partners, key=lambda offset: partners[offset], default=best)
        others = sorted(
            (share for offset, share in shares.items() if offset not in (best, partner)),
            reverse=True,
        )
        grid = others[2] if len(others) > 2 else 0.0
        if partners.get(partner, 0.0) - grid >= thresholds.OWN_SHARE:
            chosen, event = [best, partner], np.where(event >= 0, event, matches[partner])
        return Spike(column, chosen, self.share(event >= 0), event, grid * len(chosen))

    def offsets(self, stamps: I64) -> list[int]:
        """The offsets that most of `PAIRED` rows have to an event that they count, at most
        `OFFSETS`.
        """
        row, event = self.pairs
        present = stamps[row] != _MISSING
        # most are distinct: faster than a hash table
        offset = np.sort(self.time[event[present]] - stamps[row[present]])
        if not len(offset):
            return []
        first = np.flatnonzero(np.concatenate([[True], offset[1:] != offset[:-1]]))
        rows, distinct = np.diff(first, append=len(offset)), offset[first]
        often = np.flatnonzero(rows >= max(2, int(0.5 * thresholds.LEAK_SHARE * thresholds.PAIRED)))
        most = often[np.lexsort((distinct[often], rows[often]))[::-1][: thresholds.OFFSETS]]
        return [int(value) for value in distinct[most]]

    @cached_property
    def pairs(self) -> tuple[I64, I64]:
        """Rows and the events that they count: positions, int64 (pairs), of `PAIRED` rows and their
        newest events.
        """
        rows, events = [], []
        for row in spread(np.flatnonzero(self.row_code >= 0), thresholds.PAIRED):
            first, last = np.searchsorted(self.code, [self.row_code[row], self.row_code[row] + 1])
            end = first + int(np.searchsorted(self.time[first:last], self.T[row]))
            begin = (
                first
                if self.reach is None
                else first + int(np.searchsorted(self.time[first:last], self.T[row] - self.reach))
            )
            near = np.arange(max(begin, end - thresholds.NEWEST), end)
            near = near[self.counted(near, np.full(len(near), row))]
            rows.append(np.full(len(near), row))
            events.append(near)
        return np.concatenate([np.empty(0, np.int64), *rows]), np.concatenate(
            [np.empty(0, np.int64), *events]
        )

    def newest_other(self, own_event: I64) -> I64:
        """For each row, the newest counted event of its keys that is not its own; -1 without."""
        event = np.full(len(own_event), -1)
        for row in np.flatnonzero(own_event >= 0):
            first, last = np.searchsorted(self.code, [self.row_code[row], self.row_code[row] + 1])
            end = first + int(np.searchsorted(self.time[first:last], self.T[row]))
            near = np.arange(max(first, end - 3), end)
            near = near[self.counted(near, np.full(len(near), row)) & (near != own_event[row])]
            event[row] = near[-1] if len(near) else -1
        return event

    def same_time(self, stamp: str, wanted: I64) -> I64:
        """The position of the event of each row's keys with this timestamp, counted or not; -1
        without.
        """
        events = pl.DataFrame(
            {"code": self.code, "time": self.table[stamp], "event": np.arange(len(self.time))}
        ).drop_nulls()
        rows = pl.DataFrame({"code": self.row_code, "time": wanted})
        joined = rows.join(
            events.unique(["code", "time"], keep="last"),
            on=["code", "time"],
            how="left",
            maintain_order="left",
        )
        return joined["event"].fill_null(-1).to_numpy()

    def same_id(self, name: str) -> I64:
        """The position of the last event with each row's id that the row counts; -1 without."""
        events = pl.DataFrame(
            {"id": self.table[f"{ID}{name}"], "event": np.arange(len(self.time))}
        ).drop_nulls()
        rows = (
            self.rows.select(as_key(self.rows.schema[name], name).alias("id"))
            .with_row_index("row")
            .cast({"row": pl.Int64})
        )
        pairs = rows.join(events, on="id", how="inner", maintain_order="right")
        row, event = pairs["row"].to_numpy(), pairs["event"].to_numpy()
        counts, last = self.counted(event, row), np.full(len(self.request_times), -1)
        last[row[counts]] = event[counts]
        return last

    def values(self, column: str, event: I64) -> pl.Series:
        """A column of the events at these positions, without positions of -1."""
        return self.table[column].gather(event[event >= 0])


_EVENTS_BY_INPUTS: WeakKeyDictionary[AuditInputs, list[OwnEvents]] = WeakKeyDictionary()


def own_events(inputs: AuditInputs) -> list[OwnEvents]:
    """The events of each source that the level reads, next to sampled label rows; read once for all
    checks.
    """
    if inputs not in _EVENTS_BY_INPUTS:
        _EVENTS_BY_INPUTS[inputs] = _read(inputs)
    return _EVENTS_BY_INPUTS[inputs]


def _read(inputs: AuditInputs) -> list[OwnEvents]:
    views, level, _ = inputs.sampled
    events = []
    for view in furthest(views, level):
        source_events = _own_events_of(inputs, view, level)
        if source_events is None:
            inputs.skipped[f"own outcome of {view.source.name}"] = (
                "the labels do not have its keys, or it has no events"
            )
        else:
            events.append(source_events)
    return events


def _own_events_of(inputs: AuditInputs, view: FeatureView, level: Level) -> OwnEvents | None:
    source = bottom_of(view.source)
    position = inputs.with_rare(inputs.sample, thresholds.LOOKED)
    reads = inputs.sampled[2].t[np.searchsorted(inputs.sample, position)]
    rows = inputs.label_rows[position]
    subject = f"source {source.name!r}"
    time_columns = [c for c in (source.timestamp_field, source.known_at_field) if c]
    chosen = selected(source.table, source.select, source.filter, time_columns, subject)
    keys = _shared(inputs, view, chosen.schema, rows.schema)
    if not keys and view.keys:
        return None
    time = timestamp_micros(
        source.timestamp_field, chosen.schema, source.timezone, subject, days=True
    )
    known = (
        timestamp_micros(
            source.known_at_field or source.timestamp_field,
            chosen.schema,
            source.timezone,
            subject,
            days=True,
        )
        + source.delay
    )
    further = [
        pl.col(name).dt.epoch("us").alias(f"{STAMP}{name}")
        for name, dtype in chosen.raw.items()
        if isinstance(dtype, pl.Datetime)
    ]
    further += [
        as_key(chosen.raw[name], name).alias(f"{ID}{name}") for name in _ids(inputs, chosen.raw)
    ]
    values = [
        c
        for v in inputs.model.features.views
        if v.source.name == view.source.name
        for c in value_columns(v)
        if c in chosen.schema
    ]
    columns = list(dict.fromkeys([*(event_key for event_key, _ in keys), *values]))
    times = [time.alias("__time"), known.alias("__known")]
    chosen_rows = collect(chosen.frame.select(*columns, *times), subject)
    raw = collect(_filtered(source).select(further), subject) if further else None
    table = (
        chosen_rows if raw is None or raw.height != chosen_rows.height else chosen_rows.hstack(raw)
    )
    table = table.drop_nulls(["__time", "__known"])
    if not table.height:
        return None
    if source.window_on == "known_at":
        table = table.with_columns(pl.col("__known").alias("__time"))
    table, row_code = _coded(table, rows, keys)
    T, K = as_of(level.freshness(view), reads)
    reaches = [feature.window.reach for feature in view.outputs]
    return OwnEvents(
        view,
        keys,
        table,
        rows,
        position,
        inputs.weights(position),
        table["__code"].to_numpy(),
        row_code,
        table["__time"].to_numpy(),
        table["__known"].to_numpy(),
        inputs.requests.t[position],
        T,
        K,
        None if None in reaches else max((reach or 0 for reach in reaches), default=0),
    )


def _ids(inputs: AuditInputs, events: Mapping[str, pl.DataType]) -> list[str]:
    """The columns of both tables that tell label rows apart."""
    rows = inputs.label_rows
    shared = (
        name
        for name, dtype in rows.schema.items()
        if (dtype.is_integer() or isinstance(dtype, _TEXTS)) and _alike(events.get(name), dtype)
    )
    return [name for name in shared if rows[name].n_unique() >= thresholds.EQUAL * rows.height]


def _filtered(source: Source) -> pl.LazyFrame:
    frame = scan(source.table)
    return frame if source.filter is None else frame.filter(source.filter)


def _shared(
    inputs: AuditInputs, view: FeatureView, events: pl.Schema, rows: pl.Schema
) -> list[tuple[str, str]]:
    """The key columns of the events with the matching columns of the labels: the view's keys, and
    keys of any view that both tables name alike.
    """
    single = [key for key in view.keys if view.list_key is None or key != view.list_key.key]
    mapped = [
        (key, request_key)
        for key in single
        if isinstance(request_key := view.request_key(key), str)
        and key in events
        and request_key in rows
    ]
    pairs = dict(mapped)
    if all(event_key == request_key for event_key, request_key in mapped):
        keys = {key for v in inputs.model.features.views for key in v.keys}
        keys |= {
            name
            for name, dtype in inputs.requests.frame.schema.items()
            if isinstance(dtype, _TEXTS) and name != inputs.model.labels.label_name
        }
        pairs |= {key: key for key in sorted(keys) if key in events and key in rows}
    return [
        (event_key, request_key)
        for event_key, request_key in pairs.items()
        if _alike(events[event_key], rows[request_key])
    ]


def _alike(first: pl.DataType | None, second: pl.DataType) -> bool:
    if first is None:
        return False
    return (
        (first.is_integer() and second.is_integer())
        or (isinstance(first, _TEXTS) and isinstance(second, _TEXTS))
        or first == second
    )


def _coded(
    table: pl.DataFrame, rows: pl.DataFrame, keys: Sequence[tuple[str, str]]
) -> tuple[pl.DataFrame, I64]:
    """The events with `__code`, an integer for each key, sorted by it and the time; and the code of
    each row, -1 without events.
    """
    if not keys:
        return table.with_columns(pl.lit(0, pl.Int64).alias("__code")).sort("__time"), np.zeros(
            rows.height, np.int64
        )
    event_keys = table.select(
        as_key(table.schema[a], a).alias(f"__{i}") for i, (a, _) in enumerate(keys)
    )
    theirs = rows.select(as_key(rows.schema[b], b).alias(f"__{i}") for i, (_, b) in enumerate(keys))
    distinct = theirs.unique().drop_nulls().with_row_index("__code").cast({"__code": pl.Int64})
    on = [f"__{i}" for i in range(len(keys))]
    code = event_keys.join(distinct, on=on, how="left", maintain_order="left")["__code"]
    row_code = (
        theirs.join(distinct, on=on, how="left", maintain_order="left")["__code"]
        .fill_null(-1)
        .to_numpy()
    )
    with_keys = table.with_columns(code).drop_nulls("__code").sort("__code", "__time")
    return with_keys, np.where(
        np.isin(row_code, with_keys["__code"].unique().to_numpy()), row_code, -1
    )


def as_key(dtype: pl.DataType, name: str) -> pl.Expr:
    """A key column as both tables compare it: integers of one size, strings, or booleans."""
    return (
        pl.col(name).cast(pl.Int64)
        if dtype.is_integer()
        else pl.col(name).cast(pl.String)
        if dtype != pl.Boolean
        else pl.col(name)
    )
