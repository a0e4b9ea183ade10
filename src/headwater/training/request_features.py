"""Request fields, functions and answers of third parties, over rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import polars as pl

from headwater.definitions.columns import DTYPES
from headwater.definitions.http_features import HttpFeatures
from headwater.definitions.request_feature import RequestFeature, RequestField
from headwater.errors import DataError

_POLARS: Mapping[type, pl.DataType] = {
    float: pl.Float64(),
    int: pl.Int64(),
    str: pl.String(),
    bool: pl.Boolean(),
    datetime: pl.Datetime("us", "UTC"),
}


def request_field(field: RequestField, frame: pl.DataFrame) -> pl.Series:
    """The field of each row in its declared dtype.

    Raises:
        DataError: the column is of another kind.
    """
    return _typed(frame[field.name], field.dtype, f"request field {field.name!r}")


def request_feature(feature: RequestFeature, frame: pl.DataFrame, inputs: Mapping[str, pl.Series]) -> pl.Series:
    """The function's value on each row; `inputs` maps parameters to the features that fill them.

    Raises:
        DataError: a field is of another kind than annotated, or the function raises; the row's values are said.
    """
    context = f"request feature {feature.name!r}"
    columns = {name: _typed(frame[name], dtype, f"{context}: the field {name!r}") for name, dtype in feature.fields.items()}
    columns |= dict(inputs)
    ordered = [columns[name].to_list() for name in feature.parameters]
    values: list[object] = []
    function = feature.function
    try:
        if ordered:
            for row in zip(*ordered, strict=True):
                values.append(function(*row))  # noqa: PERF401 (the rows done so far say which one failed)
        else:
            values = [function() for _ in range(frame.height)]
    except Exception as error:
        raise failed(feature, len(values), [column[len(values)] for column in ordered], error) from error
    return returned(feature, values)


def failed(feature: RequestFeature, row: int, args: Sequence[object], error: Exception) -> DataError:
    """What to say of a function that raised."""
    listed = ", ".join(f"{name}={value!r}" for name, value in zip(feature.parameters, args, strict=True))
    return DataError(f"request feature {feature.name!r} failed on row {row} with {listed}: {type(error).__name__}: {error}")


def returned(feature: RequestFeature, values: Sequence[object]) -> pl.Series:
    """What a function returned, in the type that it is annotated with.

    Raises:
        DataError: it is of another kind.
    """
    try:
        return pl.Series(feature.name, values, _POLARS[feature.dtype], strict=True)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"request feature {feature.name!r} is annotated to return {DTYPES[feature.dtype]}, and returned something else: {error}"
        ) from error


def third_party(http: HttpFeatures, values: Mapping[str, pl.Series]) -> Iterator[tuple[str, pl.Series]]:
    """What the history of a third party has answered, by name, in the types that its answers have; those that were computed.

    Raises:
        DataError: the history's column is of another kind.
    """
    for column, (_, dtype) in http.columns.items():
        name = f"{http.name}__{column}"
        if name in values:
            yield name, _typed(values[name], dtype, f"third-party features {http.name!r}: {column!r} of their history")


def plain_column(name: str, values: Sequence[object]) -> pl.Series:
    """Plain values as a column.

    Raises:
        DataError: an integer of more than 64 bits.
    """
    for value in values:
        if type(value) is int and not -(2**63) <= value < 2**64:
            raise DataError(f"the field {name!r} holds an integer of {value.bit_length()} bits; integers have 64")
    return pl.Series(name, values, strict=False)


def fetched(http: HttpFeatures, frame: pl.DataFrame) -> Iterator[tuple[str, pl.Series]]:
    """What a third party has answered online, by name: the columns of the rows that are named like the features; else its fallback values.

    Raises:
        DataError: a column is of another kind.
    """
    for name, (column, (_, dtype)) in zip(http.feature_names, http.columns.items(), strict=True):
        if name in frame.columns:
            yield name, _typed(frame[name], dtype, f"third-party features {http.name!r}: {name!r} of the rows")
        else:
            yield name, pl.Series(name, [http.fallback[column]], _POLARS[dtype]).new_from_index(0, frame.height)


def _typed(series: pl.Series, dtype: type, context: str) -> pl.Series:
    mine = series.dtype
    check_declared(mine, dtype, context)
    if dtype is datetime:
        return series.dt.cast_time_unit("us") if isinstance(mine, pl.Datetime) else series.cast(_POLARS[dtype])
    try:
        return series.cast(_POLARS[dtype])
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{context} is declared {DTYPES[dtype]}, and a value of it is too large: {error}") from error


def check_declared(mine: pl.DataType, dtype: type, context: str) -> None:
    """Refuse a column whose dtype is not the declared one.

    >>> check_declared(pl.Int64(), float, "the field 'amount'")
    """
    fits = {
        float: mine.is_numeric() or mine == pl.Boolean,
        int: mine.is_integer() or mine == pl.Boolean,
        str: mine in (pl.String, pl.Categorical, pl.Enum),
        bool: mine == pl.Boolean,
        datetime: isinstance(mine, pl.Datetime) and mine.time_zone is not None,
    }[dtype]
    if not fits and mine != pl.Null:
        raise DataError(f"{context} is declared {DTYPES[dtype]}, and the column is {mine}; cast it, or declare what it is")
