"""Whatever goes wrong at whatever call of a repair: done again, it ends as one without a fault, and
nothing is lost or doubled.
"""

from functools import partial

import pytest

import headwater as hw
from headwater.testing import faults
from tests.laws import shop
from tests.waiting import until

BEFORE, AFTER = shop.visits(0, 4, since=shop.SINCE), shop.visits(4, 8, since=shop.SINCE)


def an_older_copy(places):
    """A store without the last commits, whose events the archive has in files, and the stream still
    has.
    """
    place = places()
    shop.append(place, BEFORE)
    shop.ingest(faults.Watch(), place, shop.shop(place)[0])
    held = shop.contents(place)
    shop.append(place, AFTER)
    shop.ingest(faults.Watch(), place, shop.shop(place)[0])
    shop.hold(place, held)
    return place


def repaired(watch, place, stream=None):
    with shop.opened(watch, place) as store, watch.disk(place.home):
        hw.operations.rewind(shop.shop(place, stream=stream)[0], store=store, data_dir=place.home)


def started_again(place, stream=None):
    """Ingestion; where it says that the store has lost commits, after the repair that it names."""
    project = shop.shop(place, stream=stream)[0]

    def start():
        if stream is None:
            shop.ingest(faults.Watch(), place, project)
        else:
            with shop.pushing(place, project) as post:
                post(BEFORE[5:6])  # which opens the partition; the filter leaves it out
                filled(place, stream)

    try:
        start()
    except hw.errors.LostError as error:
        assert "store rewind" in str(error)  # noqa: PT017 (the remedy)
        repaired(faults.Watch(), place, stream)
        start()


def filled(place, stream):
    """Wait until no view is incomplete; what is not filled yet when ingestion ends is filled by the
    next one.
    """
    until(lambda: shop.counted(results(place, stream)[0][0]) is not None, "whole views")


def results(place, stream=None):
    return shop.values(place, shop.shop(place, stream=stream)[1]), shop.files(place)


def goes_on(prepare, work, again, read, before):
    place = prepare()
    assert shop.counted(read(place)[0][0]) == before
    work(faults.Watch(), place)
    again(place)
    after = read(place)
    assert shop.counted(after[0][0]) == set(range(8))
    assert len(after[1]["archive"]) == 8

    def reads(place):
        assert shop.counted(read(place)[0][0]) in (before, set(range(8)), None)

    for fault in faults.every(prepare, work, in_turn=True, meanwhile=reads):
        assert fault.error is None or isinstance(fault.error, hw.errors.HeadwaterError), fault
        reads(fault.place)
        again(fault.place)
        assert read(fault.place) == after, fault


def test_after_the_repair_of_an_older_copy_each_event_counts_once(places):
    goes_on(partial(an_older_copy, places), repaired, started_again, results, set(range(4)))


PUSHED = hw.push(schema=shop.SCHEMA)


@pytest.fixture
def pushed_copies(places):
    """As of an older copy; senders were told that the lost events are committed, and do not send
    them again.
    """
    place = places()
    project = shop.shop(place, stream=PUSHED)[0]
    shop.push(place, project, BEFORE)
    held = shop.contents(place)
    shop.push(place, project, AFTER[:3], AFTER[3:])
    shop.hold(place, held)
    return shop.Copies(places, place)


@pytest.mark.slow
def test_pushed_events_that_a_store_has_lost_are_committed_again_once(pushed_copies):
    work, again, read = (
        partial(function, stream=PUSHED) for function in (repaired, started_again, results)
    )
    goes_on(pushed_copies, work, again, read, set(range(4)))
