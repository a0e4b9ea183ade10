"""The columns that a table has after a selection, found from its schema alone, with every problem
noted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import ParamSpec, TypeVar

import polars as pl
from polars.exceptions import PolarsError

from headwater.connectors import scan
from headwater.definitions.connectors import Table
from headwater.definitions.definition import Definition
from headwater.definitions.source import Selection, output_name, root_columns
from headwater.errors import ConnectError, DataError
from headwater.events.read_events import column

T = TypeVar("T")
P = ParamSpec("P")
Dtypes = Mapping[str, "pl.DataType | None"]


@dataclass(frozen=True)
class Problem:
    """An error in one definition; `subject` names it, with file and line where they are known."""

    subject: str
    message: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.message}"


@dataclass(frozen=True)
class Columns:
    """The dtypes of columns by name; None where a problem was noted already, so that nothing more
    is reported of the column.

    outside: columns of the table that the selection leaves out.
    """

    dtypes: Dtypes
    outside: Dtypes = field(default_factory=dict)

    @cached_property
    def schema(self) -> pl.Schema:
        """The columns as polars has them; those of unknown dtype are Null."""
        return pl.Schema(
            {name: pl.Null() if dtype is None else dtype for name, dtype in self.dtypes.items()}
        )

    @cached_property
    def all(self) -> Columns:
        """With the columns that the selection leaves out."""
        return Columns({**self.outside, **self.dtypes})

    def get(self, name: str) -> pl.DataType | None:
        """The dtype of a column; None where it is missing or unknown."""
        return self.dtypes.get(name)

    def in_zone(self, zone: str | None) -> Columns:
        """With naive timestamps in this zone."""
        return Columns(
            {n: _in_zone(d, zone) for n, d in self.dtypes.items()},
            {n: _in_zone(d, zone) for n, d in self.outside.items()},
        )


class Problems:
    """The problems that were found, in order.

    >>> found = Problems()
    >>> found.look(Columns({"price": pl.Float64()}), "prise", "source 'clicks'")
    False
    >>> print(*found.noted)
    source 'clicks': no column 'prise'; did you mean 'price'?
    """

    def __init__(self) -> None:
        self.noted: list[Problem] = []

    def note(self, subject: str, message: str) -> None:
        """Note a problem."""
        self.noted.append(Problem(subject, message))

    def attempt(
        self, context: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T | None:
        """The result of a check. Where data are wrong or out of reach, the result is None and the
        problem is noted under `context`.
        """
        try:
            return call(*args, **kwargs)
        except (ConnectError, DataError) as error:
            subject = context.partition(": ")[0]
            self.note(subject, str(error).removeprefix(f"{subject}: "))
            return None

    def look(self, columns: Columns, name: str, context: str) -> bool:
        """Whether a column is there and its dtype known; it is noted where it is missing."""
        self.attempt(context, column, name, columns.schema, context)
        return columns.get(name) is not None

    def table(self, table: Table, context: str) -> Dtypes | None:
        """The schema of a table; None where it cannot be read."""
        return self.attempt(context, lambda: dict(scan(table).collect_schema()))

    def selected(
        self,
        raw: Dtypes,
        select: Selection | None,
        keep: pl.Expr | None,
        required: Collection[str],
        context: str,
    ) -> Columns:
        """The columns after `select`, and the `required` ones that the table has.

        Every item and the filter `keep` are checked.
        """
        if keep is not None:
            dtype = self._dtype_of(raw, keep, f"{context}: filter")
            if dtype not in (None, pl.Boolean, pl.Null):
                self.note(
                    context,
                    f"filter gives {dtype}; give a polars expression of booleans, such as "
                    "pl.col('amount') > 0",
                )
        if select is None:
            return Columns(raw)
        outputs = {
            output_name(item): self._dtype_of(raw, item, f"{context}: select") for item in select
        }
        outputs |= {name: raw[name] for name in required if name not in outputs and name in raw}
        return Columns(outputs, {name: dtype for name, dtype in raw.items() if name not in outputs})

    def _dtype_of(self, raw: Dtypes, item: str | pl.Expr, context: str) -> pl.DataType | None:
        """The dtype of an expression over the table; None where it has a problem, which is
        noted.
        """
        roots = [self.look(Columns(raw), name, context) for name in sorted(root_columns(item))]
        if not all(roots):
            return None
        return (
            raw[item]
            if isinstance(item, str)
            else self.attempt(context, _dtype, raw, item, context)
        )


def _dtype(raw: Dtypes, item: pl.Expr, context: str) -> pl.DataType:
    """The dtype of an expression, computed over no rows: some errors of types show only then."""
    frame = pl.LazyFrame(schema={name: dtype for name, dtype in raw.items() if dtype is not None})
    try:
        return frame.select(item).collect().dtypes[0]
    except PolarsError as error:
        raise DataError(f"{context}: {item}: {str(error).partition(_TRACE)[0]}") from error


_TRACE = "\n\n"  # before polars' own plan


def _in_zone(dtype: pl.DataType | None, zone: str | None) -> pl.DataType | None:
    if zone is None or not isinstance(dtype, pl.Datetime) or dtype.time_zone is not None:
        return dtype
    return pl.Datetime(dtype.time_unit, zone)


def named(kind: str, definition: Definition, name: str) -> str:
    """How a problem names a definition: its kind, its name, and where it was written."""
    return f"{kind} {name!r}" + (f" ({definition.site})" if definition.site else "")
