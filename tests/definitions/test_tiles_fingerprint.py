"""What changes the fingerprint of stored state, and what does not."""

from dataclasses import replace
from datetime import UTC, datetime

import polars as pl
import pytest

import headwater as hw
from tests.catalog.conftest import shop_files, shop_home  # noqa: F401 (fixtures)

HISTORY = pl.DataFrame(
    {
        "user": ["a"],
        "at": [datetime(2024, 1, 1, tzinfo=UTC)],
        "amount": [1.0],
        "id": ["x"],
        "page": ["p"],
    }
)


def source(**more):
    given = {
        "history": HISTORY,
        "timestamp_field": "at",
        "select": [
            "user",
            "amount",
            (pl.col("amount") > 10).alias("large"),
            (pl.col("amount") * 2).alias("unread"),
        ],
    }
    return hw.Source("clicks", **(given | more))


def view(of=None, **more):
    given = {
        "keys": ["user"],
        "features": [hw.count(), hw.mean("amount", where="large")],
        "windows": ["1h", "1d"],
        "freshness": hw.streaming("2s"),
    }
    return hw.FeatureView("user", source=of or source(), **(given | more))


def selecting(*items):
    return source(select=["user", "amount", *items])


LARGE = (pl.col("amount") > 10).alias("large")
PLAIN = view(source(select=["user", "amount", "page"]), features=[hw.count()])
BATCH = view(freshness=hw.batch("1d", delay="4h"))

SAME = {
    "the length of a ttl": (view(ttl="1d"), view(ttl="7d")),
    "on_stale": (view(), view(on_stale="null")),
    "the lag of a stream": (view(), view(freshness=hw.streaming("1m"))),
    "a request reads what a stream keeps": (view(), view(freshness=hw.on_request())),
    "a feature's name": (view(features=[hw.count()]), view(features=[hw.count(name="clicks")])),
    "windows of the view or of each aggregation": (
        view(features=[hw.count()]),
        view(windows=None, features=[hw.count(windows=["1h", "1d"])]),
    ),
    "an alias": (view(), view().alias("friend", keys={"user": "friend"})),
    "columns that nothing reads": (view(), view(selecting(LARGE, "page"))),
    "where the history of a stream lies": (
        view(),
        view(source(history=hw.parquet("elsewhere.parquet"))),
    ),
    "the site": (view(), view()),
}

DIFFERENT = {
    "a ttl or none": (view(), view(ttl="7d")),
    "the view's name": (view(), replace(view(), name="users")),
    "a key": (PLAIN, replace(PLAIN, keys=["user", "page"])),
    "the order of keys": (
        replace(PLAIN, keys=["user", "page"]),
        replace(PLAIN, keys=["page", "user"]),
    ),
    "a window": (view(), view(windows=["1h", "7d"])),
    "a hop": (view(windows=["1h"]), view(windows=["1h"], hop="30s")),
    "the offset of a window": (view(windows=["1h"]), view(windows=[hw.window("1h", offset="1h")])),
    "a function": (
        view(features=[hw.mean("amount")]),
        view(features=[hw.sum("amount", name="mean_amount")]),
    ),
    "a column": (
        view(features=[hw.count("amount", name="n")]),
        view(features=[hw.count("large", name="n")]),
    ),
    "where": (
        view(features=[hw.count(name="n")]),
        view(features=[hw.count(where="large", name="n")]),
    ),
    "a parameter": (
        view(features=[hw.last_n("amount", k=2)]),
        view(features=[hw.last_n("amount", k=3)]),
    ),
    "a secondary key": (
        view(features=[hw.count(name="n")]),
        view(features=[hw.count(name="n").by("large")]),
    ),
    "the order of features": (
        view(features=[hw.count(), hw.sum("amount")]),
        view(features=[hw.sum("amount"), hw.count()]),
    ),
    "which column is split by": (
        view(features=[hw.count(name="n").by("large")]),
        view(features=[hw.count(name="n").by("amount")]),
    ),
    "what a read column is made of": (
        view(),
        view(selecting((pl.col("amount") > 20).alias("large"))),
    ),
    "what the split column is made of": (
        view(selecting(LARGE, pl.col("page").alias("p")), features=[hw.count().by("p")]),
        view(selecting(LARGE, pl.col("id").alias("p")), features=[hw.count().by("p")]),
    ),
    "the filter": (view(), view(source(filter=pl.col("amount") > 0))),
    "the event time": (view(), view(source(timestamp_field="posted"))),
    "what identifies an event": (view(), view(source(id_field="id"))),
    "how long ids are kept": (
        view(source(id_field="id")),
        view(source(id_field="id", id_horizon="2d")),
    ),
    "stream instead of batch": (view(), BATCH),
    "the cut": (BATCH, view(freshness=hw.batch("1d", at="02:00", delay="4h"))),
    "the wait": (BATCH, view(freshness=hw.batch("1d", delay="4h", wait="1h"))),
    "where the history of a batch lies": (
        BATCH,
        view(source(history=hw.parquet("elsewhere.parquet")), freshness=BATCH.freshness),
    ),
    "never": (view(), view(freshness=hw.never())),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_stored_state_stays(one, other):
    assert one.tiles_fingerprint == other.tiles_fingerprint


@pytest.mark.parametrize(("one", "other"), DIFFERENT.values(), ids=DIFFERENT)
def test_stored_state_is_another(one, other):
    assert one.tiles_fingerprint != other.tiles_fingerprint


def test_what_events_are_enriched_with_shapes_state():
    mean, least = (hw.FeatureView("spent", source=source(), keys=["user"], features=[f("amount", name="usual")], windows=["1d"],
                                  freshness=hw.batch("1d")) for f in (hw.mean, hw.min))  # fmt: skip
    one, other = (
        view(hw.enrich(source(), "rated", [v]), features=[hw.count()]) for v in (mean, least)
    )
    assert one.tiles_fingerprint != other.tiles_fingerprint


def test_it_is_sixteen_hexadecimal_digits():
    assert len(view().tiles_fingerprint) == 16
    assert int(view().tiles_fingerprint, 16) >= 0
