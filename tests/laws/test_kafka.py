"""Topics of Kafka: where reading begins, that it goes on where it ended, and what is said of
records that are gone.
"""

import json
import os
from contextlib import closing
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.errors import HeadwaterError
from tests.laws.streams import project

SCHEMA = {"user": str, "n": int, "at": datetime}
SINCE = datetime.now(UTC) - timedelta(minutes=30)


class Counted:
    """A view of one topic, and how often each of its records has counted: a record is a bit of a
    sum.
    """

    def __init__(self, broker, folder, *, partitions=2, url=None, id_field=None, **given):
        self.broker, self.folder, self.sent = broker, folder, 0
        self.topic = broker.topic(partitions=partitions)
        stream = hw.kafka(self.topic, servers=broker.servers, schema=SCHEMA, **given)
        source = hw.Source(
            "visits",
            stream=stream,
            timestamp_field="at",
            select=["user", "n"],
            id_field=id_field,
        )
        self.view = hw.FeatureView(
            "user",
            source=source,
            keys=["user"],
            features=[hw.count(), hw.sum("n")],
            windows=["7d"],
            freshness=hw.streaming("2s"),
            on_incomplete="value",
        )
        self.url = url or f"lmdb:{folder}/store?size=64MB"

    def send(self, count, partition=0):
        """Write records; their numbers."""
        numbers = range(self.sent, self.sent + count)
        self.sent += count
        lines = [
            json.dumps({"user": "a", "n": 1 << n, "at": (SINCE + timedelta(seconds=n)).isoformat()})
            for n in numbers
        ]
        self.broker.produce(self.topic, [line.encode() for line in lines], partition)
        return set(numbers)

    def ingest(self):
        options = hw.operations.IngestOptions(allow_unapplied=True)
        hw.ingest(
            project([self.view]),
            self.url,
            data_dir=self.folder / "home",
            once=True,
            options=options,
        )

    def counted(self):
        """Which records counted; each once."""
        row = self.served()
        total = row["user__sum_n_7d"] or 0
        found = {n for n in range(62) if total >> n & 1}
        assert len(found) == row["user__count_7d"]
        return found

    def served(self):
        """The values of the one key, and what is said of them."""
        with closing(hw.operations.open_store(self.url, readonly=True)) as store:
            return hw.get_online_features(
                self.view, pl.DataFrame({"user": ["a"]}), store=store, details=True
            ).row(0, named=True)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.services
@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_reading_begins_where_it_is_told_and_goes_on_where_it_ended(broker, home, start):
    """A partition that is added later is read from its beginning."""
    here = Counted(broker, home, start=start)
    first = here.send(3, 0) | here.send(2, 1)
    here.ingest()
    expected = first if start == "earliest" else set()
    assert here.counted() == expected
    expected |= here.send(2, 1)
    here.ingest()
    assert here.counted() == expected
    here.broker.grow(here.topic, 3)
    expected |= here.send(4, 2) | here.send(1, 0)
    for _ in range(2):
        here.ingest()
        assert here.counted() == expected


@pytest.mark.services
@pytest.mark.parametrize(("store", "id_field"), [("lmdb", "n"), ("redis", None), ("redis", "n")])
def test_a_topic_that_grows_leaves_views_whole_where_no_copy_can_count(
    broker, home, store, id_field, request
):
    """One writer knows the ids of all partitions; events without ids are no copies of another."""
    server = request.getfixturevalue("redis_url") if store == "redis" else None
    url = server and f"{server}?prefix=grown{os.getpid()}{id_field}"
    here = Counted(broker, home, url=url, id_field=id_field)
    expected = here.send(3, 0) | here.send(2, 1)
    here.ingest()
    here.broker.grow(here.topic, 3)
    expected |= here.send(2, 2) | here.send(1, 0)
    here.ingest()
    assert here.counted() == expected
    assert here.served()["user__count_7d__incomplete"] is False


@pytest.mark.services
def test_records_that_retention_took_are_told(broker, home):
    here = Counted(broker, home, partitions=1)
    kept = here.send(3)
    here.ingest()
    here.send(4)
    broker.delete_before(here.topic, 0, 6)
    with pytest.raises(HeadwaterError, match="3") as raised:
        here.ingest()
    assert here.topic in str(raised.value)
    assert here.counted() == kept


@pytest.mark.services
def test_another_topic_of_the_same_name_is_told(broker, home):
    here = Counted(broker, home, partitions=1)
    kept = here.send(3)
    here.ingest()
    broker.recreate(here.topic)
    here.send(5)
    with pytest.raises(HeadwaterError, match=r"recreated|created again|another topic"):
        here.ingest()
    assert here.counted() == kept
