"""Requests and answers as frames, on their way to workers of Spark and back."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from headwater.engine.query import AsOf, FeatureValues, RequestSet

SET = "__set"
LEVEL = "__level"
_ROW = "__row"
_KNOWN_AT = "__known_at"


def request_frame(number: int, requests: RequestSet, keys: Sequence[str]) -> pl.DataFrame:
    """The request set of a number as a frame, with the number of each row."""
    times = {
        f"__{name}{level}": array
        for level, a in enumerate(requests.as_of)
        for name, array in (("T", a.T), ("K", a.K))
    }
    numbers = {SET: pl.lit(number, pl.Int32), _ROW: pl.int_range(pl.len(), dtype=pl.Int64)}
    return (
        pl.DataFrame({"__t": requests.t, **times})
        .with_columns(**numbers)
        .hstack(requests.keys.select(keys).get_columns())
    )


def requests_of(frame: pl.DataFrame, keys: Sequence[str]) -> tuple[pl.Series, RequestSet]:
    """The numbers of rows, and the request set of them."""
    levels = sum(name.startswith("__T") for name in frame.columns)
    as_of = tuple(
        AsOf(*(frame[f"__{name}{level}"].to_numpy() for name in "TK")) for level in range(levels)
    )
    columns = frame.select(keys) if keys else frame.select(pl.col(_ROW).alias(""))
    return frame[_ROW], RequestSet(columns, frame["__t"].to_numpy(), as_of)


def answer_frame(rows: pl.Series, values: FeatureValues, number: int, level: int) -> pl.DataFrame:
    """The values of rows by their numbers, of a request set at one of its freshnesses."""
    columns = [
        rows,
        *(s.alias(f"v{s.name}") for s in values.values),
        *(s.alias(f"s{s.name}") for s in values.statuses),
    ]
    known = [] if values.known_at is None else [pl.Series(_KNOWN_AT, values.known_at)]
    return pl.DataFrame([*columns, *known]).with_columns(
        pl.lit(number, pl.Int32).alias(SET), pl.lit(level, pl.Int32).alias(LEVEL)
    )


def values_of(frame: pl.DataFrame) -> FeatureValues:
    """The answers of a frame that a worker made, by the number of their rows."""
    frame = frame.sort(_ROW)
    values, statuses = (
        pl.DataFrame([frame[c].alias(c[1:]) for c in frame.columns if c.startswith(of)])
        for of in "vs"
    )
    known = frame[_KNOWN_AT].to_numpy() if _KNOWN_AT in frame.columns else None
    return FeatureValues(values, statuses, known)
