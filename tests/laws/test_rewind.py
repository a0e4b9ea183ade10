"""After a failover, a restored backup or a wrong clock, one command makes a store right: values are
exact, or said to be incomplete.
"""

import json
import shutil
import subprocess
import sys
from datetime import timedelta
from functools import partial

import polars as pl
import pytest

import headwater as hw
from headwater.testing import clock, faults
from tests.laws import shop

BEFORE, AFTER = shop.visits(0, 4, since=shop.SINCE), shop.visits(4, 8, since=shop.SINCE)
LATER = {
    "id": "later",
    "user": shop.USERS[0],
    "n": 1 << 9,
    "at": (shop.SINCE + timedelta(hours=4)).isoformat(),
}


def rewound(watch, place, **how):
    rules = how.pop("rules", {})
    with shop.opened(watch, place) as store, watch.disk(place.home):
        return hw.operations.rewind(
            shop.shop(place, **rules)[0], store=store, data_dir=place.home, **how
        )


def ingested(place, *lines, **rules):
    shop.append(place, lines)
    shop.ingest(faults.Watch(), place, shop.shop(place, **rules)[0])


def results(place, **rules):
    return shop.values(place, shop.shop(place, **rules)[1]), shop.files(place)


def states(place):
    return [
        view.state
        for view in hw.status(shop.shop(place)[0], store=place.url, data_dir=place.home).views
    ]


# ---------------------------------------------------------------- a store that has lost its last commits


def headwater(*arguments):
    subprocess.run(
        [sys.executable, "-m", "headwater.cli", *arguments], check=True, capture_output=True
    )


def test_a_backup_that_is_restored(places):
    """Commands make and restore it; the archive has files of later commits, and the stream is read
    again from the backup.
    """
    place, other = places(), places()
    ingested(place, *BEFORE)
    headwater("store", "backup", str(place.folder / "backup"), "--store", place.url)
    ingested(place, *AFTER)
    expected = results(place)
    headwater("store", "restore", str(place.folder / "backup"), "--store", other.url, "--yes")
    place.url = other.url
    for _ in range(2):
        with pytest.raises(hw.errors.LostError, match="store rewind"):
            ingested(place)
        (found,) = rewound(faults.Watch(), place, dry_run=True).sources
        assert (found.source, found.made < found.archived, found.read_again) == ("visits", True, 4)
    assert rewound(faults.Watch(), place).sources == (found,)
    assert not rewound(faults.Watch(), place)
    ingested(place)
    assert results(place) == expected
    assert shop.counted(expected[0][0]) == set(range(8))


def test_where_nothing_is_wrong_nothing_changes(places):
    place = places()
    ingested(place, *BEFORE)
    held, expected = shop.contents(place), results(place)
    assert not rewound(faults.Watch(), place, dry_run=True)
    assert not rewound(faults.Watch(), place)
    assert (shop.contents(place), results(place)) == (held, expected)
    with pytest.raises(
        hw.errors.UsageError, match=r"no source 'visitz' with a streaming view.*'visits'"
    ):
        rewound(faults.Watch(), place, sources=["visitz"])


@pytest.mark.slow
def test_a_store_that_has_lost_every_commit_is_to_be_built_again(places):
    place, other = places(), places()
    ingested(place, *BEFORE)
    place.url = other.url
    for dry_run in (True, False):
        with pytest.raises(hw.errors.LostError, match=r"all are lost.*rebuild it"):
            rewound(faults.Watch(), place, dry_run=dry_run)
    assert len(shop.files(place)["archive"]) == 4


# ---------------------------------------------------------------- a clock that was ahead


def after(place, **duration):
    """A time after the hour in which the place was made."""
    return clock.at(place.since + timedelta(hours=3) + timedelta(**duration))


def ahead(places):
    """One commit by a clock that was 300 days ahead: it pruned tiles, released an event early, and
    stamped ids and rows with its time.
    """
    place = places()
    with after(place):
        ingested(place, *BEFORE, json.dumps(LATER))
    with after(place, days=300):
        ingested(place, *AFTER[:2])
    return place


def set_back(watch, place):
    with after(place, minutes=1):
        return rewound(watch, place)


def gone_on(place):
    """The rest is ingested: what counts then, and when the event that was held has happened."""
    with after(place, minutes=2) as now:
        shop.append(place, AFTER)
        try:
            ingested(place)
        except hw.errors.LostError as error:
            assert "store rewind" in str(error)  # noqa: PT017 (the remedy)
        ingested(place)
        first = results(place)
        now.advance("2h")
        ingested(place)
        return first, results(place)


