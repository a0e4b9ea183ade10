"""Who writes a topic with ids into a store that several processes may write to, and what holds
then; by public calls alone.
"""

import itertools
import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.testing import clock

_NUMBERS = itertools.count()
SCHEMA = {"id": int, "card": str, "n": int, "t": datetime}


@pytest.fixture
def url(redis_url):
    return f"{redis_url}?prefix=writers{next(_NUMBERS)}"


class World:
    """A topic of two partitions, a view over it, and a store."""

    window = "1d"

    def __init__(self, folder, broker, url):
        self.folder, self.broker, self.url, self.topic = folder, broker, url, broker.topic(2)
        self.start, self.ids = datetime.now(UTC) - timedelta(minutes=30), itertools.count()

    def project(self, **rules):
        stream = hw.kafka(self.topic, servers=self.broker.servers, schema=SCHEMA)
        rules = {"id_field": "id", "id_horizon": "1h", **rules}
        source = hw.Source(
            "payments", stream=stream, timestamp_field="t", select=["card", "n"], **rules
        )
        features = [hw.count(), hw.sum("n")]
        view = hw.FeatureView(
            "card",
            source=source,
            keys=["card"],
            features=features,
            windows=[self.window],
            freshness=hw.streaming("1h"),
        )
        table = pl.DataFrame({"asked": [self.start], "y": [1], "card": ["a"]})
        labels = hw.Labels(
            "labels",
            table=table,
            timestamp_field="asked",
            label="y",
            known_after="1d",
            select=["card"],
        )
        return hw.Project(
            "shop",
            [
                hw.Model(
                    "m", task="binary", features=hw.FeatureService("service", [view]), labels=labels
                )
            ],
        )

    def event(self, card):
        n = next(self.ids)
        return json.dumps(
            {"id": n, "card": card, "n": 1, "t": (self.start + timedelta(seconds=n)).isoformat()}
        ).encode()

    def ingest(self, **rules):
        options = hw.operations.IngestOptions(allow_unapplied=True)
        hw.ingest(
            self.project(**rules),
            self.url,
            data_dir=self.folder / "home",
            listen=None,
            once=True,
            limits=hw.operations.IngestLimits(max_clock_jump="365d"),
            options=options,
        )

    def fill(self, **rules):
        home = self.folder / "home"
        hw.operations.fill(self.project(**rules), ["card"], store=self.url, data_dir=home)

    def counts(self, *cards, **rules):
        rows = [{"card": card} for card in cards]
        found = hw.get_online_features(
            self.project(**rules).models[0].features, rows, store=self.url, details=True
        )
        name = f"card__count_{self.window}"
        return found[name].to_list(), found[f"{name}__status"].to_list()

    def status(self, **rules):
        return hw.status(self.project(**rules), store=self.url, data_dir=self.folder / "home")

    def parity(self, **rules):
        (found,) = hw.parity(self.project(**rules), store=self.url, data_dir=self.folder / "home")
        return found


@pytest.fixture
def world(tmp_path, broker, url):
    return World(tmp_path, broker, url)


def test_copies_in_two_partitions_count_once_and_may_grow(world):
    """One process writes all partitions; a new one is read as any other."""
    events = [world.event(f"c{n % 4}") for n in range(40)]
    world.broker.produce(world.topic, events, 0)
    world.broker.produce(world.topic, events[:8], 1)
    world.ingest()
    world.broker.grow(world.topic, 3)
    world.broker.produce(world.topic, [*events[8:12], world.event("new")], 2)
    world.ingest()
    assert world.counts("c0", "c3", "new") == ([10, 10, 1], ["present"] * 3)
    (stream,) = world.status().streams
    assert (stream.partition, stream.counts["accepted"], stream.counts["copies"]) == (None, 41, 12)
    assert [view.state for view in world.status().views] == ["current"]
    assert (world.parity().mismatches, world.parity().findings) == ([], [])


def test_views_are_incomplete_when_partitions_grow(world):
    rules = {"writers": "partition"}
    for partition in (0, 1):
        world.broker.produce(world.topic, [world.event("a") for _ in range(3)], partition)
    world.ingest(**rules)
    assert world.counts("a", **rules) == ([6], ["present"])
    world.broker.grow(world.topic, 3)
    world.broker.produce(world.topic, [world.event("a")], 2)
    world.ingest(**rules)
    assert world.counts("a", **rules) == ([None], ["fallback"])
    (view,) = world.status(**rules).views
    assert view.state == "incomplete"
    assert view.note.startswith("partitions grew")
    # a window of a day, after an hour of ids and a day that an event may lie ahead
    for hours, incomplete in ((48, True), (50, False)):
        later = datetime.now(UTC) + timedelta(hours=hours)
        service = world.project(**rules).models[0].features
        found = hw.get_online_features(
            service, [{"card": "a"}], store=world.url, details=True, at=later
        )
        assert found["card__count_1d__incomplete"].to_list() == [incomplete]


def test_a_fill_leaves_out_copies_that_came_when_partitions_had_grown(world):
    """When no copy can come any more, and nothing is missing; and so does each fill from then
    on.
    """
    rules, world.window = {"writers": "partition"}, "7d"
    events = [world.event("a") for _ in range(6)]
    for partition in (0, 1):
        world.broker.produce(world.topic, events[partition::2], partition)
    world.ingest(**rules)
    world.broker.grow(world.topic, 3)
    world.broker.produce(world.topic, [*events[:4], world.event("a"), world.event("b")], 2)
    world.ingest(**rules)
    world.fill(**rules)  # an hour of ids, and a day that an event may lie ahead, are not over
    assert world.counts("a", "b", **rules) == ([None] * 2, ["fallback"] * 2)
    with clock.at(datetime.now(UTC) + timedelta(hours=26)):
        assert world.counts("a", "b", **rules) == ([None] * 2, ["fallback"] * 2)
        archive = world.folder / "home" / "archive"
        archive.rename(world.folder / "elsewhere")
        world.fill(**rules)
        assert world.counts("a", "b", **rules) == ([None] * 2, ["fallback"] * 2)
        archive.rename(world.folder / "new")
        (world.folder / "elsewhere").rename(archive)
        world.fill(**rules)
        assert world.counts("a", "b", **rules) == ([7, 1], ["present"] * 2)
        (view,) = world.status(**rules).views
        assert (view.state, view.note) == ("stale", "")
        assert world.parity(**rules).mismatches == []
        world.broker.produce(world.topic, [world.event("a")], 0)
        world.ingest(**rules)
        world.fill(**rules)
        assert world.counts("a", "b", **rules) == ([8, 1], ["present"] * 2)
