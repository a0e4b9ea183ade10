"""Request fields, functions and answers of third parties, over rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import polars as pl

from headwater.definitions.http_features import HttpFeatures
from headwater.definitions.request_feature import RequestFeature, RequestField
from headwater.definitions.source import DTYPES
from headwater.errors import DataError

POLARS: Mapping[type, pl.DataType] = {
    float: pl.Float64(),
    int: pl.Int64(),
    str: pl.String(),
    bool: pl.Boolean(),
    datetime: pl.Datetime("us", "UTC"),
}
"""The dtype of columns that a request feature, a request field or a third party declares."""


def request_field(field: RequestField, frame: pl.DataFrame) -> pl.Series:
    """The field of each row in its declared dtype.

    Raises:
        DataError: the column is of another kind.
    """
    return _typed(frame[field.name], field.dtype, f"request field {field.name!r}")


def request_feature(
    feature: RequestFeature, frame: pl.DataFrame, inputs: Mapping[str, pl.Series]
) -> pl.Series:
    """The function's value on each row; `inputs` maps parameters to the features that fill them.

    Raises:
        DataError: a field is of another kind than annotated, or the function raises; the row's
            values are said.
    """
    context = f"request feature {feature.name!r}"
    columns = {
        name: _typed(frame[name], dtype, f"{context}: the field {name!r}")
        for name, dtype in feature.fields.items()
    }
    columns |= dict(inputs)
    return returned(
        feature,
        call_rows(feature, [columns[name].to_list() for name in feature.parameters], frame.height),
    )


def call_rows(
    feature: RequestFeature, columns: Sequence[Sequence[object]], count: int
) -> list[object]:
    """The function's value on each of `count` rows; `columns`: the arguments, by position.

    Raises:
        DataError: the function raises; the message has the row and its values.
    """
    rows = zip(*columns, strict=True) if columns else ((),) * count
    return [call_row(feature, row, number) for number, row in enumerate(rows)]


def call_row(feature: RequestFeature, args: Sequence[object], number: int = 0) -> object:
    """The function's value on the row of a number; null where a parameter that takes no null is
    null. Raises as `call_rows`.
    """
    if None in args and any(args[position] is None for position in feature.required):
        return None
    try:
        return feature.function(*args)
    except Exception as error:
        listed = ", ".join(
            f"{name}={value!r}" for name, value in zip(feature.parameters, args, strict=True)
        )
        raise DataError(
            f"request feature {feature.name!r} failed on row {number} with {listed}: "
            f"{type(error).__name__}: {error}"
        ) from error


def returned(feature: RequestFeature, values: Sequence[object]) -> pl.Series:
    """What a function returned, in the type that it is annotated with.

    Raises:
        DataError: it is of another kind.
    """
    try:
        return pl.Series(feature.name, values, POLARS[feature.dtype], strict=True)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"request feature {feature.name!r} is annotated to return {DTYPES[feature.dtype]}, "
            f"and returned something else: {error}"
        ) from error


def third_party(
    http: HttpFeatures, values: Mapping[str, pl.Series]
) -> Iterator[tuple[str, pl.Series]]:
    """The recorded answers of a third party, by name, in their declared types.

    Raises:
        DataError: the history's column is of another kind.
    """
    for column, (_, dtype) in http.columns.items():
        name = f"{http.name}__{column}"
        if name in values:
            yield (
                name,
                _typed(
                    values[name],
                    dtype,
                    f"third-party features {http.name!r}: {column!r} of their history",
                ),
            )


def _typed(series: pl.Series, dtype: type, context: str) -> pl.Series:
    actual = series.dtype
    check_declared(actual, dtype, context)
    if dtype is datetime:
        return (
            series.dt.cast_time_unit("us")
            if isinstance(actual, pl.Datetime)
            else series.cast(POLARS[dtype])
        )
    try:
        return series.cast(POLARS[dtype])
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{context} is declared {DTYPES[dtype]}, and a value of it is too large: {error}"
        ) from error


def check_declared(actual: pl.DataType, dtype: type, context: str) -> None:
    """Refuse a column whose dtype is not the declared one.

    >>> check_declared(pl.Int64(), float, "the field 'amount'")
    """
    fits = {
        float: actual.is_numeric() or actual == pl.Boolean,
        int: actual.is_integer() or actual == pl.Boolean,
        str: actual in (pl.String, pl.Categorical, pl.Enum),
        bool: actual == pl.Boolean,
        datetime: isinstance(actual, pl.Datetime) and actual.time_zone is not None,
    }[dtype]
    if not fits and actual != pl.Null:
        raise DataError(
            f"{context} is declared {DTYPES[dtype]}, and the column is {actual}; cast it, or "
            "declare what it is"
        )
