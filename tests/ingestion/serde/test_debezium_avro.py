"""Envelopes of Debezium in Avro are the rows that the same envelopes in JSON are."""

import json

import pytest
from polars.testing import assert_frame_equal

from tests.connectors.conftest import registry  # noqa: F401 (a fixture)
from tests.ingestion.envelopes import avro_schema, envelope, in_avro
from tests.ingestion.serde.test_debezium import (
    COLUMNS,
    CUSTOMER,
    MYSQL,
    TYPES,
    decode,
    one,
)

pytest.importorskip("fastavro", reason="needs fastavro: pip install 'headwater[avro]'")

FIELDS = [("id", "int64", "", {}), ("first_name", "string", "", {}), ("email", "string", "", {})]


@pytest.mark.parametrize(COLUMNS, TYPES)
def test_types_in_avro_are_those_of_json(kind, form, parameters, value, dtype, expected, registry):
    schema = avro_schema(("x", kind, form, parameters))
    registry.put(5, schema=json.dumps(schema))
    record = in_avro(envelope("c", after={"x": value}), schema, 5)
    assert one(record, schema={"x": dtype}, timezone="UTC", registry=registry.url)["x"] == expected


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
