"""The oracle's sources, views and labels as headwater's definitions, and rows as frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import polars as pl

import headwater as hw
from tests.laws import oracle as o

UTC = pl.Datetime("us", "UTC")
Schema = Mapping[str, pl.DataType | type[pl.DataType]]


def frame_of(rows: Sequence[o.Row], schema: Schema) -> pl.DataFrame:
    """Rows as a frame; columns that the schema does not name are left out."""
    columns = {
        name: pl.Series(name, [row[name] for row in rows], dtype=dtype)
        for name, dtype in schema.items()
    }
    return pl.DataFrame(columns)


def duration(micros: int) -> timedelta:
    return timedelta(microseconds=micros)


def freshness_of(freshness: o.Freshness) -> object:
    """`batch(...)` and its like."""
    if isinstance(freshness, o.Never):
        return hw.never()
    if isinstance(freshness, o.OnRequest):
        return hw.on_request()
    if isinstance(freshness, o.Streaming):
        return hw.streaming(duration(freshness.lag))
    if isinstance(freshness, o.Measured):
        ages = [None if age is None else duration(age) for age in freshness.ages]
        return hw.measured(
            ages, cuts=None if freshness.cuts is None else [*map(duration, freshness.cuts)]
        )
    at = f"{freshness.at // o.HOUR:02}:{freshness.at // o.MINUTE % 60:02}:{freshness.at // o.SECOND % 60:02}"
    late = {"delay": duration(freshness.delay), "wait": duration(freshness.wait)}
    return hw.batch(duration(freshness.every), at=at, timezone=freshness.timezone, **late)


def window_of(window: o.Window) -> object:
    length = "lifetime" if window.length is None else duration(window.length)
    hop = (
        {}
        if window.given_hop is None or (window.length is None and not window.offset)
        else {"hop": duration(window.given_hop)}
    )
    return hw.window(length, offset=duration(window.offset), **hop)


def aggregation_of(agg: o.Aggregation) -> hw.operations.Aggregation:
    """`count()` and its like."""
    more = {
        name: duration(value) if name == "half_life" else value
        for name, value in agg.params.items()
    }
    more |= {"where": agg.where, "name": agg.name}
    more["windows"] = None if agg.windows is None else [window_of(w) for w in agg.windows]
    function = getattr(hw, agg.function)
    queue = agg.function in ("open_count", "open_age")
    made = function(until=agg.columns[0], **more) if queue else function(*agg.columns, **more)
    return made if agg.by is None else made.by(agg.by, max_keys=agg.max_keys)


class Definitions:
    """headwater's definitions of what the oracle describes, each made once.

    tables: by name of a source, its history. filters: by name of a source, its `filter=`.
    """

    def __init__(
        self,
        tables: Mapping[str, object],
        filters: Mapping[str, pl.Expr] | None = None,
        *,
        whole: Sequence[str] = (),
    ) -> None:
        self.tables, self.filters, self.whole, self.made = tables, filters or {}, whole, {}

    def source(self, source: o.Source) -> hw.Source:
        if source.name not in self.made:
            self.made[source.name] = self._source(source)
        return self.made[source.name]

    def _source(self, source: o.Source) -> hw.Source:
        filtered = self.filters.get(source.name)
        if source.base is not None:
            return hw.enrich(
                self.source(source.base),
                source.name,
                [self.view(v) for v in source.members],
                filter=filtered,
            )
        known = {"known_after": duration(source.known_after)} if source.known_after else {}
        known |= {"known_at_field": source.known_at_field} if source.known_at_field else {}
        ids = {"id_field": source.id_field, "changes": source.changes} if source.id_field else {}
        ids |= (
            {"id_horizon": duration(source.id_horizon)}
            if source.id_field and not source.changes
            else {}
        )
        return hw.Source(
            source.name,
            history=self.tables[source.name],
            timestamp_field=source.timestamp_field,
            select=None if source.name in self.whole else [*source.columns],
            filter=filtered,
            window_on=source.window_on,
            timezone=source.timezone,
            **known,
            **ids,
        )

    def view(self, view: o.View) -> hw.FeatureView:
        """The view, or the alias of one where other columns or features fill its keys."""
        if view.name not in self.made:
            made = hw.FeatureView(
                f"{view.name}_base" if view.fills or view.list_key else view.name,
                source=self.source(view.source),
                keys=[*view.keys],
                features=[aggregation_of(agg) for agg in view.aggregations],
                windows=None if view.windows is None else [window_of(w) for w in view.windows],
                freshness=freshness_of(view.freshness),
                ttl=None if view.ttl is None else duration(view.ttl),
            )
            if view.fills or view.list_key:
                made = made.alias(
                    view.name, keys={key: self._filler(view, key) for key in view.keys}
                )
            self.made[view.name] = made
        return self.made[view.name]

    def _filler(self, view: o.View, key: str) -> object:
        of = view.fills.get(key, key)
        if isinstance(of, o.FeatureOf):
            of = self.view(of.view)[of.name]
        return hw.each(of) if key == view.list_key else of

    def labels(self, labels: o.Labels, table: pl.DataFrame) -> hw.Labels:
        known = {"known_at_field": labels.known_at_field}
        label = labels.label
        if isinstance(label, o.Outcome):
            of = (self.source(label.source), aggregation_of(label.aggregation))
            label, known = hw.outcome(*of, keys=[*label.keys], within=duration(label.within)), {}
        elif labels.known_at_field is None:
            known = {"known_after": duration(labels.known_after)}
        return hw.Labels(
            labels.name,
            table=table,
            timestamp_field=labels.timestamp_field,
            label=label,
            weight=labels.weight,
            **known,
        )


def dtype_of(feature: o.Feature, schema: Schema) -> pl.DataType:
    """The dtype of a feature's values, which its function and its column decide.

    Counts and sums of integers are int64, other sums, means and ages float64; values and lists are
    of their column's dtype (categories as strings, decimals as int64 or float64); maps hold them.
    """
    agg = feature.aggregation
    whole = {"count", "count_distinct", "open_count"}
    same = {"min", "max", "first", "last", "mode", "min_by", "max_by", "latest"}
    if agg.function in whole:
        dtype = pl.Int64()
    elif agg.function == "sum":
        column = value_dtype(schema[feature.columns[0]])
        dtype = pl.Int64() if column.is_integer() or column == pl.Boolean else pl.Float64()
    elif agg.function in same:
        dtype = value_dtype(schema[feature.columns[feature.position]])
    elif agg.function in ("first_n", "last_n", "top_k", "collect_set"):
        dtype = pl.List(value_dtype(schema[feature.columns[0]]))
    else:
        dtype = pl.Float64()
    return dtype


def value_dtype(dtype: pl.DataType | type[pl.DataType]) -> pl.DataType:
    """What the values of a column are held as."""
    if dtype in (pl.Categorical, pl.Enum):
        return pl.String()
    if isinstance(dtype, pl.Decimal):
        return pl.Float64() if dtype.scale else pl.Int64()
    if isinstance(dtype, pl.Datetime):
        return pl.Datetime("us", None if dtype.time_zone is None else "UTC")
    return dtype() if isinstance(dtype, type) else dtype
