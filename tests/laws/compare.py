"""What a call gave, cell by cell, against the oracle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tests.laws import oracle as o
from tests.laws.definitions import Schema, dtype_of

if TYPE_CHECKING:
    import polars as pl


def differences(
    view: o.View, asked: Sequence[o.Row], got: pl.DataFrame, timestamp: str = "timestamp"
) -> list[str]:
    """The cells of a view's columns that are not what the oracle says; with statuses where they
    are.

    Of a freshness with several ages, all cells of a row are of one of them.
    """
    names = [feature.name for feature in o.features_of(view)]
    if got.height != len(asked):
        return [f"{len(asked)} rows asked, {got.height} came"]
    if missing := [name for name in names if name not in got.columns]:
        return [f"no column {name}" for name in missing]
    cells = {name: got[name].to_list() for name in names}
    statuses = {
        name: got[f"{name}__status"].to_list() for name in names if f"{name}__status" in got.columns
    }
    events, found = o.events_of(view.source), []
    for number, row in enumerate(asked):
        tries = []
        for answers in o.answers(view, events, row, o.micros(row[timestamp])):  # type: ignore[arg-type]
            wrong = [name for name in names if not o.says(answers[name], cells[name][number])]
            wrong += [
                name
                for name in statuses
                if name not in wrong and statuses[name][number] != answers[name].status
            ]
            given = [
                f"{cells[name][number]!r} {statuses[name][number] if statuses else ''}"
                for name in wrong
            ]
            tries.append(
                [
                    f"row {number} {name}: {value}, not {answers[name]}"
                    for name, value in zip(wrong, given, strict=True)
                ]
            )
        found += min(tries, key=len)
    return found


def wrong_dtypes(view: o.View, schema: Schema, got: pl.DataFrame) -> list[str]:
    """The columns that are not of the dtype that their function and column decide; maps by their
    values.
    """
    features = [feature for feature in o.features_of(view) if feature.aggregation.by is None]
    return [
        f"{f.name}: {got.schema[f.name]}"
        for f in features
        if got.schema[f.name] != dtype_of(f, schema)
    ]


def same_bits(left: pl.DataFrame, right: pl.DataFrame) -> bool:
    """Whether two frames are equal to the bit: names, dtypes, values; maps by what they hold."""
    return left.schema == right.schema and repr(left.rows()) == repr(right.rows())
