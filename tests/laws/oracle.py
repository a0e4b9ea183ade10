"""What a training row says, in plain Python: the rules of docs/semantics.md, one function each.

Every function stands for the sentence in its docstring. Rows are dicts of Python values, times are
integers: microseconds since 1970 UTC. Nothing is sorted once and reused, nothing is fast, and
nothing of headwater is called. Read it from top to bottom:

time -> freshness -> known times -> duplicates -> change images -> windows -> which events count
-> functions -> statuses -> keys -> features of a row -> enriched events -> levels -> labels.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from zoneinfo import ZoneInfo

MILLISECOND, SECOND, MINUTE, HOUR, DAY = 1_000, 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MIDNIGHT = time()
INT64 = (-(2**63), 2**63 - 1)

Value = object
Row = dict[str, Value]

# ------------------------------------------------------------------------------------------ time


def micros(instant: datetime) -> int:
    """Time is int64 microseconds UTC inside."""
    return (instant - EPOCH) // timedelta(microseconds=1)


def wall_clock(instant: int, zone: str) -> datetime:
    """What a clock of the zone shows."""
    return (EPOCH + timedelta(microseconds=instant)).astimezone(ZoneInfo(zone)).replace(tzinfo=None)


@lru_cache(maxsize=100_000)
def instants_of(wall: datetime, zone: str) -> tuple[int, ...]:
    """The instants at which a clock of the zone shows `wall`: none in a gap, two in a fold."""
    as_utc = micros(wall.replace(tzinfo=UTC))
    offsets = {
        micros(wall_clock(as_utc + n * HOUR, zone).replace(tzinfo=UTC)) - as_utc - n * HOUR
        for n in range(-36, 37)
    }
    return tuple(sorted(as_utc - o for o in offsets if wall_clock(as_utc - o, zone) == wall))


@lru_cache(maxsize=100_000)
def local_cut(wall: datetime, zone: str) -> int:
    """A local cut in a gap is the first instant after it, in a fold the first of the two."""
    shown = instants_of(wall, zone)
    if shown:
        return shown[0]
    before = micros(wall.replace(tzinfo=UTC)) - 36 * HOUR
    after = before + 72 * HOUR  # within these the clock jumps over `wall` once
    while after - before > 1:
        middle = (before + after) // 2
        before, after = (before, middle) if wall_clock(middle, zone) > wall else (middle, after)
    return after


def event_instant(value: Value, zone: str | None) -> int | None:
    """A Date is the last microsecond of that day; a local event time in a gap does not exist."""
    if value is None:
        return None
    if isinstance(value, datetime) and value.tzinfo is not None:
        return micros(value)
    if isinstance(value, datetime):
        shown = instants_of(value, str(zone))
        return shown[0] if shown else None
    assert isinstance(value, date)
    following = value + timedelta(days=1)
    return local_cut(datetime.combine(following, MIDNIGHT), str(zone)) - 1


def duration_text(duration: int) -> str:
    """A duration in the largest unit that divides it, as it stands in names: 1h, 90m, 7d."""
    units = {"d": DAY, "h": HOUR, "m": MINUTE, "s": SECOND, "ms": MILLISECOND, "us": 1}
    return next(
        (
            f"{duration // size}{unit}"
            for unit, size in units.items()
            if duration and duration % size == 0
        ),
        "0s",
    )


# ------------------------------------------------------------------------------------- freshness


@dataclass(frozen=True)
class Batch:
    every: int
    at: int = 0
    timezone: str = "UTC"
    delay: int = 0
    wait: int = 0


@dataclass(frozen=True)
class Streaming:
    lag: int = 0


@dataclass(frozen=True)
class OnRequest:
    pass


@dataclass(frozen=True)
class Measured:
    ages: tuple[int | None, ...]
    cuts: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Never:
    pass


Freshness = Batch | Streaming | OnRequest | Measured | Never
Moment = tuple[int, int] | None  # T and K; None where nothing counts


def moments(freshness: Freshness, t: int) -> list[Moment]:
    """T, the end of the window, and K, the knowledge cutoff; one pair, or one for each age."""
    if isinstance(freshness, Never):
        return [None]  # nothing counts
    if isinstance(freshness, OnRequest):
        return [(t, t)]
    if isinstance(freshness, Streaming):
        return [(t, t - freshness.lag)]
    if isinstance(freshness, Measured):
        cuts = freshness.cuts or (0,) * len(freshness.ages)
        return [
            None if age is None else (t - cut, t - age)
            for age, cut in zip(freshness.ages, cuts, strict=True)
        ]
    cut = last_cut(freshness, t - freshness.delay)  # the last cut c with c + delay <= t
    return [(cut, cut + freshness.wait)]


def last_cut(batch: Batch, latest: int) -> int:
    """Cuts stand every `every` from `at` on, by the clock of the time zone; days from 1970 on."""
    days = max(batch.every // DAY, 1)
    today = (wall_clock(latest, batch.timezone).date() - EPOCH.date()).days
    cuts = []
    for day in range(today - days - 1, today + 2):
        if day % days == 0:
            for clock in range(batch.at, DAY, batch.every):
                midnight = datetime.combine(EPOCH.date() + timedelta(days=day), MIDNIGHT)
                wall = midnight + timedelta(microseconds=clock)
                cuts.append(local_cut(wall, batch.timezone))
    return max(cut for cut in cuts if cut <= latest)


# ---------------------------------------------------------------------------- values and sources


def plain(value: Value) -> Value:
    """NaN counts as null; a decimal without a fraction is an integer, another one a float."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, Decimal):
        return int(value) if int(value.as_tuple().exponent) >= 0 else float(value)
    return value


