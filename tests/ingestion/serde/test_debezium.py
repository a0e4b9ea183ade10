"""Envelopes of Debezium, in the shapes of its documentation: with and without a schema in each
record, every operation and encoding.
"""

import base64
import json
import re
from datetime import UTC, date, datetime, time
from decimal import Decimal

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import headwater as hw
from headwater.errors import HeadwaterWarning
from headwater.ingestion.sources.stream_reader import decoder
from tests.ingestion.envelopes import envelope, with_schema

ROW = {"id": int, "first_name": str, "email": str}
CUSTOMER = {"id": 1, "first_name": "Anne Marie", "email": "annek@noanswer.org"}
MYSQL = {
    "connector": "mysql",
    "ts_ms": 1465491411000,
    "file": "mysql-bin.000003",
    "pos": 154,
    "row": 0,
    "server_id": 0,
}


def decode(*payloads, schema=ROW, timezone=None, **options):
    source = hw.Source(
        "customers",
        timestamp_field="__ts",
        timezone=timezone,
        stream=hw.kafka("customers", format="debezium", schema=schema, **options),
    )
    return decoder(source)(
        [
            None if p is None else p if isinstance(p, bytes) else json.dumps(p).encode()
            for p in payloads
        ]
    )


def one(payload, **options):
    decoded = decode(payload, **options)
    assert decoded.refused == []
    return decoded.frame.row(0, named=True)


def why(payload, **options):
    ((position, reason),) = decode(payload, **options).refused
    assert position == 0
    return reason


# ---------------------------------------------------------------- operations


@pytest.mark.parametrize("carries", [False, True], ids=["without schema", "with schema"])
@pytest.mark.parametrize(
    ("op", "images", "deleted"),
    [
        ("c", {"after": CUSTOMER}, False),
        ("r", {"after": CUSTOMER}, False),
        ("u", {"before": CUSTOMER | {"first_name": "Anne"}, "after": CUSTOMER}, False),
        ("u", {"before": None, "after": CUSTOMER}, False),
        ("d", {"before": CUSTOMER, "after": None}, True),
    ],
)
def test_an_operation_is_an_image_of_the_row(op, images, deleted, carries):
    payload = envelope(op, **images)
    assert one(with_schema(payload) if carries else payload) == CUSTOMER | {
        "__deleted": deleted,
        "__op": op,
        "__source_ts": datetime(2019, 5, 28, 8, 58, 24, 863123, UTC),
        "__ts": datetime(2019, 5, 28, 8, 58, 24, 961654, UTC),
        "__lsn": 24023128,
    }


def test_older_connectors_give_milliseconds_and_mysql_the_place_in_its_binlog():
    old = envelope("c", after=CUSTOMER, source=MYSQL)
    del old["ts_us"]
    row = one(old)
    assert row["__ts"] == datetime(2019, 5, 28, 8, 58, 24, 961000, UTC)
    assert row["__source_ts"] == datetime(2016, 6, 9, 16, 56, 51, tzinfo=UTC)
    assert row["__lsn"] == (3 << 40) + 154


def test_the_image_before_a_delete_may_hold_the_key_alone():
    assert one(envelope("d", before={"id": 7}))["id"] == 7
    assert (
        one(envelope("d", before={"id": 7, "first_name": None, "email": None}))["first_name"]
        is None
    )


def test_tombstones_say_nothing():
    decoded = decode(
        envelope("d", before=CUSTOMER),
        None,
        {"schema": None, "payload": None},
        b"null",
        envelope("c", after=CUSTOMER),
    )
    assert (decoded.rows.tolist(), decoded.refused) == ([0, 4], [])


# ---------------------------------------------------------------- encodings

STAMP = datetime(2018, 6, 20, 13, 37, 3)  # noqa: DTZ001 (a clock without a zone)
MILLIS, UTC_STAMP = 1529501823000, pl.Datetime("us", "UTC")


