"""Compile what an explanation needs before the first one is asked for: the kernels of a view, on
two events of made-up values.
"""

from __future__ import annotations

import dataclasses
from contextlib import suppress

import polars as pl
from polars.exceptions import PolarsError

from headwater import clock
from headwater.connectors import scan
from headwater.definitions.feature_service import Enriched
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.source import Source
from headwater.errors import HeadwaterError
from headwater.ingestion.validate import Acceptance
from headwater.monitoring.explain import explain_feature
from headwater.online.view_reader import OnlineView
from headwater.stores import OnlineStore

_ROWS = 2


def compile_explanation(view: FeatureView, store: OnlineStore) -> None:
    """Read a view's null key, and explain a value over a history of two made-up events; no event of
    the real history is read.

    A view for which this is not possible (over enriched events, or a `select` that refuses made-up
    values) is left out: its first explanation compiles.
    """
    now = clock.now_micros()
    with suppress(HeadwaterError, PolarsError):
        nothing = (
            pl.DataFrame({key: [None] for key in view.keys})
            if view.keys
            else pl.DataFrame({"": [0]})
        )
        OnlineView(view, store).read(nothing, now)
    compile_recomputation(view)


def compile_recomputation(view: FeatureView) -> None:
    """Explain a value over a history of two made-up events, without a store; otherwise as
    `compile_explanation`.
    """
    now = clock.now_micros()
    with suppress(HeadwaterError, PolarsError):
        source = view.source
        if isinstance(source.history, Enriched) or view.third_party is not None:
            return
        events = made_up(_schema(view), now)
        over = dataclasses.replace(
            view, source=dataclasses.replace(source, history=events, filter=None, stream=None)
        )
        chosen = events if source.select is None else events.select(source.select)
        explain_feature(
            over,
            view.outputs[0].name,
            {key: chosen[key][0] for key in view.keys},
            None,
            None,
            at=now,
        )


def made_up(schema: dict[str, pl.DataType], now: int) -> pl.DataFrame:
    """Two rows of any schema: timestamps are `now` (microseconds), all else is 1, and null where a
    type has no such value.

    >>> made_up(
    ...     {"user": pl.Int64(), "name": pl.String(), "at": pl.Datetime("us", "UTC")}, 0
    ... ).rows()[0][:2]
    (1, '1')
    """
    columns = []
    for name, dtype in schema.items():
        value = pl.Series(name, [now if isinstance(dtype, pl.Datetime) else 1] * _ROWS)
        try:
            timestamp = (
                value.cast(pl.Datetime("us", "UTC")) if isinstance(dtype, pl.Datetime) else value
            )
            naive = isinstance(dtype, pl.Datetime) and dtype.time_zone is None
            columns.append(
                (timestamp.dt.replace_time_zone(None) if naive else timestamp).cast(dtype)
            )
        except PolarsError:
            columns.append(pl.Series(name, [None] * _ROWS, dtype))
    return pl.DataFrame(columns)


def _schema(view: FeatureView) -> dict[str, pl.DataType]:
    source: Source = view.source
    if source.history is not None:
        return dict(scan(source.table).collect_schema())
    return dict(Acceptance(source, (view,), 0).schema)
