"""Micro batches of a Spark query without Spark: frames with as much of Spark's DataFrame as is read
of one.
"""

import re
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import polars as pl
from polars.testing import assert_frame_equal

import headwater as hw
import headwater_spark

QUERY = "6c1f0a52-0d5c-4f6e-9d0e-1a2b3c4d5e6f"
SCHEMA = {"id": int, "user": str, "n": int, "real": float, "word": str, "at": datetime}
FEATURES = [
    hw.count(),
    hw.sum("n"),
    hw.sum("real"),
    hw.min("real"),
    hw.last("word"),
    hw.count_distinct("word"),
    hw.last_n("n", k=3),
]
USERS = [f"u{i}" for i in range(7)]
NOW = datetime.now(UTC).replace(microsecond=0)


@dataclass
class Frame:
    """Rows of a batch, in an order of Spark's choice; `asked` are the actions that ran."""

    rows: pl.DataFrame
    query: str = QUERY
    asked: tuple = ()

    @property
    def sparkSession(self):  # noqa: N802 (of Spark)
        return SimpleNamespace(
            sparkContext=SimpleNamespace(getLocalProperty={"sql.streaming.queryId": self.query}.get)
        )

    @property
    def columns(self):
        return self.rows.columns

    def select(self, *quoted):
        return Frame(self.rows.select(name.strip("`") for name in quoted))

    def limit(self, n):
        return Frame(self.rows.head(n))

    def where(self, condition):
        pieces, piece = map(
            int, re.fullmatch(r"pmod\(xxhash64\(.*\), (\d+)\) = (\d+)", condition).groups()
        )
        return Frame(
            self.rows.filter(self.rows.hash_rows(seed=1) % pieces == piece).sample(
                fraction=1, shuffle=True, seed=piece
            )
        )

    def count(self):
        return self.rows.height

    def persist(self):
        return self

    unpersist = persist

    def toArrow(self):  # noqa: N802 (of Spark)
        return self.rows.to_arrow()


def source(stream=None, **rules):
    """The source of the batches."""
    rules = {"timestamp_field": "at", "id_field": "id"} | rules
    return hw.Source(
        "payments",
        stream=stream or headwater_spark.spark_stream("payments", schema=SCHEMA),
        **rules,
    )


def view(of, **more):
    """Its view by user."""
    more = {
        "freshness": hw.streaming("1m"),
        "windows": ["1h", "7d"],
        "on_incomplete": "value",
    } | more
    return hw.FeatureView("user", source=of, keys=["user"], features=FEATURES, **more)


def project(*views):
    """A project over some views."""
    table = pl.DataFrame({"user": ["u0"], "asked": [NOW], "y": [1]})
    labels = hw.Labels("left", table=table, timestamp_field="asked", label="y", known_after="1d")
    return hw.Project(
        "shop",
        [hw.Model("m", task="binary", features=hw.FeatureService("s", list(views)), labels=labels)],
    )


def rows(first, count):
    """Rows of some ids, each the same whenever it is made; reals are binary fractions, so that sums
    have no rounding.
    """
    return pl.DataFrame(
        [row(number) for number in range(first, first + count)], schema=POLARS, orient="row"
    )


def row(number):
    """The row of an id."""
    at = NOW - timedelta(seconds=60 + number * 7919 % 1800)
    return (
        number,
        USERS[number * 31 % 7],
        number % 1000,
        (number % 64) / 8,
        "abcdé"[number % 5],
        at,
    )


POLARS = {
    "id": pl.Int64,
    "user": pl.String,
    "n": pl.Int64,
    "real": pl.Float64,
    "word": pl.String,
    "at": pl.Datetime("us", "UTC"),
}


def online(url, of):
    """The values of all users in the store."""
    with closing(hw.operations.open_store(url)) as store:
        return hw.get_online_features(of, pl.DataFrame({"user": USERS}), store=store)


def offline(events):
    """The values of all users over events, computed from history."""
    offline_view = view(
        source(history=events, stream=None, id_field=None), freshness=hw.on_request()
    )
    asked = pl.DataFrame({"user": USERS, "timestamp": [datetime.now(UTC)] * len(USERS)})
    return hw.get_historical_features(offline_view, asked)


def check(url, of, events):
    """The values in the store have the bits of those over the events."""
    values = offline(events)
    names = [name for name in values.columns if "__" in name]
    assert_frame_equal(online(url, of).select(names), values.select(names), check_exact=True)
