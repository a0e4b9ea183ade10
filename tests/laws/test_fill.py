"""A fill is made in parts, goes on after a stop, and is asked for where the past has changed:
exact, or said to be incomplete.
"""

import threading
from functools import partial

import polars as pl
import pytest

import headwater as hw
from headwater.testing import faults
from tests.laws import shop

EVENTS = 40


def spent(source):
    features = [hw.count(), hw.sum("n"), hw.last("n")]
    return hw.FeatureView(
        "spent",
        source=source,
        keys=["user"],
        windows=["30d"],
        features=features,
        freshness=hw.streaming("2s"),
    )


def with_new_view(place):
    return shop.shop(place, more=[spent])


def prepared(places):
    """A stream of as many events as make several parts of a fill, ingested into the first view."""
    place = places()
    shop.append(place, shop.visits(0, EVENTS, since=place.since))
    shop.ingest(faults.Watch(), place, shop.shop(place)[0])
    return place


def filled(watch, place):
    shop.ingest(watch, place, with_new_view(place)[0])


def values(place):
    (served,) = shop.values(place, with_new_view(place)[1][1:]) or (None,)
    return served


def status(place):
    (state,) = [
        view
        for view in hw.status(with_new_view(place)[0], store=place.url, data_dir=place.home).views
        if view.view == "spent"
    ]
    return state


def commits(watch):
    return sum(call.interface == "store" and call.name == "commit" for call in watch.calls)


def test_a_fill_that_is_stopped_goes_on_behind_its_last_part(places):
    """It is stopped after each commit: status says how far it is, and the next run makes no part
    again.
    """
    place = prepared(places)
    watch = faults.Watch()
    filled(watch, place)
    expected, whole = values(place), commits(watch)
    assert shop.counted(expected, "spent") == set(range(EVENTS))
    last = 0
    for call in watch.calls:
        if (call.interface, call.name) != ("store", "commit"):
            continue
        place = prepared(places)
        with pytest.raises(hw.errors.StoreError, match="for a test"):
            filled(faults.Watch(call, "unanswered"), place)
        stopped = status(place)
        if stopped.state == "filling" and stopped.note:
            assert values(place) is None
            done, parts = stopped.note.split(" parts")[0].split(" of ")
            assert parts == "5"
            last, again = int(done), faults.Watch()
            filled(again, place)
            assert commits(again) <= whole - last + 1, call
        filled(faults.Watch(), place)
        assert values(place) == expected, call
    assert last == 5


def test_a_view_is_filled_again_when_its_archive_was_put_back(places):
    place = prepared(places)
    expected = shop.values(place, shop.shop(place)[1])
    (place.home / "archive").rename(place.home / "elsewhere")
    filled(faults.Watch(), place)
    assert shop.counted(values(place), "spent") is None
    assert status(place).state == "incomplete"
    (place.home / "archive").rename(place.home / "new")
    (place.home / "elsewhere").rename(place.home / "archive")
    project = with_new_view(place)[0]
    assert hw.operations.fill(project, ["spent"], store=place.url, data_dir=place.home) == {
        "spent": EVENTS
    }
    assert shop.counted(values(place), "spent") == set(range(EVENTS))
    assert status(place).state in ("current", "stale")
    assert shop.values(place, shop.shop(place)[1]) == expected
    shop.append(place, shop.visits(EVENTS, EVENTS + 4, since=place.since))
    filled(faults.Watch(), place)
    assert shop.counted(values(place), "spent") == set(range(EVENTS + 4))


# ---------------------------------------------------------------- the stream goes on


class Slow:
    """A store that takes a while for commits of all threads but the one that commits the stream,
    until it is `quick`.
    """

    def __init__(self, store):
        self.store, self.stream, self.quick = store, None, threading.Event()

    def __getattr__(self, name):
        return getattr(self.store, name)

    def commit(self, changes, expect):
        if threading.get_ident() != self.stream:
            self.quick.wait(0.05)
        self.store.commit(changes, expect)

    def committed(self, *_):
        self.stream = threading.get_ident()


def test_a_source_is_first_read_when_its_views_hold_its_history(places):
    """When the first event is committed all before it counts, even if ingestion ends then."""
    place, stop = places(), threading.Event()
    past = pl.DataFrame([shop.event(number, since=place.since) for number in range(EVENTS)])
    past = past.with_columns(pl.col("at").str.to_datetime(time_unit="us", time_zone="UTC"))
    project, views = shop.shop(place, history=past)
    shop.append(place, shop.visits(EVENTS, EVENTS + 4, since=place.since))
    with shop.opened(faults.Watch(), place) as opened:
        slow = Slow(opened)

        def on_commit(*committed):
            slow.committed()
            stop.set()

        options = hw.operations.IngestOptions(allow_unapplied=True, on_commit=on_commit)
        hw.ingest(
            project,
            slow,
            data_dir=place.home,
            stop=stop,
            listen=None,
            limits=shop.LIMITS,
            options=options,
        )
    (served,) = shop.values(place, views)
    assert shop.counted(served) >= set(range(EVENTS))


