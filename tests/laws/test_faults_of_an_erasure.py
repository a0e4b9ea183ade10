"""For any fault at any call of an erasure: the same command ends it; the key is nowhere, and other
keys keep their values.
"""

from pathlib import Path

import polars as pl
import pytest

import headwater as hw
from headwater.testing import faults
from tests.effort import LONG
from tests.laws import shop

PUSHED = hw.push(schema=shop.SCHEMA)
ERASED = shop.USERS[0]


def project(place):
    return shop.shop(place, stream=PUSHED, more=[everybody])


def everybody(source):
    """A view by another column, whose records count events of the key too."""
    features = [hw.count(), hw.sum("n")]
    return hw.FeatureView(
        "kind",
        source=source,
        keys=["n"],
        windows=["30d"],
        features=features,
        freshness=hw.streaming("2s"),
    )


@pytest.fixture
def copies(places):
    """Places with an archive of two files, refused and filtered rows, and outcomes that were
    posted.
    """
    place = places()
    shop.push(place, project(place)[0], shop.visits(0, 4, since=shop.SINCE))
    shop.push(place, project(place)[0], shop.visits(4, 6, since=shop.SINCE))
    outcomes = hw.operations.Outcomes(place.home, project(place)[0].models[0].labels, keys=["user"])
    outcomes.add(
        [
            {
                "user": user,
                "timestamp": "2024-05-01T00:00:00Z",
                "outcome": True,
                "known_at": "2024-05-02T00:00:00Z",
            }
            for user in shop.USERS
        ]
    )
    outcomes.roll()
    outcomes.add(
        [
            {
                "user": user,
                "timestamp": "2024-05-03T00:00:00Z",
                "outcome": True,
                "known_at": "2024-05-04T00:00:00Z",
            }
            for user in shop.USERS
        ]
    )
    outcomes.close()
    return shop.Copies(places, place)


def erased(watch, place):
    with shop.opened(watch, place) as store, watch.disk(place.home):
        hw.operations.erase(project(place)[0], {"user": ERASED}, store=store, data_dir=place.home)


def served(place):
    """The values of the view by user, by user, and how often each event is counted by number."""
    by_user, by_number = project(place)[1]
    (rows,) = shop.values(place, [by_user])
    with shop.readable(place) as store:
        counts = hw.get_online_features(
            by_number,
            pl.DataFrame({"n": [1 << number for number in range(6)]}),
            store=store,
            details=True,
        )
    return dict(zip(shop.USERS, rows, strict=True)), counts["kind__count_30d"].to_list()


def outcomes(place):
    return (
        hw.operations.outcomes(place.home, project(place)[0].models[0].labels)
        .select("user", "headwater_timestamp", "headwater_outcome")
        .rows()
    )


def traces(place):
    """Where the key is still found: values of the store, files as they are, and the rows of parquet
    files.
    """
    name = ERASED.encode()
    found = [key for key, value in shop.contents(place).items() if name in key or name in value]
    for path in (path for path in Path(place.home).rglob("*") if path.is_file()):
        rows = (
            str(pl.read_parquet(path, hive_partitioning=False).rows())
            if path.suffix == ".parquet"
            else ""
        )
        if ERASED in rows or name in path.read_bytes():
            found.append(path)
    return found


def test_an_erasure_is_ended_by_the_same_command(copies):
    place = copies()
    before = served(place)
    assert traces(place)
    erased(faults.Watch(), place)
    after, files, left = served(place), shop.files(place), outcomes(place)
    assert traces(place) == []
    assert after[0][ERASED]["user__count_30d"] == 0
    assert after[1] == [number % 3 > 0 for number in range(6)]
    assert len(left) == 4

    def reads(place):
        values, counts = served(place)
        for user in shop.USERS:
            assert values[user] in (before[0][user], after[0][user])
        assert all(
            count in (old, new) for count, old, new in zip(counts, before[1], after[1], strict=True)
        )

    for fault in faults.every(copies, erased, in_turn=not LONG, meanwhile=reads):
        assert fault.error is None or isinstance(fault.error, hw.errors.HeadwaterError), fault
        reads(fault.place)
        erased(faults.Watch(), fault.place)
        assert traces(fault.place) == [], fault
        assert served(fault.place) == after, fault
        assert shop.files(fault.place) == files, fault
        assert outcomes(fault.place) == left, fault
