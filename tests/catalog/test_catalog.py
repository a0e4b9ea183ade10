"""The catalog, on SQLite and PostgreSQL: one writer at a time, all or nothing, in real
processes.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

import headwater as hw
from headwater.catalog import database
from headwater.catalog.database import Catalog
from headwater.catalog.entry import EntryKey
from headwater.catalog.plan import applied
from headwater.errors import CatalogError, DefinitionError, UsageError
from tests.catalog.shop import model, project, source, view

ROOT = Path(__file__).resolve().parents[2]


def of_hours(hours, **more):
    """Two views whose windows are as long as each other: a joint apply must be seen whole."""
    return project(*(view(name=name, windows=[f"{hours}h"], **more) for name in ("one", "other")))


def hours_held(place):
    """The hours of both views."""
    found = Catalog(place).held("shop").live
    features = [
        list(found[EntryKey("view", name)].definition["features"]) for name in ("one", "other")
    ]
    return {int(name.rpartition("_")[2].removesuffix("h")) for names in features for name in names}


def start(code, place):
    """A process of its own that runs `code`, which may print and knows `place`."""
    head = (
        "import sys, headwater as hw\nfrom tests.catalog.test_catalog import *\nplace = "
        "sys.argv[1]\n"
    )
    paths = os.pathsep.join(
        filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    )  # it works where this process does: in the folder of the tables
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        [sys.executable, "-c", head + code, place], env={**os.environ, "PYTHONPATH": paths}, **pipes
    )


def close(process):
    process.stdin.close()
    process.stdout.close()


# ---------------------------------------------------------------- one at a time


@pytest.mark.slow
def test_applies_at_once_follow_each_other(place):
    loop = (
        "print('ready', flush=True)\ninput()\nfor i in range(7): hw.apply(of_hours({first} + i), "
        "place, allow_breaking=True)"
    )
    processes = [start(loop.replace("{first}", str(first)), place) for first in (1, 8, 15)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:  # all concurrently
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    for process in processes:
        close(process)
    log = Catalog(place).log("shop")
    assert [line.version for line in log] == list(range(1, 22))
    assert hw.plan(project(), place).version == 21
    had = None  # each was compared with what the one before it had left
    for line in log[1:]:
        view_one = next(
            change
            for change in line.changes
            if change["name"] == "one" and change["kind"] == "view"
        )
        removed, added = (
            detail.partition(": ")[2].split(", ")[0] for detail in view_one["details"][:2]
        )
        assert removed != added
        assert had in (None, removed)
        had = added
    assert len(hours_held(place)) == 1


def test_whoever_waits_too_long_is_told(place):
    hw.apply(of_hours(1), place)
    with Catalog(place).changing("shop"):
        with pytest.raises(
            CatalogError,
            match=r"another process has been applying to the catalog .* for more than 0\.3 s",
        ):
            hw.apply(of_hours(2), Catalog(place, wait=0.3), allow_breaking=True)
        assert hw.plan(of_hours(1), place).changes == ()  # readers do not wait
    assert hours_held(place) == {1}


# ---------------------------------------------------------------- all or nothing


@pytest.mark.slow
def test_a_process_killed_midway_leaves_what_was(place):
    hw.apply(of_hours(1), place)
    code = (
        "import time\n"
        "def stop(*_):\n    print('midway', flush=True)\n    time.sleep(60)\n"
        "database.CatalogWriter.note = stop\n"
        "hw.apply(of_hours(2), place, allow_breaking=True)"
    )
    process = start(code, place)
    assert process.stdout.readline() == "midway\n"
    assert hours_held(place) == {1}
    process.kill()
    process.wait()
    close(process)
    assert hours_held(place) == {1}
    assert [line.version for line in Catalog(place).log("shop")] == [1]
    assert hw.apply(of_hours(3), Catalog(place, wait=10), allow_breaking=True).applied == 2


@pytest.mark.slow
def test_kills_at_random_moments_leave_no_mixture(place):
    rand = random.Random(5)
    hw.apply(of_hours(1), place)
    code = (
        "for i in range(10**6): hw.apply(of_hours(i % 23 + 1), place, allow_breaking=True); "
        "print('applied', flush=True)"
    )
    kills, went_through = 5, 0
    for _ in range(kills):
        process = start(code, place)
        for _ in range(rand.randint(1, 4)):
            assert process.stdout.readline() == "applied\n"
            went_through += 1
        time.sleep(rand.uniform(0, 0.04))  # an apply takes about half as long
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        close(process)
        with Catalog(place).changing("shop"):  # any work of a server is done, or undone
            pass
        log = Catalog(place).log("shop")
        assert len(hours_held(place)) == 1
        assert [line.version for line in log] == list(range(1, len(log) + 1))
        assert hw.plan(of_hours(1), place).version == len(log)
    assert len(log) > went_through - kills  # the first of a round may find nothing to change


def test_an_error_midway_takes_all_back(place, monkeypatch):
    hw.apply(of_hours(1), place)
    monkeypatch.setattr(database.CatalogWriter, "note", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        hw.apply(of_hours(2), place, allow_breaking=True)
    assert hours_held(place) == {1}


# ---------------------------------------------------------------- flags


def test_nothing_is_removed_without_the_flag(place):
    both = project(models=[model(), model([view(name="other")], name="late", service="late_v1")])
    hw.apply(both, place)
    kept = hw.apply(project(models=[model()]), place)
    assert kept.kept == ("view other", "service late_v1", "model late")
    assert kept.applied is None
    assert set(applied("shop", place)) == {"user", "other"}
    assert "stays live" in str(hw.plan(project(models=[model()]), place))
    done = hw.apply(project(models=[model()]), place, allow_destroy=True)
    assert done.applied == 2
    assert set(applied("shop", place)) == {"user"}
    held = Catalog(place).held("shop").entries[EntryKey("view", "other")]
    assert (held.live, held.version) == (False, 2)  # it can still be looked up
    assert hw.apply(both, place).needs_backfill == ("other",)


def test_a_change_that_breaks_a_model_needs_the_flag(place):
    hw.apply(of_hours(1), place)
    with pytest.raises(
        UsageError,
        match=r"model churn reads one__count_1h.* which would be gone.*allow_breaking \(--allow-breaking\)",
    ):
        hw.apply(of_hours(2), place)
    assert hours_held(place) == {1}
    assert hw.apply(of_hours(2), place, allow_breaking=True).applied == 2
    assert hours_held(place) == {2}


def test_another_version_than_expected_is_refused(place):
    with pytest.raises(UsageError, match=r"has version 0 in the catalog .* and 1 was expected"):
        hw.apply(project(), place, expect=1)
    seen = hw.plan(project(), place).version
    assert hw.apply(project(), place, expect=seen).applied == 1
    with pytest.raises(UsageError, match=r"has version 1 .* and 0 was expected"):
        hw.apply(project(view(ttl="7d")), place, expect=seen)


def test_what_is_refused_is_refused_at_once_and_all_of_it(place):
    one, other = (
        view(name=n, freshness=f, source=source(changes=None))
        for n, f in (("one", hw.on_request()), ("other", hw.never()))
    )
    with pytest.raises(
        DefinitionError, match=r"\(1\) view one: on_request\(\).*\(2\) view other: never\(\)"
    ):
        hw.apply(project(one, other), place)
    assert Catalog(place).held("shop").version == 0


# ---------------------------------------------------------------- the schema


def test_another_schema_is_refused(place):
    hw.apply(project(), place)
    with Catalog(place)._engine.begin() as connection:
        connection.execute(sa.text("UPDATE headwater_schema SET version = 99"))
    for call in (hw.plan, hw.apply):
        with pytest.raises(
            CatalogError,
            match=(
                "another version of headwater: its schema is 99, and this one reads 1; use that "
                "version"
            ),
        ):
            call(project(), place)


# ---------------------------------------------------------------- bad places


@pytest.mark.parametrize(
    ("at", "error", "said"),
    [
        (
            "mysql://me:secret@host/name",
            UsageError,
            "mysql://me:\\*\\*\\*@host/name.*SQLite file.*PostgreSQL",
        ),
        ("sqlite://", UsageError, "SQLite file"),
        ("sqlite:///:memory:", UsageError, "SQLite file"),
        ("postgresql://me@host:port/name", UsageError, "cannot be read; write postgresql://"),
        ("{}/taken/catalog.sqlite", CatalogError, "the folder of the catalog .* cannot be made"),
        ("{}/text", CatalogError, "file is not a database"),
        (
            "postgresql://me:secret@127.0.0.1:1/name",
            CatalogError,
            "postgresql://me:\\*\\*\\*@127.0.0.1:1/name cannot be used: .*refused",
        ),
    ],
)
def test_a_bad_place_is_told(tmp_path, at, error, said):
    (tmp_path / "taken").write_text("a file, where a folder is wanted", encoding="utf-8")
    (tmp_path / "text").write_text(
        "this is not a database, but a text that is long enough to be seen as one" * 20,
        encoding="utf-8",
    )
    with pytest.raises(error, match=said) as raised:
        hw.apply(project(), at.format(tmp_path))
    assert "secret" not in str(raised.value)


def test_a_development_environment_applies_to_a_catalog_of_its_own(place, tmp_path, monkeypatch):
    """For any address that its configuration shares with production's."""
    hw.apply(of_hours(1), place)
    with monkeypatch.context() as development:
        development.setenv("HEADWATER_READS", "redis://production:6379/0")
        development.setattr("headwater.catalog.plan.views_of_production", lambda _project: ())
        with pytest.raises(
            UsageError,
            match=(
                "was not written by a development environment, and one writes to a catalog of its "
                "own; name a new"
            ),
        ):
            hw.apply(of_hours(2), place, allow_breaking=True)
        for hours in (2, 3):
            hw.apply(of_hours(hours), tmp_path / "own.sqlite", allow_breaking=True)
        assert hours_held(tmp_path / "own.sqlite") == {3}
    assert hours_held(place) == {1}
    assert len(Catalog(place).log("shop")) == 1
