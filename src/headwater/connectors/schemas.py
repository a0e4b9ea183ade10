"""One schema for the files of a table: the permitted differences, and the errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, cast

import polars as pl

from headwater.errors import DataError, listed

_SIGNED: Final = (pl.Int8(), pl.Int16(), pl.Int32(), pl.Int64(), pl.Int128())
_UNSIGNED: Final = (pl.UInt8(), pl.UInt16(), pl.UInt32(), pl.UInt64())
Schema = Mapping[str, pl.DataType]


@dataclass(frozen=True)
class UnifiedSchema:
    """The schema of a table of files.

    differs: whether some file has another schema. refusals: the error of each column of types that
    have none in common, for whoever reads it; it has the first type.
    """

    schema: Schema
    differs: bool
    refusals: Mapping[str, str]


def unify(
    schemas: Mapping[str, Schema],
    path: str,
    widen: Callable[[pl.DataType, pl.DataType], pl.DataType | None] | None = None,
) -> UnifiedSchema:
    """The schema of a table, from the schemas of its files: integers, decimals and units of time
    widen, zones become UTC, and a column that a file lacks is null.

    widen: what else has a common type, where types were inferred.

    Raises:
        DataError: a column has a time zone in some files and none in others, or no file has all
            columns.

    >>> unify(
    ...     {"a": {"n": pl.Int32()}, "b": {"n": pl.Int64(), "city": pl.String()}}, "events/"
    ... ).schema
    {'n': Int64, 'city': String}
    """
    names_of: dict[int, list[str]] = {}  # by object; thousands of files share a few
    for name, schema in schemas.items():
        names_of.setdefault(id(schema), []).append(name)
    distinct: dict[tuple[tuple[str, pl.DataType], ...], list[str]] = {}
    for names in names_of.values():
        distinct.setdefault(tuple(schemas[names[0]].items()), []).extend(names)
    shared: dict[str, pl.DataType] = {}
    first: dict[str, str] = {}
    refusals: dict[str, str] = {}
    for columns, names in distinct.items():
        for column, dtype in columns:
            if column not in shared:
                shared[column], first[column] = _in_utc(dtype), names[0]
                continue
            held = shared[column]
            common = common_type(held, dtype) or (None if widen is None else widen(held, dtype))
            if common is None and column not in refusals:
                refusals[column] = _unlike(path, column, first[column], held, names[0], dtype)
            shared[column] = common or held
    for column in shared if len(distinct) > 1 else ():
        _check_zones(column, schemas, path)
    whole = next((dict(columns) for columns in distinct if len(columns) == len(shared)), None)
    if whole is None:
        lacking = [
            f"{names[0]} has no {listed(c for c in shared if c not in dict(columns))}"
            for columns, names in distinct.items()
        ]
        raise DataError(
            f"{path}: the columns of its files differ, and no file has all of them: "
            f"{'; '.join(lacking[:3])}. A file may lack columns that were added later. Write a "
            "renamed column under one name, and give files of several tables apart, as a glob or "
            "a folder of each"
        )
    schema = {column: shared[column] for column in whole}
    differs = any(columns != tuple(schema.items()) for columns in distinct)
    return UnifiedSchema(schema, differs, refusals)


def _unlike(
    path: str, column: str, first: str, held: pl.DataType, name: str, dtype: pl.DataType
) -> str:
    return (
        f"{path}: the column {column!r} is {held} in {first} and {dtype} in {name}, and no type "
        "holds the values of both. Write these files again with one type, or name files of one "
        "type with a glob"
    )


def _in_utc(dtype: pl.DataType) -> pl.DataType:
    zoned = isinstance(dtype, pl.Datetime) and dtype.time_zone is not None
    return pl.Datetime(dtype.time_unit, "UTC") if zoned else dtype  # type: ignore[attr-defined]


def common_type(first: pl.DataType, second: pl.DataType) -> pl.DataType | None:
    """The type that holds the values of both without a change; None where there is none.

    >>> common_type(pl.Int16(), pl.UInt32()), common_type(pl.Int64(), pl.Float64())
    (Int64, None)
    """
    if first == second:
        return first
    if pl.Null in (first, second):
        return _in_utc(second if first == pl.Null else first)
    if isinstance(first, pl.Datetime) and isinstance(second, pl.Datetime):
        if (first.time_zone is None) != (second.time_zone is None):
            return None
        return pl.Datetime(
            first.time_unit if first.time_unit == second.time_unit else "us",
            None if first.time_zone is None else "UTC",
        )
    if first.is_integer() and second.is_integer():
        return _integer(first, second)
    if first.is_float() and second.is_float():
        return pl.Float64()
    if _exact_double(first) and _exact_double(second):
        return pl.Float64()
    if (
        isinstance(first, pl.Decimal)
        and isinstance(second, pl.Decimal)
        and first.scale == second.scale
    ):
        return pl.Decimal(max(first.precision, second.precision), first.scale)
    if {type(first), type(second)} == {pl.String, pl.Categorical}:
        return pl.String()
    return _nested(first, second)


def _exact_double(dtype: pl.DataType) -> bool:
    return dtype.is_float() or dtype in (*_SIGNED[:3], *_UNSIGNED[:3])


def _nested(first: pl.DataType, second: pl.DataType) -> pl.DataType | None:
    if isinstance(first, pl.List) and isinstance(second, pl.List):
        inner = common_type(_dtype(first.inner), _dtype(second.inner))
        return None if inner is None else pl.List(inner)
    if isinstance(first, pl.Struct) and isinstance(second, pl.Struct):
        return _struct(first, second)
    return None


def _integer(first: pl.DataType, second: pl.DataType) -> pl.DataType | None:
    for kinds in (_SIGNED, _UNSIGNED):
        if first in kinds and second in kinds:
            return max(first, second, key=kinds.index)
    if pl.UInt128 in (first, second):
        return None
    signed, unsigned = (first, second) if first in _SIGNED else (second, first)
    return max(signed, _SIGNED[_UNSIGNED.index(unsigned) + 1], key=_SIGNED.index)


def _struct(first: pl.Struct, second: pl.Struct) -> pl.DataType | None:
    fields = {field.name: _dtype(field.dtype) for field in first.fields}
    for field in second.fields:
        held = (
            common_type(fields[field.name], _dtype(field.dtype))
            if field.name in fields
            else _dtype(field.dtype)
        )
        if held is None:
            return None
        fields[field.name] = held
    return pl.Struct(fields)


def _dtype(dtype: object) -> pl.DataType:
    """A type as an instance: polars also takes its class."""
    return cast("pl.DataType", dtype() if isinstance(dtype, type) else dtype)


def _check_zones(column: str, schemas: Mapping[str, Schema], path: str) -> None:
    """Refuse local times together with UTC: as one column, the reader takes both for the same."""
    local = [name for name, schema in schemas.items() if _zoned(schema.get(column)) is False]
    zoned = [name for name, schema in schemas.items() if _zoned(schema.get(column)) is True]
    if local and zoned:
        raise DataError(
            f"{path}: the times {column!r} have no time zone in {listed(local, 2)}, and have one "
            f"in {listed(zoned, 2)}. Local times that are taken for UTC let the future leak. "
            "Write the former again with their zone, such as "
            f"pl.col({column!r}).dt.replace_time_zone('Europe/Oslo').dt.convert_time_zone('UTC'), "
            "or give each kind as a source of its own"
        )


def _zoned(dtype: pl.DataType | None) -> bool | None:
    """Whether times have a zone; None of other types."""
    while isinstance(dtype, pl.List):
        dtype = _dtype(dtype.inner)
    return dtype.time_zone is not None if isinstance(dtype, pl.Datetime) else None
