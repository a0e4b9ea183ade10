"""Avro, by fastavro: records written with one schema, or each naming its own in a registry.

Bound the array lengths that an Avro record claims, where elements take no bytes: otherwise
decoding could use unbounded memory.
"""

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
    """The decoder of one record. It uses the schema that the record was written with, so writers
    may add and drop fields.

    Raises:
        DataError: the file of the schema is missing or is none.
    """
    read = record_reader(stream, _without_uuid)
    return lambda payload: msgspec.convert(read(payload)[0], row)


def record_reader(
    stream: Stream, rewrite: Rewrite
) -> Callable[[bytes], tuple[Record, WriterSchema]]:
    """The decoder of one record as a dict, with the schema that it was written with. Raises as
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
    """A schema, after the schemas that it refers to."""
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


MOST = 100_000
"""Elements without bytes in one record at most."""

_FIXED = {"null": 0, "boolean": 1, "float": 4, "double": 8}


def check_of(
    schema: object, named: Mapping[str, object] = MappingProxyType({})
) -> Callable[[bytes], None] | None:
    """A check that refuses a record of a parsed schema with too many elements; None where each
    element takes bytes, which are its bound.

    named: types that the schema refers to by their full names.

    >>> check_of({"type": "array", "items": "string"}) is None
    True
    >>> check = check_of({"type": "array", "items": "null"})
    >>> check(bytes([4, 0]))
    >>> check(bytes([0x80, 0x80, 0x80, 0x80, 0x80, 0x40, 0]))
    Traceback (most recent call last):
    ValueError: an array of 1,099,511,627,776 elements that take no bytes; a record may have 100,000
    """
    names: dict[str, object] = dict(named)
    _collect(schema, names)
    if not _any_empty(schema, names, set()):
        return None
    return lambda body: _Walk(body, names).skip(schema)


def _collect(schema: object, names: dict[str, object]) -> None:
    """The named types of a schema, by their full names."""
    if isinstance(schema, list):
        for member in schema:
            _collect(member, names)
    elif isinstance(schema, Mapping):
        if "name" in schema and schema.get("type") in ("record", "error", "enum", "fixed"):
            names[str(schema["name"])] = schema
        for field in schema.get("fields", ()):
            _collect(field["type"], names)
        for child in ("type", "items", "values"):
            if isinstance(schema.get(child), Mapping | list):
                _collect(schema[child], names)


def _is_empty(
    schema: object, names: Mapping[str, object], within: frozenset[str] = frozenset()
) -> bool:
    """Whether values of a schema take no bytes."""
    if isinstance(schema, str):
        return schema == "null" or (
            schema in names
            and schema not in within
            and _is_empty(names[schema], names, within | {schema})
        )
    if not isinstance(schema, Mapping):
        return False  # a union: which one it is takes a byte
    kind = schema["type"]
    if kind in ("record", "error"):
        return all(_is_empty(field["type"], names, within) for field in schema["fields"])
    if kind == "fixed":
        return bool(schema["size"] == 0)
    return kind not in ("array", "map", "enum") and _is_empty(kind, names, within)


def _any_empty(schema: object, names: Mapping[str, object], seen: set[str]) -> bool:
    """Whether a schema has an array of elements that take no bytes."""
    if isinstance(schema, str):
        if schema in seen or schema not in names:
            return False
        seen.add(schema)
        return _any_empty(names[schema], names, seen)
    if isinstance(schema, list):
        return any(_any_empty(member, names, seen) for member in schema)
    if not isinstance(schema, Mapping):
        return False
    if schema["type"] == "array" and _is_empty(schema["items"], names):
        return True
    children = [schema[child] for child in ("items", "values") if child in schema] + [
        field["type"] for field in schema.get("fields", ())
    ]
    inner = schema["type"]
    return any(_any_empty(child, names, seen) for child in children) or (
        not isinstance(inner, str) and _any_empty(inner, names, seen)
    )


class _Walk:
    """Goes through a record without making anything of it."""

    def __init__(self, body: bytes, names: Mapping[str, object]) -> None:
        self.body, self.names, self.at, self.claimed = body, names, 0, 0

    def skip(self, schema: object) -> None:
        if isinstance(schema, list):
            self.skip(schema[self._long(len(schema))])
        elif isinstance(schema, str):
            self._plain(schema)
        elif isinstance(schema, Mapping):
            self._check_size(schema, str(schema["type"]) if isinstance(schema["type"], str) else "")

    def _check_size(self, schema: Mapping[str, object], kind: str) -> None:
        fields = schema.get("fields", ())
        if kind in ("record", "error") and isinstance(fields, list):
            for field in fields:
                self.skip(field["type"])
        elif kind in ("array", "map"):
            self._blocks(
                schema["items"] if kind == "array" else schema["values"], named=kind == "map"
            )
        elif kind == "fixed":
            self._past(int(str(schema["size"])))
        elif kind == "enum":
            self._long()
        else:
            self.skip(schema["type"])

    def _blocks(self, items: object, *, named: bool) -> None:
        empty = not named and _is_empty(items, self.names)
        while count := self._long():
            if count < 0:
                count = -count
                self._long()
            if empty:
                self.claimed += count
                if self.claimed > MOST:
                    raise ValueError(
                        f"an array of {count:,} elements that take no bytes; a record may have "
                        f"{MOST:,}"
                    )
                continue
            for _ in range(count):
                if named:
                    self._past(self._long())
                self.skip(items)

    def _plain(self, kind: str) -> None:
        if kind in self.names:
            self.skip(self.names[kind])
        elif kind in _FIXED:
            self._past(_FIXED[kind])
        elif kind in ("bytes", "string"):
            self._past(self._long())
        else:
            self._long()

    def _past(self, size: int) -> None:
        if not 0 <= size <= len(self.body) - self.at:
            raise ValueError(
                f"{size:,} bytes are claimed, and {len(self.body) - self.at:,} are left"
            )
        self.at += size

    def _long(self, below: int | None = None) -> int:
        value, shift = 0, 0
        while True:
            self._past(1)
            byte = self.body[self.at - 1]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
            if shift > 63:
                raise ValueError("an integer of more than ten bytes")
        value = (value >> 1) ^ -(value & 1)
        if below is not None and not 0 <= value < below:
            raise ValueError(f"branch {value} of a union of {below}")
        return value