def rank(value: Value) -> tuple[object, ...]:
    """Values in their order, nulls first."""
    value = plain(value)
    if isinstance(value, list):
        return (1, [rank(each) for each in value])
    return (0,) if value is None else (1, value)


@dataclass(frozen=True, eq=False)
class Source:
    name: str
    rows: Sequence[Row]
    columns: tuple[str, ...]  # the declared ones: those of `select`, or of the whole table
    timestamp_field: str = "at"
    known_at_field: str | None = None
    known_after: int = 0
    window_on: str = "timestamp"
    id_field: str | None = None
    id_horizon: int = DAY
    changes: str | None = None
    timezone: str | None = None
    keep: Callable[[Row], bool | None] | None = None  # filter=
    base: Source | None = None  # of an enriched source, and the views that enrich it
    members: tuple[View, ...] = ()


@dataclass(frozen=True, eq=False)
class Event:
    """An event, or a version of one: known for known <= K < gone."""

    time: int
    known: int
    ident: Value
    row: Row
    gone: float = math.inf


def kept_rows(source: Source) -> list[Row]:
    """Rows where the filter is not true are left out."""
    return [row for row in source.rows if source.keep is None or source.keep(row) is True]


def time_of(source: Source, row: Row) -> int | None:
    """The event time."""
    return event_instant(row[source.timestamp_field], source.timezone)


def known_of(source: Source, row: Row) -> int | None:
    """`known_at_field`, else the event time plus `known_after`."""
    if source.known_at_field is not None:
        return event_instant(row[source.known_at_field], source.timezone)
    time = time_of(source, row)
    return None if time is None else time + source.known_after


def content(source: Source, row: Row) -> tuple[object, ...]:
    """Ties are decided by (event time, all columns that the source declares, by name), nulls
    first.
    """
    own = {source.timestamp_field, source.known_at_field, source.id_field, source.changes}
    return (
        rank(time_of(source, row)),
        *(rank(row[name]) for name in sorted({*source.columns} - own)),
    )


@lru_cache(maxsize=100)
def events_of(source: Source) -> list[Event]:
    """The events that there are, each with its event time and its known time."""
    if source.base is not None:
        return enriched_events(source)
    if source.changes is not None:
        return versions(source)
    timed = timed_events(source)
    return timed if source.id_field is None else without_duplicates(source, timed)


def timed_events(source: Source) -> list[Event]:
    """A row without a known time was never known; a row without an event time is invalid."""
    events = []
    for row in kept_rows(source):
        time, known = time_of(source, row), known_of(source, row)
        if time is not None and known is not None:
            placed = known if source.window_on == "known_at" else time  # windows by the known time
            events.append(
                Event(placed, known, None if source.id_field is None else row[source.id_field], row)
            )
    return events


def without_duplicates(source: Source, events: list[Event]) -> list[Event]:
    """In order of known time, an event is a duplicate iff an accepted event with its id was known
    less than `id_horizon` before; of one known time, the one with the least content is first."""
    accepted: list[Event] = []
    for event in sorted(events, key=lambda e: (e.known, content(source, e.row))):
        if not any(
            a.ident == event.ident and event.known - a.known < source.id_horizon for a in accepted
        ):
            accepted.append(event)
    return accepted


def versions(source: Source) -> list[Event]:
    """A version counts for known_at <= K < gone: from its image after to the next change."""
    found: list[Event] = []
    known_rows = [(known_of(source, row), row) for row in kept_rows(source)]
    for ident in dict.fromkeys(row[str(source.id_field)] for row in source.rows):
        images = [
            (known, row)
            for known, row in known_rows
            if known is not None and row[str(source.id_field)] == ident
        ]
        current, since = None, 0
        for known in sorted({known for known, _ in images}):
            following = version_after(source, current, [row for at, row in images if at == known])
            same = (
                following is current
                if None in (following, current)
                else content(source, following) == content(source, current)  # type: ignore[arg-type]
            )
            if same:
                continue  # an image after that equals the current version creates no new version
            if current is not None:
                found.append(Event(time_of(source, current), since, ident, current, known))  # type: ignore[arg-type]
            current, since = following, known
        if current is not None:
            found.append(Event(time_of(source, current), since, ident, current))  # type: ignore[arg-type]
    return [version for version in found if version.time is not None]


