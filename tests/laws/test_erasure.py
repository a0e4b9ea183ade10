"""An erased key is nowhere on the disk, every later fill leaves it out for as long as the history
still has it, and what it does later counts as new.
"""

import json
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.testing import clock, faults
from tests.laws import shop
from tests.laws.traces import traces

ERASED = shop.USERS[0]
HISTORY, STREAM = 6, 12  # events of the history, and of the stream after it
_TIME = pl.col("at").str.to_datetime(time_unit="us", time_zone="UTC")


def by_number(source):
    """A view by another column, whose records count events of the key too."""
    return hw.FeatureView(
        "kind",
        source=source,
        keys=["n"],
        windows=["30d"],
        features=[hw.count(), hw.sum("n")],
        freshness=hw.streaming("2s"),
    )


def later(source):
    """The same, defined after the erasure."""
    return hw.FeatureView(
        "later",
        source=source,
        keys=["n"],
        windows=["30d"],
        features=[hw.count(), hw.sum("n")],
        freshness=hw.streaming("2s"),
    )


def later_by_user(source):
    features = [hw.count(), hw.sum("n"), hw.last("n")]
    return hw.FeatureView(
        "spent",
        source=source,
        keys=["user"],
        windows=["30d"],
        features=features,
        freshness=hw.streaming("2s"),
    )


def project(place, *more, **rules):
    history = hw.parquet(place.folder / "history.parquet")
    return shop.shop(place, history=history, more=[by_number, *more], **rules)


def write_history(place, numbers, *more):
    """The table that the stream goes on from: its events are of the day before; and more rows."""
    since = place.since - timedelta(days=1)
    rows = [shop.event(number, since=since) for number in numbers]
    pl.DataFrame([*rows, *more]).with_columns(_TIME).write_parquet(place.folder / "history.parquet")


def streamed(place, numbers):
    """Events that came after the history, with their lines as a stream has them."""
    shop.append(place, [json.dumps(shop.event(n, since=place.since)) for n in numbers])


def ingest(place, *more, **rules):
    shop.ingest(faults.Watch(), place, project(place, *more, **rules)[0])


def erase(place, *more, **rules):
    return hw.operations.erase(
        project(place, *more, **rules)[0], {"user": ERASED}, store=place.url, data_dir=place.home
    )


def counts(place, name, *more, **rules):
    """Which events a view by number counts."""
    (view,) = [view for view in project(place, *more, **rules)[1] if view.name == name]
    asked = pl.DataFrame({"n": [1 << number for number in range(60)]})
    with shop.readable(place) as store:
        served = hw.get_online_features(view, asked, store=store, details=True)
    return {n for n, count in enumerate(served[f"{name}__count_30d"].to_list()) if count}


def others(numbers):
    return {number for number in numbers if shop.USERS[number % 3] != ERASED}


def by_user(place, name, *more, **rules):
    (view,) = [view for view in project(place, *more, **rules)[1] if view.name == name]
    return shop.values(place, [view])[0]


@pytest.fixture
def place(places):
    """A history and a stream, ingested."""
    place = places()
    write_history(place, range(HISTORY))
    streamed(place, range(HISTORY, STREAM))
    ingest(place)
    return place


