"""Avro records to rows."""

import contextlib
import io
import json
import struct
import threading
import tracemalloc
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headwater as hw
from headwater.errors import ConnectError
from headwater.ingestion.serde.avro import check_of
from headwater.ingestion.sources.stream_reader import decoder
from headwater.testing import clock
from tests.connectors.conftest import PAYMENT, registry, secure_registry  # noqa: F401 (fixtures)

fastavro = pytest.importorskip("fastavro", reason="needs fastavro: pip install 'headwater[avro]'")

AT = datetime(2024, 5, 1, 10, 0, 0, 250_000, tzinfo=UTC)
WRITTEN = PAYMENT
SCHEMA = {"card": str, "amount": float, "n": int, "at": datetime}
RECORD = {"card": "a", "amount": 1.5, "n": 7, "at": AT}


def encoded(record, schema=WRITTEN, number=None):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), record)
    return (b"" if number is None else struct.pack(">bI", 0, number)) + out.getvalue()


def source(schema=SCHEMA, **given):
    return hw.Source(
        "payments",
        timestamp_field="at",
        stream=hw.kafka("t", format="avro", schema=schema, **given),
    )


@pytest.fixture
def schemaless(tmp_path):
    path = tmp_path / "payment.avsc"
    path.write_text(json.dumps(WRITTEN))
    return decoder(source(avro=path))


def test_records_of_a_given_schema(schemaless):
    found = schemaless(
        [encoded(RECORD), None, encoded(RECORD | {"amount": None}), b"", encoded(RECORD) + b"x"]
    )
    assert found.frame.to_dicts() == [RECORD, RECORD | {"amount": None}]
    assert found.rows.tolist() == [0, 2]
    assert [n for n, _ in found.refused] == [1, 3, 4]
    assert "1 bytes more" in found.refused[2][1]


def test_each_record_is_read_by_the_schema_that_wrote_it(registry):
    newer = {
        **WRITTEN,
        "fields": [
            {"name": "extra", "type": {"type": "array", "items": "string"}},
            *WRITTEN["fields"],
        ],
    }
    older = {**WRITTEN, "fields": WRITTEN["fields"][2:]}
    for number, schema in enumerate((WRITTEN, newer, older), 1):
        registry.put(number, schema=json.dumps(schema))
    rows = decoder(source(registry=registry.url))(
        [
            encoded(RECORD, WRITTEN, 1),
            encoded(RECORD | {"extra": ["x"]}, newer, 2),
            encoded(RECORD, older, 3),
            encoded(RECORD, WRITTEN, 1),
        ]
    )
    assert rows.frame.to_dicts() == [
        RECORD,
        RECORD,
        RECORD | {"card": None, "amount": None},
        RECORD,
    ]
    assert rows.refused == []
    assert registry.asked == [f"/schemas/ids/{n}" for n in (1, 2, 3)]  # each once


def test_what_does_not_name_a_schema_is_refused(registry):
    registry.put(1, schema=json.dumps(WRITTEN))
    registry.put(2, schema="message M {}", schemaType="JSON")
    registry.put(3, schema='"string"')
    good = encoded(RECORD, WRITTEN, 1)
    bad = [
        b"",
        b"\0\0\0",
        b"\1" + good[1:],
        encoded(RECORD),
        struct.pack(">bI", 0, 9),
        struct.pack(">bI", 0, 2),
        struct.pack(">bI", 0, 3) + b"\2a",
    ]
    found = decoder(source(registry=registry.url))([good, *bad, good])
    assert found.rows.tolist() == [0, 8]
    reasons = [why for _, why in found.refused]
    assert all("does not begin" in why for why in reasons[:4])
    assert "no schema 9" in reasons[4]
    assert "is JSON, not AVRO" in reasons[5]
    assert "not a record" in reasons[6]


def test_a_registry_that_does_not_answer_stops_instead_of_refusing_records(registry):
    made = decoder(source(registry=registry.url))
    registry.broken = True
    with pytest.raises(ConnectError, match=r"the schema registry .* refuses schema 1 with 500"):
        made([encoded(RECORD, WRITTEN, 1)])
    registry.broken = False
    registry.put(1, schema=json.dumps(WRITTEN))
    assert made([encoded(RECORD, WRITTEN, 1)]).frame.height == 1
    with pytest.raises(ConnectError, match=r"127.0.0.1:1'? does not answer for schema 1"):
        decoder(source(registry="http://127.0.0.1:1"))([encoded(RECORD, WRITTEN, 1)])