def version_after(source: Source, current: Row | None, images: list[Row]) -> Row | None:
    """Images before are applied first, then images after. Of several images after, one counts that
    is not also an image before, and of these the last by (event time, columns of the source)."""
    before = [row for row in images if row[str(source.changes)]]
    after = [row for row in images if not row[str(source.changes)]]
    if not after:
        return None if before else current
    retracted = [content(source, row) for row in before]
    lasting = [row for row in after if content(source, row) not in retracted]
    return max(lasting or after, key=lambda row: content(source, row))


# --------------------------------------------------------------------------- windows and features


@dataclass(frozen=True)
class Window:
    length: int | None  # None: a lifetime
    offset: int = 0
    given_hop: int | None = None


STEPS = [
    10 * MILLISECOND,
    100 * MILLISECOND,
    SECOND,
    10 * SECOND,
    MINUTE,
    10 * MINUTE,
    HOUR,
    6 * HOUR,
    DAY,
]


def hop_of(window: Window) -> int:
    """The largest step of 10ms 100ms 1s 10s 1m 10m 1h 6h 1d that divides the window (and its
    offset) and is at most 1/48 of it, or `hop=`."""
    if window.given_hop is not None:
        return window.given_hop
    fitting = [
        s
        for s in STEPS
        if window.offset % s == 0
        and (window.length is None or (window.length % s == 0 and s * 48 <= window.length))
    ]
    return fitting[-1] if fitting else 1


def window_contains(window: Window, T: int, time: int) -> bool:
    """floor(T - window, hop) <= event time < T; an offset window floors both ends; a lifetime
    window has no start."""
    hop = hop_of(window)
    end = T if window.offset == 0 else (T - window.offset) // hop * hop
    start = -math.inf if window.length is None else (T - window.offset - window.length) // hop * hop
    return start <= time < end


def visible(window: Window, event: Event, T: int, K: int) -> bool:
    """An event counts iff it is in the window and known_at <= K (and not replaced or deleted)."""
    return window_contains(window, T, event.time) and event.known <= K < event.gone


@dataclass(frozen=True)
class Aggregation:
    function: str
    columns: tuple[str, ...] = ()
    windows: tuple[Window, ...] | None = None
    where: str | None = None
    name: str | None = None
    by: str | None = None
    max_keys: int = 100
    params: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Feature:
    """One value: an aggregation in one window, of one column where it makes a feature of each."""

    name: str
    aggregation: Aggregation
    columns: tuple[str, ...]
    window: Window
    position: int = 0


@dataclass(frozen=True, eq=False)
class View:
    name: str
    source: Source
    keys: tuple[str, ...]
    aggregations: tuple[Aggregation, ...]
    freshness: Freshness = field(default_factory=OnRequest)
    windows: tuple[Window, ...] | None = None
    ttl: int | None = None
    fills: Mapping[str, str | FeatureOf] = field(default_factory=dict)  # alias(keys=)
    list_key: str | None = None  # each(...)


@dataclass(frozen=True, eq=False)
class FeatureOf:
    """A feature of a view that fills a key of another."""

    view: View
    name: str


A_FEATURE_A_COLUMN = [
    *("count", "sum", "mean", "min", "max", "std", "var", "first", "last", "first_n", "last_n"),
    *("count_distinct", "approx_percentile", "mode", "top_k", "collect_set"),
    *("decayed_sum", "decayed_mean", "rate"),
]


def features_of(view: View) -> list[Feature]:
    """Every feature in the order written: aggregation by column by window."""
    features = []
    for agg in view.aggregations:
        groups: list[tuple[tuple[str, ...], int]] = [(agg.columns, 0)]
        if agg.function in A_FEATURE_A_COLUMN and agg.columns:
            groups = [((column,), 0) for column in agg.columns]
        elif agg.function == "latest":
            groups = [(agg.columns, n) for n in range(len(agg.columns))]
        windows = agg.windows or view.windows
        for columns, position in groups:
            stem = stem_of(agg, columns, position)
            for window in windows or (Window(None),):
                name = f"{view.name}__{stem}" + (f"_{window_text(window)}" if windows else "")
                features.append(Feature(name, agg, columns, window, position))
    return features


def window_text(window: Window) -> str:
    """The end of a name: 1h, lifetime, 1h_offset_1d."""
    size = "lifetime" if window.length is None else duration_text(window.length)
    return f"{size}_offset_{duration_text(window.offset)}" if window.offset else size