RULES = {
    "ids": {},
    "no ids": {"id_field": None},
    "key that is computed": {
        "select": ["id", pl.col("user").str.to_lowercase().alias("user"), "n"]
    },
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_a_later_fill_leaves_out_whom_the_history_still_has(places, rules):
    place = places()
    write_history(place, range(HISTORY))
    streamed(place, range(HISTORY, STREAM))
    ingest(place, **rules)
    assert counts(place, "kind", **rules) == set(range(STREAM))
    receipt = erase(place, **rules)
    assert receipt.left_out == ["visits"]
    assert counts(place, "kind", **rules) == others(range(STREAM))
    ingest(place, later, later_by_user, **rules)
    assert counts(place, "later", later, later_by_user, **rules) == others(range(STREAM))
    served = by_user(place, "spent", later, later_by_user, **rules)
    assert [row["spent__count_30d"] for row in served] == [0, 4, 4]
    assert counts(place, "kind", later, later_by_user, **rules) == others(range(STREAM))


def test_a_view_that_is_filled_again_leaves_them_out(place):
    erase(place)
    filled = hw.operations.fill(
        project(place)[0], ["user", "kind"], store=place.url, data_dir=place.home
    )
    assert set(filled.values()) == {len(others(range(STREAM)))}
    assert counts(place, "kind") == others(range(STREAM))
    assert by_user(place, "user")[0]["user__count_30d"] == 0


def test_what_they_do_later_counts_as_new_and_stays(place):
    erase(place)
    streamed(place, [STREAM])  # of the erased key
    assert shop.USERS[STREAM % 3] == ERASED
    ingest(place)
    expected = others(range(STREAM)) | {STREAM}
    assert counts(place, "kind") == expected
    ingest(place, later, later_by_user)
    assert counts(place, "later", later, later_by_user) == expected
    served = by_user(place, "spent", later, later_by_user)
    assert [row["spent__count_30d"] for row in served] == [1, 4, 4]


def test_the_key_may_be_removed_from_the_history_and_is_not_remembered_then(place):
    erase(place)
    write_history(place, sorted(others(range(HISTORY))))
    assert erase(place).left_out == []
    ingest(place, later)
    assert counts(place, "later", later) == others(range(STREAM))
    assert not any(key.startswith(b"k") for key in shop.contents(place))


def test_rows_that_were_left_out_are_not_judged_again_for_them(place):
    """A looser filter accepts what was filtered, but not of whom was erased."""
    lines = [
        json.dumps(shop.event(number, since=place.since) | {"id": f"f{number}", "n": -1 - number})
        for number in range(3)
    ]
    shop.append(place, lines)
    ingest(place)
    erase(place)
    looser = {"filter": pl.col("n") > -100}
    ingest(place, **looser)
    asked = pl.DataFrame({"n": [-1, -2, -3]})
    with shop.readable(place) as store:
        served = hw.get_online_features(
            project(place, **looser)[1][1], asked, store=store, details=True
        )
    assert served["kind__count_30d"].to_list() == [0, 1, 1]


# ---------------------------------------------------------------- a clock that was ahead


def after(place, **duration):
    """A time after all events of a place."""
    return clock.at(place.since + timedelta(hours=3) + timedelta(**duration))


def test_what_comes_after_a_rewind_to_the_present_counts(places):
    """The erasure was asked for by a store that was ahead; its time is set back with all others."""
    place = places()
    write_history(place, range(HISTORY))
    streamed(place, range(HISTORY, STREAM - 1))
    with after(place):
        ingest(place)
    with after(place, days=300):
        streamed(place, [STREAM - 1])
        ingest(place)
        erase(place)
        streamed(place, [STREAM])  # of the erased key, after the erasure
        ingest(place)
    with after(place, minutes=1):
        assert hw.operations.rewind(project(place)[0], store=place.url, data_dir=place.home)
    with after(place, minutes=2):
        streamed(place, [STREAM + 3])  # of the erased key, too
        ingest(place, later)
        expected = others(range(STREAM)) | {STREAM, STREAM + 3}
        assert counts(place, "kind", later) == expected
        assert counts(place, "later", later) == expected


# ---------------------------------------------------------------- events that are changed by images

IMAGES = {"changes": "before", "known_at_field": "known", "filter": None}


def changed(place, *more):
    """The project, of a source whose events are changed by images."""
    schema = shop.SCHEMA | {"before": bool, "known": shop.SCHEMA["at"]}
    return shop.shop(
        place,
        history=hw.parquet(place.folder / "history.parquet"),
        stream=hw.appended(f"{place.folder}/visits*.jsonl", schema=schema),
        more=[by_number, *more],
        **IMAGES,
    )


def image(place, number, minutes, user=None, *, before=False):
    """An image of an event, known some minutes after the history began."""
    known = place.since - timedelta(days=1) + timedelta(minutes=minutes)
    made = shop.event(number, since=place.since - timedelta(days=1))
    return made | {
        "user": user or made["user"],
        "before": before,
        "known": known.isoformat(),
    }


def images(place):
    """Of the history, and of the stream: one event leaves the erased key, one comes to it."""
    history = [image(place, number, number) for number in range(HISTORY)]
    _, bob, _ = shop.USERS
    moved = [
        image(place, 0, 100, before=True),
        image(place, 0, 100, bob),
        image(place, 1, 101, before=True),
        image(place, 1, 101, ERASED),
    ]
    return history, [*moved, image(place, HISTORY, 102), image(place, HISTORY + 1, 103)]


def ingested_images(place):
    history, stream = images(place)
    times = [_TIME, pl.col("known").str.to_datetime(time_unit="us", time_zone="UTC")]
    pl.DataFrame(history).with_columns(times).write_parquet(place.folder / "history.parquet")
    shop.append(place, [json.dumps(row) for row in stream])
    shop.ingest(faults.Watch(), place, changed(place)[0])
    return place


@pytest.fixture
def of_images(places):
    return ingested_images(places())


def counted_of_images(place, *more):
    (view,) = [
        view for view in changed(place, *more)[1] if view.name == ((more and "later") or "kind")
    ]
    asked = pl.DataFrame({"n": [1 << number for number in range(STREAM + 4)]})
    with shop.readable(place) as store:
        served = hw.get_online_features(view, asked, store=store, details=True)
    return {n for n, count in enumerate(served[f"{view.name}__count_30d"].to_list()) if count}


def dropped_later(place):
    """The bytes of the store's notes when the images of events are dropped; each as many."""
    held = shop.contents(place).items()
    return sum(len(value) for key, value in held if key.startswith(b"e"))


def test_an_event_that_had_the_key_in_any_image_is_left_out(of_images):
    place = of_images
    everyone = set(range(HISTORY + 2))
    assert counted_of_images(place) == everyone
    erased = {0, 1, 3, HISTORY}
    before = dropped_later(place)
    receipt = hw.operations.erase(
        changed(place)[0], {"user": ERASED}, store=place.url, data_dir=place.home
    )
    noted = before // (len(everyone) + 2)  # for two events at two times
    assert dropped_later(place) == noted * (len(everyone) - len(erased)) > 0
    assert receipt.left_out == ["visits"]
    assert counted_of_images(place) == everyone - erased
    shop.ingest(faults.Watch(), place, changed(place, later)[0])
    assert counted_of_images(place, later) == everyone - erased
    # what comes later counts as new, also of an event that was erased
    more = [image(place, HISTORY + 3, 200), image(place, 0, 201, shop.USERS[2])]
    shop.append(place, [json.dumps(row) for row in more])
    shop.ingest(faults.Watch(), place, changed(place, later)[0])
    expected = (everyone - erased) | {HISTORY + 3, 0}
    assert counted_of_images(place) == expected
    assert counted_of_images(place, later) == expected
    hw.operations.fill(changed(place, later)[0], ["later"], store=place.url, data_dir=place.home)
    assert counted_of_images(place, later) == expected


def between(prepare, make, line):
    """The erasure stops at some write, the key comes again, and the same command ends it."""

    def work(watch, place):
        with shop.opened(watch, place) as store, watch.disk(place.home):
            hw.operations.erase(make(place)[0], {"user": ERASED}, store=store, data_dir=place.home)

    commits = [call for call in faults.calls(prepare, work) if call.interface == "store"]
    for call in [call for call in commits if call.changes][::3]:
        place = prepare()
        with pytest.raises(hw.errors.HeadwaterError):
            work(faults.Watch(call, "fail"), place)
        shop.append(place, [json.dumps(line(place))])
        shop.ingest(faults.Watch(), place, make(place)[0])
        work(faults.Watch(), place)
        yield place, call


def test_what_comes_before_a_stopped_erasure_is_ended_counts(places):
    def prepare():
        place = places()
        write_history(place, range(HISTORY))
        streamed(place, range(HISTORY, STREAM))
        ingest(place)
        return place

    def line(place):
        return shop.event(STREAM, since=place.since)

    for place, call in between(prepare, project, line):
        expected = others(range(STREAM)) | {STREAM}
        assert counts(place, "kind") == expected, call
        ingest(place, later)
        assert counts(place, "later", later) == expected, call
        served = by_user(place, "user", later)
        assert [row["user__count_30d"] for row in served] == [1, 4, 4], call


def test_an_image_that_comes_before_a_stopped_erasure_is_ended_counts(places):
    def prepare():
        return ingested_images(places())

    def line(place):
        return image(place, HISTORY + 3, 200)

    for place, call in between(prepare, changed, line):
        expected = {2, 4, 5, HISTORY + 1, HISTORY + 3}
        assert counted_of_images(place) == expected, call
        shop.append(place, [json.dumps(image(place, HISTORY + 3, 300, before=True))])
        shop.ingest(faults.Watch(), place, changed(place)[0])
        assert counted_of_images(place) == expected - {HISTORY + 3}, "it cannot be taken back"
        shop.ingest(faults.Watch(), place, changed(place, later)[0])
        assert counted_of_images(place, later) == expected - {HISTORY + 3}, call


# ---------------------------------------------------------------- jobs


def batch(place, **rules):
    """A project of batch views, by user and by number, of a source that no stream feeds."""
    source = hw.Source(
        "orders",
        history=hw.parquet(place.folder / "history.parquet"),
        timestamp_field="at",
        **rules,
    )
    views = [
        hw.FeatureView(
            name,
            source=source,
            keys=[key],
            windows=["30d"],
            features=[hw.count(), hw.sum("n")],
            freshness=hw.batch("1h"),
        )
        for name, key in {"buyer": "user", "bought": "n"}.items()
    ]
    labels = shop.shop(place)[0].models[0].labels
    features = hw.FeatureService("s", views)
    return hw.Project(
        "orders", [hw.Model("leaves", task="binary", features=features, labels=labels)]
    )


def bought(place, shop_of):
    """Which events are counted by user, and by number."""
    by_user, by_n = shop_of.models[0].features.views
    users, numbers = pl.DataFrame({"user": shop.USERS}), range(STREAM)
    with shop.readable(place) as store:
        sums = hw.get_online_features(by_user, users, store=store)["buyer__sum_n_30d"]
        asked = pl.DataFrame({"n": [1 << n for n in numbers]})
        counted = hw.get_online_features(by_n, asked, store=store)["bought__count_30d"]
    total = sum(sums.to_list())
    return (
        {n for n in numbers if total >> n & 1},
        {n for n, count in zip(numbers, counted, strict=True) if count},
    )


TABLES = {"no ids": {}, "ids": {"id_field": "id"}, "select": {"select": ["user", "n"]}}


@pytest.mark.parametrize("memory", [None, "64MB"])
@pytest.mark.parametrize("rules", TABLES.values(), ids=TABLES)
def test_jobs_leave_out_whom_the_history_still_has(places, monkeypatch, rules, memory):
    check_jobs(places(), monkeypatch, hw.Resources(memory=memory), rules)


def check_jobs(place, monkeypatch, resources, rules):
    """Jobs leave a key out for as long as the history has it, whatever runs them."""
    monkeypatch.setenv("HEADWATER_HOME", str(place.home))
    orders = batch(place, **rules)

    def made():
        hw.materialize(orders, store=place.url, at=now.time(), resources=resources)
        return bought(place, orders)

    write_history(place, range(HISTORY))
    with after(place) as now:
        assert made() == (set(range(HISTORY)),) * 2
        receipt = hw.operations.erase(
            orders, {"user": ERASED}, store=place.url, data_dir=place.home
        )
        assert receipt.left_out == ["orders"]
        assert bought(place, orders)[0] == others(range(HISTORY))
        now.advance("1h")
        assert made()[0] == others(range(HISTORY))
        hw.operations.forget(orders, ["buyer", "bought"], store=place.url)
        assert made() == (others(range(HISTORY)),) * 2
        assert traces(place, ERASED, besides={"history.parquet"}) == []
        rows = [shop.event(n, since=place.since - timedelta(days=1)) for n in range(HISTORY)]
        rows += [
            shop.event(n, since=place.since + timedelta(hours=4)) for n in (HISTORY, HISTORY + 1)
        ]  # one of the erased key
        table = pl.DataFrame(rows).with_columns(_TIME)
        table.write_parquet(place.folder / "history.parquet")
        now.advance("1h")
        expected = others(range(HISTORY)) | {HISTORY, HISTORY + 1}
        assert made()[0] == expected
        hw.operations.forget(orders, ["buyer", "bought"], store=place.url)
        assert made() == (expected, expected)
        # without them in the table nobody is remembered
        table.filter(pl.col("user") != ERASED).write_parquet(place.folder / "history.parquet")
        again = hw.operations.erase(orders, {"user": ERASED}, store=place.url, data_dir=place.home)
        assert again.left_out == []
        assert not any(key.startswith(b"k") for key in shop.contents(place))


# ---------------------------------------------------------------- predictions


def test_the_disk_has_no_byte_of_the_key(places):
    """Store, archive, filtered rows, dead letters and outcomes, and also not after a further fill;
    LMDB's free pages are counted, and a compacting copy has none.
    """
    place = places()
    write_history(place, range(HISTORY))
    shop.append(place, shop.visits(HISTORY, STREAM, since=place.since))
    ingest(place)
    labels = project(place)[0].models[0].labels
    outcomes = hw.operations.Outcomes(place.home, labels, keys=["user"])
    asked = datetime.now(UTC) - timedelta(days=1)
    outcomes.add(
        [
            {
                "user": user,
                "timestamp": asked.isoformat(),
                "outcome": True,
                "known_at": (asked + timedelta(hours=1)).isoformat(),
            }
            for user in shop.USERS
        ]
    )
    outcomes.close()
    given = {"history.parquet", "visits.jsonl"}
    assert len(traces(place, ERASED, besides=given)) >= 5
    receipt = erase(place)
    assert traces(place, ERASED, besides=given) == []
    ingest(place, later, later_by_user)
    assert counts(place, "later", later, later_by_user) == others(range(STREAM))
    assert traces(place, ERASED, besides=given) == []
    assert time.time() * 1e6 >= receipt.until > 0
    if place.url.startswith("lmdb:"):
        (why,) = [note.why for note in receipt.not_searched if "free pages" in note.place]
        assert int(why.partition(" ")[0].replace(",", "")) > 0
        with closing(hw.operations.open_store(place.url)) as store:
            store.backup(place.folder / "copy")
        copied = f"lmdb:{place.folder}/copy"
        only = {"store": copied, "data_dir": place.home, "dry_run": True}
        again = hw.operations.erase(project(place)[0], {"user": ERASED}, **only)
        (why,) = [note.why for note in again.not_searched if "free pages" in note.place]
        assert why.startswith("0 pages"), why
