"""Envelopes of Debezium, in JSON with or without the schema in each record, or in Avro: the row
that a change leaves, or takes away.

| op | row | __deleted |
|---|---|---|
| c, u, r (create, update, read by a snapshot) | `after` | false |
| d (delete) | `before` | true |

https://debezium.io/documentation/reference/stable/connectors/postgresql.html, "Data change events"
and "Data type mappings".
"""

from __future__ import annotations

import base64
import re
import typing
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from headwater.definitions.connectors import DEBEZIUM_COLUMNS, BrokerStream, Stream

if TYPE_CHECKING:
    from headwater.ingestion.serde.avro import WriterSchema

Json = Any  # a value of JSON, or of Avro: the same, but for bytes
# of a field, the name of its type and that type's parameters
_Named = Mapping[str, tuple[str, Mapping[str, str]]]

_DELETED, _OP, _SOURCE_TIME, _TIME, _LSN = DEBEZIUM_COLUMNS
_CONNECT = "org.apache.kafka.connect.data."
_DECIMAL: Final = f"{_CONNECT}Decimal"
_MICROS: Final[Mapping[str, float]] = {  # microseconds in a unit
    "io.debezium.time.Timestamp": 1000,
    "io.debezium.time.MicroTimestamp": 1,
    "io.debezium.time.NanoTimestamp": 1 / 1000,
    f"{_CONNECT}Timestamp": 1000,
    "io.debezium.time.Time": 1000,
    "io.debezium.time.MicroTime": 1,
    "io.debezium.time.NanoTime": 1 / 1000,
    f"{_CONNECT}Time": 1000,
    "s": 1_000_000,
    "ms": 1000,
    "us": 1,
}
# of Avro's logical types, the name that Kafka Connect gives; it may leave the names out
_LOGICAL: Final[Mapping[str, str]] = {
    "decimal": _DECIMAL,
    "date": f"{_CONNECT}Date",
    "time-millis": f"{_CONNECT}Time",
    "time-micros": "io.debezium.time.MicroTime",
    "timestamp-millis": f"{_CONNECT}Timestamp",
    "timestamp-micros": "io.debezium.time.MicroTimestamp",
}
_NOT_SENT: Final = b"__debezium_unavailable_value"
# the placeholders of values that were not sent
_PLACEHOLDERS: Final[Mapping[type, tuple[object, ...]]] = {
    str: (_NOT_SENT.decode(), base64.b64encode(_NOT_SENT).decode()),
    bytes: (_NOT_SENT,),
    list: ([_NOT_SENT.decode()], list(_NOT_SENT)),
    dict: ({_NOT_SENT.decode(): _NOT_SENT.decode()},),
}
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 (wall time: a type without a zone)
_SCHEMAS: Final = 1000  # that are remembered
_REFUSED: Final = {
    "t": "a truncation of the table, which takes back no single row",
    "m": "a message, not a change of a row",
}


class _Message(msgspec.Struct):
    """A record with its schema. `payload` is not empty where there is one."""

    schema: msgspec.Raw = msgspec.Raw()
    payload: msgspec.Raw = msgspec.Raw()


def reader(stream: Stream, row: type[msgspec.Struct]) -> Callable[[bytes], msgspec.Struct | None]:
    """The decoder of one record: a row, or None of a tombstone, which repeats a delete for the
    broker's compaction.

    Raises:
        DataError: the file of an Avro schema is missing or is none.
    """
    kinds = {field.encode_name: _kind(field.type) for field in msgspec.structs.fields(row)}
    columns = {name: kind for name, kind in kinds.items() if name not in DEBEZIUM_COLUMNS}
    decode = (
        _avro(stream)
        if isinstance(stream, BrokerStream) and (stream.registry or stream.avro)
        else _json()
    )

    def read(payload: bytes) -> msgspec.Struct | None:
        envelope, named = decode(payload)
        if envelope is None:
            return None
        values = {
            name: _value(name, value, columns[name], named, stream.timestamps)
            for name, value in _image(envelope).items()
            if name in columns
        }
        return msgspec.convert({**values, **_about(envelope)}, row)

    return read


