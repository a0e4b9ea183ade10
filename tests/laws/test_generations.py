"""A view is filled again beside its records: these are served until the new ones are whole, and
then all at once.
"""

from functools import partial

import pytest

import headwater as hw
from headwater.testing import faults
from tests.effort import LONG
from tests.laws import shop

EVENTS = 40
NUMBERS = 100  # bytes by which numbers in a store may grow
OLD, NEW = set(), set(range(EVENTS))


def spent(source):
    """A view whose values are served although they are incomplete."""
    return hw.FeatureView(
        "spent",
        source=source,
        keys=["user"],
        windows=["30d"],
        features=[hw.count(), hw.sum("n"), hw.last("n")],
        freshness=hw.streaming("2s"),
        on_incomplete="value",
    )


def project_of(place):
    return shop.shop(place, more=[spent])


def ingested(place):
    shop.ingest(faults.Watch(), place, project_of(place)[0])


def prepared(places):
    """The view was filled while the archive was elsewhere, and it is back."""
    place = places()
    shop.append(place, shop.visits(0, EVENTS, since=place.since))
    shop.ingest(faults.Watch(), place, shop.shop(place)[0])
    (place.home / "archive").rename(place.home / "elsewhere")
    ingested(place)
    (place.home / "archive").rename(place.home / "new")
    (place.home / "elsewhere").rename(place.home / "archive")
    return place


def filled(watch, place):
    with shop.opened(watch, place) as store, watch.disk(place.home):
        return hw.operations.fill(project_of(place)[0], ["spent"], store=store, data_dir=place.home)


def shown(rows):
    """The events that values of all users count, in one answer."""
    numbers = set()
    for user, row in zip(shop.USERS, rows, strict=True):
        total, count = row["spent__sum_n_30d"], row["spent__count_30d"]
        of_user = {number for number in range(60) if total >> number & 1}
        assert len(of_user) == count, row
        assert row["spent__last_n_30d"] == (1 << max(of_user) if of_user else None), row
        assert all(shop.USERS[number % 3] == user for number in of_user), row
        numbers |= of_user
    return numbers


def served(place):
    (rows,) = shop.values(place, project_of(place)[1][1:])
    return shown(rows)


def status(place):
    given = {"store": place.store or place.url, "data_dir": place.home}
    return {view.view: view for view in hw.status(project_of(place)[0], **given).views}["spent"]


def size(place):
    """Bytes of all that the store holds."""
    return sum(len(key) + len(value) for key, value in shop.contents(place).items())


def test_old_values_are_served_until_all_new_ones_are(places):
    """Wherever a fill is stopped: reads are of one generation, status says how far the next one is,
    the next fill ends it, and nothing of the old one stays.
    """
    place = prepared(places)
    assert (served(place), status(place).note) == (OLD, "")
    assert filled(faults.Watch(), place) == {"spent": EVENTS}
    assert (served(place), status(place).note) == (NEW, "")
    whole, notes = size(place), set()

    def reads(place):
        assert served(place) in (OLD, NEW)
        notes.add(status(place).note)

    for fault in faults.every(partial(prepared, places), filled, in_turn=not LONG, meanwhile=reads):
        assert fault.error is None or isinstance(fault.error, hw.errors.HeadwaterError), fault
        reads(fault.place)
        filled(faults.Watch(), fault.place)
        assert served(fault.place) == NEW, fault
        assert status(fault.place).note == "", fault
        assert size(fault.place) <= whole + NUMBERS, fault
    assert any(note.startswith("filling again: 3 of 5 parts") for note in notes), notes


def test_ingestion_ends_a_fill_that_was_stopped(places):
    """The stream goes on meanwhile, and both generations count what it brings."""
    place = prepared(places)
    for number, fault in enumerate(
        faults.every(partial(prepared, places), filled, kinds=["unanswered"])
    ):
        if (fault.call.interface, fault.call.name) != ("store", "commit") or number % 3:
            continue
        shop.append(fault.place, shop.visits(EVENTS, EVENTS + 4, since=place.since))
        ingested(fault.place)
        ingested(fault.place)
        assert served(fault.place) in (NEW | set(range(40, 44)), set(range(40, 44))), fault
        filled(faults.Watch(), fault.place)
        assert served(fault.place) == set(range(EVENTS + 4)), fault


def test_a_reader_that_was_opened_before_goes_on_with_the_new_values(places):
    place = prepared(places)
    project, views = project_of(place)
    with shop.opened(faults.Watch(), place) as store:
        service = hw.FeatureService("spent", views[1:])
        reader = hw.operations.OnlineFeatures(service, store)

        def seen():
            found = [reader.row({"user": user}).values for user in shop.USERS]
            return [dict(zip(reader.names, values, strict=True)) for values in found]

        assert shown(seen()) == OLD
        hw.operations.fill(project, ["spent"], store=store, data_dir=place.home)
        assert shown(seen()) == NEW


@pytest.mark.parametrize("times", [3])
def test_a_view_is_filled_again_any_number_of_times(places, times):
    place, sizes = prepared(places), []
    for _ in range(times):
        assert filled(faults.Watch(), place) == {"spent": EVENTS}
        assert served(place) == NEW
        sizes.append(size(place))
    assert max(sizes) <= min(sizes) + NUMBERS
    shop.append(place, shop.visits(EVENTS, EVENTS + 4, since=place.since))
    ingested(place)
    assert served(place) == set(range(EVENTS + 4))