def stem_of(agg: Aggregation, columns: tuple[str, ...], position: int) -> str:
    """`function_column`, with a parameter only if one column commonly has several values of it;
    `.by` adds `by_column`, `where=` adds `where_column`; `name=` replaces all of these."""
    column = columns[position] if agg.function == "latest" else "_".join(columns)
    if agg.function in ("open_count", "open_age"):
        column = ""
    if agg.name is not None:
        return f"{agg.name}_{column}" if agg.function == "latest" and len(columns) > 1 else agg.name
    detail = ""
    if agg.function == "approx_percentile":
        detail = f"p{float(agg.params['q']) * 100:g}".replace(".", "_")  # type: ignore[arg-type]
    if agg.function in ("decayed_sum", "decayed_mean"):
        detail = f"halflife_{duration_text(int(agg.params['half_life']))}"  # type: ignore[call-overload]
    split = f"by_{agg.by}" if agg.by else ""
    where = f"where_{agg.where}" if agg.where else ""
    return "_".join(part for part in (agg.function, column, detail, split, where) if part)


def counted(feature: Feature, events: Sequence[Event], T: int, K: int) -> list[Event]:
    """Aggregations over a column skip null, `where=` is true, a category is not null; in the order
    (event time, id where declared, the value itself)."""
    agg = feature.aggregation
    found = [event for event in events if visible(feature.window, event, T, K)]
    if agg.where is not None:
        found = [event for event in found if event.row[agg.where] is True]
    if agg.function in A_FEATURE_A_COLUMN or agg.function in ("min_by", "max_by"):
        found = [
            event for event in found if None not in [plain(event.row[c]) for c in feature.columns]
        ]
    if agg.by is not None:
        found = [event for event in found if event.row[agg.by] is not None]
    return sorted(
        found, key=lambda e: (e.time, rank(e.ident), [rank(e.row[c]) for c in feature.columns])
    )


# -------------------------------------------------------------------------------------- functions


@dataclass(frozen=True)
class Answer:
    """A value with its status. tolerance: how far a float may lie from it; of squares for `std`."""

    value: Value
    status: str = "present"
    tolerance: Fraction = Fraction(0)
    squared: bool = False


def numbers(values: Sequence[Value]) -> list[Fraction]:
    """Numbers and booleans, exactly."""
    return [Fraction(value) for value in values]  # type: ignore[arg-type]


def close(value: Fraction, scale: Fraction) -> Answer:
    """Sums, means and variances are within 1e-9 of a scale, which their rules give."""
    return Answer(value, tolerance=scale / 10**9)


def count(values: Sequence[Value], context: Context) -> Answer:
    """`count()` counts events, `count(col)` values."""
    return Answer(len(context.events))


def sum_(values: Sequence[Value], context: Context) -> Answer:
    """Integer sums are exact; outside int64 the sum is null, with the status overflow. Float sums
    are within 1e-9 of the sum of absolute values."""
    total = sum(numbers(values))
    if all(isinstance(value, int) for value in values):
        return Answer(int(total)) if INT64[0] <= total <= INT64[1] else Answer(None, "overflow")
    return close(total, sum(map(abs, numbers(values))))  # type: ignore[arg-type]


def mean(values: Sequence[Value], context: Context) -> Answer:
    """The mean, of integers too a float, within 1e-9 of the mean of absolute values."""
    return close(
        sum(numbers(values)) / len(values), sum(map(abs, numbers(values))) / Fraction(len(values))
    )


def variance(values: Sequence[Value], context: Context) -> Answer:
    """Null where there are not more than `ddof` values; within 1e-9 of variance plus squared
    mean.
    """
    exact, ddof = numbers(values), int(context.params["ddof"])  # type: ignore[call-overload]
    if len(exact) <= ddof:
        return Answer(None)
    middle = sum(exact, Fraction(0)) / len(exact)
    spread = sum(((x - middle) ** 2 for x in exact), Fraction(0)) / (len(exact) - ddof)
    return close(spread, spread + middle**2)


def deviation(values: Sequence[Value], context: Context) -> Answer:
    """The root of the variance, which is close where the squares are."""
    return replace(variance(values, context), squared=True)


def first(values: Sequence[Value], context: Context) -> Answer:
    """The first value that is not null."""
    return Answer(values[0])


def last(values: Sequence[Value], context: Context) -> Answer:
    """The last value that is not null."""
    return Answer(values[-1])


def least(values: Sequence[Value], context: Context) -> Answer:
    """The least value."""
    return Answer(min(values, key=rank))


def greatest(values: Sequence[Value], context: Context) -> Answer:
    """The greatest value."""
    return Answer(max(values, key=rank))


def latest(values: Sequence[Value], context: Context) -> Answer:
    """`latest` takes one row, by (event time, id, its columns in order, nulls first)."""
    return Answer(plain(context.events[-1].row[context.columns[context.position]]))


