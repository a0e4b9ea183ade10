"""A topic of Debezium's envelopes, in JSON and in Avro: processes are killed, and serving equals
the history of changes.
"""

import base64
import json
import random
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.errors import HeadwaterWarning
from tests.connectors.conftest import registry  # noqa: F401 (a fixture)
from tests.figures import figure
from tests.ingestion.envelopes import avro_schema, envelope, in_avro, with_schema
from tests.ingestion.world import LONG, USERS, World, names
from tests.stores.durable_stores import durable_store

PARTITIONS = 3
MOST = 50_000 if LONG else 5_000  # changes: what waits grows while processes start
FIELDS = [
    ("id", "int64", "", {}),
    ("user", "string", "", {}),
    ("n", "int32", "", {}),
    ("price", "bytes", "org.apache.kafka.connect.data.Decimal", {"scale": "2"}),
    ("at", "int64", "io.debezium.time.MicroTimestamp", {}),
]
REGISTERED = 5  # the id of the schema
PROJECT = """
import headwater as hw
import polars as pl

row = {{"id": int, "user": str, "n": int, "price": pl.Decimal(10, 2), "at": pl.Datetime("us", "UTC")}}
options = {{"session.timeout.ms": "6000", "heartbeat.interval.ms": "1000"}}
rules = {{"timestamp_field": "at", "timezone": "UTC", "id_field": "id", "known_at_field": "__ts", "changes": "__deleted"}}
rules["select"] = ["id", "user", "n", pl.col("price").cast(pl.Float64), "at", "__ts", "__deleted"]
stream = hw.kafka({topic!r}, servers={servers!r}, format="debezium", schema=row, timestamps="us", group={topic!r}, options=options{more})
features = [hw.count(), hw.sum("n"), hw.sum("price"), hw.max("n"), hw.last_n("n", k=3)]


def view_of(source):
    return hw.FeatureView("user", source=source, keys=["user"], windows=["1h", "7d"], features=features, freshness=hw.streaming("2s"))


view = view_of(hw.Source("visits", stream=stream, **rules))
past = view_of(hw.Source("visits", history=hw.debezium("changes.jsonl", schema=row, timestamps="us"), **rules))
table = pl.DataFrame({{"user": ["u0"], "asked": [0], "y": [1]}}).with_columns(pl.col("asked").cast(pl.Datetime("us", "UTC")))
labels = hw.Labels("left", table=table, timestamp_field="asked", label="y", known_after="1d")
project = hw.Project("shop", [hw.Model("m", task="binary", features=hw.FeatureService("s", [view]), labels=labels)])
"""


