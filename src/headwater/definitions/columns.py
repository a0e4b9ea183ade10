"""Selections from a table, for sources and labels: column names and row-wise polars expressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from headwater.definitions.checks import check, check_list
from headwater.definitions.definition import is_expr
from headwater.errors import DefinitionError

if TYPE_CHECKING:
    import polars as pl

Selection = Sequence["str | pl.Expr"]

DTYPES: Mapping[type, str] = {
    float: "float",
    int: "int",
    str: "str",
    bool: "bool",
    datetime: "datetime",
}
"""The types of a request's fields and of third-party columns, and their names."""


def check_selection(select: Selection | None, keep: pl.Expr | None, subject: str) -> None:
    """Refuse items that are not names or expressions, repeated names, and expressions that are not
    row-wise.
    """
    give = "a list of column names and polars expressions"
    seen: set[str] = set()
    for item in () if select is None else check_list(select, object, f"{subject}: select", give):
        check(
            isinstance(item, str) or is_expr(item),
            item,
            f"{subject}: an item of select",
            "a column name or a polars expression",
        )
        if is_expr(item):
            _check_row_wise(item, f"{subject}: select")
        name = output_name(item)
        if name in seen:
            raise DefinitionError(
                f"{subject}: select gives the column {name!r} twice; rename one with .alias(...)"
            )
        seen.add(name)
    if keep is not None:
        check(
            is_expr(keep),
            keep,
            f"{subject}: filter",
            "a polars expression, such as pl.col('amount') > 0",
        )
        _check_row_wise(keep, f"{subject}: filter")


def check_dtype(dtype: object, subject: str) -> None:
    """Refuse anything but the types of `DTYPES`."""
    if not isinstance(dtype, type) or dtype not in DTYPES:
        raise DefinitionError(
            f"{subject} has the type {dtype!r}; give float, int, str, bool or datetime"
        )


def output_name(item: str | pl.Expr) -> str:
    """The column that an item of a selection makes."""
    return item if isinstance(item, str) else item.meta.output_name()


def root_columns(item: str | pl.Expr) -> frozenset[str]:
    """The columns of the table that an item of a selection is made of."""
    return frozenset({item}) if isinstance(item, str) else frozenset(item.meta.root_names())


def _check_row_wise(expression: pl.Expr, subject: str) -> None:
    from polars.exceptions import PolarsError  # loaded already: there is an expression

    try:
        row_wise = _is_row_wise(expression)
    except PolarsError as error:
        raise DefinitionError(
            f"{subject}: polars cannot tell whether {expression} is row-wise ({error}); name each "
            "column on its own, and use polars' own functions"
        ) from error
    if not row_wise:
        raise DefinitionError(
            f"{subject}: {expression} is not row-wise: its value on one row depends on other "
            "rows, which a stream does not have; write it with the row's own columns, and what "
            "spans rows as a feature with a window"
        )


def _is_row_wise(expression: pl.Expr) -> bool:
    """Whether no part of it looks beyond its row; polars' own check sees only the outermost
    function.
    """
    return expression.meta.is_row_separable() and all(map(_is_row_wise, expression.meta.pop()))
