"""Protobuf: messages of one type, or each naming its own in a registry."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

import msgspec

from headwater.clock import EPOCH
from headwater.definitions.connectors import BrokerStream, ProtobufMessage, Stream
from headwater.errors import DataError, MissingExtraError, nearest
from headwater.ingestion.serde.schema_registry import Schemas, split
from headwater.settings import in_project

try:
    from google.protobuf import (
        any_pb2,
        descriptor_pb2,
        descriptor_pool,
        duration_pb2,
        empty_pb2,
        field_mask_pb2,
        message_factory,
        struct_pb2,
        timestamp_pb2,
        wrappers_pb2,
    )
    from google.protobuf.descriptor import FieldDescriptor
except ImportError as error:
    raise MissingExtraError("protobuf", "protobuf") from error

Message = Any  # a class that is made at run time, or a message of it

_WELL_KNOWN: Final = tuple(
    module.DESCRIPTOR
    for module in (
        any_pb2,
        duration_pb2,
        empty_pb2,
        field_mask_pb2,
        struct_pb2,
        timestamp_pb2,
        wrappers_pb2,
    )
)


def reader(stream: Stream, row: type[msgspec.Struct]) -> Callable[[bytes], msgspec.Struct]:
    """The decoder of one record. A field that can be unset is null where it is; an enum is the name
    of its value.

    Raises:
        DataError: the file of descriptors is missing or is none, or has no such message type.
    """
    assert isinstance(stream, BrokerStream)
    names = list(row.__struct_encode_fields__)
    if stream.registry is not None:
        schemas = Schemas(stream.registry, "PROTOBUF", _file)

        def read(payload: bytes) -> msgspec.Struct:
            number, rest = split(payload)
            path, body = _path(rest)
            return _row(_within(schemas[number], path), body, names, row)

        return read
    assert stream.message is not None, "hw.kafka has refused one without"
    message = _of_set(stream.message)
    return lambda payload: _row(message, payload, names, row)


# ---------------------------------------------------------------- records


def _row(
    kind: Message, body: bytes, names: Iterable[str], row: type[msgspec.Struct]
) -> msgspec.Struct:
    message = kind.FromString(body)
    fields = kind.DESCRIPTOR.fields_by_name
    values = {name: _value(message, fields[name]) for name in names if name in fields}
    return msgspec.convert(
        {name: value for name, value in values.items() if value is not None}, row
    )


def _value(message: Message, field: Message) -> object:
    if field.is_repeated:
        return (
            _map(message, field)
            if field.message_type and field.message_type.GetOptions().map_entry
            else [_plain(item, field) for item in getattr(message, field.name)]
        )
    if field.has_presence and not message.HasField(field.name):
        return None
    return _plain(getattr(message, field.name), field)


def _map(message: Message, field: Message) -> list[object]:
    """A map as a list of its keys and values, in the order of the keys: a message does not say
    one.
    """
    entries = getattr(message, field.name)
    inner = field.message_type.fields_by_name["value"]
    return [{"key": key, "value": _plain(entries[key], inner)} for key in sorted(entries)]


def _plain(value: Message, field: Message) -> object:
    if field.type == FieldDescriptor.TYPE_ENUM:
        member = field.enum_type.values_by_number.get(value)
        return member.name if member else value
    if field.message_type is None:
        return value
    name = field.message_type.full_name
    if name == "google.protobuf.Timestamp":
        return EPOCH + timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)
    if (
        name.startswith("google.protobuf.")
        and name.endswith("Value")
        and "value" in field.message_type.fields_by_name
    ):
        return value.value
    return {inner.name: _value(value, inner) for inner in field.message_type.fields}


def _path(rest: bytes) -> tuple[tuple[int, ...], bytes]:
    """Which of a file's message types a record is of, and the rest: the index on each level, the
    first alone written as a zero.
    """
    count, at = _varint(rest, 0)
    if count == 0:
        return (0,), rest[at:]
    if not 0 < count <= 64:
        raise ValueError(f"names a message type {count} levels deep")
    path = []
    for _ in range(count):
        index, at = _varint(rest, at)
        if index < 0:
            raise ValueError(f"names the message type {index}")
        path.append(index)
    return tuple(path), rest[at:]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A signed number, zigzag encoded in groups of seven bits; and where it ends."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("ends before its message type is named")
        byte, at = data[at], at + 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at
    raise ValueError("does not name its message type by a number")


# ---------------------------------------------------------------- types


def _of_set(spec: ProtobufMessage) -> Message:
    try:
        files = descriptor_pb2.FileDescriptorSet.FromString(
            in_project(spec.descriptors).read_bytes()
        ).file
        pool = _pool(files)
    except Exception as error:
        raise DataError(
            f"{spec.descriptors} is not a Protobuf descriptor set: {error}. Write it with: "
            f"protoc --include_imports --descriptor_set_out={spec.descriptors} FILE.proto"
        ) from error
    try:
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(spec.name))
    except KeyError:
        have = [f"{file.package}.{m.name}".lstrip(".") for file in files for m in file.message_type]
        raise DataError(
            f"{spec.descriptors} has no message type {spec.name!r}; {nearest(spec.name, have)}"
        ) from None


def _file(text: str, references: Mapping[str, str]) -> Message:
    """The file of a registered schema; the registry gives descriptors in base64."""
    files = [_descriptor(encoded, name) for name, encoded in references.items()]
    registered = _descriptor(text, "headwater/registered.proto")
    return _pool([*files, registered]).FindFileByName(registered.name)


def _descriptor(text: str, name: str) -> Message:
    file = descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(text, validate=True))
    file.name = name
    return file


def _pool(files: Iterable[Message]) -> Message:
    """A pool of the files, each after its dependencies, and of Protobuf's own files where they are
    used.
    """
    pool = descriptor_pool.DescriptorPool()
    by_name = {
        descriptor.name: descriptor_pb2.FileDescriptorProto.FromString(descriptor.serialized_pb)
        for descriptor in _WELL_KNOWN
    }
    by_name |= {file.name: file for file in files}
    added: set[str] = set()

    def add(name: str) -> None:
        if name not in added and name in by_name:
            added.add(name)
            for dependency in by_name[name].dependency:
                add(dependency)
            pool.Add(by_name[name])

    for name in by_name:
        add(name)
    return pool


def _within(file: Message, path: tuple[int, ...]) -> Message:
    types = list(file.message_types_by_name.values())
    for index in path[:-1]:
        types = types[index].nested_types
    return message_factory.GetMessageClass(types[path[-1]])
