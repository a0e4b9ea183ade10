"""Avro, by fastavro: records written with one schema, or each naming its own in a registry."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import msgspec

from headwater.definitions.streams import BrokerStream, Stream
from headwater.errors import DataError, MissingExtraError
from headwater.ingestion.serde.avro_sizes import check_of
from headwater.ingestion.serde.schema_registry import Schemas, split
from headwater.settings import in_project

try:
    import fastavro
except ImportError as error:
    raise MissingExtraError("fastavro", "avro") from error


def reader(stream: Stream, row: type[msgspec.Struct]) -> Callable[[bytes], msgspec.Struct]:
    """What reads one record. It is read by the schema that it was written with, so writers may add and drop fields.

    Raises:
        DataError: the file of the schema is missing or is none.
    """
    assert isinstance(stream, BrokerStream)
    if stream.registry is not None:
        schemas = Schemas(stream.registry, "AVRO", _checked)

        def read(payload: bytes) -> msgspec.Struct:
            number, body = split(payload)
            return _row(body, schemas[number], row)

        return read
    assert stream.avro is not None, "hw.kafka has refused one without"
    try:
        schema = _checked(in_project(stream.avro).read_text(encoding="utf-8"))
    except (OSError, ValueError, fastavro.schema.SchemaParseException) as error:
        raise DataError(f"{stream.avro} is not an Avro schema: {error}") from error
    return lambda payload: _row(payload, schema, row)


@dataclass(frozen=True)
class _Schema:
    """A schema as the library has it; and what refuses records that claim more than they can hold, where something must."""

    parsed: object
    check: Callable[[bytes], None] | None


def _checked(text: str, references: Mapping[str, str] = MappingProxyType({})) -> _Schema:
    """A schema, after those that it refers to."""
    named: dict[str, dict[str, object]] = {}
    for referenced in references.values():
        fastavro.parse_schema(_read(referenced), named_schemas=named)
    parsed = fastavro.parse_schema(_read(text), named_schemas=named)
    return _Schema(parsed, check_of(parsed, named))


def _read(text: str) -> dict[str, object]:
    """The schema as it is written, but for the type UUID: it would turn strings into UUID objects."""
    parsed: dict[str, object] = json.loads(text, object_hook=lambda o: {k: v for k, v in o.items() if (k, v) != ("logicalType", "uuid")})
    return parsed


def _row(body: bytes, schema: _Schema, row: type[msgspec.Struct]) -> msgspec.Struct:
    if schema.check is not None:
        schema.check(body)
    rest = io.BytesIO(body)
    record = fastavro.schemaless_reader(rest, schema.parsed, None)  # type: ignore[arg-type]
    if rest.tell() != len(body):
        raise ValueError(f"{len(body) - rest.tell()} bytes more than a record of its schema has")
    if not isinstance(record, dict):
        raise TypeError(f"a {type(record).__name__}, not a record with fields")
    return msgspec.convert(record, row)
