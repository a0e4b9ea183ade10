"""A view is filled again beside its records: these are served until the new ones are whole, and
then all at once.
"""

from functools import partial

import pytest

import headwater as hw
from headwater.testing import faults
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


def project_of(place, **rules):
    return shop.shop(place, more=[spent], **rules)


def ingest_watched(watch, place, **rules):
    shop.ingest(watch, place, project_of(place, **rules)[0])


def ingested(place, **rules):
    ingest_watched(faults.Watch(), place, **rules)


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


def whole(places):
    """The view holds all events, and is filled again nevertheless."""
    place = places()
    shop.append(place, shop.visits(0, EVENTS, since=place.since))
    ingested(place)
    return place


def filled(watch, place, project=None):
    project = project or project_of(place)[0]
    with shop.opened(watch, place) as store, watch.disk(place.home):
        return hw.operations.fill(project, ["spent"], store=store, data_dir=place.home)


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


def status(place, project=None):
    given = {"store": place.store or place.url, "data_dir": place.home}
    views = hw.status(project or project_of(place)[0], **given).views
    return {view.view: view for view in views}["spent"]


def size(place):
    """Bytes of all that the store holds."""
    return sum(len(key) + len(value) for key, value in shop.contents(place).items())


@pytest.mark.slow
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

    for fault in faults.every(partial(prepared, places), filled, in_turn=True, meanwhile=reads):
        assert fault.error is None or isinstance(fault.error, hw.errors.HeadwaterError), fault
        reads(fault.place)
        filled(faults.Watch(), fault.place)
        assert served(fault.place) == NEW, fault
        assert status(fault.place).note == "", fault
        assert size(fault.place) <= whole + NUMBERS, fault
    assert any(note.startswith("filling again: 1 of 1 parts") for note in notes), notes


def commits_of(places, prepare, work):
    """The commits of a piece of work, in order."""
    made = faults.calls(partial(prepare, places), work)
    return [call for call in made if (call.interface, call.name) == ("store", "commit")]


def stopped(places, prepare, commit, work=filled):
    """A place where work was stopped behind a commit."""
    place = prepare(places)
    with pytest.raises(hw.errors.StoreError, match="for a test"):
        work(faults.Watch(commit, "unanswered"), place)
    return place


def test_ingestion_makes_a_generation_in_parts(places):
    """It goes on behind the last one, and reads are of one generation wherever it is stopped."""
    notes, first = set(), commits_of(places, prepared, filled)[0]

    def begun(places):  # a fill was asked for, and nothing of it is done
        return stopped(places, prepared, first)

    for commit in commits_of(places, begun, ingest_watched):
        place = stopped(places, begun, commit, ingest_watched)
        assert served(place) in (OLD, NEW), commit
        notes.add(status(place).note)
    ingested(place)
    assert (served(place), status(place).note) == (NEW, "")
    assert any(note.startswith("filling again: 3 of 5 parts") for note in notes), notes


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


def erased(place, **how):
    user, project = shop.USERS[0], project_of(place)[0]
    with shop.opened(faults.Watch(), place) as store:
        return hw.operations.erase(project, {"user": user}, store=store, data_dir=place.home, **how)


def test_an_erasure_counts_the_records_of_all_generations_once(places):
    """And removes the key from each, wherever a fill was stopped."""
    names = ["online records of user", "online records of spent"]
    found = erased(whole(places), dry_run=True)
    assert [found.rows[name] for name in names] == [1, 1]
    others = {number for number in NEW if number % 3}
    for commit in commits_of(places, whole, filled)[::2]:
        place = stopped(places, whole, commit)
        receipt = erased(place)
        assert [receipt.rows[name] for name in names] == [1, 1], commit
        user = shop.USERS[0].encode()
        left = [key for key, value in shop.contents(place).items() if user in key + value]
        assert left == [], commit
        assert served(place) == others, commit
        filled(faults.Watch(), place)
        assert served(place) == others, commit


# ---------------------------------------------------------------- rules that have changed


def seen(place):
    """What is served, the state of the view, and what the view by user answers."""
    (values,) = shop.values(place, project_of(place)[1][:1])
    return served(place), status(place).state, shop.counted(values)
