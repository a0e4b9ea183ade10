"""The base of results: plain frozen values, which msgspec turns into JSON data and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self, cast

import msgspec
from msgspec import inspect

from headwater.definitions.deprecated_keywords import warn_of_renaming
from headwater.definitions.readable import Readable

FORMER_VALUES = {"no lift worth having": "negligible", "not shown": "inconclusive"}
"""Values of a closed set by what the release before called them."""


class Result(Readable, msgspec.Struct, frozen=True):
    """A plain frozen value. `msgspec.structs.replace` makes a changed copy.

    >>> class Share(Result, frozen=True):
    ...     name: str
    ...     value: float = math.nan
    >>> Share("fresh").to_dict(), Share.from_dict({"name": "fresh", "value": None})
    ({'name': 'fresh', 'value': None}, Share('fresh', value=nan))
    """

    former_names: ClassVar[Mapping[str, str]] = {}
    """Fields by the names that the release before gave them: read from its JSON, and as attributes with a warning."""

    @property
    def figures(self) -> Mapping[str, float]:
        """The main numbers by name, as lists and comparisons of kept runs show them."""
        return {}

    @property
    def seconds_taken(self) -> float:
        """How long it took; NaN where that is not known."""
        return math.nan

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (as the field is)
        """A field by its former name."""
        kind = type(self)
        if name not in kind.former_names:
            raise AttributeError(f"{kind.__name__!r} object has no attribute {name!r}", name=name, obj=self)
        new = kind.former_names[name]
        warn_of_renaming(f"{kind.__name__}.{name}", f"{kind.__name__}.{new}")
        return getattr(self, new)

    def to_dict(self) -> dict[str, object]:
        """The value as JSON data; NaN and infinity are None."""
        return cast("dict[str, object]", msgspec.json.decode(msgspec.json.encode(self, enc_hook=_plain)))

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Self:
        """The value that JSON data describe; None is NaN where a number belongs.

        Raises:
            msgspec.ValidationError: a field is missing, or of another type.
        """
        return msgspec.convert(_today(data, inspect.type_info(cls)), cls)


def _plain(value: object) -> object:
    """A number of numpy as Python's; a list or a table of polars as lists."""
    for name in ("to_dicts", "to_list", "item"):
        if hasattr(value, name):
            return cast("Callable[[], object]", getattr(value, name))()
    raise NotImplementedError(f"results hold plain values, and this is {type(value).__name__}")


def _today(data: object, kind: inspect.Type) -> Any:  # noqa: ANN401 (as msgspec takes it)
    """The data with NaN for None wherever the type is a number, and with the names of today for former ones."""
    if isinstance(kind, inspect.FloatType):
        return math.nan if data is None else data
    if isinstance(kind, inspect.LiteralType):
        return FORMER_VALUES.get(data, data) if isinstance(data, str) and data not in kind.values else data
    if isinstance(kind, inspect.UnionType):
        return data if data is None else _today(data, _member(data, kind))
    if isinstance(data, list) and isinstance(kind, inspect.StructType) and hasattr(kind.cls, "from_former"):
        data = kind.cls.from_former(data)
    if isinstance(data, Mapping) and isinstance(kind, inspect.StructType):
        types = {field.encode_name: field.type for field in kind.fields}
        former = getattr(kind.cls, "former_names", {})
        named = {name if name in types else former.get(name, name): value for name, value in data.items()}
        return {name: _today(value, types[name]) if name in types else value for name, value in named.items()}
    if isinstance(data, Mapping) and isinstance(kind, inspect.DictType):
        return {name: _today(value, kind.value_type) for name, value in data.items()}
    if isinstance(data, list | tuple) and isinstance(kind, inspect.ListType | inspect.VarTupleType):
        return [_today(value, kind.item_type) for value in data]
    if isinstance(data, list | tuple) and isinstance(kind, inspect.TupleType):
        return [_today(value, each) for value, each in zip(data, kind.item_types, strict=False)]
    return data


def _member(data: object, kind: inspect.UnionType) -> inspect.Type:
    """Which type of a union the data are of: structs by their tag, others by their form."""
    structs = [member for member in kind.types if isinstance(member, inspect.StructType)]
    if isinstance(data, Mapping) and structs:
        return next((member for member in structs if member.tag is not None and member.tag == data.get(member.tag_field)), structs[0])
    return next((member for member in kind.types if not isinstance(member, inspect.StructType | inspect.NoneType)), kind.types[0])
