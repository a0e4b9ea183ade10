"""What a source expects of its rows is checked by whoever reads its history, day by day, and says how
many rows and days break it.
"""

import random
import warnings
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.errors import HeadwaterWarning

START = datetime(2024, 5, 1, tzinfo=UTC)
DAYS = 9


def visits(seed):
    chance = random.Random(seed)
    return [
        {
            "user": chance.choice(["ann", "bob", None]),
            "n": chance.choice([None, *range(-2, 12)]),
            "share": chance.choice([None, float("nan"), 0.5, 1.0]),
            "at": START + timedelta(days=day, seconds=chance.randrange(86_400)),
        }
        for day in range(DAYS)
        for _ in range(chance.randint(3, 12))
    ]


def is_null(value):
    return value is None or value != value  # noqa: PLR0124 (NaN)


def nulls(rows):
    return sum(is_null(row["share"]) for row in rows) / len(rows)


EXPECTED = {
    # what is expected: which rows break it, and which whole days
    "range": (hw.Expect("n", in_range=(0, 9)), lambda row: not 0 <= (row["n"] or 0) <= 9, None),
    "not null": (hw.Expect("share", not_null=True), lambda row: is_null(row["share"]), None),
    "values": (hw.Expect("user", accepted_values=["ann"]), lambda row: row["user"] == "bob", None),
    "share of nulls": (
        hw.Expect("share", max_null_share=0.5),
        None,
        lambda rows: nulls(rows) > 0.5,
    ),
    "distinct": (
        hw.Expect("n", distinct=(5, None)),
        None,
        lambda rows: len({row["n"] for row in rows} - {None}) < 5,
    ),
    # the first and the last day may be parts of days
    "rows": (
        hw.ExpectRows(at_least=7),
        None,
        lambda rows: len(rows) < 7 and START.date() < rows[0]["at"].date() < last_day(),
    ),
}


def last_day():
    return (START + timedelta(days=DAYS - 1)).date()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", EXPECTED)
def test_whoever_reads_a_history_is_told_what_breaks_it(name, seed, tmp_path):
    expected, breaks, day_breaks = EXPECTED[name]
    rows = visits(seed)
    by_day = defaultdict(list)
    for row in rows:
        by_day[row["at"].date()].append(row)
    broken = [row for row in rows if breaks is not None and breaks(row)]
    days = {row["at"].date() for row in broken}
    days |= {day for day, there in by_day.items() if day_breaks is not None and day_breaks(there)}
    whole = DAYS - 2 * (name == "rows")
    source = hw.Source(
        "visits",
        history=pl.DataFrame(rows, schema_overrides={"at": pl.Datetime("us", "UTC")}),
        timestamp_field="at",
        expectations=[expected],
    )
    view = hw.FeatureView(
        "user",
        source=source,
        keys=["user"],
        windows=["1d"],
        features=[hw.count()],
        freshness=hw.on_request(),
    )
    asked = [START + timedelta(hours=n) for n in range(20)]
    table = pl.DataFrame({"user": "ann", "at": asked, "left": [n % 2 == 0 for n in range(20)]})
    labels = hw.Labels("left", table=table, timestamp_field="at", label="left", known_after="1h")
    model = hw.Model(
        "leaves", task="binary", features=hw.FeatureService("s", [view]), labels=labels
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hw.dataset(model, tmp_path / "rows.parquet", as_of=START + timedelta(days=30))
    told = [
        str(one.message)
        for one in caught
        if issubclass(one.category, HeadwaterWarning) and "source visits" in str(one.message)
    ]
    if not days:
        assert told == []
        return
    by_rows = f"{len(broken)} of {len(rows)} rows, on " if broken else ""
    (message,) = told
    assert message.endswith(f"broken by {by_rows}{len(days)} of {whole} days, the last {max(days)}")
