"""Parts of the test rows: those a user names, and the cold start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from headwater.aggregations.moments import count
from headwater.definitions.definition import expression_text, is_expr
from headwater.definitions.feature_service import FeatureService
from headwater.definitions.feature_view import FeatureRef, FeatureView
from headwater.definitions.freshness import on_request
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.definitions.ranking import Ranking
from headwater.errors import UsageError, nearest
from headwater.events.read_events import Notes
from headwater.kernel.arrays import Bool
from headwater.training.feature_frames import feature_frames
from headwater.training.requests import Requests
from headwater.training.resources import Resources

COLD_DAYS = 30


@dataclass(frozen=True)
class Slice:
    """A part of the test rows: bool (test rows)."""

    name: str
    describes: str
    mask: Bool


def user_slices(slices: Mapping[str, pl.Expr], frame: pl.DataFrame, test: Bool) -> list[Slice]:
    """The slices of `slices`, evaluated on the test rows; null is not in the slice.

    Raises:
        UsageError: an expression that names no column of the labels, or does not say true or false.
    """
    if not isinstance(slices, Mapping):
        raise UsageError(
            f"slices is {slices!r}; give a mapping from names to polars expressions, such as "
            "{'at night': pl.col('hour') < 6}"
        )
    rows = frame.filter(pl.Series(test))
    masks = []
    for name, expression in slices.items():
        if not is_expr(expression):
            raise UsageError(
                f"slice {name!r} is {expression!r}; give a polars expression over the labels' "
                "columns, such as pl.col('country') == 'no'"
            )
        for column in expression.meta.root_names():
            if column not in rows.columns:
                raise UsageError(
                    f"slice {name!r}: the labels have no column {column!r}; "
                    f"{nearest(column, rows.columns)}"
                )
        shown = expression_text(expression)
        try:
            mask = rows.select(expression.alias("in")).to_series()
        except PolarsError as error:
            raise UsageError(f"slice {name!r}: {shown} cannot be evaluated: {error}") from error
        if mask.dtype != pl.Boolean or len(mask) != rows.height:
            raise UsageError(
                f"slice {name!r}: {shown} gives {mask.dtype}; it must say true or false of each row"
            )
        masks.append(Slice(name, shown, mask.fill_null(value=False).to_numpy()))
    return masks


def cold_slices(
    model: Model,
    requests: Requests,
    test: Bool,
    cold_start: int | tuple[FeatureView, int],
    resources: Resources,
) -> list[Slice]:
    """The requests about which little is known: in a ranking, new items and first events; else, or
    if a view was named, cold keys.
    """
    rows = requests.take(np.flatnonzero(test))
    if model.ranking is not None and not isinstance(cold_start, tuple):
        return _new_in_lists(model, model.ranking, rows, resources)
    view, fewer = (
        cold_start if isinstance(cold_start, tuple) else (_most_specific(model), cold_start)
    )
    if view is None:
        return [Slice("cold start", "no view has a key", np.zeros(int(test.sum()), np.bool_))]
    return [_cold("cold start", f"had fewer than {fewer} events", view, fewer, rows, resources)]


def _new_in_lists(model: Model, task: Ranking, rows: Requests, resources: Resources) -> list[Slice]:
    """Rows of items without a known event, and for every other key, lists at its first event."""
    views = {tuple(map(str, map(v.request_key, v.keys))): v for v in reversed(_keyed(model))}
    named = [
        ("new item", (task.item,))
        if keys == (task.item,)
        else (f"first event of {', '.join(keys)}", keys)
        for keys in reversed(views)
    ]
    named = [(name, keys) for name, keys in named if keys == (task.item,) or task.item not in keys]
    return [_cold(name, "had no event", views[keys], 1, rows, resources) for name, keys in named]


def _cold(
    name: str, says: str, view: FeatureView, fewer: int, rows: Requests, resources: Resources
) -> Slice:
    """The rows with a key that had fewer than so many events in the 30 days before them."""
    history = FeatureView(
        "history",
        source=view.source,
        keys=view.keys,
        features=[count()],
        windows=[f"{COLD_DAYS}d"],
        freshness=on_request(),
        request_keys=view.request_keys,
    )
    service, requests = FeatureService("cold", [history]), Requests(rows.frame, rows.t)
    counts = feature_frames(service, requests, {"": Level()}, Notes(), resources)[""].to_series()
    keys = ", ".join(str(view.request_key(k)) for k in view.keys)
    return Slice(
        name,
        f"({keys}) {says} of source {view.source.name!r} in the last {COLD_DAYS} days",
        (counts < fewer).to_numpy(),
    )


def _most_specific(model: Model) -> FeatureView | None:
    return max(_keyed(model), key=lambda v: len(v.keys), default=None)


def _keyed(model: Model) -> list[FeatureView]:
    """The views that are looked up by columns of the request alone, without lists of keys."""
    views = [v for v in model.features.views if v.keys and v.list_key is None]
    return [v for v in views if not any(isinstance(v.request_key(k), FeatureRef) for k in v.keys)]