COLUMNS = "kind, form, parameters, value, dtype, expected"
TYPES = [
    ("int64", "io.debezium.time.Timestamp", {}, MILLIS, UTC_STAMP, STAMP.replace(tzinfo=UTC)),
    (
        "int64",
        "io.debezium.time.MicroTimestamp",
        {},
        MILLIS * 1000 + 5,
        UTC_STAMP,
        STAMP.replace(microsecond=5, tzinfo=UTC),
    ),
    (
        "int64",
        "io.debezium.time.NanoTimestamp",
        {},
        MILLIS * 10**6 + 5999,
        UTC_STAMP,
        STAMP.replace(microsecond=5, tzinfo=UTC),
    ),
    ("int64", "org.apache.kafka.connect.data.Timestamp", {}, MILLIS, pl.Datetime("us"), STAMP),
    (
        "string",
        "io.debezium.time.ZonedTimestamp",
        {},
        "2018-06-20T15:37:03.000007+02:00",
        UTC_STAMP,
        STAMP.replace(microsecond=7, tzinfo=UTC),
    ),
    (
        "string",
        "io.debezium.time.ZonedTimestamp",
        {},
        "2018-06-20T13:37:03Z",
        UTC_STAMP,
        STAMP.replace(tzinfo=UTC),
    ),
    ("int32", "io.debezium.time.Date", {}, 17702, pl.Date(), date(2018, 6, 20)),
    ("int32", "org.apache.kafka.connect.data.Date", {}, -1, pl.Date(), date(1969, 12, 31)),
    ("int32", "io.debezium.time.Time", {}, 49023005, pl.Time(), time(13, 37, 3, 5000)),
    ("int64", "io.debezium.time.MicroTime", {}, 49023000007, pl.Time(), time(13, 37, 3, 7)),
    (
        "bytes",
        "org.apache.kafka.connect.data.Decimal",
        {"scale": "2"},
        "AN3h",
        pl.Decimal(10, 2),
        Decimal("568.01"),
    ),
    (
        "bytes",
        "org.apache.kafka.connect.data.Decimal",
        {"scale": "2"},
        "/w==",
        pl.Decimal(10, 2),
        Decimal("-0.01"),
    ),
    (
        "bytes",
        "org.apache.kafka.connect.data.Decimal",
        {"scale": "2"},
        "AN3h",
        pl.Float64(),
        568.01,
    ),
    ("bytes", "org.apache.kafka.connect.data.Decimal", {"scale": "0"}, "AN3h", pl.Int64(), 56801),
    (
        "bytes",
        "org.apache.kafka.connect.data.Decimal",
        {"scale": "2"},
        "AN3h",
        pl.String(),
        "568.01",
    ),
    (
        "struct",
        "io.debezium.data.VariableScaleDecimal",
        {},
        {"scale": 3, "value": "AN3h"},
        pl.Float64(),
        56.801,
    ),
    ("bytes", "", {}, base64.b64encode(b"\0\xff").decode(), pl.Binary(), b"\0\xff"),
    ("string", "io.debezium.data.Enum", {"allowed": "a,b"}, "a", pl.String(), "a"),
    ("array", "", {}, [1, None], pl.List(pl.Int64()), [1, None]),
    ("int64", "io.debezium.time.MicroTimestamp", {}, None, UTC_STAMP, None),
]


@pytest.mark.parametrize(COLUMNS, TYPES)
def test_types_are_those_that_the_schema_names(kind, form, parameters, value, dtype, expected):
    message = with_schema(envelope("c", after={"x": value}), ("x", kind, form, parameters))
    assert one(message, schema={"x": dtype}, timezone="UTC")["x"] == expected


def test_a_clock_without_a_zone_is_of_the_source():
    message = with_schema(
        envelope("c", after={"x": MILLIS}), ("x", "int64", "io.debezium.time.Timestamp", {})
    )
    assert one(message, schema={"x": UTC_STAMP}, timezone="Europe/Oslo")["x"] == datetime(
        2018, 6, 20, 11, 37, 3, tzinfo=UTC
    )
    assert "is not a timestamp" in why(message, schema={"x": UTC_STAMP})


