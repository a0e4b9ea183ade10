"""Projects over streams, drawn at random: sent events, and the values that must be read, as
training computes it of all that was sent.

A `World` has one or two sources, views over them, a store and a clock that stands still. `send`
draws records; `ingest` takes in what was sent; `check` reads the store at many times and compares
each value, to the bit, with `hw.get_historical_features` over the very records, known at the commit
that made them readable. Nothing here knows how headwater stores anything.
"""

import json
import math
import random
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from zlib import crc32

import polars as pl

import headwater as hw

SECOND, MINUTE, HOUR, DAY = 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000
TIME = pl.Datetime("us", "UTC")
START = (
    "2024-03-10T06:59:50Z",  # a change of New York's clocks
    "2023-11-14T22:13:20Z",
    "2000-02-28T23:59:59.5Z",
)
TEXTS = ["a", "b", "", "é", "e\u0301", "日本", "x" * 300, "a\x00b", "\n", "🙂", None]
KEYS = {  # a type -> its values
    pl.Int64: [0, -1, 2**63 - 1, -(2**63)],
    pl.Int8: [0, -128, 127, 5],
    pl.String: ["", "a\x00", "é" * 40, "k" * 3000],
    pl.Boolean: [True, False],
    pl.Date: [date(1969, 12, 31), date(2024, 2, 29)],
    TIME: [datetime(1969, 12, 31, 23, tzinfo=UTC), datetime(2024, 5, 1, 12, 0, 0, 1, tzinfo=UTC)],
}
NEVER_SENT = {
    pl.Int64: 77,
    pl.Int8: 77,
    pl.String: "never",
    pl.Date: date(2030, 1, 1),
    TIME: datetime(2030, 1, 1, tzinfo=UTC),
}
VALUES = {
    # whose sums are exact in any order
    "real": (pl.Float64, [0.0, -0.0, 1.0, -1.5, 0.25, 1e6 + 0.5, None]),
    "single": (pl.Float32, [1.25, -2.0, None]),
    "whole": (pl.Int64, [0, 1, -1, 2, 3, 7, None]),
    "large": (pl.Int64, [2**62, -(2**62), 2**63 - 1, 1, 2**53 + 1, None]),
    "small": (pl.Int8, [0, 1, -1, 127, -128, None]),
    "word": (pl.String, TEXTS),
    "color": (pl.String, ["red", "green", "blue", None]),
    "flag": (pl.Boolean, [True, False, None]),
    "kept": (pl.Boolean, [True, True, False, None]),
    "day": (TIME, None),  # a time near that of the event
    "until": (TIME, None),
}
READ = ("key", "shop", *VALUES)
FACTS = {"at": TIME, "shop": pl.Int64, "id": pl.String, "before": pl.Boolean, "known": TIME} | {
    n: t for n, (t, _) in VALUES.items()
}


def micros(moment):
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def moment(micros):
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


# ---------------------------------------------------------------- definitions