class Orders(threading.Thread):
    """Produces what Debezium sends of a table: a snapshot, then inserts, updates, deletes with
    their tombstones, and some of it again.
    """

    def __init__(self, world, broker, topic, form):
        super().__init__(daemon=True)
        self.world, self.broker, self.topic, self.form = world, broker, topic, form
        self.over, self.chance, self.kinds = threading.Event(), random.Random(3), Counter()
        self.since, self.changes, self.rows, self.sent = (
            datetime.now(UTC) - timedelta(hours=1),
            0,
            {},
            [],
        )

    def run(self):
        from confluent_kafka import Producer

        failed = []
        producer = Producer({"bootstrap.servers": self.broker.servers, "enable.idempotence": True})
        with (self.world.folder / "changes.jsonl").open("w", encoding="utf-8") as history:

            def send(made):
                for key, change in made:
                    producer.produce(
                        self.topic,
                        self.encoded(change),
                        json.dumps(key),
                        on_delivery=lambda e, _: e and failed.append(e),
                    )
                    history.write(self.line(change) + "\n")

            send(
                [
                    (None, envelope("t", ts_us=0)),
                    *(pair for ident in range(50) for pair in self.change(ident, "r")),
                ]
            )
            while not self.over.wait(0.02):
                for _ in range(5 if self.changes < MOST else 0):
                    send(self.change(self.chance.randrange(self.changes // 2 + 50)))
                # a connector that restarts sends its last changes again
                if self.changes < MOST and self.chance.random() < 0.1:
                    self.kinds["sent again"] += 5
                    send(self.sent[-5:])
                producer.poll(0)
        assert producer.flush(30) == 0
        assert not failed, failed

    def change(self, ident, op=None):
        """The records of one change of a row: key, and envelope or None."""
        before = self.rows.get(ident)
        op = op or ("c" if before is None else "d" if self.chance.random() < 0.2 else "u")
        self.changes += 1
        self.kinds[op] += 1
        now = {
            "id": ident,
            "user": f"u{self.chance.randrange(USERS)}",
            "n": self.chance.randrange(1000),
            "price": self.chance.randrange(-1000, 1000) * 25,  # hundredths
            "at": int(
                (self.since + timedelta(seconds=self.chance.randrange(3000))).timestamp() * 1e6
            ),
        }
        if op == "u" and self.chance.random() < 0.5:
            now = before | {"n": now["n"]}
        self.rows[ident] = None if op == "d" else now
        known = int(self.since.timestamp() * 1e6) + self.changes
        # else the replica identity is the key alone
        whole = before is not None and self.chance.random() < 0.5
        was = before if whole else {**dict.fromkeys(now), "id": ident} if op == "d" else None
        change = {
            "before": was,
            "after": self.rows[ident],
            "op": op,
            "ts_us": known,
            "source": {"ts_us": known // 7 * 7, "lsn": known},
        }
        made = [({"id": ident}, envelope(op, **{k: v for k, v in change.items() if k != "op"}))]
        self.sent = [*self.sent[-20:], *made]
        return [*made, ({"id": ident}, None)] if op == "d" else made

    def line(self, change):
        """The same change in a file: prices are strings."""
        return "null" if change is None else json.dumps(rows_of(change, as_text))

    def encoded(self, change):
        """A record; every second one in JSON has its schema."""
        if change is None:
            return None
        if self.form == "json" and self.chance.random() < 0.5:
            return json.dumps(rows_of(change, as_text))
        binary = rows_of(change, as_bytes)
        return (
            json.dumps(with_schema(binary, *FIELDS))
            if self.form == "json"
            else in_avro(binary, avro_schema(*FIELDS), REGISTERED)
        )


def rows_of(change, write):
    """A change with its prices as a converter writes them."""
    priced = [
        row and row | {"price": None if row["price"] is None else write(row["price"])}
        for row in (change["before"], change["after"])
    ]
    return change | dict(zip(("before", "after"), priced, strict=True))


def as_text(hundredths):
    return f"{hundredths / 100:.2f}"


def as_bytes(hundredths):
    return base64.b64encode(hundredths.to_bytes(4, signed=True)).decode()


class Table(World):
    """A world whose events are the rows of a table."""

    def __init__(self, folder, url, broker, topic, more):
        super().__init__(folder, url, "None")
        (folder / "features.py").write_text(
            PROJECT.format(topic=topic, servers=broker.servers, more=more), encoding="utf-8"
        )

    def served(self):
        asked = pl.DataFrame({"user": names()})
        return hw.get_online_features(self.view("view"), asked, store=self.url, details=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "form"), [("redis", "json"), pytest.param("lmdb", "avro", marks=pytest.mark.long)]
)
def test_rows_of_a_table_count_once(kind, form, tmp_path, broker, registry, monkeypatch):
    pytest.importorskip("fastavro", reason="needs fastavro: pip install 'headwater[avro]'")
    registry.put(REGISTERED, schema=json.dumps(avro_schema(*FIELDS)))
    topic = broker.topic(PARTITIONS)
    monkeypatch.chdir(tmp_path)
    with durable_store(kind, tmp_path) as url:
        here = Table(
            tmp_path, url, broker, topic, f", registry={registry.url!r}" if form == "avro" else ""
        )
        orders = Orders(here, broker, topic, form)
        orders.start()
        here.killed(10 if LONG else 3)
        orders.over.set()
        orders.join()
        here.once()
        served = here.served()
        found = {
            name.removeprefix("user__"): served[name] for name in here.view("view").feature_names
        }
        rows = [row for row in orders.rows.values() if row is not None]
        by_user = {user: [row for row in rows if row["user"] == user] for user in names()}
        assert found["count_7d"].to_list() == [len(mine) for mine in by_user.values()]
        assert found["sum_n_7d"].fill_null(0).to_list() == [
            sum(row["n"] for row in mine) for mine in by_user.values()
        ]
        assert found["sum_price_7d"].fill_null(0).to_list() == [
            sum(row["price"] for row in mine) / 100 for mine in by_user.values()
        ]
        (compared,) = hw.parity(here.view("project"), store=url, data_dir=tmp_path / ".headwater")
        assert not compared.mismatches
        # of duplicates and replaced images too
        dead = here.rows("dead_letters")["reason"].to_list()
        assert [reason for reason in dead if "Error" in reason] == [
            "ValueError: a truncation of the table, which takes back no single row"
        ]
        asked = pl.DataFrame({"user": names()}).with_columns(
            pl.lit(datetime.now(UTC)).dt.cast_time_unit("us").alias("timestamp")
        )
        with pytest.warns(
            HeadwaterWarning, match="1 lines are left out; the first since .* a truncation"
        ):
            history = hw.get_historical_features(here.view("past"), asked)
        for name, column in found.items():
            if name.endswith("_7d"):
                assert column.to_list() == history[f"user__{name}"].to_list(), name
    figure(f"{form}: {dict(orders.kinds)}: exact, and as the history of the changes gives")