def known(place):
    """When the last row of the archive was known."""
    return max(
        pl.read_parquet(path)["headwater_known_at"].max()
        for path in place.home.glob("archive/visits/*/*.parquet")
    )


def test_a_store_that_is_ahead_is_said_and_set_back(places):
    place = ahead(places)
    with after(place, minutes=1):
        assert states(place) == ["ahead"]
        (found,) = rewound(faults.Watch(), place, dry_run=True).sources
        assert (found.ahead > 299 * 86_400, found.filled_again, found.incomplete) == (
            True,
            ["user"],
            [],
        )
        assert states(place) == ["ahead"]
    assert set_back(faults.Watch(), place).sources == (found,)
    assert not set_back(faults.Watch(), place)
    assert known(place) <= place.since + timedelta(hours=3, minutes=1)
    with after(place, minutes=2):
        assert states(place) == ["incomplete"], "it is read as such until it is filled again"
        assert shop.counted(results(place)[0][0]) is None
    first, last = gone_on(place)
    assert shop.counted(first[0][0]) == set(range(8)), (
        "copies of events of the future commit are known"
    )
    assert shop.counted(last[0][0]) == {*range(8), 9}, (
        "the event that was released early counts at its time"
    )
    assert len(last[1]["archive"]) == 9


def test_without_its_archive_a_store_that_is_set_back_is_incomplete(places):
    place = ahead(places)
    shutil.rmtree(place.home / "archive")
    (found,) = set_back(faults.Watch(), place).sources
    assert (found.filled_again, found.incomplete) == ([], ["user"])
    with after(place, minutes=2):
        ingested(place)
        assert shop.counted(results(place)[0][0]) is None
        assert states(place) == ["incomplete"]


def test_what_still_waits_is_not_counted_as_released_by_a_second_rewind(places):
    """So an event that the archive lacks is missed, and the view is said to be incomplete."""
    place = places()
    with after(place):
        ingested(place, *BEFORE, json.dumps(LATER))
    with after(place, hours=2):
        ingested(place, AFTER[0])
    with after(place, minutes=1):
        assert rewound(faults.Watch(), place).sources
    with after(place, minutes=30):
        ingested(place, AFTER[1])
    with after(place, minutes=2):
        (found,) = rewound(faults.Watch(), place).sources
    assert (found.filled_again, found.incomplete) == (["user"], [])
    (lost,) = [
        path
        for path in place.home.glob("archive/visits/*/*.parquet")
        if 1 << 5 in pl.read_parquet(path)["n"]
    ]
    lost.unlink()
    with after(place, minutes=3):
        ingested(place)
        assert states(place) == ["incomplete"]
        assert shop.counted(results(place)[0][0]) is None


PROJECT = """
import headwater as hw
from pathlib import Path
from tests.laws.shop import Place, shop

project = shop(Place(Path({folder!r}), {url!r}))[0]
"""


@pytest.mark.slow
def test_while_ingestion_runs_nothing_is_rewound(places):
    place, said = places(), []
    (place.folder / "features.py").write_text(
        PROJECT.format(folder=str(place.folder), url=place.url)
    )
    command = [
        sys.executable,
        "-m",
        "headwater.cli",
        "store",
        "rewind",
        "--project",
        str(place.folder / "features.py"),
    ]

    def meanwhile(*_):
        tried = subprocess.run(
            [*command, "--store", place.url, "--data-dir", str(place.home)],
            capture_output=True,
            text=True,
            check=False,
        )
        said.append((tried.returncode, " ".join(tried.stderr.split())))

    ingested(place, *BEFORE)
    shop.append(place, AFTER[:1])
    shop.ingest(faults.Watch(), place, shop.shop(place)[0], on_commit=meanwhile)
    assert said
    assert all(code == 1 and "lease" in text for code, text in said), said
    assert shop.counted(results(place)[0][0]) == set(range(5))


@pytest.mark.slow
def test_whatever_goes_wrong_while_a_store_is_set_back(places):
    place = ahead(places)
    set_back(faults.Watch(), place)
    expected = gone_on(place)
    for fault in faults.every(partial(ahead, places), set_back, in_turn=True):
        assert fault.error is None or isinstance(fault.error, hw.errors.HeadwaterError), fault
        set_back(faults.Watch(), fault.place)
        assert gone_on(fault.place) == expected, fault
