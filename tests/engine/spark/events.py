"""Events with every kind of column and key, half of them of one key."""

from datetime import UTC, date, datetime, timedelta
from random import Random

import polars as pl

import headwater as hw
from headwater.testing.cases import aggregations

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def events(number, seed=0, *, keys=30):
    """Events of a day; rows that share an id differ, some times are null, some events are known
    late.
    """
    random = Random(seed)

    def row(n):
        key = 0 if n % 2 else random.randrange(keys)
        at = NOON + timedelta(microseconds=random.randrange(86_400_000_000))
        return {
            "key": None if random.random() < 0.01 else key,
            "name": f"n{key % 11}é",
            "day": date(2024, 1, 1) + timedelta(days=key % 5),
            "at": None if random.random() < 0.01 else at,
            "known": at + timedelta(seconds=random.choice([0, 0, 0, 1, 600, 7200])),
            "id": n if random.random() < 0.9 else n // 2,
            "before": False,
            "real": random.choice([None, float("nan"), random.uniform(-5, 5), 0.1]),
            "whole": random.choice([None, random.randrange(-5, 5), 2**60]),
            "flag": random.choice([None, True, False]),
            "word": random.choice([None, "", "a", "b", "é"]),
            "moment": None
            if random.random() < 0.3
            else at + timedelta(seconds=random.randrange(9000)),
        }

    schema = {
        "key": pl.Int64,
        "name": pl.String,
        "day": pl.Date,
        "at": pl.Datetime("us", "UTC"),
        "known": pl.Datetime("us", "UTC"),
    }
    schema |= {
        "id": pl.Int64,
        "before": pl.Boolean,
        "real": pl.Float64,
        "whole": pl.Int64,
        "flag": pl.Boolean,
        "word": pl.String,
    }
    return pl.DataFrame(
        [row(n) for n in range(number)], schema={**schema, "moment": pl.Datetime("us", "UTC")}
    )


def requests(number, seed=1, *, keys=30):
    """Rows that ask within the day and a little after; some of keys without events, some of null
    keys.
    """
    random = Random(seed)
    rows = [
        {
            "key": random.choice([None, 0, 0, keys + 5, *range(1, keys)]),
            "name": f"n{random.randrange(12)}é",
            "day": date(2024, 1, 1) + timedelta(days=random.randrange(6)),
            "timestamp": NOON + timedelta(microseconds=random.randrange(100_000_000_000)),
        }
        for _ in range(number)
    ]
    return pl.DataFrame(
        rows,
        schema={
            "key": pl.Int64,
            "name": pl.String,
            "day": pl.Date,
            "timestamp": pl.Datetime("us", "UTC"),
        },
    )


def source(history, **rules):
    select = ["key", "name", "day", "real", "whole", "flag", "word", "moment"]
    return hw.Source("events", history=history, timestamp_field="at", select=select, **rules)


def view(of, *, keys=("key",), features=None, freshness=None):
    features = aggregations() if features is None else features
    return hw.FeatureView(
        "view",
        source=of,
        keys=list(keys),
        features=features,
        windows=["1h"],
        freshness=freshness or hw.on_request(),
    )
