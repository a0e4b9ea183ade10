"""Envelopes of Debezium in a stream of Kinesis: rows are created, changed and deleted, also across
a split.
"""

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta

import polars as pl

import headwater as hw
import headwater_aws
from tests.flow import home, project_of  # noqa: F401 (a fixture)

ROW = {"order_id": int, "customer": str, "amount": float, "placed_at": datetime}
START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)


def envelope(op, number, before=None, after=None):
    """As a connector writes it; number: its place in the log of the database."""
    at = int(START.timestamp() * 1e6) + number
    rows = [
        row if row is None else {"placed_at": int(START.timestamp() * 1000), **row}
        for row in (before, after)
    ]
    source = {"connector": "postgresql", "ts_us": at, "lsn": number}
    return json.dumps(
        {"before": rows[0], "after": rows[1], "op": op, "ts_us": at, "source": source}
    ).encode()


def order(number, customer, amount):
    return {"order_id": number, "customer": customer, "amount": amount}


def test_rows_are_created_changed_and_deleted(moto, tmp_path, home):
    stream = moto.stream()
    source = hw.Source(
        "orders",
        stream=headwater_aws.kinesis(
            stream,
            region="eu-central-1",
            endpoint_url=moto.url,
            format="debezium",
            schema=ROW,
            timestamps="ms",
        ),
        timestamp_field="placed_at",
        id_field="order_id",
        known_at_field="__ts",
        changes="__deleted",
        select=["order_id", "customer", "amount", "placed_at", "__ts", "__deleted"],
        timezone="UTC",
    )
    features = [hw.count(), hw.sum("amount")]
    view = hw.FeatureView(
        "spent",
        source=source,
        keys=["customer"],
        windows=["1d"],
        features=features,
        freshness=hw.streaming("2s"),
    )
    project = project_of(view)
    moto.put(
        stream,
        [envelope("c", n, after=order(n, "ann" if n < 4 else "bob", 10.0)) for n in range(6)],
    )
    with closing(hw.operations.open_store(f"lmdb:{tmp_path}/online?size=1GB")) as store:

        def spent():
            options = hw.operations.IngestOptions(allow_unapplied=True)
            hw.ingest(project, store, data_dir=tmp_path, once=True, options=options)
            asked = pl.DataFrame({"customer": ["ann", "bob"]})
            values = hw.get_online_features(view, asked, store=store, details=True)
            return [values[name].to_list() for name in view.feature_names]

        assert spent() == [[4, 2], [40.0, 20.0]]
        moto.split(stream)
        moto.put(
            stream,
            [envelope("u", 10, before=order(0, "ann", 10.0), after=order(0, "bob", 7.5))],
            hashed=0.1,
        )
        moto.put(stream, [envelope("d", 11, before=order(1, "ann", 10.0)), b"{}"], hashed=0.9)
        assert spent() == [[2, 3], [20.0, 27.5]]
