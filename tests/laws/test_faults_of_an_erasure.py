"""For any fault at any call of an erasure: the same command ends it; the key is nowhere, and other
keys keep their values.
"""

import socket
from contextlib import ExitStack
from datetime import timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.testing import faults
from tests.laws import shop
from tests.laws.traces import traces
from tests.waiting import until

PUSHED = hw.push(schema=shop.SCHEMA)
ERASED = shop.USERS[0]
STREAM, HISTORY = 6, 3  # events


def project(place):
    """A stream that goes on from a history, which still has the erased key."""
    rows = [
        shop.event(STREAM + number, since=place.since - timedelta(days=1))
        for number in range(HISTORY)
    ]
    time = pl.col("at").str.to_datetime(time_unit="us", time_zone="UTC")
    history = pl.DataFrame(rows).with_columns(time)
    return shop.shop(place, stream=PUSHED, history=history, more=[everybody])


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
    """Places with an archive of two files, refused and filtered rows, outcomes that were posted,
    and a log of requests that were served.
    """
    place = places()
    shop.push(place, project(place)[0], shop.visits(0, 4, since=shop.SINCE))
    shop.push(place, project(place)[0], shop.visits(4, STREAM, since=shop.SINCE))
    outcomes = hw.operations.Outcomes(place.home, project(place)[0].models[0].labels, keys=["user"])
    for day in (1, 3):
        known = f"2024-05-0{day + 1}T00:00:00Z"
        asked = f"2024-05-0{day}T00:00:00Z"
        rows = [
            {"user": user, "timestamp": asked, "outcome": True, "known_at": known}
            for user in shop.USERS
        ]
        outcomes.add(rows)
        outcomes.roll()
    outcomes.close()
    serve(place)
    return shop.Copies(places, place)


def serve(place):
    """Have requests of all keys served, and logged."""
    with socket.socket() as free, ExitStack() as stack:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()
        log = stack.enter_context(hw.operations.ServedLog(place.home))
        options = hw.operations.ServeOptions(serving_log=log)
        store = stack.enter_context(shop.readable(place))
        given = {"listen": listen, "models": {}, "data_dir": place.home, "options": options}
        url = stack.enter_context(hw.operations.serve(project(place)[0], store, **given))
        client = stack.enter_context(hw.client.Client(url, timeout=60))
        for user in shop.USERS:
            client.features("s", {"user": user, "n": 1})
        until(lambda: log.counts().taken == len(shop.USERS), "all are logged")


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
            pl.DataFrame({"n": [1 << number for number in range(STREAM + HISTORY)]}),
            store=store,
            details=True,
        )
    return dict(zip(shop.USERS, rows, strict=True)), counts["kind__count_30d"].to_list()


def logs(place):
    """What was posted, and what was served."""
    outcomes = (
        hw.operations.outcomes(place.home, project(place)[0].models[0].labels)
        .select("user", "headwater_timestamp", "headwater_outcome")
        .rows()
    )
    return outcomes, hw.operations.served(place.home).collect().select("user", "n").sort("user")


def erased_undisturbed(copies):
    """What is served before and after, the files and the logs; no byte of the key is left."""
    place = copies()
    before = served(place)
    assert len(traces(place, ERASED)) > 5
    erased(faults.Watch(), place)
    after, files, left = served(place), shop.files(place), logs(place)
    assert traces(place, ERASED) == []
    assert after[0][ERASED]["user__count_30d"] == 0
    assert after[1] == [number % 3 > 0 for number in range(STREAM + HISTORY)]
    assert (len(left[0]), left[1]["user"].to_list()) == (4, shop.USERS[1:])
    return before, after, files, left


def check_ended(place, after, files, left, fault):
    """The same command ends it, and a fill of the views brings nothing back."""
    erased(faults.Watch(), place)
    assert traces(place, ERASED) == [], fault
    assert served(place) == after, fault
    assert shop.files(place) == files, fault
    assert logs(place)[0] == left[0], fault
    assert logs(place)[1].equals(left[1]), fault


def check_filled(place, after, fault):
    filled = hw.operations.fill(
        project(place)[0], ["user", "kind"], store=place.url, data_dir=place.home
    )
    assert set(filled.values()) == {sum(after[1])}, fault
    assert served(place) == after, fault
    assert traces(place, ERASED) == [], fault


def test_an_erasure_that_fails_at_some_calls_is_ended_by_the_same_command(copies):
    _, *undisturbed = erased_undisturbed(copies)
    calls = [call for call in faults.calls(copies, erased) if call.changes]
    for number, call in enumerate(calls[:: len(calls) // 5]):
        place = copies()
        with pytest.raises((hw.errors.HeadwaterError, OSError)):
            erased(faults.Watch(call, ("fail", "unanswered")[number % 2]), place)
        check_ended(place, *undisturbed, call)
    check_filled(place, undisturbed[0], call)


@pytest.mark.slow
def test_an_erasure_is_ended_by_the_same_command(copies):
    """No byte of the key is on the disk or the server then, also where the history still has it,
    and not when views are filled again.
    """
    before, *undisturbed = erased_undisturbed(copies)
    after = undisturbed[0]

    def reads(place):
        values, counts = served(place)
        for user in shop.USERS:
            assert values[user] in (before[0][user], after[0][user])
        assert all(
            count in (old, new) for count, old, new in zip(counts, before[1], after[1], strict=True)
        )

    every = faults.every(copies, erased, in_turn=True, meanwhile=reads)
    for number, fault in enumerate(every):
        assert fault.error is None or isinstance(fault.error, hw.errors.HeadwaterError), fault
        reads(fault.place)
        check_ended(fault.place, *undisturbed, fault)
        if number % 20 == 0:
            check_filled(fault.place, after, fault)