@pytest.mark.parametrize(
    ("also", "header"),
    [
        ({"user": "me", "password": hw.env("REGISTRY_PASSWORD")}, "Basic bWU6aHVudGVyMg=="),
        ({"token": "abc"}, "Bearer abc"),
    ],
)
def test_a_registry_that_asks_who_it_is(registry, monkeypatch, also, header):
    monkeypatch.setenv("REGISTRY_PASSWORD", "hunter2")
    registry.wanted = header
    registry.put(1, schema=json.dumps(WRITTEN))
    assert (
        decoder(source(registry=hw.Registry(registry.url, **also)))(
            [encoded(RECORD, WRITTEN, 1)]
        ).frame.height
        == 1
    )
    with pytest.raises(ConnectError, match="401"):
        decoder(source(registry=registry.url))([encoded(RECORD, WRITTEN, 1)])


def secured(at, **options):
    """The settings for a client certificate and OAuth."""
    oauth = {
        "bearer.auth.credentials.source": "OAUTHBEARER",
        "bearer.auth.issuer.endpoint.url": f"{at['tokens']}/token",
        "bearer.auth.client.id": "app",
        "bearer.auth.client.secret": hw.env("CLIENT_SECRET"),
        "bearer.auth.scope": "registry",
    }
    tls = {
        "ssl.ca.location": str(at["folder"] / "ca.pem"),
        "ssl.certificate.location": str(at["folder"] / "client.pem"),
        "ssl.key.location": str(at["folder"] / "client.key"),
        "ssl.key.password": hw.env("CLIENT_SECRET"),
    }
    chosen = {"max.retries": 0, **oauth, **tls, **options}
    return hw.Registry(
        at["url"], options={name: value for name, value in chosen.items() if value is not None}
    )


@pytest.mark.parametrize(
    ("options", "secret", "words"),
    [
        (
            {"ssl.certificate.location": None, "ssl.key.location": None, "ssl.key.password": None},
            "hunter2",
            "does not answer for schema 1",
        ),
        (
            {
                "ssl.certificate.location": "stranger.pem",
                "ssl.key.location": None,
                "ssl.key.password": None,
            },
            "hunter2",
            "does not answer",
        ),
        ({"ssl.ca.location": None}, "hunter2", "CERTIFICATE_VERIFY_FAILED"),
        (
            {"bearer.auth.client.id": "other"},
            "hunter2",
            "does not answer for schema 1: Failed to retrieve token",
        ),
    ],
    ids=["no certificate", "another authority's", "an unknown server", "another client"],
)
def test_a_registry_that_refuses(secure_registry, monkeypatch, options, secret, words):
    monkeypatch.setenv("CLIENT_SECRET", secret)
    monkeypatch.chdir(secure_registry["folder"])
    with pytest.raises(ConnectError, match=words) as raised:
        decoder(source(registry=secured(secure_registry, **options)))([encoded(RECORD, WRITTEN, 1)])
    assert "hunter2" not in str(raised.value)


def test_schemas_that_refer_to_others(registry):
    place = {"type": "record", "name": "shop.Place", "fields": [{"name": "city", "type": "string"}]}
    whole = {
        "type": "record",
        "name": "Visit",
        "fields": [{"name": "place", "type": "shop.Place"}, WRITTEN["fields"][3]],
    }
    registry.refer("place", 4, schema=json.dumps(place))
    registry.put(
        1,
        schema=json.dumps(whole),
        references=[{"name": "shop.Place", "subject": "place", "version": 4}],
    )
    body = encoded(
        {"place": {"city": "Rome"}, "at": AT},
        {**whole, "fields": [{"name": "place", "type": place}, whole["fields"][1]]},
        1,
    )
    found = decoder(
        source({"place": pl.Struct({"city": pl.String}), "at": datetime}, registry=registry.url)
    )([body])
    assert found.frame.to_dicts() == [{"place": {"city": "Rome"}, "at": AT}]