def windows(chance):
    """Some windows, and the durations at whose edges events are to lie."""
    # a feature's name has the size and offset of its window, and not its hop
    drawn, edges = {}, {0, 1, SECOND}
    for _ in range(chance.randint(1, 3)):
        size = chance.choice(
            [10 * SECOND, MINUTE, 10 * MINUTE, HOUR, 3 * HOUR, DAY, 7 * DAY, 50 * MINUTE]
        )
        offset = chance.choice([0, 0, 0, size, 10 * MINUTE, HOUR])
        hop = chance.choice([None, None, None, 1, SECOND, size // 2, size])
        if hop and (offset % hop or size // hop > 20_000):
            hop = None
        if chance.random() < 0.12:
            drawn["lifetime"] = hw.window("lifetime")
            continue
        drawn[size, offset] = hw.window(
            f"{size}us", offset=f"{offset}us", hop=None if hop is None else f"{hop}us"
        )
        edges |= {size, size + offset, offset, hop or 0, size + offset + (hop or 0)}
    return list(drawn.values()), sorted(edges)


ANY = ("real", "single", "whole", "small", "flag", "word", "color", "day")
SUMS = ("real", "single", "whole", "small", "large")
NEAR = {"var", "std", "decayed_sum", "decayed_mean", "open_age"}
"""Functions that are promised to within 1e-9 of their size; all others are promised to the bit."""
BY = (
    "count",
    "sum",
    "mean",
    "min",
    "max",
    "first",
    "last",
    "since_last",
    "min_by",
    "max_by",
    "rate",
    "fraction",
    "ratio",
    "std",
)


def _one_column(*columns, **more):
    return lambda chance: (
        [chance.choice(columns)],
        {name: chance.choice(values) for name, values in more.items()},
    )


FUNCTIONS = {
    "count": lambda chance: (chance.choice([[], [chance.choice(ANY)]]), {}),
    "sum": _one_column(*SUMS),
    "mean": _one_column("real", "single", "whole", "small"),
    "min": _one_column(*ANY, "large"),
    "max": _one_column(*ANY, "large"),
    "var": _one_column("real", "single", "whole", "small", ddof=[0, 1]),
    "std": _one_column("real", "whole", ddof=[0, 1]),
    "first": _one_column(*ANY, "large"),
    "last": _one_column(*ANY, "large"),
    "latest": lambda chance: (chance.sample(ANY, chance.randint(1, 3)), {}),
    "since_last": lambda _: ([], {}),
    "open_count": lambda _: ([], {"until": "until"}),
    "open_age": lambda _: ([], {"until": "until"}),
    "first_n": _one_column(*ANY, k=[1, 2, 5], distinct=[True, False]),
    "last_n": _one_column(*ANY, k=[1, 2, 5], distinct=[True, False]),
    "count_distinct": _one_column(*ANY, "large"),
    "approx_percentile": _one_column("real", "whole", "small", q=[0.5, 0.95, 0.01]),
    "mode": _one_column(*ANY),
    "top_k": _one_column(*ANY, k=[1, 3]),
    "collect_set": _one_column(*ANY, max_size=[1, 3, 10]),
    "min_by": lambda chance: (chance.sample(ANY, 2), {}),
    "max_by": lambda chance: (chance.sample(ANY, 2), {}),
    "decayed_sum": _one_column("real", "whole", half_life=["10s", "1h"]),
    "decayed_mean": _one_column("real", "whole", half_life=["10s", "1h"]),
    "rate": lambda chance: (chance.choice([[], ["real"]]), {}),
    "fraction": _one_column("flag"),
    "ratio": lambda chance: (
        [chance.choice(["real", "whole"]), chance.choice(["real", "whole"])],
        {},
    ),
}


def aggregations(chance, drawn, names):
    """One feature of each of these functions; its name tells whether values are promised to the
    bit.
    """
    made = []
    for number, name in enumerate(names):
        columns, more = FUNCTIONS[name](chance)
        finite = [one for one in drawn if one != hw.window("lifetime")]
        usable = finite if name == "rate" else drawn
        if not usable:
            continue
        made.append(
            getattr(hw, name)(
                *columns,
                windows=chance.sample(usable, chance.randint(1, min(2, len(usable)))),
                where=chance.choice([None, None, "flag", "kept"]),
                name=f"{'near' if name in NEAR else 'same'}{number}",
                **more,
            )
        )
        if name in BY and chance.random() < 0.25:
            made[-1] = made[-1].by(
                chance.choice(["word", "color", "whole", "flag", "day"]),
                max_keys=chance.choice([1, 2, 100]),
            )
    return made


# ---------------------------------------------------------------- sources and their events


@dataclass
class Stream:
    """A source: how its ids, changes and filter are declared, and all that was sent to it."""

    name: str
    key_type: object
    ids: bool = False
    changes: bool = False
    filter: object = None
    horizon: int = DAY
    # records that are well formed; "arrived" is the first commit that may have them
    sent: list = field(default_factory=list)
    commits: list = field(default_factory=list)  # the times of its commits, in micros
    refused: int = 0
    numbers: int = 0

    @property
    def schema(self):
        return FACTS | {"key": self.key_type}

    def source(self, stream):
        """The definition, over a stream."""
        return hw.Source(
            self.name,
            stream=stream,
            timestamp_field="at",
            select=list(READ),
            filter=self.filter,
            **self._ids(),
        )

    def _ids(self):
        if self.changes:
            return {"id_field": "id", "changes": "before", "known_at_field": "known"}
        return {"id_field": "id", "id_horizon": f"{self.horizon}us"} if self.ids else {}

    def training(self):
        """The definition over all that was sent, each record known at the commit that made it
        readable.
        """
        known = [(row, self.readable_at(row)) for row in self.sent]
        rows = [{**row, "readable": at} for row, at in known if at is not None]
        types = self.schema | {"readable": pl.Int64}
        frame = pl.DataFrame([{name: row[name] for name in types} for row in rows], schema=types)
        frame = frame.with_columns(
            pl.from_epoch("readable", time_unit="us").dt.replace_time_zone("UTC")
        )
        ids = self._ids() if self.changes else self._ids() | {"known_at_field": "readable"}
        return hw.Source(
            self.name,
            history=frame,
            timestamp_field="at",
            select=list(READ),
            filter=self.filter,
            **ids,
        )

    def readable_at(self, row):
        """The first commit after a record's event time, from its arrival on; None before there was
        one.
        """
        if self.changes:
            return row["arrived"]
        return next(
            (at for at in self.commits if at >= row["arrived"] and at > micros(row["at"])), None
        )

    def draw(self, chance, now, edges, keys):
        """One record, whose time lies on the edge of a window or anywhere."""
        far = chance.random()
        t = now - (
            chance.choice(edges) + chance.choice([-1, 0, 0, 1])
            if far < 0.5
            else chance.randint(1, chance.choice([MINUTE, HOUR, 8 * DAY]))
        )
        if not self.changes and chance.random() < 0.06:
            t = now + chance.choice([0, 1, SECOND, HOUR, DAY])
        t = min(t, now - 1) if self.changes else min(t, now + DAY)
        row = {
            name: chance.choice(values)
            for name, (_, values) in VALUES.items()
            if values is not None
        }
        row |= {"day": moment(t - chance.choice(edges)) if chance.random() < 0.8 else None}
        row |= {"until": moment(t + chance.choice([1, *edges])) if chance.random() < 0.7 else None}
        row |= {
            "at": moment(t),
            "key": chance.choice(keys),
            "shop": chance.choice([0, 1, 1]),
            "id": f"n{self.numbers}",
            "before": False,
        }
        row["known"] = moment(now - chance.choice([1, SECOND, HOUR]))
        self.numbers += 1
        if self.changes:
            row["id"], row["before"] = f"c{chance.randint(0, 12)}", chance.random() < 0.25
        return row


def line(row, *, nulls):
    """A record as JSON."""
    shown = {
        name: value.isoformat() if isinstance(value, date) else value
        for name, value in row.items()
        if name != "arrived"
    }
    return json.dumps(
        {name: value for name, value in shown.items() if nulls or value is not None},
        ensure_ascii=nulls,
    )


BROKEN = (
    '{"at": "2024',
    "[]",
    "null",
    '{"key": {}}',
    '{"at": "soon"}',
    '{"whole": 1, "color": "red"}',
)


# ---------------------------------------------------------------- a project that is ingested and read


class World:
    """A project over streams in files, a store, and a clock.

    Args:
        seed: draws all of it.
        folder: holds the streams, and headwater's home.
        url: of the store; None is LMDB in the folder.
        clock: the clock that stands still, of `headwater.testing.clock.at`.
        stream: `(world, stream) -> ` the stream of a source's definition; None is a folder of
            files.
        parted: whether records of one id lie in one partition, as stores with a writer for each
            need it.
        ids: whether every source has ids, or changes, so that repeated deliveries count once; None
            draws it.
    """

    def __init__(self, seed, folder, clock, *, url=None, stream=None, ids=None, parted=False):
        self.chance, self.folder, self.clock = random.Random(seed), folder, clock
        self.parted = parted
        self.url = url or f"lmdb:{folder}/store?size=200MB"
        chance = self.chance
        self.streams, self.views = [], []
        for number in range(chance.choice([1, 1, 2])):
            changes = chance.random() < 0.25
            made = Stream(
                f"s{number}",
                chance.choice(list(KEYS)),
                ids=changes or (chance.random() < 0.5 if ids is None else ids),
                changes=changes,
                filter=chance.choice(
                    [None, None, pl.col("whole") < 3, pl.col("color").is_not_null()]
                ),
                horizon=chance.choice([1, 10 * SECOND, HOUR, DAY]),
            )
            self.streams.append(made)
        self.edges = []
        functions = chance.sample(list(FUNCTIONS), len(FUNCTIONS))
        for number in range(chance.choice([1, 2, 3]) + len(self.streams) - 1):
            stream_of = self.streams[number % len(self.streams)]
            drawn, edges = windows(chance)
            self.edges += edges
            names = [functions.pop() for _ in range(min(len(functions), chance.randint(2, 7)))] or [
                "count"
            ]
            source = stream_of.source((stream or World.files)(self, stream_of))
            self.views.append(
                hw.FeatureView(
                    f"v{number}",
                    source=source,
                    keys=chance.choice([["key"], ["key"], ["key", "shop"], ["shop"], []]),
                    features=aggregations(chance, drawn, names),
                    freshness=hw.streaming("2s"),
                    ttl=chance.choice([None, None, None, "10s", "1h"]),
                    on_incomplete="value",
                )
            )
        self.key_values = {
            made.name: chance.sample(KEYS[made.key_type], chance.randint(1, 2))
            for made in self.streams
        }
        self.values = 0

    # ---- definitions

    def files(self, stream):
        return hw.appended(f"{self.folder}/{stream.name}-*.jsonl", schema=stream.schema)

    def stream_of(self, view):
        return next(one for one in self.streams if one.name == view.source.name)

    @property
    def project(self):
        return project(self.views)

    # ---- events

    def rows(self, stream, count):
        """New records, and with ids some that were sent before, alike or with other values; broken
        ones are None.

        Records that share an id and become readable at one moment are alike: which of them counted
        would depend on their commits, which share a time, as the clock stands still.
        """
        now, drawn = self.clock.wall(), []
        of_now = {
            row["id"]: row
            for row in stream.sent
            if row["arrived"] == now or stream.readable_at(row) is None
        }
        for _ in range(count):
            row = stream.draw(self.chance, now, self.edges, self.key_values[stream.name])
            if stream.ids and not stream.changes and stream.sent and self.chance.random() < 0.3:
                first = self.chance.choice(stream.sent)
                row = dict(first) if self.chance.random() < 0.5 else {**row, "id": first["id"]}
                row = of_now.setdefault(row["id"], row)
            drawn.append(None if self.chance.random() < 0.03 else row)
        return drawn

    def sent(self, stream, rows):
        """Remember the events to be counted from the next commit on."""
        stream.refused += sum(row is None for row in rows)
        stream.sent += [{**row, "arrived": self.clock.wall()} for row in rows if row is not None]

    def lines(self, rows):
        return [
            self.chance.choice(BROKEN)
            if row is None
            else line(row, nulls=self.chance.random() < 0.5)
            for row in rows
        ]

    def send(self, most=30):
        """Append lines to files of every source."""
        for stream in self.streams:
            rows = self.rows(stream, self.chance.randint(0, most))
            for row, text in zip(rows, self.lines(rows), strict=True):
                path = self.folder / f"{stream.name}-{self.partition(stream, row, 2)}.jsonl"
                with path.open("a", encoding="utf-8") as file:
                    file.write(text + "\n")
            self.sent(stream, rows)

    def partition(self, stream, row, count):
        """Where a record is sent; those of one id together, where partitions have writers of their
        own.
        """
        if stream.changes:
            return 0
        if self.parted and stream.ids and row is not None:
            return crc32(repr(row["id"]).encode()) % count
        return self.chance.randrange(count)

    def wait(self):
        """Let time pass: to the edge of a window, or anything up to days."""
        self.clock.advance(
            f"{max(1, self.chance.choice([1, SECOND, MINUTE, HOUR, 2 * DAY, *self.edges]))}us"
        )

    # ---- ingestion

    def committed(self, source, committed, _):
        """The call after each commit."""
        stream = next(one for one in self.streams if one.name == source.name)
        stream.commits.append(committed.at)

    def ingest(self, store=None, **limits):
        """Take in all that was sent."""
        given = hw.operations.IngestLimits(
            **{
                "batch": self.chance.choice([1, 7, 50_000]),
                "max_clock_jump": "36000d",
                "broker_clock": False,
            }
            | limits
        )
        options = hw.operations.IngestOptions(allow_unapplied=True, on_commit=self.committed)
        hw.ingest(
            self.project,
            self.url if store is None else store,
            data_dir=self.folder / "home",
            limits=given,
            once=True,
            options=options,
        )

    # ---- reads

    def requests(self, view, count=4):
        """Rows that ask for keys that were sent, that never were, and that are null."""
        stream = self.stream_of(view)
        keys = [*self.key_values[stream.name], NEVER_SENT.get(stream.key_type), None]
        asked = [
            (self.chance.choice(keys), self.chance.choice([0, 1, 7, None])) for _ in range(count)
        ]
        frame = pl.DataFrame(
            {"key": [key for key, _ in asked], "shop": [shop for _, shop in asked]},
            schema={"key": stream.key_type, "shop": pl.Int64},
        )
        return frame.select(view.keys or ["shop"])

    def every_key(self, view):
        """Rows that ask for every key that may have been sent."""
        stream = self.stream_of(view)
        rows = [
            {"key": key, "shop": shop} for key in self.key_values[stream.name] for shop in (0, 1)
        ]
        return pl.DataFrame(rows, schema={"key": stream.key_type, "shop": pl.Int64}).select(
            view.keys or ["shop"]
        )

    def moments(self, view):
        """When to ask: at the last commit, at edges of windows after it, and before it, which is
        answered as of that commit.
        """
        last = max([self.clock.wall(), *self.stream_of(view).commits])
        edges = (
            max(0, self.chance.choice(self.edges) + self.chance.choice([-1, 0, 1]))
            for _ in range(2)
        )
        return [last, last + 1, *(last + edge for edge in edges)]

    def before(self, view):
        """A time before the last commit of a view's source, and that commit."""
        last = max(self.stream_of(view).commits)
        return last - self.chance.choice([1, SECOND, HOUR]), last

    def expected(self, view, frame, at):
        """What training says of these rows."""
        over = replace(view, source=self.stream_of(view).training(), freshness=hw.on_request())
        asked = frame.with_columns(pl.lit(moment(at)).cast(TIME).alias("asked"))
        return hw.get_historical_features(over, asked, timestamp_field="asked", statuses=True)

    def check(self, store=None):
        """Read every view at many times, and compare each value and status with training's. store:
        if it is open in this process.
        """
        with (
            nullcontext(store)
            if store is not None
            else closing(hw.operations.open_store(self.url, readonly=True)) as read_from
        ):
            for view in self.views:
                reader = hw.operations.OnlineFeatures(hw.FeatureService("s", [view]), read_from)
                for at, answered in [*((at, at) for at in self.moments(view)), self.before(view)]:
                    frame = self.requests(view)
                    read = reader.read(frame, at=moment(at), details=True)
                    self.values += same(
                        view,
                        read,
                        self.expected(view, frame, answered),
                        f"{view.name} at {moment(at)}: {frame.rows()}",
                    )
                    alone(reader, view, frame, at, read)

    def check_parity(self, store=None):
        """`headwater parity` finds nothing that differs."""
        for found in hw.parity(
            self.project,
            store=store or self.url,
            data_dir=self.folder / "home",
            at=moment(self.clock.wall()),
        ):
            if found.mismatches:
                raise AssertionError(f"parity: {found}, such as {found.mismatches[0]}")


def alone(reader, view, frame, at, read):
    """Each row alone, as plain values, has the values of the frame."""
    for number, row in enumerate(frame.rows(named=True)):
        values = reader.row({key: row[key] for key in view.keys}, t=at).values
        for name, value in zip(reader.names, values, strict=True):
            if not alike(plain(value), plain(read[name].to_list()[number])):
                raise AssertionError(
                    f"{view.name}, {row} alone: {name} is {value!r}, and "
                    f"{read[name].to_list()[number]!r} in a frame"
                )


def plain(value):
    """A value without the containers of polars."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list | tuple | pl.Series) else value


def same(view, read, expected, where):
    """Compare what was read with what training says; how many values there were."""
    values = 0
    for name in view.feature_names:
        near = "__near" in name
        pairs = zip(read[name].to_list(), expected[name].to_list(), strict=True)
        statuses = zip(
            read[f"{name}__status"].to_list(), expected[f"{name}__status"].to_list(), strict=True
        )
        for row, ((online, offline), (status, status_offline)) in enumerate(
            zip(pairs, statuses, strict=True)
        ):
            values += 1
            if not alike(online, offline, near=near) or status != status_offline:
                raise AssertionError(
                    f"{where}, row {row}, {name}: {online!r} ({status}) online, {offline!r} "
                    f"({status_offline}) in training"
                )
        if any(read[f"{name}__incomplete"]):
            raise AssertionError(f"{where}, {name} is incomplete")
    return values


def alike(online, offline, *, near=False):
    """Whether two values are the same to the bit; near: to within 1e-9."""
    if isinstance(online, dict | list) and isinstance(offline, dict | list):
        pairs = (
            zip(online.values(), offline.values(), strict=True)
            if isinstance(online, dict)
            else zip(online, offline, strict=False)
        )
        return (
            len(online) == len(offline)
            and type(online) is type(offline)
            and all(alike(a, b, near=near) for a, b in pairs)
        )
    if near and isinstance(online, float) and isinstance(offline, float):
        return math.isclose(online, offline, rel_tol=1e-9, abs_tol=1e-6)
    return type(online) is type(offline) and online == offline


def project(views, name="shop"):
    """A project whose one model reads these views."""
    keys = sorted({key for view in views for key in view.keys})
    asked = pl.DataFrame(
        {
            "asked": [datetime(2024, 1, 1, tzinfo=UTC)],
            "label": [True],
            **{key: [None] for key in keys},
        }
    )
    labels = hw.Labels(
        "labels", table=asked, timestamp_field="asked", label="label", known_after="1d", select=keys
    )
    return hw.Project(
        name,
        [
            hw.Model(
                "model",
                task="binary",
                features=hw.FeatureService("service", list(views)),
                labels=labels,
            )
        ],
    )
