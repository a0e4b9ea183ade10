"""Filters of polars as SQL: comparisons of columns with numbers, strings and times, joined by AND
and OR.

What has no translation is left out: the condition lets more rows through, and polars filters them.
Strings are compared for equality alone, since each database has an order of its own (its
collation), and only in columns of strings: a database refuses `id = 'x'` of a UUID.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

_COMPARISONS: Mapping[str, str] = {"Gt": ">", "GtEq": ">=", "Lt": "<", "LtEq": "<=", "Eq": "="}
_UNITS: Mapping[str, int] = {
    "Nanoseconds": 1_000_000_000,
    "Microseconds": 1_000_000,
    "Milliseconds": 1_000,
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Dialect:
    """How a database writes names, times in UTC, and times without a zone. cast: to which type a
    column is cast before it is compared with a string, if to any.

    strings: the columns that may be compared with a string.
    """

    quote: str = '"'
    cast: str = ""
    strings: Collection[str] = ()
    instant: str = "CAST('{}+00:00' AS TIMESTAMP WITH TIME ZONE)"
    wall_time: str = "TIMESTAMP '{}'"

    def quoted(self, name: str) -> str:
        """A column's name."""
        return f"{self.quote}{name.replace(self.quote, self.quote * 2)}{self.quote}"


def sql_filter(predicate: pl.Expr, dialect: Dialect) -> str | None:
    """A condition that holds wherever the predicate does; None where nothing of it can be said in
    SQL.

    >>> sql_filter((pl.col("n") >= 3) & (pl.col("city").str.len_chars() > 2), Dialect())
    '"n" >= 3'
    """
    try:
        return _condition(json.loads(predicate.meta.serialize(format="json")), dialect)
    except (pl.exceptions.PolarsError, ValueError, LookupError, TypeError, OverflowError):
        return None  # a form that this version of polars writes in another way


def _condition(node: Mapping[str, Any], dialect: Dialect) -> str | None:
    if "BinaryExpr" in node:
        left, op, right = (node["BinaryExpr"][name] for name in ("left", "op", "right"))
        if op in ("And", "LogicalAnd", "Or", "LogicalOr"):
            both = [_condition(left, dialect), _condition(right, dialect)]
            filters = [text for text in both if text is not None]
            if op.endswith("And"):
                return " AND ".join(filters) or None
            return f"({filters[0]} OR {filters[1]})" if len(filters) == 2 else None
        return _comparison(left, op, right, dialect)
    if "Function" in node:
        function = node["Function"]
        name = function["function"]
        if name == {"Boolean": "IsNull"}:
            return f"{dialect.quoted(function['input'][0]['Column'])} IS NULL"
        if (
            isinstance(name, dict)
            and isinstance(between := name.get("Boolean"), dict)
            and "IsBetween" in between
        ):
            column, low, high = function["input"]
            closed = between["IsBetween"]["closed"]
            if closed == "Both":
                both = [
                    _comparison(column, "GtEq", low, dialect),
                    _comparison(column, "LtEq", high, dialect),
                ]
                return " AND ".join(text for text in both if text is not None) or None
    return None


def _comparison(
    left: Mapping[str, Any], op: str, right: Mapping[str, Any], dialect: Dialect
) -> str | None:
    if "Column" not in left or op not in _COMPARISONS:
        return None
    value, column = _literal(right, dialect), dialect.quoted(left["Column"])
    if value is not None and value.startswith("'"):
        if op != "Eq" or left["Column"] not in dialect.strings:
            return None
        column = f"CAST({column} AS {dialect.cast})" if dialect.cast else column
    return None if value is None else f"{column} {_COMPARISONS[op]} {value}"


def _literal(node: Mapping[str, Any], dialect: Dialect) -> str | None:
    """A number, a string or a time. A cast of an integer to a type of times is such a time."""
    if "Cast" in node:
        inner, to = node["Cast"]["expr"], node["Cast"]["dtype"]
        to = to.get("Literal", to) if isinstance(to, dict) else to
        if not (isinstance(to, dict) and "Datetime" in to):
            return None
        unit, zone = to["Datetime"]
        return _time(_number(inner), unit, zone, dialect)
    literal = node["Literal"]
    scalar = literal.get("Scalar") or literal.get("Dyn")
    if scalar is None:
        return None
    kind, value = next(iter(scalar.items()))
    if kind == "Datetime":
        return _time(value[0], value[1], value[2], dialect)
    if kind.startswith(("Int", "UInt")) and isinstance(value, int):
        return str(value)
    # which some databases take for an escape
    if kind == "String" and isinstance(value, str) and "\\" not in value:
        return "'" + value.replace("'", "''") + "'"
    return None


def _number(node: Mapping[str, Any]) -> int:
    literal = node["Literal"]
    return int(next(iter((literal.get("Scalar") or literal["Dyn"]).values())))


def _time(number: int, unit: str, zone: object, dialect: Dialect) -> str | None:
    micros, rest = divmod(number * 1_000_000, _UNITS[unit])
    if rest:  # a time between two microseconds cannot be written
        return None
    text = f"{_EPOCH + timedelta(microseconds=micros):%Y-%m-%d %H:%M:%S.%f}"
    return (dialect.instant if zone else dialect.wall_time).format(text)