def kind(name, logical, **also):
    return {"type": name, "logicalType": logical, **also}


@pytest.mark.parametrize(
    ("avro", "dtype", "value", "expected"),
    [
        ("int", pl.Int64, 5, 5),
        ("int", pl.Float64, 5, 5.0),
        ("int", pl.Int8, 200, ...),
        ("int", pl.String, 5, ...),
        ("string", pl.Int64, "5", ...),
        ("double", pl.Int64, 5.0, ...),
        ("double", pl.Float64, float("inf"), float("inf")),
        ("double", pl.Float32, 1e39, ...),
        ("float", pl.Float32, 0.5, 0.5),
        ("float", pl.Float32, float("-inf"), float("-inf")),
        ("boolean", pl.Boolean, True, True),
        ("boolean", pl.Int64, True, ...),
        ("bytes", pl.Binary, b"\0\1", b"\0\1"),
        ("null", pl.Int64, None, None),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, pl.String, "B", "B"),
        ({"type": "array", "items": "long"}, pl.List(pl.Int64), [1, 2], [1, 2]),
        (kind("int", "date"), pl.Date, date(2024, 5, 1), date(2024, 5, 1)),
        (
            kind("bytes", "decimal", precision=6, scale=2),
            pl.Decimal(6, 2),
            Decimal("1.25"),
            Decimal("1.25"),
        ),
        (kind("long", "timestamp-micros"), pl.Datetime("us", "UTC"), AT, AT),
        (
            kind("string", "uuid"),
            pl.String,
            "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        ),
        ("string", pl.Datetime("us", "UTC"), "2024-05-01T10:00:00.25Z", AT),
        ("long", pl.Datetime("us", "UTC"), 5, ...),
        ("boolean", pl.Datetime("us", "UTC"), True, ...),
        ({"type": "map", "values": "long"}, pl.Int64, {"a": 1}, ...),
    ],
    ids=str,
)
def test_each_type(tmp_path, avro, dtype, value, expected):
    schema = {"type": "record", "name": "R", "fields": [{"name": "x", "type": avro}]}
    path = tmp_path / "r.avsc"
    path.write_text(json.dumps(schema))
    made = decoder(
        hw.Source(
            "s",
            timestamp_field="x",
            stream=hw.kafka("t", format="avro", avro=path, schema={"x": dtype}),
        )
    )
    found = made([encoded({"x": value}, schema)])
    assert found.frame["x"].to_list() == ([] if expected is ... else [expected])
    assert len(found.refused) == (expected is ...)


@given(st.binary(max_size=60), st.integers(0, 40))
def test_random_bytes_and_truncated_records_are_rows_or_reasons(tmp_path_factory, garbage, length):
    path = tmp_path_factory.mktemp("avro") / "payment.avsc"
    path.write_text(json.dumps(WRITTEN))
    good = encoded(RECORD)
    batch = [good, garbage, good[: min(length, len(good) - 1)], good]
    found = decoder(source(avro=path))(batch)
    assert {0, 3} <= set(found.rows.tolist())
    assert sorted([*found.rows.tolist(), *(n for n, _ in found.refused)]) == [0, 1, 2, 3]
    assert 2 not in found.rows


# ---------------------------------------------------------------- a registry that lags behind, and hostile records


def test_a_schema_that_the_registry_gets_a_little_later_is_waited_for(registry):
    """A replica lags behind the writer of the record: none of its records is refused."""
    made = decoder(source(registry=registry.url))
    threading.Timer(0.1, registry.put, (7,), {"schema": json.dumps(WRITTEN)}).start()
    found = made([encoded(RECORD, number=7)] * 3)
    assert (found.frame.height, found.refused) == (3, [])


def test_a_schema_that_nobody_has_is_asked_for_again_after_a_while(registry):
    """Records are refused until then, and the next ones are not: nothing is remembered for ever,
    and nothing waits each time.
    """
    with clock.at("2024-05-01T12:00Z", skips=True) as now:
        made = decoder(source(registry=registry.url))
        assert "no schema 7" in made([encoded(RECORD, number=7)]).refused[0][1]
        asked = len(registry.asked)
        assert len(made([encoded(RECORD, number=n) for n in (7, 7, 8, 9)]).refused) == 4
        assert len(registry.asked) <= asked + 4, "each missing one was asked for once"
        registry.put(7, schema=json.dumps(WRITTEN))
        now.advance("6s")
        assert made([encoded(RECORD, number=7)]).frame.height == 1