def since_last(values: Sequence[Value], context: Context) -> Answer:
    """Seconds from the last event to T."""
    seconds = Fraction(context.T - context.events[-1].time, SECOND)
    return Answer(seconds, tolerance=abs(seconds) / 10**15)


def still_open(context: Context) -> list[Event]:
    """An end counts once it is before T and known by K (at `until` plus `known_after`)."""
    found = []
    for event in context.events:
        end = event_instant(event.row[context.columns[0]], context.source.timezone)
        if end is None or not (end < context.T and end + context.source.known_after <= context.K):
            found.append(event)
    return found


def open_count(values: Sequence[Value], context: Context) -> Answer:
    """`open_count` counts events of the window that have not ended."""
    return Answer(len(still_open(context)))


def open_age(values: Sequence[Value], context: Context) -> Answer:
    """The mean seconds from the event time to T of those that `open_count` counts."""
    ages = [Fraction(context.T - event.time, SECOND) for event in still_open(context)]
    return (
        close(sum(ages) / len(ages), sum(ages) / Fraction(len(ages)))
        if ages
        else Answer(None, "empty")
    )


def first_n(values: Sequence[Value], context: Context) -> Answer:
    """The first `k` values, oldest first; `distinct`: each value once, where it came first."""
    listed = list(dict.fromkeys(values)) if context.params["distinct"] else [*values]
    return Answer(listed[: int(context.params["k"])])  # type: ignore[call-overload]


def last_n(values: Sequence[Value], context: Context) -> Answer:
    """The last `k` values, oldest first; `distinct`: each value once, where it came last."""
    newest = [*values][::-1]
    listed = list(dict.fromkeys(newest)) if context.params["distinct"] else newest
    return Answer(listed[: int(context.params["k"])][::-1])  # type: ignore[call-overload]


def count_distinct(values: Sequence[Value], context: Context) -> Answer:
    """`count_distinct` is exact up to 512 values."""
    assert len(set(values)) <= 512
    return Answer(len(set(values)))


def approx_percentile(values: Sequence[Value], context: Context) -> Answer:
    """Within 0.8 % of the least value that a share `q` of the values does not exceed."""
    ordered, q = sorted(numbers(values)), Fraction(str(context.params["q"]))
    exact = ordered[max(math.ceil(q * len(ordered)), 1) - 1]
    return Answer(exact, tolerance=abs(exact) * Fraction(8, 1000))


def by_frequency(values: Sequence[Value]) -> list[Value]:
    """The most frequent first, of those equally frequent the smallest."""
    counts = Counter(values)
    return sorted(counts, key=lambda value: (-counts[value], rank(value)))


def mode(values: Sequence[Value], context: Context) -> Answer:
    """The most frequent value."""
    return Answer(by_frequency(values)[0])


def top_k(values: Sequence[Value], context: Context) -> Answer:
    """The `k` most frequent values."""
    return Answer(by_frequency(values)[: int(context.params["k"])])  # type: ignore[call-overload]


def collect_set(values: Sequence[Value], context: Context) -> Answer:
    """The different values in rising order, of more than `max_size` the smallest."""
    return Answer(sorted(set(values), key=rank)[: int(context.params["max_size"])])  # type: ignore[call-overload]


def value_where(values: Sequence[Value], context: Context, extreme: Value) -> Answer:
    """Of several events the latest; among events of one time (and id) the greatest value."""
    column, by = context.columns
    return Answer([plain(e.row[column]) for e in context.events if plain(e.row[by]) == extreme][-1])


def min_by(values: Sequence[Value], context: Context) -> Answer:
    """The value of a column in the event where another one is least."""
    return value_where(
        values, context, min((plain(e.row[context.columns[1]]) for e in context.events), key=rank)
    )


def max_by(values: Sequence[Value], context: Context) -> Answer:
    """The value of a column in the event where another one is greatest."""
    return value_where(
        values, context, max((plain(e.row[context.columns[1]]) for e in context.events), key=rank)
    )


def weights(context: Context, end: int) -> list[Fraction]:
    """2^-((end - event time) / half_life)."""
    halves = [(end - event.time) / int(context.params["half_life"]) for event in context.events]  # type: ignore[call-overload]
    return [Fraction(2.0**-h) if h < 1070 else Fraction(0) for h in halves]


def decayed_sum(values: Sequence[Value], context: Context) -> Answer:
    """The sum, each value times its weight at T."""
    terms = [x * w for x, w in zip(numbers(values), weights(context, context.T), strict=True)]
    return close(sum(terms, Fraction(0)), sum(map(abs, terms), Fraction(0)))


def decayed_mean(values: Sequence[Value], context: Context) -> Answer:
    """The mean, each value weighted; the weights as of the last event, so that none is lost."""
    share = weights(context, context.events[-1].time)
    terms = [x * w for x, w in zip(numbers(values), share, strict=True)]
    return close(
        sum(terms, Fraction(0)) / sum(share), sum(map(abs, terms), Fraction(0)) / sum(share)
    )