def seen(place):
    """The state of the new view, and how many of its parts are done."""
    (state,) = [
        view
        for view in hw.status(with_new_view(place)[0], store=place.store, data_dir=place.home).views
        if view.view == "spent"
    ]
    return state.state, int(
        state.note.split(" of ")[0]
    ) if state.state == "filling" and state.note else 0


def first_view(place):
    (served,) = shop.values(place, shop.shop(place)[1])
    return shop.counted(served)


def test_one_run_commits_what_there_is_while_a_view_is_filled(places):
    """It ends when the view is whole."""
    place, found = prepared(places), []
    shop.append(place, shop.visits(EVENTS, EVENTS + 4, since=place.since))
    with shop.opened(faults.Watch(), place) as opened:
        place.store = slow = Slow(opened)

        def on_commit(*_):
            slow.committed()
            found.append((first_view(place), seen(place)[0]))
            if found[-1][0] == set(range(EVENTS + 4)):
                slow.quick.set()

        options = hw.operations.IngestOptions(allow_unapplied=True, on_commit=on_commit)
        hw.ingest(
            with_new_view(place)[0],
            slow,
            data_dir=place.home,
            once=True,
            listen=None,
            limits=shop.LIMITS,
            options=options,
        )
        place.store = opened
        assert shop.counted(values(place), "spent") == set(range(EVENTS + 4))
    assert (set(range(EVENTS + 4)), "filling") in found


# ---------------------------------------------------------------- events that are taken back


def standing(place, name="user"):
    """The events that a view counts."""
    views = shop.corrected(place, more=[spent])[1]
    (served,) = shop.values(place, [view for view in views if view.name == name]) or (None,)
    return None if served is None else shop.counted(served, name)


def taken_back(places):
    """One view is ingested, and some of its events are to be taken back."""
    place = places()
    shop.append(place, [shop.image(place, number, 0) for number in range(EVENTS)])
    shop.ingest(faults.Watch(), place, shop.corrected(place)[0])
    gone = [shop.image(place, number, 1, gone=True) for number in range(0, EVENTS, 7)]
    shop.append(place, [*gone, shop.image(place, EVENTS, 1), shop.image(place, 7, 2)])
    return place


def filled_with_both(watch, place):
    shop.ingest(watch, place, shop.corrected(place, more=[spent])[0])


@pytest.mark.slow
def test_a_fill_of_events_that_are_taken_back_goes_wrong(places):
    """At any call: the next run makes the view whole, and it counts what holds."""
    holds = {number for number in range(EVENTS + 1) if number % 7 or number == 7}
    for fault in faults.every(partial(taken_back, places), filled_with_both, in_turn=True):
        assert fault.error is None or isinstance(fault.error, hw.errors.HeadwaterError), fault
        assert standing(fault.place, "spent") in (None, standing(fault.place)), fault
        filled_with_both(faults.Watch(), fault.place)
        assert standing(fault.place) == standing(fault.place, "spent") == holds, fault


def test_a_view_of_events_that_are_taken_back_is_filled_again(places):
    """Its values are served meanwhile."""
    place = taken_back(places)
    filled_with_both(faults.Watch(), place)
    holds = standing(place, "spent")
    project = shop.corrected(place, more=[spent])[0]

    def fill(watch):
        with shop.opened(watch, place) as store:
            hw.operations.fill(project, ["spent"], store=store, data_dir=place.home)

    def note():
        views = hw.status(project, store=place.url, data_dir=place.home).views
        return next(view.note for view in views if view.view == "spent")

    watch = faults.Watch()
    fill(watch)
    assert (standing(place, "spent"), note()) == (holds, "")
    begun = next(call for call in watch.calls if call.name == "commit")
    with pytest.raises(hw.errors.StoreError, match="for a test"):
        fill(faults.Watch(begun, "unanswered"))
    assert standing(place, "spent") == holds
    assert note() == "filling again: waits for ingestion"
    shop.append(place, [shop.image(place, 7, 3, gone=True)])
    filled_with_both(faults.Watch(), place)
    assert (standing(place, "spent"), note()) == (holds - {7}, "")
