"""A development environment: it reads the views that production has, builds its own, and never
writes to production.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import re
import shutil
import tempfile
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

import headwater as hw
from headwater.catalog.plan import plan
from headwater.errors import StoreError, UsageError
from headwater.ingestion.ingest import ingest
from headwater.jobs.compact_views import compact_store
from headwater.stores import keyspace
from headwater.stores.keyspace import environment, opened_for, scoped
from tests.flow import Flow, at, clock, home, project_of  # noqa: F401 (fixtures)

ROOT = Path(__file__).resolve().parents[2]
HISTORY = pl.DataFrame({"user": ["ä", "b"], "amount": [1.0, 2.0], "at": [at(-3000), at(-2000)]})
EVENTS = hw.Source(
    "events",
    history=HISTORY,
    timestamp_field="at",
    select=["user", "amount"],
    stream=hw.push(schema={"user": str, "amount": float, "at": datetime}, at_least_once=True),
)
NUMBERS = itertools.count()


def view(name, *features, freshness=None):
    return hw.FeatureView(
        name,
        source=EVENTS,
        keys=["user"],
        features=list(features),
        windows=["1h"],
        freshness=freshness or hw.streaming("2s"),
    )


LIVE, DAILY = view("live", hw.count()), view("hourly", hw.sum("amount"), freshness=hw.batch("1h"))
CHANGED = view("changed", hw.count())
OURS = view("changed", hw.max("amount"))
PRODUCTION, DEVELOPMENT = project_of(LIVE, DAILY, CHANGED), project_of(LIVE, DAILY, OURS)
ROW = [{"user": "ä"}]
NAMES = ["live__count_1h", "hourly__sum_amount_1h", "changed__max_amount_1h"]


@pytest.fixture(
    params=[
        "lmdb",
        *(pytest.param(kind, marks=pytest.mark.services) for kind in ("redis", "postgres")),
    ]
)
def urls(request, tmp_path):
    """A production store, filled, that this process may only read; and where one's own is."""
    if request.param == "lmdb":
        folder = Path(tempfile.mkdtemp(prefix="production-"))
        yield f"lmdb:{folder}/online?size=1GB", f"lmdb:{tmp_path}/own?size=1GB"
        shutil.rmtree(folder)
    else:
        url, number = request.getfixturevalue(f"{request.param}_url"), next(NUMBERS)
        yield f"{url}?prefix=production{number}", f"{url}?prefix=own{number}"


def produce(url, second, amount):
    """Production goes on: it commits an event, and materializes."""
    with contextlib.closing(hw.operations.open_store(url)) as store:
        Flow([LIVE, CHANGED], scoped(store, "project", write=True), None).send(
            [{"user": "ä", "amount": amount, "at": second}], second + 1
        )
        hw.materialize(PRODUCTION, store=store, at=at(second + 1))


def everything(url):
    """A digest of all that a store holds."""
    with contextlib.closing(hw.operations.open_store(url, readonly=True)) as store:
        return hashlib.sha256(
            b"".join(key + value for key, value in sorted(store.scan(b"")))
        ).hexdigest()


@pytest.fixture
def production(urls, clock):
    """The URL of a production store that is filled."""
    clock(2)
    produce(urls[0], 1, 10.0)
    clock(3)
    return urls[0]


@pytest.fixture
def developing(urls, monkeypatch):
    monkeypatch.setenv("HEADWATER_READS", urls[0])
    monkeypatch.setenv("HEADWATER_STORE", urls[1])


def values(store):
    return (
        hw.get_online_features(DEVELOPMENT.models[0].features, ROW, store=store, details=True)
        .select(NAMES)
        .row(0)
    )


def test_it_reads_production_and_builds_what_changed(production, developing, clock):
    before = everything(production)
    with opened_for("project", None, write=True) as mine:
        # the changed view, from history and stream
        Flow([OURS], mine, None).send([{"user": "ä", "amount": 7.0, "at": 1}], 2)
        assert values(mine) == (2, 1.0, 7.0)
        assert len(environment(mine)) == 12
    assert everything(production) == before
    clock(4)
    produce(production, 3, 20.0)  # production goes on, and is read as it is
    with opened_for("project", None, write=True) as mine:
        assert values(mine) == (3, 1.0, 7.0)
    planned = plan(DEVELOPMENT)
    assert planned.from_production == ("live", "hourly")
    assert "  view live is read from the production store, and nothing is written there" in str(
        planned
    )
    states = {v.view: v.state for v in hw.status(DEVELOPMENT, at=at(4)).views}
    assert states == {"live": "approximate", "hourly": "current", "changed": "approximate"}


def test_it_writes_nothing_to_production(production, developing):
    before = everything(production)
    assert hw.materialize(DEVELOPMENT, at=at(3)) == []
    with pytest.raises(
        UsageError,
        match=(
            "hourly: read from production, so nothing is materialized in this development "
            "environment"
        ),
    ):
        hw.materialize(DEVELOPMENT, ["hourly"], at=at(3))
    with opened_for("project", None, write=True) as mine:
        with pytest.raises(
            UsageError,
            match=(
                "every streaming view of project 'project' is read from production; there is "
                "nothing to ingest"
            ),
        ):
            ingest(project_of(LIVE, DAILY), mine, data_dir=None, once=True)
        with pytest.raises(
            StoreError,
            match=(
                "a view is read from the production store, and a development environment writes "
                "nothing there"
            ),
        ):
            mine.commit({keyspace.records(LIVE.record_group) + b"x": b"y"}, {})
        with pytest.raises(StoreError, match="a view is read from the production store"):
            hw.operations.forget(DEVELOPMENT, ["live"], store=mine)
    with (
        contextlib.closing(hw.operations.open_store(production, readonly=True)) as again,
        pytest.raises(StoreError),
    ):
        again.commit({b"nx": b"y"}, {})
    assert everything(production) == before