def rate(values: Sequence[Value], context: Context) -> Answer:
    """Events, or the sum of a column, per second of the window's length."""
    assert context.length is not None
    seconds = Fraction(context.length, SECOND)
    amounts = numbers(values) if context.columns else [Fraction(1)] * len(context.events)
    return close(sum(amounts, Fraction(0)) / seconds, sum(map(abs, amounts), Fraction(0)) / seconds)


def fraction(values: Sequence[Value], context: Context) -> Answer:
    """The share of events where the boolean is true (null is not)."""
    share = Fraction(sum(value is True for value in values), len(values))
    return Answer(share, tolerance=share / 10**15)


def ratio(values: Sequence[Value], context: Context) -> Answer:
    """The sum of one column over the sum of another, nulls skipped in each; null where the second
    sum is 0 or of nothing."""
    above, below = (
        numbers(
            [value for event in context.events if (value := plain(event.row[column])) is not None]
        )
        for column in context.columns
    )
    over = sum(below, Fraction(0))
    if over == 0:
        return Answer(None)
    exact = sum(above, Fraction(0)) / over
    scale = sum(map(abs, above), Fraction(0)) + abs(exact) * sum(map(abs, below), Fraction(0))
    return close(exact, scale / abs(over))


FUNCTIONS: Mapping[str, Callable[[Sequence[Value], Context], Answer]] = {
    "count": count,
    "sum": sum_,
    "mean": mean,
    "min": least,
    "max": greatest,
    "std": deviation,
    "var": variance,
    "first": first,
    "last": last,
    "latest": latest,
    "since_last": since_last,
    "open_count": open_count,
    "open_age": open_age,
    "first_n": first_n,
    "last_n": last_n,
    "count_distinct": count_distinct,
    "approx_percentile": approx_percentile,
    "mode": mode,
    "top_k": top_k,
    "collect_set": collect_set,
    "min_by": min_by,
    "max_by": max_by,
    "decayed_sum": decayed_sum,
    "decayed_mean": decayed_mean,
    "rate": rate,
    "fraction": fraction,
    "ratio": ratio,
}


def empty_value(feature: Feature) -> Value:
    """Without events, counts, sums, `rate` and `open_count` are 0, lists are empty, a map is {};
    all others are null."""
    if feature.aggregation.by is not None:
        return {}
    if feature.aggregation.function in ("first_n", "last_n", "top_k", "collect_set"):
        return []
    zero = ("count", "count_distinct", "sum", "decayed_sum", "rate", "open_count")
    return 0 if feature.aggregation.function in zero else None


# ----------------------------------------------------------------------- statuses, maps, and rows


@dataclass(frozen=True)
class Context:
    """What a function may look at besides its values."""

    events: Sequence[Event]
    columns: tuple[str, ...]
    position: int
    params: Mapping[str, object]
    length: int | None
    T: int
    K: int
    source: Source


def value_of(feature: Feature, events: Sequence[Event], T: int, K: int, source: Source) -> Answer:
    """What the function makes of the events that count."""
    agg = feature.aggregation
    context = Context(
        events, feature.columns, feature.position, agg.params, feature.window.length, T, K, source
    )
    values = [plain(event.row[feature.columns[0]]) for event in events] if feature.columns else []
    return FUNCTIONS[agg.function](values, context)


def map_of(feature: Feature, events: Sequence[Event], T: int, K: int, source: Source) -> Answer:
    """A map from a category to the function's value over its events. The category whose latest
    event, by (event time, id, category), is oldest is evicted; the latest stands last."""
    categories: dict[Value, list[Event]] = {}
    for event in events:
        categories.setdefault(event.row[str(feature.aggregation.by)], []).append(event)
    newest = {c: max((e.time, rank(e.ident)) for e in group) for c, group in categories.items()}
    kept = sorted(categories, key=lambda c: (newest[c], rank(c)))[-feature.aggregation.max_keys :]
    return Answer({c: value_of(feature, categories[c], T, K, source) for c in kept})


def answer_of(
    feature: Feature, view: View, events: Sequence[Event], T: int, K: int, *, retained: bool
) -> Answer:
    """present; empty, no event of its window counts; missing, no event of the key in any window of
    the whole view; expired, the last counted event is older than `ttl` at T; overflow."""
    counting = counted(feature, events, T, K)
    if not counting:
        return Answer(empty_value(feature), "empty" if retained else "missing")
    if view.ttl is not None and T - counting[-1].time > view.ttl:
        return Answer(None, "expired")
    if feature.aggregation.by is not None:
        return map_of(feature, counting, T, K, view.source)
    return value_of(feature, counting, T, K, view.source)


