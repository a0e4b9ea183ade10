"""Protobuf messages to rows."""

import base64
import struct
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headwater as hw
from headwater.ingestion.sources.stream_reader import decoder

pytest.importorskip("google.protobuf", reason="needs protobuf: pip install 'headwater[protobuf]'")

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    timestamp_pb2,
    wrappers_pb2,
)

from tests.connectors.conftest import registry  # noqa: F401 (fixtures)

F = descriptor_pb2.FieldDescriptorProto
AT = datetime(2024, 5, 1, 10, 0, 0, 250_000, tzinfo=UTC)
SCHEMA = {
    "card": str,
    "n": int,
    "amount": float,
    "maybe": int,
    "kind": str,
    "tags": pl.List(pl.String),
    "place": pl.Struct({"city": pl.String}),
    "wrapped": float,
    "at": datetime,
    "absent": str,
}


def field(message, name, number, kind, *, type_name="", repeated=False, optional=False):
    made = message.field.add(name=name, number=number, type=kind)
    if type_name:
        made.type_name = type_name
    made.label = F.LABEL_REPEATED if repeated else F.LABEL_OPTIONAL
    if optional:
        made.proto3_optional = True
        made.oneof_index = len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{name}")


def payment(*, newer=False):
    """shop.Payment in a file, after another type, with one type inside it."""
    file = descriptor_pb2.FileDescriptorProto(name="payment.proto", package="shop", syntax="proto3")
    file.dependency.extend(["google/protobuf/timestamp.proto", "google/protobuf/wrappers.proto"])
    file.enum_type.add(name="Kind").value.extend(
        [
            descriptor_pb2.EnumValueDescriptorProto(name=n, number=i)
            for i, n in enumerate(("UNKNOWN", "CARD"))
        ]
    )
    field(file.message_type.add(name="Other"), "x", 1, F.TYPE_STRING)
    made = file.message_type.add(name="Payment")
    field(made.nested_type.add(name="Place"), "city", 1, F.TYPE_STRING)
    field(made, "card", 1, F.TYPE_STRING)
    field(made, "n", 2, F.TYPE_INT64)
    field(made, "amount", 3, F.TYPE_DOUBLE)
    field(made, "maybe", 4, F.TYPE_INT32, optional=True)
    field(made, "kind", 5, F.TYPE_ENUM, type_name=".shop.Kind")
    field(made, "tags", 6, F.TYPE_STRING, repeated=True)
    field(made, "place", 7, F.TYPE_MESSAGE, type_name=".shop.Payment.Place")
    field(made, "wrapped", 8, F.TYPE_MESSAGE, type_name=".google.protobuf.DoubleValue")
    field(made, "at", 9, F.TYPE_MESSAGE, type_name=".google.protobuf.Timestamp")
    if newer:
        field(made, "later", 10, F.TYPE_STRING)
    return file


def known():
    return [
        descriptor_pb2.FileDescriptorProto.FromString(m.DESCRIPTOR.serialized_pb)
        for m in (timestamp_pb2, wrappers_pb2)
    ]


def message_type(file, name="shop.Payment"):
    pool = descriptor_pool.DescriptorPool()
    for one in (*known(), file):
        pool.Add(one)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def message(file=None, **also):
    made = message_type(file or payment())(
        card="a", n=7, amount=1.5, kind=1, tags=["x", "y"], **also
    )
    made.place.city = "Rome"
    made.wrapped.value = 0.0
    made.at.FromDatetime(AT)
    return made.SerializeToString()


ROW = {
    "card": "a",
    "n": 7,
    "amount": 1.5,
    "maybe": None,
    "kind": "CARD",
    "tags": ["x", "y"],
    "place": {"city": "Rome"},
    "wrapped": 0.0,
    "at": AT,
    "absent": None,
}


def source(schema=SCHEMA, **given):
    return hw.Source(
        "payments",
        timestamp_field="at",
        stream=hw.kafka("t", format="protobuf", schema=schema, **given),
    )


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    path = tmp_path_factory.mktemp("protobuf") / "payment.desc"
    path.write_bytes(
        descriptor_pb2.FileDescriptorSet(file=[payment(), *known()]).SerializeToString()
    )
    return path


def test_messages_of_a_given_type(described):
    found = decoder(source(message=(described, "shop.Payment")))(
        [message(), None, b"\xff", message(maybe=0), message()[:-3]]
    )
    assert found.frame.to_dicts() == [ROW, ROW | {"maybe": 0}]
    assert [n for n, _ in found.refused] == [1, 2, 4]


def test_a_value_that_the_schema_cannot_hold_is_refused(described):
    made = decoder(source({"card": int, "at": datetime}, message=(described, "shop.Payment")))(
        [message()]
    )
    assert made.refused == [(0, "Expected `int | null`, got `str` - at `$.card`")]


def registered(file):
    return {"schema": base64.b64encode(file.SerializeToString()).decode(), "schemaType": "PROTOBUF"}


def framed(number, index, body):
    return struct.pack(">bI", 0, number) + index + body


def test_messages_that_name_their_schema_and_type(registry):
    registry.put(1, **registered(payment()))
    registry.put(2, **registered(payment(newer=True)))
    second = b"\x02\x02"  # one index, the second type; numbers are zigzag encoded
    newer = message_type(payment(newer=True)).FromString(message())
    newer.later = "z"
    found = decoder(source(registry=registry.url))(
        [framed(1, second, message()), framed(2, second, newer.SerializeToString())] * 2
    )
    assert found.frame.to_dicts() == [ROW] * 4
    assert registry.asked == ["/schemas/ids/1", "/schemas/ids/2"]
    place = message_type(payment(), "shop.Payment.Place")(city="Rome").SerializeToString()
    inner = decoder(source({"city": str, "x": str, "at": datetime}, registry=registry.url))(
        [
            framed(1, b"\x04\x02\x00", place),
            framed(
                1, b"\x00", message_type(payment(), "shop.Other")(x="first").SerializeToString()
            ),
        ]
    )
    assert inner.frame.select("city", "x").rows() == [("Rome", None), (None, "first")]


@pytest.mark.parametrize(
    "index",
    [b"", b"\x02", b"\x02\x14", b"\x01", b"\xff" * 12, b"\x80" * 3, b"\x04\x02\x08", b"\x02\x01"],
)
def test_a_type_that_the_file_does_not_have_is_refused(registry, index):
    registry.put(1, **registered(payment()))
    good = framed(1, b"\x02\x02", message())
    found = decoder(source(registry=registry.url))([good, framed(1, index, b""), good])
    assert found.rows.tolist() == [0, 2]


@given(st.binary(max_size=60), st.integers(0, 60))
def test_random_bytes_and_truncated_messages_are_rows_or_reasons(described, garbage, length):
    good = message()
    found = decoder(source(message=(described, "shop.Payment")))(
        [good, garbage, good[:length], good]
    )
    assert {0, 3} <= set(found.rows.tolist())
    assert sorted([*found.rows.tolist(), *(n for n, _ in found.refused)]) == [0, 1, 2, 3]