@pytest.mark.parametrize(
    ("value", "dtype", "options", "expected"),
    [
        (MILLIS, UTC_STAMP, {"timestamps": "ms"}, STAMP.replace(tzinfo=UTC)),
        (MILLIS * 1000, UTC_STAMP, {"timestamps": "us"}, STAMP.replace(tzinfo=UTC)),
        ("2018-06-20T13:37:03Z", UTC_STAMP, {"timestamps": "ms"}, STAMP.replace(tzinfo=UTC)),
        (17702, pl.Date(), {}, date(2018, 6, 20)),
        ("2018-06-20", pl.Date(), {}, date(2018, 6, 20)),
        ("568.01", pl.Decimal(10, 2), {}, Decimal("568.01")),
        ({"scale": 3, "value": "AN3h"}, pl.Decimal(10, 3), {}, Decimal("56.801")),
    ],
)
def test_without_a_schema_the_declared_types_decide(value, dtype, options, expected):
    assert (
        one(envelope("c", after={"x": value}), schema={"x": dtype}, timezone="UTC", **options)["x"]
        == expected
    )


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (
            CUSTOMER,
            "no envelope of Debezium: it has no op; a flattened record is read with format='json'",
        ),
        ([1], "Expected `object . null`, got `array`"),
        ({"before": None, "after": CUSTOMER}, "no envelope of Debezium: it has no op"),
        (envelope("t"), "a truncation"),
        (envelope("m", message={"prefix": "x"}), "a message, not a change of a row"),
        (envelope("x", after=CUSTOMER), "the operation 'x' is not known; known: c, u, r, d"),
        (envelope("u", before=CUSTOMER), "the operation 'u' without after"),
        (envelope("d", after=CUSTOMER), "REPLICA IDENTITY FULL"),
        (
            envelope("u", after=CUSTOMER | {"email": "__debezium_unavailable_value"}),
            "the value was not sent, .*\\$.email",
        ),
        (
            envelope("u", after=CUSTOMER | {"id": ["__debezium_unavailable_value"]}),
            "the value was not sent, .*\\$.id",
        ),
        (
            envelope("u", after=CUSTOMER | {"id": list(b"__debezium_unavailable_value")}),
            "the value was not sent",
        ),
        (envelope("c", after=CUSTOMER | {"id": "1"}), "Expected `int"),
        (b'{"before": null, "after": {"id"', "truncated"),
        (b"\xff\xfe", "utf|UTF|malformed|invalid"),
    ],
)
def test_bad_envelopes_are_refused_with_a_reason(payload, reason):
    assert re.search(reason, why(payload), re.IGNORECASE)


def test_bad_envelopes_move_no_other():
    good = envelope("c", after=CUSTOMER)
    decoded = decode(good, b"{", good, CUSTOMER, None, good)
    assert decoded.rows.tolist() == [0, 2, 5]
    assert [position for position, _ in decoded.refused] == [1, 3]


# ---------------------------------------------------------------- files


def test_files_of_envelopes_are_rows(tmp_path):
    lines = [
        envelope("c", after=CUSTOMER),
        envelope("u", after=CUSTOMER | {"email": "new"}),
        envelope("d", before=CUSTOMER),
    ]
    (tmp_path / "a.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines[:2]), encoding="utf-8"
    )
    (tmp_path / "b.jsonl").write_text(
        json.dumps(with_schema(lines[2])) + "\nnull\n\n" + json.dumps(CUSTOMER) + "\n",
        encoding="utf-8",
    )
    table = hw.debezium(tmp_path, schema=ROW)
    with pytest.warns(
        HeadwaterWarning, match="1 lines are left out; the first since .* it has no op"
    ):
        rows = table.scan().collect()
    assert_frame_equal(rows, decode(*lines).frame)
    with pytest.warns(HeadwaterWarning):
        some = table.scan().filter(pl.col("__deleted")).select("id", "__op").collect()
    assert some.rows() == [(1, "d")]
    assert table.scan().head(1).collect().height == 1
    assert table.state() == table.state() != hw.debezium(tmp_path / "a.jsonl", schema=ROW).state()
    assert table != hw.debezium(tmp_path, schema=ROW | {"id": str})
