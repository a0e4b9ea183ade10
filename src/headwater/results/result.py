"""The base of results: plain frozen values, which msgspec turns into JSON data and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Self, cast

import msgspec
from msgspec import inspect

from headwater.definitions.definition import Readable


class Result(Readable, msgspec.Struct, frozen=True):
    """A plain frozen value. `msgspec.structs.replace` makes a changed copy.

    >>> class Share(Result, frozen=True):
    ...     name: str
    ...     value: float = math.nan
    >>> Share("fresh").to_dict(), Share.from_dict({"name": "fresh", "value": None})
    ({'name': 'fresh', 'value': None}, Share('fresh', value=nan))
    """

    @property
    def figures(self) -> Mapping[str, float]:
        """The main numbers by name, as lists and comparisons of kept runs show them."""
        return {}

    @property
    def seconds_taken(self) -> float:
        """How long it took; NaN where that is not known."""
        return math.nan

    def to_dict(self) -> dict[str, object]:
        """The value as JSON data; NaN and infinity are None."""
        return cast(
            "dict[str, object]", msgspec.json.decode(msgspec.json.encode(self, enc_hook=_plain))
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Self:
        """The value that JSON data describe; None is NaN where a number belongs.

        Raises:
            msgspec.ValidationError: a field is missing, or of another type.
        """
        return msgspec.convert(_numbered(data, inspect.type_info(cls)), cls)


def _plain(value: object) -> object:
    """A number of numpy as Python's; a list or a table of polars as lists."""
    for name in ("to_dicts", "to_list", "item"):
        if hasattr(value, name):
            return cast("Callable[[], object]", getattr(value, name))()
    raise NotImplementedError(f"results hold plain values, and this is {type(value).__name__}")


def _numbered(data: object, kind: inspect.Type) -> Any:  # noqa: ANN401 (as msgspec takes it)
    """The data with NaN for None wherever the type is a number."""
    if isinstance(kind, inspect.FloatType):
        return math.nan if data is None else data
    if isinstance(kind, inspect.UnionType):
        return data if data is None else _numbered(data, _member(data, kind))
    if isinstance(data, Mapping) and isinstance(kind, inspect.StructType):
        types = {field.encode_name: field.type for field in kind.fields}
        return {
            name: _numbered(value, types[name]) if name in types else value
            for name, value in data.items()
        }
    if isinstance(data, Mapping) and isinstance(kind, inspect.DictType):
        return {name: _numbered(value, kind.value_type) for name, value in data.items()}
    if isinstance(data, list | tuple) and isinstance(kind, inspect.ListType | inspect.VarTupleType):
        return [_numbered(value, kind.item_type) for value in data]
    if isinstance(data, list | tuple) and isinstance(kind, inspect.TupleType):
        return [
            _numbered(value, item_type)
            for value, item_type in zip(data, kind.item_types, strict=False)
        ]
    return data


def _member(data: object, kind: inspect.UnionType) -> inspect.Type:
    """Which type of a union the data are of: structs by their tag, others by their form."""
    structs = [member for member in kind.types if isinstance(member, inspect.StructType)]
    if isinstance(data, Mapping) and structs:
        return next(
            (
                member
                for member in structs
                if member.tag is not None and member.tag == data.get(member.tag_field)
            ),
            structs[0],
        )
    return next(
        (
            member
            for member in kind.types
            if not isinstance(member, inspect.StructType | inspect.NoneType)
        ),
        kind.types[0],
    )