def _json() -> Callable[[bytes], tuple[Json, _Named]]:
    """The decoder of an envelope, and the names of its types where the record holds its schema."""
    decode = msgspec.json.Decoder(_Message | None).decode
    names = lru_cache(_SCHEMAS)(lambda schema: _named(msgspec.json.decode(schema)))

    def read(payload: bytes) -> tuple[Json, _Named]:
        if payload[:1] == b"\0":
            raise ValueError(
                "not JSON: it begins with a zero byte, as Avro of a schema registry does; give "
                "the stream registry="
            )
        message = decode(payload)
        if message is None:
            return None, _NONE
        if message.payload:
            return msgspec.json.decode(message.payload), names(bytes(message.schema))
        return msgspec.json.decode(payload), _NONE

    return read


def _avro(stream: Stream) -> Callable[[bytes], tuple[Json, _Named]]:
    """The decoder of an envelope, and the names of the types in its writer's schema."""
    from headwater.ingestion.serde.avro import record_reader

    read_record, names = record_reader(stream, _connect_names), lru_cache(_SCHEMAS)(_named_in_avro)

    def read(payload: bytes) -> tuple[Json, _Named]:
        envelope, schema = read_record(payload)
        return envelope, names(schema)

    return read


def _connect_names(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema whose types have the names of Kafka Connect, and no logical types: values stay
    numbers and bytes, as in JSON.
    """
    logical = schema.pop("logicalType", None)
    return {"connect.name": _LOGICAL[logical], **schema} if logical in _LOGICAL else schema


def _named_in_avro(schema: WriterSchema) -> _Named:
    """The same as `_named`, of a schema in Avro."""
    fields = schema.parsed.get("fields", ()) if isinstance(schema.parsed, dict) else ()
    images = [
        kind
        for field in fields
        if field["name"] in ("before", "after")
        for kind in _members(field["type"], schema)
    ]
    types = [
        (field["name"], kind)
        for image in images
        for field in image.get("fields", ())
        for kind in _members(field["type"], schema)
    ]
    return {name: _parameters(kind) for name, kind in types if "connect.name" in kind}


def _members(kind: Json, schema: WriterSchema) -> list[Mapping[str, Json]]:
    """The types of a union, or the one type, that have a definition; names are resolved."""
    members = [
        schema.named.get(member) if isinstance(member, str) else member
        for member in (kind if isinstance(kind, list) else [kind])
    ]
    return [member for member in members if isinstance(member, Mapping)]


def _parameters(kind: Mapping[str, Json]) -> tuple[str, Mapping[str, str]]:
    scale = {} if "scale" not in kind else {"scale": kind["scale"]}
    return kind["connect.name"], {**scale, **kind.get("connect.parameters", {})}


def _image(envelope: Json) -> dict[str, Json]:
    """The row that the envelope is about.

    Raises:
        ValueError: it is not an envelope of a change of a row.
    """
    op = envelope.get("op") if isinstance(envelope, dict) else None
    if not isinstance(op, str):
        flat = isinstance(envelope, dict) and "before" not in envelope and "after" not in envelope
        hint = "; a flattened record is read with format='json'" if flat else ""
        raise ValueError(f"no envelope of Debezium: it has no op{hint}")  # noqa: TRY004 (a value of a record)
    if op not in ("c", "u", "r", "d"):
        raise ValueError(_REFUSED.get(op, f"the operation {op!r} is not known; known: c, u, r, d"))
    name = "before" if op == "d" else "after"
    image = envelope.get(name)
    if not isinstance(image, dict):
        hint = (
            "; `ALTER TABLE ... REPLICA IDENTITY FULL` lets PostgreSQL send it" if op == "d" else ""
        )
        raise ValueError(f"the operation {op!r} without {name}{hint}")  # noqa: TRY004 (a value of a record)
    return image


def _about(envelope: Mapping[str, Json]) -> dict[str, Json]:
    source = envelope.get("source") or {}
    return {
        _DELETED: envelope["op"] == "d",
        _OP: envelope["op"],
        _SOURCE_TIME: _instant(source),
        _TIME: _instant(envelope),
        _LSN: _position(source),
    }


def _instant(holder: Mapping[str, Json]) -> datetime | None:
    """The finest of `ts_us` and `ts_ms`."""
    micros, millis = holder.get("ts_us"), holder.get("ts_ms")
    if isinstance(micros, int):
        return _EPOCH.replace(tzinfo=UTC) + timedelta(microseconds=micros)
    return (
        _EPOCH.replace(tzinfo=UTC) + timedelta(milliseconds=millis)
        if isinstance(millis, int)
        else None
    )


def _position(source: Mapping[str, Json]) -> int | None:
    """The place in the log of the database: PostgreSQL's lsn; of MySQL, the number of the binlog
    file, then the place in it.
    """
    if isinstance(lsn := source.get("lsn"), int):
        return lsn
    number = re.search(r"\d+$", str(source.get("file") or ""))
    return (
        (int(number[0]) << 40) + source["pos"]
        if number is not None and isinstance(source.get("pos"), int)
        else None
    )


def _named(schema: Json) -> _Named:
    """The fields of the rows whose types have a name."""
    images = [
        f
        for f in (schema or {}).get("fields") or ()
        if f.get("field") in ("before", "after") and f.get("fields")
    ]
    fields = images[0]["fields"] if images else ()
    return {f["field"]: (f["name"], f.get("parameters") or {}) for f in fields if f.get("name")}


def _kind(annotation: Any) -> Any:  # noqa: ANN401 (a type)
    """The type of a field, without null and bounds."""
    for inner in typing.get_args(annotation):
        if inner is not type(None):
            return _kind(inner) if typing.get_origin(annotation) is not list else annotation
    return annotation


def _value(name: str, value: Json, kind: Any, named: _Named, unit: str) -> object:  # noqa: ANN401 (a type)
    """A value as its column takes it.

    Raises:
        ValueError: it was not sent, or nothing says how it is written.
    """
    if value is None:
        return None
    if value in _PLACEHOLDERS.get(type(value), ()):
        raise ValueError(
            "the value was not sent, since the change left it as it was; `ALTER TABLE ... "
            f"REPLICA IDENTITY FULL` sends it - at `$.{name}`"
        )
    form, parameters = named.get(name, ("", {}))
    try:
        if form == _DECIMAL or (isinstance(value, dict) and value.keys() == {"scale", "value"}):
            number = _decimal(value, parameters)
            return (
                str(number)
                if kind is str
                else float(number)
                if kind is float
                else _integer(number)
                if kind is int
                else number
            )
        if kind is Decimal and isinstance(value, str):
            return _number(value)
        if kind is Any:
            return _timestamp(value, form, unit)
        if kind is date:
            return (
                date(1970, 1, 1) + timedelta(days=value)
                if isinstance(value, int)
                else date.fromisoformat(value)
            )
        if kind is time:
            return (
                (_EPOCH + _since(value, form, unit)).time()
                if isinstance(value, int)
                else time.fromisoformat(value)
            )
        if kind is bytes:
            return _bytes(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{str(value)[:80]!r}: {error} - at `$.{name}`") from error
    return value


def _decimal(value: Json, parameters: Mapping[str, str]) -> Decimal:
    """An unscaled integer as big-endian bytes; its scale is the type's or, of a
    VariableScaleDecimal, its own.
    """
    scale, unscaled = (
        (value["scale"], value["value"])
        if isinstance(value, dict)
        else (int(parameters["scale"]), value)
    )
    return Decimal(int.from_bytes(_bytes(unscaled), signed=True)).scaleb(-scale)


def _bytes(value: str | bytes) -> bytes:
    """JSON writes them in base 64."""
    return value if isinstance(value, bytes) else base64.b64decode(value, validate=True)


def _number(text: str) -> Decimal:
    if not _NUMBER.fullmatch(text):
        raise ValueError(
            "bytes of a decimal need the schema in each record, or decimal.handling.mode=string"
        )
    return Decimal(text)


def _integer(number: Decimal) -> int:
    if number != number.to_integral_value():
        raise ValueError(f"{number} is no integer")
    return int(number)


def _timestamp(value: Json, form: str, unit: str) -> datetime:
    """A number is the time of a clock without a zone, which the source's `timezone` gives it."""
    return (
        _EPOCH + _since(value, form, unit)
        if isinstance(value, int)
        else datetime.fromisoformat(value)
    )


def _since(value: int, form: str, unit: str) -> timedelta:
    micros = _MICROS.get(form) or _MICROS.get(unit)
    if micros is None:
        raise ValueError(
            "a number of unknown unit; send the schema in each record, or give the stream "
            "timestamps='us' or 'ms'"
        )
    return timedelta(microseconds=value // 1000 if micros < 1 else value * micros)


_NONE: Final[_Named] = {}