def zigzag(n):
    n, out = (n << 1) ^ (n >> 63), b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


EMPTY = {"type": "record", "name": "Nothing", "fields": []}
NESTED = {
    "type": "record",
    "name": "Outer",
    "fields": [{"name": "a", "type": "null"}, {"name": "b", "type": EMPTY}],
}
BAG = {
    "type": "record",
    "name": "Bag",
    "fields": [{"name": "inner", "type": {"type": "array", "items": "null"}}],
}


@pytest.mark.parametrize(
    ("kind", "lie", "why"),
    [
        ({"type": "array", "items": "null"}, zigzag(1 << 40), "elements that take no bytes"),
        ({"type": "array", "items": EMPTY}, zigzag(1 << 40), "elements that take no bytes"),
        ({"type": "array", "items": NESTED}, zigzag(1 << 40), "elements that take no bytes"),
        (
            {"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}},
            zigzag(1 << 40),
            "elements that take no bytes",
        ),
        (
            {"type": "array", "items": {"type": "null"}},
            zigzag(-(1 << 40)) + zigzag(0),
            "elements that take no bytes",
        ),
        ({"type": "array", "items": "null"}, zigzag(60_000) * 2, "elements that take no bytes"),
        (
            {"type": "array", "items": BAG},
            zigzag(3) + (zigzag(60_000) + b"\0") * 3,
            "elements that take no bytes",
        ),
        (
            ["null", {"type": "array", "items": "null"}],
            zigzag(1) + zigzag(1 << 40),
            "elements that take no bytes",
        ),
        (
            {"type": "map", "values": {"type": "array", "items": "null"}},
            zigzag(1) + zigzag(1) + b"k" + zigzag(1 << 40),
            "no bytes",
        ),
        ({"type": "map", "values": "null"}, zigzag(1 << 40), ""),
        ({"type": "array", "items": "string"}, zigzag(1 << 40), ""),
        ({"type": "array", "items": "boolean"}, zigzag(1 << 62), ""),
        ({"type": "array", "items": {"type": "array", "items": "null"}}, zigzag(1 << 40), ""),
        ({"type": "array", "items": "null"}, b"\xff" * 5000, ""),
        ("string", zigzag(1 << 40), ""),
        ("bytes", zigzag(-5), ""),
        (["null", "long"], zigzag(7), ""),
        (["null", "long"], zigzag(-3), ""),
    ],
)
def test_a_record_that_claims_more_than_it_holds_is_refused(tmp_path, kind, lie, why):
    """Quickly, with a reason, in little memory; and honest records of the same schema are read."""
    schema = {**WRITTEN, "fields": [*WRITTEN["fields"], {"name": "odd", "type": kind}]}
    path = tmp_path / "odd.avsc"
    path.write_text(json.dumps(schema))
    made = decoder(source(avro=path))
    begin = encoded(RECORD)
    tracemalloc.start()
    found = made([begin + lie])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.frame.height == 0
    assert why in found.refused[0][1]
    assert peak < 50_000_000
    honest = {"array": [], "map": {}, "string": "x", "bytes": b"x", "": None}
    name = kind if isinstance(kind, str) else "" if isinstance(kind, list) else kind["type"]
    assert made([encoded({**RECORD, "odd": honest[name]}, schema)]).frame.to_dicts() == [RECORD]
    if kind == {"type": "array", "items": "null"}:
        assert made([encoded({**RECORD, "odd": [None] * 1000}, schema)]).frame.height == 1


@given(st.binary(max_size=40))
def test_no_bytes_end_ingestion(body):
    schema = {
        "type": "record",
        "name": "R",
        "fields": [
            {"name": "n", "type": "long"},
            {"name": "odd", "type": {"type": "array", "items": NESTED}},
        ],
    }
    check = check_of(fastavro.parse_schema(json.loads(json.dumps(schema))))
    with contextlib.suppress(ValueError):
        check(body)
