"""Avro, by fastavro: records written with one schema, or each naming its own in a registry."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import msgspec

from headwater.definitions.connectors import BrokerStream, Stream
from headwater.errors import DataError, MissingExtraError
from headwater.ingestion.serde.avro_sizes import check_of
from headwater.ingestion.serde.schema_registry import Schemas, split
from headwater.settings import in_project

try:
    import fastavro
except ImportError as error:
    raise MissingExtraError("fastavro", "avro") from error


Record = dict[str, Any]
Rewrite = Callable[[dict[str, Any]], dict[str, Any]]
"""Rewrites each JSON object of a schema before the library reads it."""


def reader(stream: Stream, row: type[msgspec.Struct]) -> Callable[[bytes], msgspec.Struct]:
    """What reads one record. It is read by the schema that it was written with, so writers may add
    and drop fields.

    Raises:
        DataError: the file of the schema is missing or is none.
    """
    read = record_reader(stream, _without_uuid)
    return lambda payload: msgspec.convert(read(payload)[0], row)


def record_reader(
    stream: Stream, rewrite: Rewrite
) -> Callable[[bytes], tuple[Record, WriterSchema]]:
    """What reads one record as a dict, with the schema that it was written with. Raises as
    `reader`.
    """
    assert isinstance(stream, BrokerStream)
    if stream.registry is not None:
        schemas = Schemas(stream.registry, "AVRO", partial(_parsed, rewrite))

        def read(payload: bytes) -> tuple[Record, WriterSchema]:
            number, body = split(payload)
            schema = schemas[number]
            return _record(body, schema), schema

        return read
    assert stream.avro is not None, "hw.kafka has refused one without"
    try:
        schema = _parsed(rewrite, in_project(stream.avro).read_text(encoding="utf-8"))
    except (OSError, ValueError, fastavro.schema.SchemaParseException) as error:
        raise DataError(f"{stream.avro} is not an Avro schema: {error}") from error
    return lambda payload: (_record(payload, schema), schema)


@dataclass(frozen=True, eq=False)
class WriterSchema:
    """A schema that records are written with.

    parsed: as the library has it. named: the types that it defines or refers to, by full name.
    check: refuses records that claim more than they can hold; None where none can.
    """

    parsed: object
    named: Mapping[str, Any]
    check: Callable[[bytes], None] | None


def _parsed(
    rewrite: Rewrite, text: str, references: Mapping[str, str] = MappingProxyType({})
) -> WriterSchema:
    """A schema, after those that it refers to."""
    named: dict[str, dict[str, object]] = {}
    for referenced in references.values():
        fastavro.parse_schema(json.loads(referenced, object_hook=rewrite), named_schemas=named)
    parsed = fastavro.parse_schema(json.loads(text, object_hook=rewrite), named_schemas=named)
    return WriterSchema(parsed, named, check_of(parsed, named))


def _without_uuid(schema: dict[str, Any]) -> dict[str, Any]:
    """The logical type would turn strings into UUID objects."""
    return {k: v for k, v in schema.items() if (k, v) != ("logicalType", "uuid")}


def _record(body: bytes, schema: WriterSchema) -> Record:
    if schema.check is not None:
        schema.check(body)
    rest = io.BytesIO(body)
    record = fastavro.schemaless_reader(rest, schema.parsed, None)  # type: ignore[arg-type]
    if rest.tell() != len(body):
        raise ValueError(f"{len(body) - rest.tell()} bytes more than a record of its schema has")
    if not isinstance(record, dict):
        raise TypeError(f"a {type(record).__name__}, not a record with fields")
    return record
