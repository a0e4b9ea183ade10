"""Readings of an event history: span, times, when events became known, and agreement with the
stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from headwater import clock
from headwater.assessing.probes import event_probe as of_events
from headwater.assessing.probes.stream_probe import Tail
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.source import Source
from headwater.events.read_events import KNOWN, TIME, arrived, called, collect
from headwater.ingestion.validate import OFFSET, PARTITION
from headwater.results.measurement import Missing, Number, Reading, measured

_MOST = 2_000_000  # the latest rows, which order and duplicates are measured on
_HOUR = 3_600_000_000
_WEEK = 7 * 24 * _HOUR


@dataclass(frozen=True)
class History:
    """A source's history as a lazy frame: the columns that views read, TIME, KNOWN, and an id if
    the source has one.
    """

    source: Source
    frame: pl.LazyFrame

    @property
    def where(self) -> str:
        """In words."""
        return f"the history of {self.source.name!r}"

    @cached_property
    def latest(self) -> pl.DataFrame:
        """Its latest rows, and those without a time."""
        return collect(
            self.frame.top_k(_MOST, by=pl.col(TIME).fill_null(2**62)), self.where, streaming=True
        )


def history(source: Source, views: Sequence[FeatureView]) -> History:
    """The history that views read.

    Raises:
        HeadwaterError: the source has no history, or it cannot be read.
    """
    keys = list(dict.fromkeys(key for view in views for key in view.keys))
    summed = [name for view in views for name in [numeric(view)] if name is not None]
    columns = [name for name in dict.fromkeys(summed) if name not in keys]
    return History(source, arrived(source, keys, columns, [], known=True))


def numeric(view: FeatureView) -> str | None:
    """The first column that the view sums, or else aggregates; None if it only counts."""
    columns = [c for a in view.features for c in a.columns if c not in view.keys]
    return columns[0] if columns else None


def of_source(past: History) -> dict[str, Reading]:
    """Readings that all views of the source share."""
    source, now = past.source, clock.now_micros()
    timely = ((pl.col(TIME) <= now + of_events.SOON) & pl.col(TIME).is_not_null()).sum()
    delay = (pl.col(KNOWN) - pl.col(TIME)).quantile(0.99, "higher")
    wanted = [
        pl.len().alias("n"),
        timely.alias("ok"),
        pl.col(TIME).min().alias("a"),
        pl.col(TIME).max().alias("b"),
        delay.alias("delay"),
    ]
    row = collect(past.frame.select(wanted), called(source), streaming=True).row(0, named=True)
    if not row["n"] or row["a"] is None:
        none = Missing(f"{past.where} holds no event with a time")
        return dict.fromkeys(("timed", "span", "known_delay", "events_per_second", "copies"), none)
    span = (row["b"] - row["a"]) / 1e6
    by_column = source.known_at_field is not None
    rule = f"the source's rule known_after={source.known_after!r}"
    p99 = (
        measured(row["delay"] / 1e6, "s", f"p99 of known_at - event time, {row['n']:,} events")
        if by_column
        else None
    )
    rate = (
        measured(row["n"] / span, "1/s", f"{row['n']:,} events of {past.where}")
        if span
        else Missing("all events have one timestamp")
    )
    return {
        "timed": measured(
            row["ok"] / row["n"],
            "",
            f"{row['ok']:,} of {row['n']:,} events of {past.where} have a timestamp in the past",
        ),
        "span": measured(span, "s", f"first to last event of {past.where}"),
        "known_column": _known_column(source),
        "known_delay": p99 or Number(source.delay / 1e6, "s", "given", rule),
        **({"lag": p99} if p99 else {}),
        "events_per_second": rate,
        "copies": of_events.copies(past.latest, past.where),
        **(
            {
                "history_kept": measured(
                    1.0, "", f"changes={source.changes!r}: every change image is kept"
                )
            }
            if source.changes
            else {}
        ),
    }


def of_view(view: FeatureView, past: History) -> dict[str, Reading]:
    """Readings that depend on the view's keys."""
    latest, keys = past.latest, list(view.keys)
    by = past.source.known_at_field
    unknown = Missing("rows of a file have no order of arrival; set known_at_field= to give one")
    return {
        "keyed": of_events.keyed(latest, latest.height, keys, past.where),
        "disorder": of_events.disorder(latest, keys, [KNOWN], past.where) if by else unknown,
        "hottest": of_events.hottest(latest, keys, past.where),
    }


