"""Chronon's own cases for mutated rows: snapshots of a table, the changes of a day, and the
averages that each query must see.

Its rows have no id. In all seven cases a listing has one row a timestamp, so listing and timestamp
are one; a change of the listing (or of the timestamp) is then a deletion of one id and an insertion
of another. A snapshot's rows are known when its day ends. Rows of the next day's snapshot too is
stated again, which changes nothing, so all snapshots go in as they are.

The header of `eventData` (where there is one) says listing, ts, event, ds; its rows are listing,
event, ts, ds, as `expected` shows, which repeats listing, ts and event of each.
"""

import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw

NAMES = [
    "testSimplestCase",
    "testUpdateValueCase",
    "testUpdateKeyCase",
    "testInconsistentTsLeftCase",
    "testDecayedWindowCase",
    "testDecayedWindowCaseNoMutation",
    "testNoSnapshotJustMutation",
]
TIME = pl.Datetime("us", "UTC")
IMAGES = {
    "listing": pl.Int64,
    "ts": TIME,
    "rating": pl.Int64,
    "known": TIME,
    "is_before": pl.Boolean,
}


@pytest.fixture(scope="module")
def cases(shared):
    file = shared / "golden" / "chronon_mutations.json"
    if not file.is_file():
        pytest.skip(f"needs {file.name} in the folder {file.parent.name} of {shared.name}")
    return {case["name"]: case for case in json.loads(file.read_text(encoding="utf-8"))}


def moment(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def images(case):
    """Snapshot and changes as one table of images, each with when it was known."""
    assert case["snapshotData"]["columns"] == "listing_id, ts, rating, ds"
    assert case["mutationData"]["columns"] == "listing_id, ts, rating, mutation_ts, is_before, ds"
    rows = [
        (i, moment(ts), rating, moment(ds) + timedelta(days=1), False)
        for i, ts, rating, ds in case["snapshotData"]["rows"]
    ]
    rows += [
        (i, moment(ts), rating, moment(known), before)
        for i, ts, rating, known, before, _ in case["mutationData"]["rows"]
    ]
    return pl.DataFrame(rows, schema=IMAGES, orient="row")


def averages(case, table):
    """The average rating as of each query, in the order of `eventData`."""
    source = hw.Source(
        "ratings",
        history=table,
        timestamp_field="ts",
        known_at_field="known",
        select=["listing", "rating", "is_before", pl.format("{} {}", "listing", "ts").alias("row")],
        id_field="row",
        changes="is_before",
    )
    window = "lifetime" if case["window"] is None else "4d"
    assert case["window"] in (None, ["4", "DAYS"])
    view = hw.FeatureView(
        "listing",
        source=source,
        keys=["listing"],
        features=[hw.mean("rating")],
        windows=[window],
        freshness=hw.on_request(),
    )
    queries = pl.DataFrame(
        {
            "listing": [r[0] for r in case["eventData"]["rows"]],
            "timestamp": [moment(r[2]) for r in case["eventData"]["rows"]],
        }
    )
    return hw.get_historical_features(view, queries)[view.feature_names[0]].to_list()


def expected(case):
    assert case["expected"]["columns"] == "listing_id, ts (query), event, rating_average, ds"
    rows = case["expected"]["rows"]
    assert [[r[0], r[2], r[1], r[4]] for r in rows] == case["eventData"]["rows"]
    return [None if r[3] is None else pytest.approx(r[3], rel=1e-12) for r in rows]


def test_these_are_all_of_its_cases(cases):
    assert list(cases) == NAMES
    assert sum(len(case["expected"]["rows"]) for case in cases.values()) == 26


@pytest.mark.parametrize("name", NAMES)
def test_every_average_is_chronons(cases, name):
    case = cases[name]
    assert averages(case, images(case)) == expected(case)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_before_a_change_says_nothing_that_the_image_after_does_not(cases, name):
    """Where a row keeps its id, images after a change alone come to the same. Only a change of key
    needs the one before.
    """
    case = cases[name]
    without = averages(case, images(case).filter(~pl.col("is_before")))
    assert (without == expected(case)) == (name != "testUpdateKeyCase")


@pytest.mark.parametrize("name", NAMES)
def test_a_listing_has_one_row_a_moment(cases, name):
    """What makes listing and moment an id: no snapshot has two such rows."""
    rows = cases[name]["snapshotData"]["rows"]
    assert len({(i, ts, ds) for i, ts, _, ds in rows}) == len(rows)
