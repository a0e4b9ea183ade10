"""Seeded worlds: a source, a view over it and rows that ask, with planted edges next to random
times.

A world is made for the oracle; tests/laws/definitions.py makes headwater's definitions of it.
Times cluster around one instant and lie exactly at, one microsecond before, and one after each
bound that the definitions have: windows, hops, offsets, delays, cuts, ends of years and of days.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC as ZONE
from datetime import date, datetime, time, timedelta
from decimal import Decimal

import polars as pl

from tests.laws import oracle as o
from tests.laws.definitions import UTC, Schema
from tests.laws.oracle import DAY, HOUR, MINUTE, SECOND

NAN = float("nan")
BASES = [  # spring and autumn in New York, no edge, before 1970, a leap day, the end of a year
    datetime(2024, 3, 10, 7, tzinfo=ZONE),
    datetime(2024, 11, 3, 6, tzinfo=ZONE),
    datetime(2023, 11, 14, 22, 13, 20, tzinfo=ZONE),
    datetime(1969, 12, 31, 19, tzinfo=ZONE),
    datetime(2024, 2, 29, tzinfo=ZONE),
    datetime(2025, 1, 1, tzinfo=ZONE),
]
ZONES = [
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Sao_Paulo",
]
WORDS = ["a", "b", "", "é", "Z", "a\u0301", "日本", "x" * 300, "\n", "a\x00b", "🙂"]

VALUES = {  # of each column: its dtype, values that are everywhere, and values at the edges
    "f": (
        pl.Float64(),
        [1.0, 2.0, 3.5, -0.0, 0.0],
        [0.1, 0.3, -1.5, 1e15, -1e15, 1e-3, 4e9 + 0.25, NAN, 1e-300],
    ),
    "g": (pl.Float32(), [1.25, 2.0], [0.5, -3.0, NAN]),
    "i": (pl.Int64(), [0, 1, 2, 3], [-1, 7, 2**62, -(2**62), 2**63 - 1, -(2**63), 2**53 + 1]),
    "j": (pl.Int8(), [0, 1, 2], [-1, 127, -128]),
    "n": (pl.UInt32(), [0, 1, 5], [2**32 - 1, 2**31]),
    "b": (pl.Boolean(), [True, False], [True, False]),
    "w": (pl.Boolean(), [True, True, False], [True]),
    "s": (pl.String(), ["a", "b", "c"], WORDS),
    "c": (pl.Categorical(), ["v", "u", "w"], ["a", ""]),
    "e": (pl.Date(), [date(2024, 2, 29), date(2024, 3, 1)], [date(1969, 12, 31), date(2200, 1, 1)]),
    "l": (
        pl.Duration("us"),
        [timedelta(minutes=5), timedelta(0)],
        [timedelta(days=-1), timedelta(microseconds=1)],
    ),
    "m": (pl.Time(), [time(1), time(2)], [time(0), time(23, 59, 59, 999_999)]),
    "p": (
        pl.Decimal(18, 2),
        [Decimal("1.50"), Decimal("2.25")],
        [Decimal("-0.01"), Decimal("9999999999999.99")],
    ),
    "h": (pl.Decimal(18, 0), [Decimal(1), Decimal(2)], [Decimal(-3), Decimal(10**17)]),
    "d": (UTC, [], []),  # times near those of the events
    "u": (UTC, [], []),
    "z": (pl.Datetime("us", "Europe/Berlin"), [], []),
}
NUMBERS = ["f", "g", "i", "j", "n", "b", "p", "h"]
ANY = [name for name in VALUES if name not in ("w", "u")]
CATEGORIES = ["s", "i", "b", "d", "c", "j", "e", "h", "m"]
ONE = ["sum", "mean", "std", "var", "approx_percentile", "decayed_sum", "decayed_mean"]
EACH = [
    "min",
    "max",
    "first",
    "last",
    "first_n",
    "last_n",
    "count_distinct",
    "mode",
    "top_k",
    "collect_set",
]
SPLITS = [
    *("count", "sum", "mean", "min", "max", "std", "var", "first", "last", "since_last"),
    *("min_by", "max_by", "decayed_sum", "decayed_mean", "rate", "fraction", "ratio"),
]
OTHERS = [
    "count",
    "latest",
    "since_last",
    "open_count",
    "open_age",
    "min_by",
    "max_by",
    "rate",
    "fraction",
    "ratio",
]

KEYS = {  # of each kind of key: its dtype and its values
    "int": (pl.Int64(), [0, 1, -(2**63)]),
    "int8": (pl.Int8(), [0, 1, -128]),
    "uint64": (pl.UInt64(), [0, 2**63, 2**64 - 1]),
    "string": (pl.String(), WORDS[:4]),
    "category": (pl.Categorical(), ["u", "v", ""]),
    "date": (pl.Date(), [date(2024, 2, 29), date(1969, 12, 31)]),
    "instant": (
        pl.Datetime("us", "Europe/Berlin"),
        [datetime(2024, 3, 31, 1, tzinfo=ZONE), datetime(2024, 3, 31, 1, 0, 0, 1, tzinfo=ZONE)],
    ),
    "decimal": (pl.Decimal(18, 0), [Decimal(5), Decimal(-7)]),
    "bool": (pl.Boolean(), [True, False]),
    "binary": (pl.Binary(), [b"", b"\x00", b"\xff\x00"]),
}


def instant(micros: int) -> datetime:
    return o.EPOCH + timedelta(microseconds=micros)


@dataclass(frozen=True)
class World:
    """A view over one source, the rows of the source, and rows that ask."""

    seed: int
    view: o.View
    schema: Schema  # of the source's table
    asked: Sequence[o.Row]
    asked_schema: Schema


class Times:
    """Instants around a base, many of them exactly at a bound."""

    def __init__(
        self, r: random.Random, base: int, windows: Sequence[o.Window], bounds: Sequence[int]
    ) -> None:
        lengths = [w.length for w in windows if w.length]
        self.r, self.base, self.small = r, base, min(lengths, default=HOUR)
        self.wide = max(lengths, default=3 * DAY)
        steps = [
            0,
            1,
            SECOND,
            MINUTE,
            HOUR,
            *lengths,
            *(o.hop_of(w) for w in windows),
            *(w.offset for w in windows),
            *bounds,
        ]
        steps += [(w.length or 0) + o.hop_of(w) + w.offset for w in windows] + [
            (w.length or 0) + w.offset for w in windows
        ]
        self.steps = steps if r.random() < 0.2 else [s for s in steps if s <= 2 * self.small]

    def near(self) -> int:
        r, kind = self.r, self.r.random()
        if kind < 0.4:
            return self.base - r.choice(self.steps) + r.choice([-1, 0, 0, 0, 1])
        if kind < 0.5:
            return self.base + r.choice(self.steps) + r.choice([-1, 0, 0, 1])
        if kind < 0.85:
            return self.base - r.randint(0, int(self.small * r.choice([0.01, 0.5, 1, 1])))
        return self.base - r.randint(0, int(self.wide * 1.1))

    def asked(self, behind: int) -> int:
        """When most events of the world have happened, and are known, or just not yet."""
        r = self.r
        if r.random() < 0.5:
            return self.base + behind + r.choice([0, 1, -1, self.small // 2, self.small // 9])
        return (
            self.base
            + r.choice([0, behind])
            + r.choice([0, 0, *self.steps])
            + r.choice([-1, 0, 0, 1])
        )


def make_world(seed: int, *, changes: bool = False) -> World:
    """A world of one source; each rule of the semantics has its share of the seeds."""
    r = random.Random(seed)
    freshness = make_freshness(r)
    windows = [make_window(r) for _ in range(r.randint(1, 3))]
    base = o.micros(r.choice(BASES))
    behind = 0
    if isinstance(freshness, o.Batch):
        base, behind = o.last_cut(freshness, base), freshness.delay
    elif isinstance(freshness, o.Streaming):
        behind = freshness.lag
    times = Times(r, base, windows, [behind])
    late = changes or r.random() < 0.5
    ids = changes or r.random() < 0.4
    kind, keys, key_schema = make_keys(r)
    known_after = 0 if late else r.choice([0, 0, 1, 10 * SECOND, HOUR])
    edges = r.random() < 0.5
    make_row = RowMaker(r, times, kind, late=late, edges=edges)
    rows = (
        make_row.images(r.choice([8, 30]))
        if changes
        else make_row.events(r.choice([1, 5, 20, 60]), copies=ids and r.random() < 0.7)
    )
    source = o.Source(
        "s",
        rows=rows,
        columns=(*keys, *VALUES),
        timestamp_field="at",
        known_at_field="known" if late else None,
        known_after=known_after,
        window_on="known_at" if not changes and r.random() < 0.15 else "timestamp",
        id_field="id" if ids else None,
        id_horizon=r.choice([1, 10 * SECOND, HOUR, DAY]),
        changes="before" if changes else None,
    )
    aggregations = make_aggregations(r, r.randint(2, 6), windows)
    view = o.View(
        "v",
        source=source,
        keys=keys,
        aggregations=tuple(aggregations),
        freshness=freshness,
        windows=tuple(windows),
        ttl=r.choice([None] * 12 + [1, 10 * SECOND, times.small // 2, DAY]),
    )
    asked = make_asked(r, times, rows, view, [*KEYS[kind][1], *make_row.keys * 10], behind)
    schema = key_schema | {name: dtype for name, (dtype, _, _) in VALUES.items()} | {"at": UTC}
    schema |= (
        ({"known": UTC} if late else {})
        | ({"id": pl.Int64()} if ids else {})
        | ({"before": pl.Boolean()} if changes else {})
    )
    return World(seed, view, schema, asked, key_schema | {"timestamp": UTC})


def make_freshness(r: random.Random) -> o.Freshness:
    kind = r.random()
    if kind < 0.05:
        return o.Never()
    if kind < 0.3:
        return o.OnRequest()
    if kind < 0.55:
        return o.Streaming(r.choice([0, 1, SECOND, MINUTE, HOUR, DAY]))
    if kind < 0.65:
        ages = [r.choice([0, 1, SECOND, MINUTE, HOUR, None]) for _ in range(r.randint(1, 3))]
        ages[0] = MINUTE if set(ages) == {None} else ages[0]
        return o.Measured(
            tuple(ages),
            None if r.random() < 0.5 else tuple(r.choice([0, 1, SECOND, HOUR]) for _ in ages),
        )
    every = r.choice([15 * MINUTE, HOUR, 6 * HOUR, DAY, DAY, 2 * DAY, 7 * DAY])
    delay = r.choice([0, 0, 1, MINUTE, HOUR, 4 * HOUR, 25 * HOUR])
    at = r.choice([0, 0, 2 * HOUR + 30 * MINUTE, 2 * HOUR, 90 * MINUTE]) % every
    return o.Batch(every, at, r.choice(ZONES), delay, min(delay, r.choice([0, 0, 1, delay])))


def make_window(r: random.Random) -> o.Window:
    kind = r.random()
    if kind < 0.15:
        return o.Window(None)
    if kind < 0.22:
        return o.Window(None, offset=r.choice([MINUTE, 10 * SECOND, 7 * SECOND + 3]))
    length = r.choice(
        [
            10 * MINUTE,
            HOUR,
            MINUTE,
            DAY,
            7 * DAY,
            30 * DAY,
            3 * HOUR,
            50 * MINUTE,
            8 * HOUR,
            48 * SECOND,
        ]
    )
    if kind < 0.55:
        return o.Window(length, offset=r.choice([0, 0, 0, HOUR, 10 * MINUTE, DAY]))
    hop = r.choice(
        [
            h
            for h in (1, SECOND, 10 * SECOND, MINUTE, 5 * MINUTE, length // 2, length)
            if length % h == 0
        ]
    )
    return o.Window(length, offset=r.choice([0, 0, hop, 3 * hop]), given_hop=hop)


def make_keys(r: random.Random) -> tuple[str, tuple[str, ...], dict[str, pl.DataType]]:
    """The kind of the key, the keys, and the dtypes of their columns."""
    kind = r.choice([*KEYS, "string", "int", "two", "none"])
    if kind == "none":
        return "int", (), {}
    if kind == "two":
        return "string", ("key", "key2"), {"key": pl.String(), "key2": pl.Int32()}
    return kind, ("key",), {"key": KEYS[kind][0]}


class RowMaker:
    """Rows of a source."""

    def __init__(
        self, r: random.Random, times: Times, kind: str, *, late: bool, edges: bool
    ) -> None:
        self.r, self.times, self.late, self.edges = r, times, late, edges
        self.keys = KEYS[kind][1][: r.choice([1, 1, 2, 3])]

    def key(self) -> o.Value:
        return self.r.choice([None, *self.keys * 12])

    def event(self, ident: int) -> o.Row:
        r, at = self.r, self.times.near()
        lag = (
            r.choice([0, 0, 0, 1, SECOND, 10 * SECOND, MINUTE, HOUR, DAY, -1, -HOUR])
            if self.late
            else 0
        )
        row: o.Row = {
            "at": None if r.random() < 0.02 else instant(at),
            "id": ident,
            "before": False,
        }
        row |= {
            "known": None if r.random() < 0.03 else instant(at + lag),
            "key": self.key(),
            "key2": r.choice([0, 1]),
        }
        for name, (_, usual, edge) in VALUES.items():
            choice = [*usual, *(edge if self.edges else []), None]
            row[name] = (
                r.choice(choice)
                if usual
                else (None if r.random() < 0.25 else instant(self.times.near()))
            )
        return row

    def events(self, n: int, *, copies: bool) -> list[o.Row]:
        rows = [self.event(k // 3 if copies else k) for k in range(n)]
        for row in rows:
            # of one known time as another copy: its content decides
            if copies and self.r.random() < 0.3:
                twin = self.r.choice(rows)
                row |= {"id": twin["id"], "known": twin["known"], "at": twin["at"]}
        self.r.shuffle(rows)
        return rows

    def images(self, n: int) -> list[o.Row]:
        """Change images: corrections of values, keys and times, deletions, redeliveries,
        upserts.
        """
        r, rows = self.r, []
        while len(rows) < n:
            now = self.event(r.randint(0, 6)) | {"before": r.random() < 0.05}
            rows.append(now)
            while now["known"] is not None and r.random() < 0.6:
                known = now["known"] + timedelta(
                    microseconds=r.choice([0, 0, 1, -1, SECOND, 10 * SECOND, HOUR, -SECOND, DAY])
                )
                fresh = self.event(0)
                after = (
                    fresh
                    | {c: v for c, v in now.items() if r.random() < 0.6}
                    | {"id": now["id"], "known": known, "before": False}
                )
                before = r.choice([now, now, fresh]) | {
                    "id": now["id"],
                    "known": known,
                    "before": True,
                }
                again = now | {"known": known}
                made = r.choice([[before, after], [after], [before], [before, again], [again]])
                rows += made
                now = made[-1] if not made[-1]["before"] else now
        rows = rows[:n]
        r.shuffle(rows)
        return rows


def make_aggregations(r: random.Random, n: int, windows: Sequence[o.Window]) -> list[o.Aggregation]:
    """Aggregations of any function, each with some of the windows, by its own name or a given
    one.
    """
    made: list[o.Aggregation] = []
    names: set[str] = set()
    for number in range(n):
        function = r.choice([*ONE, *EACH, *OTHERS])
        own = (
            None
            if r.random() < 0.3
            else tuple(r.sample(windows, r.randint(1, min(2, len(windows)))))
        )
        if function == "rate":
            own = tuple(w for w in windows if w.length is not None)[:2]
        by = r.choice(CATEGORIES) if function in SPLITS and r.random() < 0.3 else None
        agg = o.Aggregation(
            function,
            make_columns(r, function),
            own,
            r.choice([None, None, None, "b", "w"]),
            None,
            by,
        )
        agg = replace(agg, max_keys=r.choice([1, 2, 3, 100]), params=make_params(r, function))
        named = {
            f.name for f in o.features_of(o.View("v", None, (), (agg,), windows=tuple(windows)))
        }  # type: ignore[arg-type]
        if (
            named & names
            or len(set(named))
            < len(o.features_of(o.View("v", None, (), (agg,), windows=tuple(windows))))
            or r.random() < 0.3
        ):  # type: ignore[arg-type]
            agg = replace(
                agg,
                name=f"x{number}",
                columns=agg.columns if function not in EACH + ONE else agg.columns[:1],
            )
            windows_of_it = agg.windows or tuple(windows)
            if len({o.window_text(w) for w in windows_of_it}) < len(windows_of_it):
                agg = replace(agg, windows=windows_of_it[:1])
        if function == "rate" and not own:
            continue
        names |= named
        made.append(agg)
    return made or [o.Aggregation("count", name="x", windows=tuple(windows[:1]))]


def make_columns(r: random.Random, function: str) -> tuple[str, ...]:
    if function in ONE:
        return tuple(r.sample(NUMBERS, r.choice([1, 1, 2])))
    if function in EACH:
        return tuple(r.sample(ANY, r.choice([1, 1, 2])))
    if function == "latest":
        return tuple(r.sample(ANY, r.randint(1, 4)))
    if function == "count":
        return () if r.random() < 0.5 else (r.choice(ANY),)
    if function == "rate":
        return () if r.random() < 0.4 else (r.choice(NUMBERS),)
    if function in ("min_by", "max_by"):
        return (r.choice(ANY), r.choice(ANY))
    if function == "ratio":
        # sums that do not cancel in floats
        return (r.choice(NUMBERS), r.choice(["i", "j", "n", "b", "h"]))
    return {"fraction": ("b",), "since_last": ()}.get(function, ("u",))


def make_params(r: random.Random, function: str) -> dict[str, object]:
    if function in ("std", "var"):
        return {"ddof": r.choice([0, 1])}
    if function in ("first_n", "last_n"):
        return {"k": r.choice([1, 2, 5]), "distinct": r.random() < 0.5}
    if function == "top_k":
        return {"k": r.choice([1, 2, 5])}
    if function == "collect_set":
        return {"max_size": r.choice([1, 2, 10])}
    if function == "approx_percentile":
        return {"q": r.choice([0.5, 0.95, 0.999, 0.01, 0.25, 0, 1])}
    if function in ("decayed_sum", "decayed_mean"):
        return {"half_life": r.choice([1, SECOND, 10 * MINUTE, HOUR, DAY, 365 * DAY])}
    return {}


def make_asked(
    r: random.Random,
    times: Times,
    rows: Sequence[o.Row],
    view: o.View,
    keys: Sequence[o.Value],
    behind: int,
) -> list[o.Row]:
    """Rows that ask: near times of events, at bounds, for known, unknown and null keys."""
    asked = []
    for _ in range(r.choice([1, 5, 12])):
        at, key, key2 = (
            times.asked(behind),
            r.choice([None, *keys]),
            r.choice([0, 1, 0, 1, 0, 1, 2, None]),
        )
        event = r.choice(rows)
        instants = [
            o.micros(event[name]) for name in ("at", "known", "u") if event[name] is not None
        ]  # type: ignore[arg-type]
        if r.random() < 0.5 and instants:
            key, key2 = event["key"], event["key2"]
            late = r.choice([0, behind, behind, view.source.known_after])
            at = (
                r.choice(instants) + late + r.choice([0, 0, *times.steps]) + r.choice([-1, 0, 0, 1])
            )
        asked.append({"key": key, "key2": key2, "timestamp": instant(at)})
    return asked
