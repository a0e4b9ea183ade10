"""Documented limits: a size just inside is accepted, one just past it is refused, and the limit is
named.
"""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError, DefinitionError, UsageError

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
EVENTS = pl.DataFrame({"user": [1], "at": [NOON]})
SOURCE = hw.Source("s", history=EVENTS, timestamp_field="at")


def view(**given):
    usual = {
        "source": SOURCE,
        "keys": ["user"],
        "features": [hw.count()],
        "windows": ["1h"],
        "freshness": hw.on_request(),
    }
    return hw.FeatureView(**({"name": "v"} | usual | given))


CENTURY = 100 * 366
# how a thing of a size is made, the sizes that are accepted, those that are refused, and words of
# the error
LIMITS = {
    "characters of a view's name": (lambda n: view(name="v" * n), [1, 100], [0, 101], []),
    "characters of a source's name": (
        lambda n: hw.Source("s" * n, timestamp_field="at"),
        [1, 100],
        [101],
        ["100"],
    ),
    "characters of a feature's name": (lambda n: hw.count(name="f" * n), [1, 100], [101], ["100"]),
    "characters of a project's name": (
        lambda n: hw.FeatureService("f" * n, [view()]),
        [1, 100],
        [101],
        ["100"],
    ),
    "values of last_n": (
        lambda n: hw.last_n("x", k=n),
        [1, 100_000],
        [0, -1, 100_001, True, 1.0],
        ["k", "100,000"],
    ),
    "values of first_n": (
        lambda n: hw.first_n("x", k=n),
        [1, 100_000],
        [0, 100_001],
        ["k", "100,000"],
    ),
    "values of top_k": (lambda n: hw.top_k("x", k=n), [1, 100_000], [0, 100_001], ["k", "100,000"]),
    "values of collect_set": (
        lambda n: hw.collect_set("x", max_size=n),
        [1, 100_000],
        [0, 100_001],
        ["max_size", "100,000"],
    ),
    "secondary keys": (
        lambda n: hw.count().by("x", max_keys=n),
        [1, 1000],
        [0, 1001, True],
        ["max_keys", "1,000"],
    ),
    "keys of a list": (
        lambda n: hw.each("x", max_length=n),
        [1, 100_000],
        [0, 100_001, True],
        ["max_length"],
    ),
    "a share": (
        lambda q: hw.approx_percentile("x", q=q),
        [0, 1, 0.5, 0.999999, 0.000001],
        [-0.1, 1.1, 0.0000001, True],
        ["q"],
    ),
    "degrees of freedom": (lambda n: hw.std("x", ddof=n), [0, 1], [-1, 2], ["ddof"]),
    "days of a window": (lambda d: hw.window(f"{d}d"), [1, CENTURY], [0, CENTURY + 1], []),
    "days of an offset": (
        lambda d: hw.window("1d", offset=f"{d}d"),
        [0, CENTURY],
        [CENTURY + 1],
        [],
    ),
    "milliseconds of a window without hop=": (
        lambda n: hw.window(f"{n}ms"),
        [480, 490, 4800],
        [470, 479, 481, 1],
        ["hop"],
    ),
    "microseconds of a window with hop=": (
        lambda n: hw.window(f"{n}us", hop="1us"),
        [1, 2, 59],
        [0],
        [],
    ),
    "microseconds of a hop of an hour": (
        lambda n: hw.window("1h", hop=f"{n}us"),
        [1, 3_600_000_000],
        [0, 7, 3_600_000_001],
        [],
    ),
    "minutes of a batch": (
        lambda n: hw.batch(f"{n}m"),
        [1, 90, 720, 1440, 2880],
        [0, 7, 1000, 2000],
        ["day"],
    ),
    "minutes to the first cut of an hour": (
        lambda n: hw.batch("1h", at=f"00:{n:02}"),
        [0, 59],
        [60],
        [],
    ),
    "minutes that a job waits of ten": (
        lambda n: hw.batch("1h", delay="10m", wait=f"{n}m"),
        [0, 10],
        [11],
        ["wait", "10m"],
    ),
    "days of a lag": (lambda d: hw.streaming(f"{d}d"), [0, CENTURY], [CENTURY + 1], []),
    "days of a delay": (
        lambda d: hw.Source("s", timestamp_field="at", known_after=f"{d}d"),
        [0, CENTURY],
        [CENTURY + 1],
        ["known_after"],
    ),
    "a version": (lambda n: view(version=n), [1, 1000], [0, -1, True, 1.5], ["version"]),
    "bytes of memory": (
        lambda n: hw.Resources(memory=n),
        [10**6, "1MB", "1 GiB"],
        [10**6 - 1, "999KB", "0.5MB"],
        ["1MB"],
    ),
    "threads": (lambda n: hw.Resources(threads=n), [1, 64, None], [0, -1, True, 1.5], ["threads"]),
}


@pytest.mark.parametrize(("make", "accepted", "refused", "words"), LIMITS.values(), ids=LIMITS)
def test_a_limit_holds_just_inside_and_just_past_it(make, accepted, refused, words):
    for size in accepted:
        make(size)
    for size in refused:
        with pytest.raises((DefinitionError, UsageError)) as raised:
            make(size)
        assert [word for word in words if word not in str(raised.value)] == [], (
            size,
            str(raised.value),
        )


@pytest.mark.parametrize("length", [1, 99, 100, 101])
def test_a_list_of_keys_has_its_length_at_most(length):
    basket = view().alias("basket", keys={"user": hw.each("list", max_length=100)})
    rows = pl.DataFrame(
        {"list": [[1] * length, []], "timestamp": [NOON + timedelta(seconds=1)] * 2}
    )
    if length <= 100:
        assert hw.get_historical_features(basket, rows)["basket__count_1h"].to_list() == [
            [1] * length,
            [],
        ]
    else:
        with pytest.raises(DataError, match="101"):
            hw.get_historical_features(basket, rows)


KEYS = [
    "",
    "k",
    "k" * 399,
    "k" * 400,
    "k" * 401,
    "k" * 400 + "l",
    "k" * 5000,
    "k" * 4999 + "l",
    "é" * 200,
    "é" * 201,
    "k\x00",
    "k\x00\x00",
]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    return tmp_path


def test_keys_may_be_of_any_length(home):
    """Each is a key of its own, in training and in a store."""
    table = pl.DataFrame(
        {"user": [key for n, key in enumerate(KEYS) for _ in range(n + 1)]}
    ).with_columns(at=pl.lit(NOON))
    daily = view(
        source=hw.Source("s", history=table, timestamp_field="at"),
        windows=["1d"],
        freshness=hw.batch("1d"),
    )
    at = NOON + timedelta(hours=13)
    rows = pl.DataFrame({"user": [*KEYS, "k" * 402], "timestamp": [at] * (len(KEYS) + 1)})
    counts = [*range(1, len(KEYS) + 1), 0]
    assert hw.get_historical_features(daily, rows)["v__count_1d"].to_list() == counts
    asked = rows.select("user").with_columns(timestamp=pl.lit(NOON), y=pl.lit(1.0))
    labels = hw.Labels("l", table=asked, timestamp_field="timestamp", label="y", known_after="1d")
    model = hw.Model("m", features=hw.FeatureService("f", [daily]), labels=labels, task="binary")
    store = f"lmdb:{home}/online?size=100MB"
    hw.materialize(hw.Project("p", [model]), store=store, at=at)
    found = hw.get_online_features(daily, rows.select("user").to_dicts(), store=store, at=at)
    assert found["v__count_1d"].to_list() == counts