def events_of_key(view: View, events: Sequence[Event], keys: Sequence[Value]) -> list[Event]:
    """A row with a null key, or a key without events, counts nothing."""
    if None in keys:
        return []
    return [
        event
        for event in events
        if [plain(event.row[k]) for k in view.keys] == [plain(key) for key in keys]
    ]


def features_at(
    view: View, events: Sequence[Event], keys: Sequence[Value], moment: Moment
) -> dict[str, Answer]:
    """Every feature of a view for one key at T and K."""
    features = features_of(view)
    if moment is None:
        return {feature.name: Answer(empty_value(feature), "missing") for feature in features}
    mine = events_of_key(view, events, keys)
    retained = any(
        visible(feature.window, event, *moment) for feature in features for event in mine
    )
    return {f.name: answer_of(f, view, mine, *moment, retained=retained) for f in features}


def list_answer(elements: Sequence[Value] | None, answers: Sequence[Answer]) -> Answer:
    """Each feature is a list of what a lookup of each element gives; one status a list: the first
    of overflow, fallback, present, expired, empty, missing; empty of [], missing of a null list."""
    if not elements:
        return Answer(None, "missing") if elements is None else Answer([], "empty")
    order = ("overflow", "fallback", "present", "expired", "empty", "missing")
    return Answer([*answers], min((a.status for a in answers), key=order.index))


def answers(view: View, events: Sequence[Event], row: Row, t: int) -> list[dict[str, Answer]]:
    """Every feature of a view for one row, for each T and K that its freshness allows."""
    keys = [filled(view.fills.get(key, key), row, t) for key in view.keys]
    if view.list_key is None:
        return [features_at(view, events, keys, moment) for moment in moments(view.freshness, t)]
    place = view.keys.index(view.list_key)
    elements = keys[place]
    found = []
    for moment in moments(view.freshness, t):
        each = [
            features_at(view, events, [*keys[:place], e, *keys[place + 1 :]], moment)
            for e in elements or ()
        ]  # type: ignore[attr-defined]
        found.append(
            {f.name: list_answer(elements, [a[f.name] for a in each]) for f in features_of(view)}
        )  # type: ignore[arg-type]
    return found


def filled(of: str | FeatureOf, row: Row, t: int) -> Value:
    """A key is filled with the request's column, or with a feature of the same request."""
    if isinstance(of, str):
        return row[of]
    (found,) = answers(of.view, events_of(of.view.source), row, t)
    return found[of.name].value


def request_value(
    function: Callable[..., Value], arguments: Mapping[str, Value], required: Sequence[str]
) -> Answer:
    """On a row where a parameter is null the value is null (status empty) and the function is not
    called, unless the parameter is annotated with `| None`."""
    if any(arguments[name] is None for name in required):
        return Answer(None, "empty")
    value = function(**arguments)
    return Answer(value, "empty" if value is None else "present")


# -------------------------------------------------------------------------------- enriched events


def enriched_events(source: Source) -> list[Event]:
    """Each event with features as of its own event time, T and K by the freshness that each view
    is defined with. Its known_at is the maximum of its own and those of all events that its
    features count (for a queue, K); with `known_after` the same delay covers this maximum."""
    base = source.base
    assert base is not None
    found = []
    for event in events_of(base):
        happened = time_of(bottom(base), event.row)
        assert happened is not None
        row, known = dict(event.row), event.known
        for view in source.members:
            events = events_of(view.source)
            ((moment,), (values,)) = (
                moments(view.freshness, happened),
                answers(view, events, row, happened),
            )
            row |= {name: answer.value for name, answer in values.items()}
            if bottom(base).known_at_field is not None and moment is not None:
                known = max([known, *known_of_counted(view, events, event.row, happened, moment)])
        if source.keep is None or source.keep(row) is True:
            placed = known if source.window_on == "known_at" else event.time
            found.append(Event(placed, known, event.ident, row))
    return found


def bottom(source: Source) -> Source:
    """The source that has the events in a table."""
    return source if source.base is None else bottom(source.base)


def known_of_counted(
    view: View, events: Sequence[Event], row: Row, t: int, moment: tuple[int, int]
) -> list[int]:
    """When the events that any feature counts became known; for a queue it is K."""
    keys = [filled(view.fills.get(key, key), row, t) for key in view.keys]
    known = []
    for feature in features_of(view):
        counting = counted(feature, events_of_key(view, events, keys), *moment)
        queue = feature.aggregation.function in ("open_count", "open_age")
        known += [moment[1] if queue else event.known for event in counting]
    for of in view.fills.values():
        if isinstance(of, FeatureOf):
            (inner,) = moments(of.view.freshness, t)
            if inner is not None:
                known += known_of_counted(of.view, events_of(of.view.source), row, t, inner)
    return known


