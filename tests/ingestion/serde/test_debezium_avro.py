"""Envelopes of Debezium in Avro are the rows that the same envelopes in JSON are."""

import json
import re
from datetime import UTC

import pytest
from polars.testing import assert_frame_equal

from tests.connectors.conftest import registry  # noqa: F401 (a fixture)
from tests.ingestion.envelopes import avro_schema, envelope, in_avro
from tests.ingestion.serde.test_debezium import (
    COLUMNS,
    CUSTOMER,
    MILLIS,
    MYSQL,
    STAMP,
    TYPES,
    UTC_STAMP,
    decode,
    one,
    why,
)

pytest.importorskip("fastavro", reason="needs fastavro: pip install 'headwater[avro]'")

FIELDS = [("id", "int64", "", {}), ("first_name", "string", "", {}), ("email", "string", "", {})]


@pytest.mark.parametrize(COLUMNS, TYPES)
def test_types_in_avro_are_those_of_json(kind, form, parameters, value, dtype, expected, registry):
    schema = avro_schema(("x", kind, form, parameters))
    registry.put(5, schema=json.dumps(schema))
    record = in_avro(envelope("c", after={"x": value}), schema, 5)
    assert one(record, schema={"x": dtype}, timezone="UTC", registry=registry.url)["x"] == expected


@pytest.mark.parametrize(
    COLUMNS, [row for row in TYPES if row[1].startswith("org.apache.kafka.connect.data.")]
)
def test_logical_types_are_enough(kind, form, parameters, value, dtype, expected, registry):
    schema = avro_schema(("x", kind, form, parameters), names=False)
    registry.put(5, schema=json.dumps(schema))
    record = in_avro(envelope("c", after={"x": value}), schema, 5)
    assert one(record, schema={"x": dtype}, timezone="UTC", registry=registry.url)["x"] == expected


def test_numbers_without_names_are_in_the_unit_of_the_stream(registry):
    schema = avro_schema(("x", "int64", "io.debezium.time.MicroTimestamp", {}), names=False)
    registry.put(5, schema=json.dumps(schema))
    record = in_avro(envelope("c", after={"x": MILLIS * 1000}), schema, 5)
    options = {"schema": {"x": UTC_STAMP}, "timezone": "UTC", "registry": registry.url}
    assert "a number of unknown unit" in why(record, **options)
    assert one(record, timestamps="us", **options)["x"] == STAMP.replace(tzinfo=UTC)


def test_envelopes_in_avro_are_those_of_json(registry, tmp_path):
    schema = avro_schema(*FIELDS)
    registry.put(7, schema=json.dumps(schema))
    registry.put(8, schema=json.dumps(avro_schema(*FIELDS, ("phone", "string", "", {}))))
    (tmp_path / "customers.avsc").write_text(json.dumps(schema), encoding="utf-8")
    envelopes = [
        envelope("r", after=CUSTOMER),
        envelope("u", before=CUSTOMER, after=CUSTOMER | {"email": "new"}),
        envelope("d", before={"id": 7}),
        envelope("c", after=CUSTOMER | {"id": 9}, source=MYSQL),
    ]
    as_json = decode(*envelopes, None).frame
    assert_frame_equal(
        decode(*(in_avro(e, schema, 7) for e in envelopes), None, registry=registry.url).frame,
        as_json,
    )
    assert_frame_equal(
        decode(
            *(in_avro(e, schema) for e in envelopes), None, avro=tmp_path / "customers.avsc"
        ).frame,
        as_json,
    )
    grown = [
        in_avro(envelopes[0], schema, 7),
        in_avro(envelopes[0], avro_schema(*FIELDS, ("phone", "string", "", {})), 8),
    ]
    # the column phone came later
    assert decode(*grown, registry=registry.url).frame.n_unique() == 1


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (envelope("t"), "a truncation"),
        (envelope("d"), "REPLICA IDENTITY FULL"),
        (
            envelope("u", after=CUSTOMER | {"email": "__debezium_unavailable_value"}),
            "the value was not sent, .*\\$.email",
        ),
        (
            json.dumps(envelope("c", after=CUSTOMER)).encode(),
            "does not begin with a zero byte and the id of a schema",
        ),
        (b"\0\0\0\0\x09", "the registry has no schema 9"),
        (b"\0\0\0\0\x08", "schema 8 of the registry is JSON, not AVRO"),
    ],
)
def test_bad_envelopes_in_avro_are_refused_with_a_reason(payload, reason, registry):
    schema = avro_schema(*FIELDS)
    registry.put(7, schema=json.dumps(schema))
    registry.put(8, schema="{}", schemaType="JSON")
    assert re.search(
        reason,
        why(
            payload if isinstance(payload, bytes) else in_avro(payload, schema, 7),
            registry=registry.url,
        ),
    )


def test_avro_without_a_registry_is_refused_with_what_to_give():
    assert "as Avro of a schema registry does; give the stream registry=" in why(
        in_avro(envelope("c", after=CUSTOMER), avro_schema(*FIELDS), 7)
    )
