"""What the types of a database become in polars, at any depth of arrays and composites, and values
that have no place there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import polars as pl

from headwater.errors import DataError, listed

if TYPE_CHECKING:
    import pyarrow as pa

TYPE: Final = b"POSTGRESQL:type"
_INTERVALS: Final = ("month_day_nano_interval", "month_interval", "day_time_interval")
_TEXTS: Final = ("citext", "xml")  # with the bytes of a string
_UUID: Final = r"^(.{8})(.{4})(.{4})(.{4})(.{12})$"
_DIMENSIONS: Final = "headwater dimensions of "
_ENDS: Final[Mapping[type[pl.DataType], tuple[int, int]]] = {
    # the least and the greatest microsecond that is a time
    pl.Datetime: (-220_000_000_000_000_000, 9_200_000_000_000_000_000),
    pl.Date: (-2_500_000, 2_000_000_000),  # and day
}


def check_names(names: Sequence[str], query: str) -> None:
    """Refuse columns of one name.

    Raises:
        DataError: there are some.
    """
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise DataError(
            f"the query {query!r} has several columns named {listed(twice)}; name each of them "
            "with AS, or select fewer"
        )


def check_intervals(schema: pa.Schema, query: str) -> None:
    """Refuse columns that polars cannot hold.

    Raises:
        DataError: there is one.
    """
    intervals = [
        field.name
        for field in schema
        if any(str(inner.type) in _INTERVALS for inner in _within(field))
    ]
    if not intervals:
        return
    name = intervals[0]
    plain = str(schema.field(name).type) in _INTERVALS
    conversion = (
        f"seconds: extract(epoch from {name}) AS {name}"
        if plain
        else f"a string: {name}::text AS {name}"
    )
    raise DataError(
        f"the query {query!r} has the columns {intervals} of type INTERVAL, which cannot be read; "
        f"leave them out of the query, or convert them to {conversion}"
    )


def frame_of(rows: pa.Table | pa.RecordBatch) -> pl.DataFrame:
    """Rows as polars has them: a UUID is a string such as DuckDB gives and JSON holds, and a
    NUMERIC of PostgreSQL a number; in arrays and composites too.

    Raises:
        DataError: a value of type NUMERIC is not a number of the digits that are declared.
    """
    frame = pl.DataFrame(pl.from_arrow(rows))
    plain = {field.name: _plain(field, pl.col(field.name)) for field in rows.schema}
    read = frame.with_columns(
        value.alias(name) for name, value in plain.items() if value is not None
    )
    for name in (
        field.name for field in rows.schema if (field.metadata or {}).get(TYPE) == b"numeric"
    ):
        if read[name].null_count() > frame[name].null_count():
            odd = frame.filter(read[name].is_null() & frame[name].is_not_null())[name][0]
            raise DataError(
                f"the column {name!r} is NUMERIC and has the value {odd}; convert it in the "
                f"query: {name}::float8 AS {name}"
            )
        _check_integers(frame[name], read[name])
    return read


def _check_integers(digits: pl.Series, doubles: pl.Series) -> None:
    """Refuse integers that a double takes for another one, such as ids, in a NUMERIC without
    declared digits.

    Raises:
        DataError: there is one.
    """
    if doubles.dtype != pl.Float64:
        return
    texts = digits.ext.storage()
    large = (doubles.abs() >= 2**53) & doubles.is_finite() & texts.str.contains(r"^-?\d+(\.0*)?$")
    for text, double in zip(texts.filter(large), doubles.filter(large), strict=True):
        if int(text.partition(".")[0]) != int(double):
            name = digits.name
            raise DataError(
                f"the column {name!r} is NUMERIC without declared digits, which is read as a "
                f"double, and has the integer {text}, which no double holds; convert it in the "
                f"query: {name}::bigint AS {name} or {name}::numeric(38, 0) AS {name} where it is "
                f"an id, {name}::float8 AS {name} where it is an amount"
            )


def check_values(schema: pa.Schema, frame: pl.DataFrame) -> None:
    """Refuse columns whose values are read as something else than they are.

    Raises:
        DataError: a type that the driver gives as bytes or in another unit, or an infinite time.
    """
    for field in schema:
        for inner in _within(field):
            if (name := _unread(inner)) is not None:
                cast = "numeric" if name == "money" else "text"
                of = f"{cast}[]" if inner is not field and not _fields(field.type) else cast
                raise DataError(
                    f"the column {field.name!r} has the type {name}, whose values cannot be read; "
                    f"convert it in the query: {field.name}::{of} AS {field.name}, or leave it out"
                )
    for name, dtype in frame.schema.items():
        if type(dtype) not in _ENDS:
            continue
        low, high = _ENDS[type(dtype)]
        # which of the two, the driver's number does not say
        if not frame[name].to_physical().is_between(low, high).all():
            kind = (
                "date"
                if dtype == pl.Date
                else "timestamp"
                if getattr(dtype, "time_zone", None) is None
                else "timestamptz"
            )
            raise DataError(
                f"the column {name!r} has a time that is infinite; make infinity null in the "
                f"query, which is never, and -infinity an early time: CASE WHEN {name} = "
                f"'-infinity' THEN {kind} '1970-01-01' WHEN isfinite({name}) THEN {name} END AS "
                f"{name}"
            )


def dimensions(quoted: Mapping[str, str]) -> str:
    """What a statement selects in addition, to tell arrays of several dimensions from others: of
    columns as they are quoted.
    """
    return "".join(
        f', array_ndims({column}) AS "{_DIMENSIONS}{number}"'
        for number, column in enumerate(quoted.values())
    )


def of_one_dimension(frame: pl.DataFrame, names: Collection[str]) -> pl.DataFrame:
    """The frame without what `dimensions` adds.

    Raises:
        DataError: a row has an array of several dimensions, which the driver gives as one list.
    """
    for number, name in enumerate(names):
        most = frame[f"{_DIMENSIONS}{number}"].max()
        if isinstance(most, int) and most > 1:
            raise DataError(
                f"the column {name!r} has arrays of {most} dimensions, and a list has one; "
                f"convert it in the query: {name}::text AS {name}"
            )
    return frame.select(column for column in frame.columns if not column.startswith(_DIMENSIONS))


def _plain(field: pa.Field, value: pl.Expr) -> pl.Expr | None:
    """The values of a field in plain types; None where they are."""
    extension = getattr(field.type, "extension_name", "")
    if extension == "arrow.uuid":
        return value.bin.encode("hex").str.replace(_UUID, "${1}-${2}-${3}-${4}-${5}")
    if extension:
        stored = value.ext.storage()
        if (
            str(field.type.storage_type) == "string"
            and getattr(field.type, "vendor_name", "") == "PostgreSQL"
        ):
            return stored.cast(_number(field.metadata or {}), strict=False)
        return stored.cast(pl.String) if getattr(field.type, "type_name", "") in _TEXTS else stored
    if _is_list(field.type):
        inner = _plain(field.type.value_field, pl.element())
        return None if inner is None else value.list.eval(inner)
    plain = [
        (of.name, inner)
        for of in _fields(field.type)
        if (inner := _plain(of, pl.field(of.name))) is not None
    ]
    return value.struct.with_fields(inner.alias(name) for name, inner in plain) if plain else None


def _number(metadata: Mapping[bytes, bytes]) -> pl.DataType:
    """The type of a NUMERIC: a decimal where it is declared with digits that one has room for, else
    a double.
    """
    declared = int(metadata.get(b"POSTGRESQL:typmod", b"-1")) - 4
    digits, scale = declared >> 16, ((declared & 0x7FF) ^ 0x400) - 0x400
    return (
        pl.Decimal(38, scale)
        if declared >= 0 and digits <= 38 and 0 <= scale <= digits
        else pl.Float64()
    )


def _unread(field: pa.Field) -> str | None:
    """The name of a type whose values the driver gives as bytes of its own, or in another unit."""
    if (field.metadata or {}).get(TYPE) == b"money":
        return "money"
    name = str(getattr(field.type, "type_name", ""))
    opaque = getattr(field.type, "extension_name", "") == "arrow.opaque"
    return (
        name if opaque and name not in _TEXTS and str(field.type.storage_type) != "string" else None
    )


def _within(field: pa.Field) -> Iterator[pa.Field]:
    """The field, and those of its elements and parts."""
    yield field
    for inner in [field.type.value_field] if _is_list(field.type) else _fields(field.type):
        yield from _within(inner)


def _is_list(dtype: pa.DataType) -> bool:
    return str(dtype).startswith(("list<", "large_list<"))


def _fields(dtype: pa.DataType) -> list[pa.Field]:
    return (
        [dtype.field(number) for number in range(dtype.num_fields)]
        if str(dtype).startswith("struct<")
        else []
    )