# ------------------------------------------------------------------------------ levels and labels


def at_level(view: View, freshness: Freshness | None, known_after: Mapping[str, int]) -> View:
    """A level changes the freshness of the read, not the contents of events; `known_after=` of a
    source, of a base or of an enriching view applies inside."""
    return replace(
        view, freshness=freshness or view.freshness, source=sooner(view.source, known_after)
    )


def sooner(source: Source, known_after: Mapping[str, int]) -> Source:
    """The events of a source as known so long after their event time."""
    if source.base is not None:
        members = tuple(replace(v, source=sooner(v.source, known_after)) for v in source.members)
        base = sooner(source.base, known_after)
        return replace(
            source,
            base=base,
            members=members,
            known_after=base.known_after,
            known_at_field=base.known_at_field,
        )
    if source.name not in known_after:
        return source
    return replace(source, known_at_field=None, known_after=known_after[source.name])


@dataclass(frozen=True, eq=False)
class Outcome:
    source: Source
    aggregation: Aggregation
    keys: tuple[str, ...]
    within: int


@dataclass(frozen=True, eq=False)
class Labels:
    name: str
    rows: Sequence[Row]
    label: str | Outcome
    timestamp_field: str = "timestamp"
    known_at_field: str | None = None
    known_after: int = 0
    weight: str | None = None


@dataclass(frozen=True)
class Labelled:
    """A row that has an outcome, and when the outcome was known."""

    row: Row
    t: int
    label: Answer
    known: int


def outcome_of(outcome: Outcome, row: Row, t: int) -> Answer:
    """`outcome` counts events in [t, t + within): exactly those that a feature at t cannot count.
    It is known `within` plus the source's `known_after` after the request; events known later than
    that do not count."""
    known_by = t + outcome.within + outcome.source.known_after
    events = [
        e
        for e in events_of(outcome.source)
        if [e.row[k] for k in outcome.keys] == [row[k] for k in outcome.keys]
    ]
    inside = [
        e
        for e in events
        if t <= e.time < t + outcome.within
        and e.known <= known_by < e.gone
        and None not in [row[k] for k in outcome.keys]
    ]
    feature = Feature("", outcome.aggregation, outcome.aggregation.columns, Window(None))
    counting = counted(feature, inside, t + outcome.within, known_by)
    if not counting:
        return Answer(empty_value(feature))
    window = replace(feature, window=Window(outcome.within))
    return value_of(window, counting, t + outcome.within, known_by, outcome.source)


def labelled_rows(labels: Labels) -> list[Labelled]:
    """Rows whose request time, outcome, known time or weight is null are left out."""
    found = []
    for row in labels.rows:
        t = event_instant(row[labels.timestamp_field], None)
        if t is None:
            continue
        if isinstance(labels.label, Outcome):
            label = outcome_of(labels.label, row, t)
            known: int | None = t + labels.label.within + labels.label.source.known_after
        else:
            label = Answer(plain(row[labels.label]))
            given = labels.known_at_field
            known = t + labels.known_after if given is None else event_instant(row[given], None)
        weighted = labels.weight is None or plain(row[labels.weight]) is not None
        if label.value is not None and known is not None and weighted:
            found.append(Labelled(row, t, label, known))
    return found


def training_rows(labels: Labels, as_of: int) -> list[Labelled]:
    """A row trains only if its outcome was known at the split."""
    return [labelled for labelled in labelled_rows(labels) if labelled.known <= as_of]


# ------------------------------------------------------------------------------------- comparison


def says(answer: Answer, value: Value) -> bool:
    """Whether a value is the answer's: equal and of its type, or a float within its tolerance."""
    expected = answer.value
    if isinstance(expected, dict):
        return (
            isinstance(value, dict)
            and [*map(rank, expected)] == [*map(rank, value)]
            and all(map(says, expected.values(), value.values()))
        )
    if isinstance(expected, list) and expected and isinstance(expected[0], Answer):
        return (
            isinstance(value, list)
            and len(value) == len(expected)
            and all(map(says, expected, value))
        )
    if isinstance(expected, list):
        return isinstance(value, list) and [*map(same_kind, value)] == [*map(same_kind, expected)]
    if isinstance(expected, Fraction):
        if not isinstance(value, float) or not math.isfinite(value):
            return False
        power = 2 if answer.squared else 1
        exact = float(expected) == value if power == 1 and answer.tolerance == 0 else False
        return exact or abs(Fraction(value) ** power - expected) <= answer.tolerance + Fraction(
            1, 10**290
        )
    return same_kind(value) == same_kind(expected)


def same_kind(value: Value) -> tuple[object, object]:
    """A value with what tells it from others that Python calls equal, such as True and 1."""
    kind = (
        "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value)
    )
    return (
        kind,
        micros(value) if isinstance(value, datetime) and value.tzinfo is not None else value,
    )
