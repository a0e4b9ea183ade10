"""Columns that no feature is made of, each with the reason; row numbers among them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, cast

import polars as pl

from headwater.init.tables import TableProfile, quoted, usable

LeftOut = Mapping[str, Sequence[str]]
"""The names of columns by the reason why they are left out."""

ROW_NUMBER: Final = "a row number, which only says when"
NESTED: Final = "nested"
DETERMINES: Final = "it determines the label"
CODE: Final = "it looks like a code or an identifier, which has no mean"
_UNIQUE = 0.9  # the share of rows with a value of their own, for a column to number them
_RISING = 0.99  # the rank correlation with time, or with the order of the rows
_FEWEST = 20  # rows in which a chance order is unlikely


def row_numbers(table: TableProfile, names: Sequence[str], at: pl.Series) -> list[str]:
    """The columns that number the rows: whole numbers, nearly all different, that rise or fall with
    the rows or with time.

    A mean of them tells times apart that the model is not given, so a test on later rows would show
    a lift that does not exist.
    """
    if table.rows < _FEWEST:
        return []
    order = pl.DataFrame([pl.int_range(table.rows, eager=True).alias("row"), at.alias("at")])
    return [
        name
        for name in names
        if table.distinct[name] >= _UNIQUE * table.rows and _numbers_rows(table.frame[name], order)
    ]


def _numbers_rows(values: pl.Series, order: pl.DataFrame) -> bool:
    if values.dtype.is_float() and not (values.drop_nulls() == values.drop_nulls().round()).all():
        return False
    if values.dtype == pl.Boolean:
        return False
    numbers = values.cast(pl.Float64)
    if (
        cast("float", numbers.max()) - cast("float", numbers.min()) + 1
        == numbers.n_unique()
        == len(values)
    ):
        return True  # in any order
    ranks = order.with_columns(numbers.alias("value")).drop_nulls()
    alike = ranks.select(
        pl.corr("value", column, method="spearman").abs().alias(column) for column in order.columns
    ).row(0)
    return any(share is not None and share >= _RISING for share in alike)


def unread(table: TableProfile, used: Collection[str], left_out: LeftOut, most: int) -> LeftOut:
    """The columns that are neither used nor among those known to be left out, by reason.

    most: different values of a text.
    """
    done = {*used, *(name for names in left_out.values() for name in names)}
    reasons: dict[str, list[str]] = {}
    for name, kind in table.kinds.items():
        if name not in done:
            reasons.setdefault(_reason(table, name, kind, most), []).append(name)
    return {**left_out, **reasons}


def _reason(table: TableProfile, name: str, kind: str, most: int) -> str:
    if kind == "nested":
        return NESTED
    if kind == "time":
        return "other times"
    if kind == "other":
        return f"{table.frame.schema[name]}, which makes no feature"
    if not usable(name):
        return "a name that no feature can have: use letters, digits and single underscores"
    if not table.distinct[name]:
        return "no value"
    if table.distinct[name] == 1:
        return "one value"
    if kind == "text" and table.distinct[name] > most:
        return f"strings with more than {most:,} different values"
    if kind == "text" and table.distinct[name] > _UNIQUE * table.rows:
        return "a text that differs in nearly every row"
    return (
        f"more {kind}s than fit a first file: add those that matter to select and to the features"
    )


def comments(left_out: LeftOut, table: TableProfile, indent: str = "    ") -> list[str]:
    """Comments that name every column."""
    lines = []
    for reason, names in left_out.items():
        lines += wrapped(f"{indent}# Left out ({reason}): ", f"{indent}#     ", list(names))
        if reason == NESTED:
            lines += [
                f"{indent}#     in select, such as {code}"
                for code in [unnested(table, names)]
                if code
            ]
    return lines


def unnested(table: TableProfile, names: Sequence[str]) -> str:
    """The code that takes a field of the first struct among nested columns; empty where there is
    none.
    """
    structs = (
        (name, dtype)
        for name in names
        if isinstance(dtype := table.frame.schema[name], pl.Struct) and dtype.fields
    )
    for name, dtype in structs:
        field = dtype.fields[0].name
        alias = quoted(f"{name}_{field}")
        return f"pl.col({quoted(name)}).struct.field({quoted(field)}).alias({alias})"
    return ""


def sentence(path: str, left_out: LeftOut, output: str) -> str:
    """One line for the terminal; empty where nothing is left out."""
    parts = [
        (
            f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''} "
            f"({reason})"
        )
        for reason, names in left_out.items()
    ]
    return f"{path}: left out {'; '.join(parts)}. {output} names each" if parts else ""


def wrapped(first: str, further: str, names: Sequence[str], width: int = 118) -> list[str]:
    """Names in lines of a comment.

    >>> wrapped("# more: ", "#   ", ["amount", "city", "device"], width=22)
    ['# more: amount, city,', '#   device']
    """
    lines, line = [], first
    for position, name in enumerate(names):
        word = name + (", " if position + 1 < len(names) else "")
        if len(line) + len(word) > width and line not in (first, further):
            lines.append(line.rstrip())
            line = further
        line += word
    # a name may have lines
    return [
        "".join(letter if letter.isprintable() else " " for letter in text)
        for text in [*lines, line]
    ]
