"""The engine on one machine: read, code the keys, sort once, run the kernel, and put the answers back into row order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from headwater import settings
from headwater.aggregations.algebra import Answers, By
from headwater.aggregations.windows import Wanted, aggregate
from headwater.compute.arrays import I64, LASTS, NOTHING, Asks, Bool, Column, Events
from headwater.compute.as_of import NEVER
from headwater.compute.codes import each, order_of, take, taken, tied
from headwater.compute.layer import Use
from headwater.definitions.durations import SECOND, Window
from headwater.definitions.feature_view import Feature
from headwater.definitions.source import Source
from headwater.engines import asides
from headwater.engines.columns import Coded, check_accepts, check_secondary, decode, hashed, to_kernel
from headwater.engines.events import GONE, IDENT, Notes, Reach, called, encoded, no_events, read_events, value_name
from headwater.engines.keys import CODE, code_keys
from headwater.engines.reading import KNOWN, TIME
from headwater.errors import DataError


@dataclass(frozen=True)
class Request:
    """Rows that ask for the same features at one freshness.

    keys: a frame with the view's keys as columns. t: int64 (rows), when each row asks; orders the rows of a key.
    T, K: int64 (rows), as `as_of` gives them.
    """

    keys: pl.DataFrame
    t: I64
    T: I64
    K: I64


@dataclass(frozen=True)
class Query:
    """Features of one source and set of keys.

    also: columns to read beside those of the features.
    retained: the windows of the whole view, where statuses are asked for too: a value is missing if none of them holds an event.
    known: whether to say when the last event that counts became known.
    """

    source: Source
    keys: Sequence[str]
    features: Sequence[Feature]
    expires_after: int | None = None
    also: Sequence[str] = ()
    retained: Sequence[Window] = ()
    known: bool = False

    @property
    def windows(self) -> list[Window]:
        """Every window that an event can matter in."""
        return [*(f.window for f in self.features), *self.retained]

    @property
    def columns(self) -> list[str]:
        """The source's columns that are read, sorted."""
        return sorted({*self.also, *(c for f in self.features for c in (*f.columns, *f.aggregation.beside))})


@dataclass(frozen=True)
class _Role:
    """Requests that share keys and times, sorted once: order (rows), and where each key begins."""

    order: I64
    starts: I64


def compute(
    query: Query, requests: Sequence[Request], notes: Notes, *, threads: int | None = None, tick: Callable[[int], None] | None = None
) -> list[list[pl.Series]]:
    """The features of `query` for each set of requests, in row order.

    Rows that ask with T = NEVER count no event; where no row asks otherwise, only the schema is read.

    Returns:
        For each set of requests, one series (rows) for each feature; then, where asked for, the status of each, and KNOWN: int64
        microseconds, NEVER where nothing counts.
    """
    return answer(query, _events(query, requests, notes), requests, threads=threads, tick=tick)


def answer(
    query: Query,
    events: pl.DataFrame,
    requests: Sequence[Request],
    *,
    threads: int | None = None,
    tick: Callable[[int], None] | None = None,
) -> list[list[pl.Series]]:
    """The features of `query` for each set of requests, in row order, of the events that count (see `engines.events`).

    Returns:
        As `compute`.

    Raises:
        DataError: columns or keys of a type that the features cannot be made of.
    """
    cores = threads or settings.threads()
    events, codes = encoded(events, query.keys, query.columns, called(query.source))
    _check_columns(query, events, codes)
    asked = list({id(r.keys): r.keys for r in requests}.values())
    coded, numbers, keys = code_keys(events, query.keys, asked, f"source {query.source.name!r}")
    coded = coded.drop(query.keys)
    del events  # what is no longer needed is given back, here and below: this is what takes the most memory
    number_of = {id(frame): number for frame, number in zip(asked, numbers, strict=True)}
    roles: dict[tuple[int, int], _Role] = {}
    for r in requests:
        at = (id(r.keys), id(r.t))
        if at not in roles:
            roles[at] = _Role(*order_of(number_of[id(r.keys)], r.t, keys, cores))
    chosen = [roles[id(r.keys), id(r.t)] for r in requests]
    asks = [_asks(r, role, cores) for r, role in zip(requests, chosen, strict=True)]
    wanted, finish = _wanted(query)
    ordered = sort_events(coded, keys, query.source, list(codes), cores)
    del coded
    told_apart = {c for f in query.features if f.aggregation.function == "count_distinct" for c in f.columns}
    ordered = replace(ordered, columns={n: hashed(c, codes[n]) if n in told_apart else c for n, c in ordered.columns.items()})
    found = aggregate(asides.with_known(ordered) if query.known else ordered, asks, wanted, cores, tick)
    return [_series(finish(columns, a.K), query, codes, role, cores) for columns, a, role in zip(found, asks, chosen, strict=True)]


