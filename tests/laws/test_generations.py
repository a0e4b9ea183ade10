"""A view is filled again beside its records: these are served until the new ones are whole, and
then all at once.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import polars as pl
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


def begun(places):
    """A fill was asked for, and nothing of it is done."""
    return stopped(places, prepared, commits_of(places, prepared, filled)[0])


@pytest.mark.slow
def test_ingestion_makes_a_generation_in_parts(places):
    """It goes on behind the last one, and reads are of one generation wherever it is stopped."""
    notes = set()
    for commit in commits_of(places, begun, ingest_watched):
        place = stopped(places, begun, commit, ingest_watched)
        assert served(place) in (OLD, NEW), commit
        notes.add(status(place).note)
    ingested(place)
    assert (served(place), status(place).note) == (NEW, "")
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


def erased(place, **how):
    user, project = shop.USERS[0], project_of(place)[0]
    with shop.opened(faults.Watch(), place) as store:
        return hw.operations.erase(project, {"user": user}, store=store, data_dir=place.home, **how)


@pytest.mark.slow
def test_an_erasure_counts_the_records_of_all_generations_once(places):
    """And removes the key from each, wherever a fill was stopped."""
    names = ["online records of user", "online records of spent"]
    found = erased(whole(places), dry_run=True)
    assert [found.rows[name] for name in names] == [1, 1]
    others = {number for number in NEW if number % 3}
    for commit in commits_of(places, whole, filled):
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

ACCEPTED = set(range(31))  # numbers of 32 bits


def narrow(places):
    """The stream's type of a column was too narrow for some events; today's accepts them."""
    place = places()
    shop.append(place, shop.visits(0, EVENTS, since=place.since))
    schema = shop.SCHEMA | {"n": pl.Int32}
    ingested(place, stream=hw.appended(f"{place.folder}/visits*.jsonl", schema=schema))
    return place


def rewound(watch, place):
    with shop.opened(watch, place) as store, watch.disk(place.home):
        return hw.operations.rewind(project_of(place)[0], store=store, data_dir=place.home)


def narrow_and_rewound(places):
    place = narrow(places)
    rewound(faults.Watch(), place)
    return place


def left_out(places):
    """The view was not in the project while some events came."""
    place = places()
    shop.append(place, shop.visits(0, 31, since=place.since))
    ingested(place)
    shop.append(place, shop.visits(31, EVENTS, since=place.since))
    shop.ingest(faults.Watch(), place, shop.shop(place)[0])
    return place


def seen(place):
    """What is served, the state of the view, and what the view by user answers."""
    (values,) = shop.values(place, project_of(place)[1][:1])
    return served(place), status(place).state, shop.counted(values)


@pytest.mark.parametrize(
    "prepare",
    [
        *(pytest.param(each, marks=pytest.mark.slow) for each in (narrow, narrow_and_rewound)),
        left_out,
    ],
)
def test_old_values_are_served_as_incomplete_while_a_view_is_repaired(places, prepare):
    """Where the rules of its source have changed, and where it has missed events; wherever
    ingestion is stopped.
    """
    ended, found = prepare(places), set()
    ingested(ended)
    assert seen(ended)[::2] == (NEW, NEW)
    whole = size(ended)
    for commit in commits_of(places, prepare, ingest_watched):
        place = stopped(places, prepare, commit, ingest_watched)
        events, state, by_user = seen(place)
        assert events in (ACCEPTED, NEW), commit
        assert by_user in (ACCEPTED, NEW, None), commit
        assert state == "incomplete" or events == by_user or by_user is None, commit
        found.add((len(events), state == "incomplete", status(place).note))
        ingested(place)
        assert seen(place)[::2] == (NEW, NEW), commit
        assert size(place) <= whole + NUMBERS, commit
    for note in ("filling again: waits for ingestion", "filling again: 3 of 5 parts"):
        assert any(
            (events, incomplete) == (len(ACCEPTED), True) and said.startswith(note)
            for events, incomplete, said in found
        ), found


class Read:
    """A store that is read behind each commit."""

    def __init__(self, store, read):
        self.store, self.read, self.found = store, read, []

    def __getattr__(self, name):
        return getattr(self.store, name)

    def commit(self, changes, expect):
        self.store.commit(changes, expect)
        self.found.append(self.read())


def test_a_reader_goes_on_while_an_incomplete_view_is_repaired(places):
    """It reads behind each commit."""
    place = narrow(places)
    project, views = project_of(place)
    with shop.opened(faults.Watch(), place) as store:
        service = hw.FeatureService("spent", views[1:])
        reader = hw.operations.OnlineFeatures(service, store)

        def read():
            found = [reader.row({"user": user}).values for user in shop.USERS]
            return shown([dict(zip(reader.names, values, strict=True)) for values in found])

        watched = Read(store, read)
        hw.operations.rewind(project, store=watched, data_dir=place.home)
        for _ in range(2):
            hw.operations.fill(project, ["spent"], store=watched, data_dir=place.home)
    found = [len(numbers) for numbers in watched.found]
    assert found == sorted(found)
    assert set(found) == {len(ACCEPTED), len(NEW)}


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


@pytest.mark.slow
def test_the_stream_goes_on_while_a_fill_is_asked_for(places):
    """Where several processes may write, the one that ingests fills, and who asked for it waits."""
    place, stop, sent, seen = prepared(places), threading.Event(), EVENTS, []
    project = project_of(place)[0]
    options = hw.operations.IngestOptions(allow_unapplied=True)
    how = {"data_dir": place.home, "stop": stop, "listen": None, "limits": shop.LIMITS}
    with (
        closing(hw.operations.open_store(place.url)) as store,
        ThreadPoolExecutor(2) as threads,
    ):
        place.store = store
        running = threads.submit(hw.ingest, project, store, options=options, **how)

        def send():
            nonlocal sent
            shop.append(place, shop.visits(sent, sent + 1, since=place.since))
            sent += 1
            until = time.monotonic() + 60
            while sent - 1 not in served(place):
                assert not running.done(), running.result()
                assert time.monotonic() < until, "an event is not committed"
                time.sleep(0.01)

        try:
            send()
            if place.url.startswith("lmdb:"):
                with pytest.raises(hw.errors.StoreError, match="stop `headwater ingest`"):
                    hw.operations.fill(project, ["spent"], store=store, data_dir=place.home)
                return
            asked = threads.submit(
                hw.operations.fill, project, ["spent"], store=place.url, data_dir=place.home
            )
            while not asked.done() and sent < EVENTS + 15:
                send()
                seen.append(served(place) & NEW)
            assert EVENTS < asked.result(60)["spent"] <= sent
            assert all(numbers in (OLD, NEW) for numbers in seen)
            send()
            assert served(place) == set(range(sent))
        finally:
            stop.set()
            running.result()
            place.store = None
    assert status(place).note == ""
