"""Readings of events from any source: disorder, duplicates, the busiest key."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from headwater.events.read_events import IDENT, TIME
from headwater.results.measurement import Missing, Reading, measured

_DAY = 86_400_000_000
SOON = 60_000_000  # how far ahead of the clock an event time may be


def disorder(
    events: pl.DataFrame, keys: Sequence[str], order: Sequence[str], origin: str
) -> Reading:
    """How far behind the latest event of its key an event comes, p99.9 in seconds; `order` is how
    they came.
    """
    sound = events.filter(pl.col(TIME).is_not_null())
    if sound.height < 2:
        return Missing(f"{origin} holds {sound.height} events with a time")
    latest = pl.col(TIME).cum_max()
    behind = (latest.over(keys) if keys else latest) - pl.col(TIME)
    delays = sound.sort(order, maintain_order=True).select(behind.alias("behind"))["behind"]
    return measured(
        _quantile(delays, 0.999) / 1e6,
        "s",
        f"{sound.height:,} events of {origin}, each against the latest of its key before it",
    )


def copies(events: pl.DataFrame, origin: str) -> Reading:
    """The share of duplicates by id among the events of the last 24 hours."""
    if IDENT not in events.columns:
        return Missing("the source has no id_field=, so duplicates cannot be recognised")
    last = events.select(pl.col(TIME).max()).item()
    day = (
        events.filter(pl.col(TIME) > last - _DAY, pl.col(IDENT).is_not_null())
        if last is not None
        else events.clear()
    )
    if not day.height:
        return Missing(f"{origin} holds no event with an id and a time")
    return measured(
        1 - day[IDENT].n_unique() / day.height,
        "share",
        f"{day.height:,} events of the last 24 hours of {origin}",
    )


def hottest(events: pl.DataFrame, keys: Sequence[str], origin: str) -> Reading:
    """The share of events that the busiest key has."""
    if not keys:
        return Missing("the view has one value for all, and no keys")
    if not events.height:
        return Missing(f"{origin} holds no event")
    most = events.group_by(keys).len()["len"].max()
    return measured(
        int(most) / events.height if isinstance(most, int) else 1.0,
        "share",
        f"{events.height:,} events of {origin}",
    )


def keyed(events: pl.DataFrame, total: int, keys: Sequence[str], origin: str) -> Reading:
    """The share of records that parse and have all keys; `total` includes records that do not
    parse.
    """
    if not total:
        return Missing(f"{origin} holds no record")
    good = (
        events.filter(pl.all_horizontal(pl.col(key).is_not_null() for key in keys)).height
        if keys
        else events.height
    )
    return measured(
        good / total,
        "share",
        f"{good:,} of {total:,} records of {origin} parse and have "
        f"{', '.join(keys) or 'all fields'}",
    )


def quantile_seconds(values: pl.Series, q: float) -> float:
    """A quantile of microseconds, in seconds."""
    return _quantile(values, q) / 1e6


def _quantile(values: pl.Series, q: float) -> float:
    return float(np.quantile(values.to_numpy(), q, method="higher"))