def _events(query: Query, requests: Sequence[Request], notes: Notes) -> pl.DataFrame:
    reach = reach_of(requests, query.windows)
    if reach is None:
        return no_events(query.source, query.keys, query.columns, requests[0].keys.schema)
    return read_events(query.source, query.keys, query.columns, reach, [r.keys for r in requests], notes)


def _check_columns(query: Query, events: pl.DataFrame, codes: dict[str, Coded]) -> None:
    if query.source.history is None:  # nothing says of what type its columns are
        return
    for feature in query.features:
        for name in feature.columns:
            if name in codes:
                check_accepts(feature.aggregation.function, codes[name].dtype, f"source {query.source.name!r}: the column {name!r}")
        split = feature.aggregation.secondary
        if split is not None:
            check_secondary(events[value_name(split.column)], codes[split.column], f"source {query.source.name!r}: {split.column!r}")
        where = feature.aggregation.where
        if where is not None and codes[where].dtype not in (pl.Boolean, pl.Null):
            raise DataError(
                f"source {query.source.name!r}: where={where!r} of {feature.aggregation.function}() takes a column of booleans, and it is "
                f"{codes[where].dtype}; "
                f"make one in the source's select, such as (pl.col({where!r}) > 0).alias('is_{where}')"
            )


def reach_of(requests: Sequence[Request], windows: Sequence[Window]) -> Reach | None:
    """Which event times any row can count, or None where no event can count."""
    asked = [(r.T[r.T > NEVER], r.K[r.T > NEVER]) for r in requests]
    live = [T for T, _ in asked if len(T)]
    if not live:
        return None
    known = max(int(K.max()) for _, K in asked if len(K))
    reaches = [w.reach for w in windows]
    far = None if None in reaches else max(r for r in reaches if r is not None)
    return Reach(None if far is None else min(int(T.min()) for T in live) - far, max(int(T.max()) for T in live), known)


def sort_events(coded: pl.DataFrame, keys: int, source: Source, columns: Sequence[str], threads: int) -> Events:
    """The events sorted by (key, time, id, known, values), as the kernel takes them."""
    order, starts = order_of(coded[CODE].to_numpy(), coded[TIME].to_numpy(), keys, threads)
    t = take(coded[TIME].to_numpy(), order, threads)
    ident = _break_ties(coded, [c for c in (IDENT, KNOWN) if c in coded.columns] + [value_name(c) for c in columns], order, starts, t)
    by_column = KNOWN in coded.columns and source.window_on == "timestamp"
    known = take(coded[KNOWN].to_numpy(), order, threads) if by_column else NOTHING
    delay = source.delay if source.window_on == "timestamp" else 0
    columns_of = {name: taken(to_kernel(coded[value_name(name)]), order, threads) for name in columns}
    changing = GONE in coded.columns and (coded[GONE] < LASTS).any()
    gone = take(coded[GONE].to_numpy(), order, threads) if changing else NOTHING
    return Events(starts, t, known, delay, ident, columns_of, ended_after=source.delay, gone=gone)