RIGHTS = (ROOT / "docs" / "howto_versions.md").read_text(encoding="utf-8")
"""The page that says what a user needs who may only read production."""


def read_only(url):
    """The URL by a new user of the server, who has the rights that the documentation gives."""
    name, host = f"reader{next(NUMBERS)}", url.partition("//")[2].rpartition("@")[2]
    if url.startswith("redis"):
        (grants,) = re.findall(r"ACL SETUSER reader (.*)", RIGHTS)
        with redis_client(url) as client:
            client.execute_command("ACL", "SETUSER", name, *grants.split())
        return f"redis://{name}:password@{host}"
    (grants,) = re.findall(r"(CREATE ROLE reader .*?\n)```", RIGHTS, re.DOTALL)
    with psycopg_connection(url) as connection:
        connection.execute(
            grants.replace("reader", name).replace("headwater", url.partition("prefix=")[2])
        )
    return f"postgresql://{name}@{host}"


def redis_client(url):
    return pytest.importorskip("redis").Redis.from_url(url.partition("?")[0])


def psycopg_connection(url):
    return pytest.importorskip("psycopg").connect(url.partition("?")[0], autocommit=True)


@pytest.mark.services
@pytest.mark.parametrize("urls", ["redis", "postgres"], indirect=True)
def test_a_user_with_the_documented_rights_reads_production(
    urls, production, developing, monkeypatch
):
    reader = read_only(production)
    with (
        pytest.raises(StoreError, match="refuses"),
        contextlib.closing(hw.operations.open_store(reader)) as store,
    ):
        store.commit({b"nx": b"y"}, {})
    monkeypatch.setenv("HEADWATER_READS", reader)
    with opened_for("project", None, write=True) as mine:
        Flow([OURS], mine, None).send([{"user": "ä", "amount": 7.0, "at": 1}], 2)
        assert values(mine) == (2, 1.0, 7.0)
    assert plan(DEVELOPMENT).from_production == ("live", "hourly")
    assert [view.state for view in hw.status(DEVELOPMENT, at=at(3)).views] == [
        "approximate",
        "current",
        "approximate",
    ]


def test_compaction_and_erasure_leave_production_as_it_is(production, developing, clock, tmp_path):
    with opened_for("project", None, write=True) as mine:
        Flow([OURS], mine, None).send([{"user": "ä", "amount": 7.0, "at": 1}], 2)
    before = everything(production)
    receipt = hw.operations.erase(DEVELOPMENT, {"user": "ä"}, data_dir=tmp_path / "data")
    assert {name for name in receipt.rows if name.startswith("online records")} == {
        "online records of changed"
    }
    elsewhere = {
        place.place: place.why for place in receipt.not_searched if place.place.startswith("view ")
    }
    assert elsewhere == dict.fromkeys(
        ["view live", "view hourly"], "read from the production store: erase the key there"
    )
    assert everything(production) == before
    clock(9_000)  # no window reaches what there is
    with contextlib.closing(hw.operations.open_store(production)) as store:
        Flow([LIVE, CHANGED], scoped(store, "project", write=True), None).send([], 9_000)
    with opened_for("project", None, write=True) as mine:
        Flow([OURS], mine, None).send([], 9_000)
    before = everything(production)
    assert [
        (view.view, view.compaction.before.records, view.compaction.after.records)
        for view in compact_store(DEVELOPMENT)
    ] == [("changed", 1, 0)]
    assert everything(production) == before


@pytest.mark.parametrize("urls", ["lmdb"], indirect=True)
def test_both_environments_need_a_store_of_their_own(urls, production, monkeypatch, tmp_path):
    monkeypatch.setenv("HEADWATER_READS", urls[0])
    monkeypatch.setenv("HEADWATER_STORE", urls[0])
    with pytest.raises(UsageError, match="--store and --reads name one store"):
        hw.status(DEVELOPMENT)
    monkeypatch.setenv("HEADWATER_STORE", urls[1])
    monkeypatch.setenv("HEADWATER_READS", "lmdb:/nowhere/at/all")
    with pytest.raises(StoreError, match="there is no online store in /nowhere/at/all"):
        hw.status(DEVELOPMENT)
    other = dataclasses.replace(DEVELOPMENT, name="other")
    monkeypatch.setenv("HEADWATER_READS", urls[0])
    monkeypatch.setenv("HEADWATER_STORE", f"lmdb:{tmp_path}/other?size=1GB")
    with pytest.raises(
        StoreError,
        match="the online store belongs to project 'project', and this is project 'other'",
    ):
        hw.status(other)


def test_a_store_that_a_project_has_written_to_is_not_one_s_own(urls, production, monkeypatch):
    """Production's by another spelling of its URL, or any other."""
    before = everything(production)
    monkeypatch.setenv(
        "HEADWATER_READS", production + ("&timeout=9s" if "prefix" in production else "&runs=on")
    )
    with pytest.raises(
        (UsageError, StoreError),
        match=r"--store is the store of project 'project'|is already open in this process",
    ):
        hw.status(DEVELOPMENT, store=production)
    assert everything(production) == before
