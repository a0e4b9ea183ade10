"""Units as they stand in exposures, as strings, back in the dtype of a table's column."""

from __future__ import annotations

import polars as pl

from headwater.definitions.labels import Outcome
from headwater.engine.engines import open_engine
from headwater.engine.query import EngineRun, EventQuery
from headwater.errors import DataError
from headwater.events.read_events import Reach
from headwater.training.resources import Resources


def typed(texts: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Strings of `assignment.unit_text` as values of a dtype; null where they are not values of it.

    >>> typed(pl.Series(["17", "x"]), pl.Int64()).to_list()
    [17, None]
    >>> typed(pl.Series(["true"]), pl.Boolean()).to_list()
    [True]
    """
    if dtype == pl.Boolean:
        return texts.replace_strict(
            {"true": True, "false": False}, default=None, return_dtype=pl.Boolean
        )
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return texts
    if dtype == pl.Date:
        return texts.str.to_date("%Y-%m-%d", strict=False)
    return texts.cast(dtype, strict=False)


def text_of(column: str, dtype: pl.DataType) -> pl.Expr:
    """A column as `assignment.unit_text` writes its values."""
    return (
        pl.col(column).cast(pl.String).str.to_lowercase()
        if dtype == pl.Boolean
        else pl.col(column).cast(pl.String)
    )


def outcome_keys(
    outcome: Outcome, columns: dict[str, pl.Series], context: str, resources: Resources
) -> pl.DataFrame:
    """The keys of an outcome for units, in the dtypes of its source.

    Args:
        outcome: which.
        columns: what exposures know of a unit, as strings: by name of the request's column.
        context: what errors name.
        resources: of the engine.

    Raises:
        DataError: the outcome has a key that exposures do not carry.
    """
    unknown = [key for key in outcome.keys if key not in columns]
    if unknown:
        raise DataError(
            f"{context}: the outcome is of {unknown[0]!r}, which an exposure does not carry; it "
            f"carries {', '.join(map(repr, columns))}. Give the source a column with the "
            "experiment's unit"
        )
    query = EventQuery(outcome.source, outcome.keys, [], Reach(0, 0, 0))
    dtypes = open_engine(resources.engine).events(query, EngineRun()).schema
    return pl.DataFrame([typed(columns[key], dtypes[key]).alias(key) for key in outcome.keys])