def _break_ties(coded: pl.DataFrame, ties: Sequence[str], order: I64, starts: I64, t: I64) -> I64:
    """Put events of one key and time in the order of id, known time and values, so that no arrival order shows.

    Returns:
        For each event in that order, the rank of its id among those that shared key and time with another: nothing else compares
        ids. Empty where there are no ids, or none that matter.
    """
    places, group = tied(starts, t)
    if not ties or not len(places):
        return NOTHING
    rows = coded.select(ties)[order[places]].with_columns(pl.Series("__group", group), pl.Series("__row", order[places]))
    rows = rows.sort("__group", *ties, nulls_last=False, maintain_order=True)
    order[places] = rows["__row"].to_numpy()
    if IDENT not in rows.columns:
        return NOTHING
    ident = np.zeros(len(t), np.int64)
    ident[places] = rows[IDENT].rank("dense").to_numpy()
    return ident


Finish = Callable[[list[Answers], I64], list[Answers]]
"""The kernel's columns, and K of the asks -> one column for each series of `compute`."""


def _wanted(query: Query) -> tuple[list[Wanted], Finish]:
    """What the kernel is asked for, and how its columns become the features and what is said beside them.

    A ttl asks for the age of the last event of each feature too, statuses for counts.
    """
    features = query.features
    values = [wanted_of(f) for f in features]
    limit = query.expires_after
    ages = [] if limit is None else [Wanted("since_last", asides.counted(f), f.window) for f in features]
    counts = asides.counts(features, query.retained) if query.retained else []
    known = list(asides.last_known(features)) if query.known else []

    def finish(columns: list[Answers], K: I64) -> list[Answers]:
        rest = iter(columns)
        found, last, counted, latest = ([next(rest) for _ in part] for part in (values, ages, counts, known))
        old = [None] * len(found) if limit is None else [_old(age, limit) for age in last]
        made = [value if gone is None else _without(value, gone) for value, gone in zip(found, old, strict=True)]
        said = asides.statuses(features, found, counted, old) if counts else []
        return [*made, *said, *([asides.latest(features, latest, K)] if known else [])]

    return [*values, *ages, *counts, *known], finish


def wanted_of(feature: Feature) -> Wanted:
    """What the kernel is asked for to make a feature."""
    a = feature.aggregation
    by = None if a.secondary is None else By(asides.counted(feature), a.secondary.max_keys)
    return Wanted(a.function, Use(feature.columns, a.where), feature.window, a.params, feature.column, by)


def _old(age: Answers, limit: int) -> Bool:
    assert isinstance(age, Column)
    old = np.rint(age.values * SECOND) > limit
    return old if age.valid is None else old & age.valid


def _without(value: Answers, gone: Bool) -> Answers:
    return replace(value, valid=~gone if value.valid is None else value.valid & ~gone)


def _asks(request: Request, role: _Role, threads: int) -> Asks:
    return Asks(role.starts, take(request.T, role.order, threads), take(request.K, role.order, threads))


def _series(columns: Sequence[Answers], query: Query, codes: dict[str, Coded], role: _Role, threads: int) -> list[pl.Series]:
    back = np.empty_like(role.order)
    back[role.order] = np.arange(len(back))

    def one(of: tuple[Feature, Answers]) -> pl.Series:
        feature, column = of
        coded = codes.get(feature.columns[feature.column]) if feature.columns else None
        split = feature.aggregation.secondary
        return decode(column.take(back), feature.aggregation.function, coded, feature.name, None if split is None else codes[split.column])

    made = each(one, list(zip(query.features, columns, strict=False)), threads)
    said = [column.take(back).values for column in columns[len(made) :] if isinstance(column, Column)]
    if query.retained:
        made += [asides.status_series(asides.status_name(f.name), codes) for f, codes in zip(query.features, said, strict=False)]
    return [*made, pl.Series(KNOWN, said[-1])] if query.known else made
