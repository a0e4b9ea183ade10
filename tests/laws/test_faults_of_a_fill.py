"""Whatever goes wrong at whatever call while a new view is filled: it is served when it is whole,
and the others are all the time.
"""

from functools import partial

import polars as pl

import headwater as hw
from headwater.testing import faults
from tests.laws import shop


def history(place):
    """Events from before the stream, and two that the stream has too."""
    return pl.DataFrame(
        [shop.event(number, since=place.since) for number in range(5)]
    ).with_columns(pl.col("at").str.to_datetime(time_zone="UTC"))


def spent(source):
    """The new view, by the same key."""
    features = [hw.count(), hw.sum("n"), hw.last("n"), hw.max("n")]
    return hw.FeatureView(
        "spent",
        source=source,
        keys=["user"],
        windows=["30d"],
        features=features,
        freshness=hw.streaming("2s"),
    )


def prepared(places):
    """A stream that goes on from a history, ingested into the first view."""
    place = places()
    shop.append(place, shop.visits(3, 8, since=place.since))
    shop.ingest(faults.Watch(), place, shop.shop(place, history=history(place))[0])
    return place


def filled(watch, place):
    shop.ingest(watch, place, shop.shop(place, history=history(place), more=[spent])[0])


def served(place):
    """The values of each of the two views."""
    views = shop.shop(place, history=history(place), more=[spent])[1]
    return [shop.values(place, [view]) for view in views]


def test_a_new_view_is_filled_as_if_nothing_had_gone_wrong(places):
    place = prepared(places)
    before = served(place)
    assert shop.counted(before[0][0]) == set(range(8))
    assert before[1] is None
    filled(faults.Watch(), place)
    after, files = served(place), shop.files(place)
    assert shop.counted(after[1][0], "spent") == set(range(8))
    assert after[0] == before[0]

    def reads(place):
        first, new = served(place)
        assert first == before[0]
        assert new is None or new == after[1]

    for fault in faults.every(partial(prepared, places), filled, in_turn=True, meanwhile=reads):
        assert fault.error is None or isinstance(fault.error, hw.errors.HeadwaterError), fault
        reads(fault.place)
        filled(faults.Watch(), fault.place)
        assert served(fault.place) == after, fault
        assert shop.files(fault.place) == files, fault
