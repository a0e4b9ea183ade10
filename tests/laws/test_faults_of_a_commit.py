"""For any fault at any call of a commit: started again, ingestion ends with what it would have had
without.
"""

from functools import partial

import headwater as hw
from headwater.testing import faults
from tests.laws import shop


def prepared(places):
    place = places()
    shop.append(place, shop.visits(0, 4, since=shop.SINCE))
    return place


def ingested(watch, place):
    shop.ingest(watch, place, shop.shop(place)[0])


def served(place):
    return shop.values(place, shop.shop(place)[1])


def test_a_commit_whose_call_goes_wrong_counts_each_event_once(places):
    place, steps = prepared(places), [0]

    def noted(source, committed, lag):
        steps.append(steps[-1] + committed.counts.get("accepted", 0))

    shop.ingest(faults.Watch(), place, shop.shop(place)[0], on_commit=noted)
    after, files = served(place), shop.files(place)
    assert shop.counted(after[0]) == set(range(4))
    assert [len(files[name]) for name in ("archive", "filtered", "dead_letters")] == [4, 1, 2]
    commits = [None, *(set(range(step)) for step in steps)]

    def reads(place):
        found = served(place)
        assert found is None or shop.counted(found[0]) in commits

    for fault in faults.every(partial(prepared, places), ingested, in_turn=True, meanwhile=reads):
        assert fault.error is None or isinstance(fault.error, hw.errors.HeadwaterError), fault
        reads(fault.place)
        ingested(faults.Watch(), fault.place)
        assert served(fault.place) == after, fault
        assert shop.files(fault.place) == files, fault
