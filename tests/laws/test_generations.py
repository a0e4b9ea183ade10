"""A view is filled again beside its records: these are served until the new ones are whole, and
then all at once.
"""

import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from functools import partial

import polars as pl
import pytest

import headwater as hw
from headwater.testing import faults
from tests.effort import LONG
from tests.laws import shop
from tests.laws.test_fill import ingesting

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


@pytest.mark.slow
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


# ---------------------------------------------------------------- events that are taken back


class Corrections:
    """Events of a place that are taken back, come, and come again; `holds` those that hold."""

    def __init__(self, place):
        self.place, self.steps, self.holds = place, 0, set(range(EVENTS))

    def step(self):
        self.steps += 1
        number = 7 * self.steps % EVENTS if self.steps % 3 else EVENTS + self.steps // 3
        gone = number in self.holds
        shop.append(self.place, [shop.image(self.place, number, self.steps, gone=gone)])
        self.holds ^= {number}


def read(place, views):
    """The events that each view counts."""
    served = shop.values(place, views)
    return [shop.counted(rows, view.name) for view, rows in zip(views, served or [], strict=True)]


def corrected(places):
    """Two views of events that were taken back, of which one is asked to be filled again."""
    place = places()
    shop.append(place, [shop.image(place, number, 0) for number in range(EVENTS)])
    project, views = shop.corrected(place, more=[spent])
    shop.ingest(faults.Watch(), place, project)
    changes = Corrections(place)
    for _ in range(3):
        changes.step()
    shop.ingest(faults.Watch(), place, project)
    assert read(place, views) == [changes.holds, changes.holds]
    watch = faults.Watch()
    filled(watch, place, project)
    begun = next(call for call in watch.calls if call.name == "commit")
    with pytest.raises(hw.errors.StoreError, match="for a test"):
        filled(faults.Watch(begun, "unanswered"), place, project)
    assert status(place, project).note == "filling again: waits for ingestion"
    return changes, project, views


def check(place, more, holds, places):
    """All is as where ingestion ran undisturbed."""
    (views, at), other = (shop.corrected(place, more=[more])[1], datetime.now(UTC)), places()
    assert read(place, views) == [holds, holds]
    shutil.copy(place.folder / "visits.jsonl", other.folder)
    project, same = shop.corrected(other, more=[more])
    shop.ingest(faults.Watch(), other, project)
    assert shop.values(place, views, at=at) == shop.values(other, same, at=at)
    assert shop.files(place) == shop.files(other)


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [False, True])
def test_events_are_taken_back_while_their_view_is_filled_again(places, stopped):
    """Each commit counts at once, in both generations; also where ingestion is stopped meanwhile,
    and the fill goes on where it was.
    """
    changes, project, views = corrected(places)
    place = changes.place
    limits = hw.operations.IngestLimits(batch=1, linger=0.0, max_clock_jump="365d")  # many parts
    followed, done = [], []
    note = partial(status, place, project)
    for _ in range(3 if stopped else 1):
        with ingesting(place, project, limits) as running:
            begun = changes.steps
            while (said := note().note) and not running.done():
                if read(place, views[:1]) == [changes.holds]:
                    assert read(place, views[1:]) == [changes.holds]
                    followed.append(said)
                    if stopped and changes.steps > begun + 2:
                        break
                    if changes.steps < 18:
                        changes.step()
                time.sleep(0.01)
            done += [view.note for view in [note()] if view.note]
    assert any("parts" in said for said in followed[1:]), followed
    shop.ingest(faults.Watch(), place, project)
    assert note().note == ""
    changes.step()
    shop.ingest(faults.Watch(), place, project)
    check(place, spent, changes.holds, places)
    if stopped:
        parts = [int(said.removeprefix("filling again: ").split(" of ")[0]) for said in done]
        assert parts == sorted(parts)
        assert parts[0] > 0


def wider(source):
    """A view with a longer window, by a column that the other one does not read."""
    return hw.FeatureView(
        "wider",
        source=source,
        keys=["user"],
        windows=["30d", "60d"],
        features=[hw.count(), hw.sum("n"), hw.last("n"), hw.last_n("id", k=40)],
        freshness=hw.streaming("2s"),
    )


@pytest.mark.slow
@pytest.mark.parametrize("archive", [True, False])
def test_a_view_that_needs_more_is_filled_while_events_are_taken_back(places, archive):
    """The other view follows at once; the new one counts what holds, or is incomplete where the
    archive is away.
    """
    place, followed = places(), 0
    shop.append(place, [shop.image(place, number, 0) for number in range(EVENTS)])
    changes = Corrections(place)
    for _ in range(3):
        changes.step()
    shop.ingest(faults.Watch(), place, shop.corrected(place)[0])
    project, views = shop.corrected(place, more=[wider])
    assert read(place, views[:1]) == [changes.holds]
    if not archive:
        (place.home / "archive").rename(place.home / "elsewhere")
    limits = hw.operations.IngestLimits(batch=1, linger=0.0, max_clock_jump="365d")
    with ingesting(place, project, limits) as running:
        begun = changes.steps
        while shop.values(place, views[1:]) is None and not running.done():
            if read(place, views[:1]) == [changes.holds] and changes.steps < 18:
                followed += changes.steps > begun
                # a copy of an image that has not been read again
                again = [shop.image(place, EVENTS - 1, 0)] if changes.steps < begun + 2 else []
                shop.append(place, again)
                changes.step()
            time.sleep(0.01)
    assert followed > 0 or not archive
    shop.ingest(faults.Watch(), place, project)
    if archive:
        check(place, wider, changes.holds, places)
    else:
        assert read(place, views) == [changes.holds, None]


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
        pytest.param(narrow, marks=pytest.mark.slow),
        pytest.param(narrow_and_rewound, marks=pytest.mark.long),
        pytest.param(left_out, marks=pytest.mark.slow),
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
    place, sizes, generations = prepared(places), [], []
    for _ in range(times):
        assert filled(faults.Watch(), place) == {"spent": EVENTS}
        assert served(place) == NEW
        sizes.append(size(place))
        noted = [value for key, value in shop.contents(place).items() if key.startswith(b"g")]
        generations.append(list(map(len, noted)))
    assert max(sizes) <= min(sizes) + NUMBERS
    assert generations == generations[:1] * times  # none is noted that is removed
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