def agreement(view: FeatureView, stream: Tail, past: History) -> Reading:
    """The share of key-hours whose count or sum differs between stream and history, over the last 7
    days that both hold completely.
    """
    keys, column = list(view.keys), numeric(view)
    live = stream.events.filter(pl.col(TIME).is_not_null())
    if not live.height:
        return Missing(f"{stream.where}: no event has a time")
    bounds = collect(
        past.frame.select(pl.col(TIME).min().alias("a"), pl.col(TIME).max().alias("b")),
        past.where,
        streaming=True,
    ).row(0)
    if bounds[0] is None:
        return Missing(f"{past.where} holds no event with a time")
    first = _covered(stream, live)
    last = min(int(live.select(pl.col(TIME).max()).item()), bounds[1]) // _HOUR * _HOUR
    first = max(first, -(-bounds[0] // _HOUR) * _HOUR, last - _WEEK)
    if first >= last:
        return Missing(f"{stream.where} and {past.where} share no whole hour; read more records")
    within = (pl.col(TIME) >= first) & (pl.col(TIME) < last)
    there = collect(past.frame.filter(within), past.where, streaming=True)
    numbers = (
        column is not None
        and live.schema[column].is_numeric()
        and there.schema[column].is_numeric()
    )
    a, b = (_by_hour(f, keys, column if numbers else None) for f in (live.filter(within), there))
    on = [*keys, "hour"]
    both = a.join(b, on=on, how="full", coalesce=True, nulls_equal=True)
    near = (pl.col("sum") - pl.col("sum_right")).abs() <= 1e-9 * pl.max_horizontal(
        pl.col("size"), pl.col("size_right")
    )
    same = (pl.col("n").eq_missing(pl.col("n_right"))) & near.fill_null(value=False)
    if not both.height:
        return Missing(
            f"neither {stream.where} nor {past.where} has an event in the hours that they share"
        )
    share = 1 - both.select(same.mean()).item()
    compared = "count" if not numbers else f"count and sum of {column}"
    return measured(
        share,
        "share",
        f"{compared} of {both.height:,} key-hours in {(last - first) // _HOUR} hours",
    )


def _covered(stream: Tail, live: pl.DataFrame) -> int:
    """The start of the complete hours among the records read, in microseconds."""
    if stream.seen.whole and not any(stream.seen.first.values()):
        return int(live.select(pl.col(TIME).min()).item()) // _HOUR * _HOUR
    # The first that was read of each partition; an hour more, since some before it may be later
    # than it.
    first = live.sort(PARTITION, OFFSET).group_by(PARTITION).agg(pl.col(TIME).first())
    return (int(first.select(pl.col(TIME).max()).item()) // _HOUR + 2) * _HOUR


def _by_hour(frame: pl.DataFrame, keys: Sequence[str], column: str | None) -> pl.DataFrame:
    value = pl.lit(0.0) if column is None else pl.col(column).cast(pl.Float64).fill_null(0.0)
    hour = (pl.col(TIME) // _HOUR).alias("hour")
    return frame.group_by([*keys, hour]).agg(
        pl.len().alias("n"), value.sum().alias("sum"), value.abs().sum().alias("size")
    )


def _known_column(source: Source) -> Reading:
    if source.known_at_field is not None:
        return measured(1.0, "", f"known_at_field={source.known_at_field!r}")
    return Number(
        0.5,
        "",
        "given",
        f"no column says when an event became known; by rule, {source.known_after} after its time",
    )
