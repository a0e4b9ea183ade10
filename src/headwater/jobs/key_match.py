"""Matching rows by key: rows of a source's stream, payloads, served requests, stored keys."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import cast

import numpy as np
import polars as pl

from headwater.errors import DataError
from headwater.ingestion.archive import KNOWN_AT
from headwater.ingestion.tombstones import ErasedRows, as_text, key_rows
from headwater.ingestion.validate import Acceptance
from headwater.journal.serving_log_rows import PREFIX
from headwater.kernel.arrays import Bool
from headwater.monitoring.explain import typed
from headwater.state.record import key_bytes


@dataclass(frozen=True)
class ErasedKey:
    """The key to erase: the text of each column's value."""

    texts: Mapping[str, str]

    @property
    def columns(self) -> frozenset[str]:
        """The columns of the key."""
        return frozenset(self.texts)

    def renamed(self, names: Mapping[str, str]) -> ErasedKey:
        """The key by other names of its columns, such as those of a request."""
        return ErasedKey({names[column]: text for column, text in self.texts.items()})

    def values(self, dtypes: Mapping[str, pl.DataType]) -> dict[str, object] | None:
        """The values in the types of some columns; None where a column is missing or cannot hold
        its value.
        """
        typed_values = {
            name: typed(text, _of_key(dtypes[name]))
            for name, text in self.texts.items()
            if name in dtypes
        }
        return (
            typed_values
            if len(typed_values) == len(self.texts) and None not in typed_values.values()
            else None
        )

    def matches(self, frame: pl.DataFrame) -> Bool:
        """Which rows of a frame have the key, bool (rows)."""
        values = self.values(frame.schema)
        if values is None:
            return np.zeros(frame.height, np.bool_)
        has_key = frame.select(
            pl.all_horizontal(
                _equals(name, frame.schema[name], value) for name, value in values.items()
            ).fill_null(value=False)
        )
        return has_key.to_series().to_numpy()

    def is_in(self, row: Mapping[str, object]) -> bool:
        """Whether an object of JSON has the key."""
        return all(name in row and as_text(row[name]) == text for name, text in self.texts.items())

    def is_row(self, row: Mapping[str, object], dtypes: Mapping[str, pl.DataType]) -> bool:
        """Whether a row of values of these types has the key."""
        values = self.values(dtypes)
        return values is not None and all(
            value in _elements(row.get(name)) for name, value in values.items()
        )

    def bytes_of(self, keys: Sequence[str], dtypes: Mapping[str, pl.DataType]) -> bytes | None:
        """The stored key of a view by exactly these columns; None where it cannot be one."""
        values = self.values({name: dtypes[name] for name in keys if name in dtypes})
        if values is None or set(keys) != self.columns:
            return None
        return key_bytes(
            pl.DataFrame([pl.Series(name, [values[name]], dtypes[name]) for name in keys])
        )[0]


def any_matches(keys: Iterable[ErasedKey], frame: pl.DataFrame) -> Bool:
    """Which rows have one of several keys, also where a feature of the column's name made the
    column be renamed; bool (rows).
    """
    renamed_columns = {
        name: f"{PREFIX}given_{name}"
        for key in keys
        for name in key.texts
        if f"{PREFIX}given_{name}" in frame.columns
    }
    named = [
        key.renamed({name: renamed_columns.get(name, name) for name in key.texts}) for key in keys
    ]
    return reduce(or_, (key.matches(frame) for key in named), np.zeros(frame.height, np.bool_))


def key_of(acceptance: Acceptance, key: ErasedKey) -> Mapping[str, object] | None:
    """The key as the columns of a source have it; None where they cannot."""
    try:
        none = pl.DataFrame(schema=acceptance.schema)
        return key.values(key_rows(acceptance, none, key.columns).schema)
    except DataError:
        return None


def payloads_of(
    acceptance: Acceptance, key: ErasedKey, erased: ErasedRows, rows: pl.DataFrame
) -> tuple[Bool, int]:
    """Which dead letters have the key, bool (rows); and how many can be read neither as the
    stream's format nor as JSON.
    """
    payloads = rows["payload"].to_list()
    decoded = acceptance.decode(payloads)
    known = rows.select(KNOWN_AT)[decoded.rows]
    mask, unread = np.zeros(rows.height, np.bool_), 0
    readable = pl.concat([decoded.frame, known], how="horizontal")
    mask[decoded.rows] = erased.of_rows(acceptance, readable)
    early = (rows[KNOWN_AT].dt.epoch("us") <= erased.until).to_numpy()
    for index, _ in decoded.refused:
        try:
            mask[index] = early[index] and _holds(json.loads(payloads[index] or b""), key)
        except (ValueError, RecursionError):
            unread += 1
    return mask, unread


def _of_key(dtype: pl.DataType) -> pl.DataType:
    """The dtype of the keys in a column: of a list of keys, that of its elements."""
    return cast("pl.DataType", dtype.inner) if isinstance(dtype, pl.List) else dtype


def _elements(value: object) -> list[object]:
    """The keys in a value: the elements of a list, or the value alone."""
    return value if isinstance(value, list) else [value]


def _equals(name: str, dtype: pl.DataType, value: object) -> pl.Expr:
    if isinstance(dtype, pl.List):
        return pl.col(name).list.eval(_equals("", _of_key(dtype), value)).list.any()
    if dtype in (pl.Categorical, pl.Enum):
        return pl.col(name).cast(pl.String) == str(value)
    return pl.col(name) == pl.lit(value, dtype)


def _holds(node: object, key: ErasedKey) -> bool:
    """Whether an object in a JSON value has the key."""
    if isinstance(node, dict):
        return key.is_in(node) or any(_holds(value, key) for value in node.values())
    return isinstance(node, list) and any(_holds(value, key) for value in node)
