"""Parity sees what the source's history has that the archive lacks."""

import itertools
import json
from datetime import datetime

import polars as pl
import pytest

import headwater as hw
from headwater import clock
from headwater.ingestion.ingest import IngestLimits

MINUTE = 60_000_000
UTC = pl.Datetime("us", "UTC")
_NUMBERS = itertools.count()
SCHEMA = {"t": datetime, "card": str, "id": int, "n": int}


@pytest.fixture(
    params=[
        "lmdb",
        pytest.param("redis", marks=pytest.mark.services),
    ]
)
def url(request, tmp_path):
    if request.param == "lmdb":
        return f"lmdb:{tmp_path}/store?size=100MB"
    return (
        f"{request.getfixturevalue(f'{request.param}_url')}?prefix=archive_parity{next(_NUMBERS)}"
    )


@pytest.fixture
def lmdb(tmp_path):
    return f"lmdb:{tmp_path}/store?size=100MB"


class World:
    """Files of events, a table that is to hold the same, a store, and a clock in minutes that tests
    advance.
    """

    def __init__(self, folder, url, monkeypatch, *, keys=("card",), **rules):
        self.folder, self.url, self.minute, self.start = folder, url, 0, clock.now_micros()
        monkeypatch.setattr(clock, "now_micros", lambda: self.start + round(self.minute * MINUTE))
        monkeypatch.setattr(clock, "now", lambda: clock.timestamp(clock.now_micros()))
        monkeypatch.setattr(clock, "steady_micros", lambda: (clock.now_micros(),))
        self.rules, self.keys, self.history, self.ids = rules, list(keys), [], itertools.count()
        self.table = folder / "history.parquet"

    @property
    def view(self):
        rules = {"timestamp_field": "t", "id_field": "id", "select": ["card", "n"], **self.rules}
        stream = hw.appended(self.folder / "events*.ndjson", schema=SCHEMA)
        history = {"history": hw.parquet(self.table)} if self.history else {}
        return hw.FeatureView(
            "card",
            source=hw.Source("payments", stream=stream, **history, **rules),
            keys=self.keys,
            features=[hw.count(), hw.sum("n")],
            windows=["1d"],
            freshness=hw.streaming("1h"),
        )

    @property
    def project(self):
        table = pl.DataFrame(
            {"asked": pl.Series([clock.timestamp(self.start)]).cast(UTC), "y": [1], "card": ["a"]}
        )
        labels = hw.Labels(
            "labels",
            table=table,
            timestamp_field="asked",
            label="y",
            known_after="1d",
            select=["card"],
        )
        service = hw.FeatureService("service", [self.view])
        return hw.Project("shop", [hw.Model("m", task="binary", features=service, labels=labels)])

    def event(self, card, minute):
        at = clock.timestamp(self.start + round(minute * MINUTE))
        return {"t": at, "card": card, "id": next(self.ids), "n": 1}

    def send(self, *events, file=0):
        with (self.folder / f"events{file}.ndjson").open("a") as lines:
            lines.writelines(json.dumps(event, default=str) + "\n" for event in events)

    def load(self, *events):
        """Events in the table."""
        self.history += events
        pl.DataFrame(
            self.history, schema={"t": UTC, "card": pl.String, "id": pl.Int64, "n": pl.Int64}
        ).write_parquet(self.table)

    def ingest(self, minute):
        self.minute = minute
        given = {
            "data_dir": self.folder / "home",
            "listen": None,
            "once": True,
            "limits": IngestLimits(max_clock_jump="3650d"),
        }
        hw.ingest(
            self.project,
            self.url,
            options=hw.operations.IngestOptions(allow_unapplied=True),
            **given,
        )

    def parity(self):
        (found,) = hw.parity(self.project, store=self.url, data_dir=self.folder / "home")
        return found


def test_copies_in_two_files_count_once(tmp_path, url, monkeypatch):
    """One process writes all files, on every store."""
    world = World(tmp_path, url, monkeypatch)
    world.send(*(events := [world.event(f"c{n % 40}", -30) for n in range(200)]))
    world.send(*events[:5], world.event("other", -20), file=1)
    world.ingest(0)
    found = world.parity()
    assert (found.mismatches, found.findings) == ([], [])
    (stream,) = hw.status(world.project, store=world.url, data_dir=tmp_path / "home").streams
    assert (stream.counts["accepted"], stream.counts["copies"]) == (201, 5)
    planned = hw.plan(world.project, tmp_path / "catalog", store=url)
    says = (
        {} if url.startswith("lmdb") else {"payments": "one process writes; further ones stand by"}
    )
    assert (planned.writers, planned.producers) == (says, {})
    assert all(f"source payments: {who}" in str(planned) for who in says.values())


@pytest.mark.parametrize("rules", [{}, {"id_field": None}], ids=["ids", "no ids"])
@pytest.mark.parametrize("keys", [("card",), (), ("card", "n")], ids=str)
def test_what_the_archive_lacks_is_seen(tmp_path, lmdb, monkeypatch, keys, rules):
    world = World(tmp_path, lmdb, monkeypatch, keys=keys, **rules)
    first = [world.event(card, -30) for card in "ab"]
    world.load(*first)
    world.send(*first)
    world.ingest(0)
    later = [world.event(card, 5) for card in "aabbc"]
    world.load(*later)
    world.send(*later[1:4])  # one of a, and that of c, never come
    world.ingest(30)
    found = world.parity()
    lacking = [
        (dict(one.keys), one.online, one.offline)
        for one in found.mismatches
        if one.feature == "card"
    ]
    assert {one.reason for one in found.mismatches} == {
        "history= has events of the key that the archive lacks"
    }
    if keys:
        assert [(row["card"], online, offline) for row, online, offline in lacking] == [
            ("a", 1, 2),
            ("c", 0, 1),
        ]
    else:
        assert lacking == [({}, 3, 5)]
    (finding,) = found.findings
    assert finding.startswith("missing in the archive, events of history= that were known from ")
    assert finding.endswith(": 2; the stream has not brought them, or they were refused")


@pytest.mark.parametrize("rules", [{}, {"id_field": None}], ids=["ids", "no ids"])
def test_what_may_be_on_its_way_is_no_difference(tmp_path, lmdb, monkeypatch, rules):
    """A table that was loaded before the stream had it, or is not loaded yet; what was there before
    the stream; events beyond windows.
    """
    world = World(tmp_path, lmdb, monkeypatch, **rules)
    world.load(*[world.event("a", minute) for minute in (-3000, -30)])
    world.ingest(0)
    loaded = world.event("a", 5)
    world.load(loaded, world.event("a", 29))
    world.send(loaded, world.event("b", 6), world.event("a", 28))
    world.ingest(30)
    found = world.parity()
    assert (list(found.mismatches), list(found.findings), found.notes) == ([], [], {})
