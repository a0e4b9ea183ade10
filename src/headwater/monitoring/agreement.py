"""Whether an online value is the offline one: equal, or, for sums of floats, within 1e-9 of the
size of the summands.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from headwater.aggregations.table import TABLE
from headwater.definitions.feature_view import Feature
from headwater.events.key_lists import KeyLists
from headwater.kernel.arrays import F64, Bool

_TOLERANCE = 1e-9


def agree(
    feature: Feature, online: pl.Series, offline: pl.Series, size_of: Callable[[], F64]
) -> Bool:
    """Whether each pair of values is equal, or close enough for floats that are added up."""
    equal = (
        same_values(online, offline)
        if online.dtype.is_nested()
        else np.asarray(online.eq_missing(offline).to_numpy(), np.bool_)
    )
    adds = TABLE[feature.aggregation.function].adds
    if equal.all() or adds is None or not online.dtype.is_float():
        return (
            equal if feature.aggregation.secondary is None else equal | _close_maps(online, offline)
        )
    a, b, size = (
        online.fill_null(np.nan).to_numpy(),
        offline.fill_null(np.nan).to_numpy(),
        size_of(),
    )
    if adds == "deviation":
        a, b, size = a**2, b**2, size**2 + b**2
    elif adds == "variance":
        size = size**2 + np.abs(b)
    close: Bool = np.abs(a - b) <= _TOLERANCE * size  # NaN is close to nothing
    return equal | close


def agree_lists(
    feature: Feature,
    online: pl.Series,
    offline: pl.Series,
    lists: KeyLists,
    size_of: Callable[[], F64],
) -> Bool:
    """As `agree`, of values that are looked up by lists of keys; `offline` and `size_of` are of the
    elements.
    """
    as_long = (online.is_null().to_numpy() == lists.null) & (
        online.list.len().fill_null(0).to_numpy() == lists.sizes
    )
    # the log has lists of other lengths than its keys, so the elements are not the same
    if not as_long.all():
        same: Bool = as_long & same_values(online, lists.lists(offline))
        return same
    elements = online.filter(pl.Series(lists.sizes > 0)).explode()
    alike = agree(
        feature,
        elements if elements.dtype.is_nested() else elements.cast(offline.dtype),
        offline,
        size_of,
    )
    all_alike: Bool = np.bincount(lists.rows, ~alike, minlength=len(lists.sizes)) == 0
    return all_alike


def same_values(online: pl.Series, offline: pl.Series) -> Bool:
    """Whether each pair of values is equal, lists and maps too."""
    return np.array(
        [bool(a == b) for a, b in zip(online.to_list(), offline.to_list(), strict=True)], np.bool_
    )


def _close_maps(online: pl.Series, offline: pl.Series) -> Bool:
    """Maps of floats that were added up: the same keys in the same order, values within 1e-9 of the
    largest.
    """

    def close(a: object, b: object) -> bool:
        items, theirs = _items(a), _items(b)
        if items is None or theirs is None or [k for k, _ in items] != [k for k, _ in theirs]:
            return False
        size = max((abs(v) for _, v in theirs if isinstance(v, float)), default=0.0)
        return all(
            x == y
            or (
                isinstance(x, float)
                and isinstance(y, float)
                and abs(x - y) <= _TOLERANCE * max(size, 1.0)
            )
            for (_, x), (_, y) in zip(items, theirs, strict=True)
        )

    return np.array(
        [close(a, b) for a, b in zip(online.to_list(), offline.to_list(), strict=True)], np.bool_
    )


def _items(value: object) -> list[tuple[object, object]] | None:
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, list):
        return [(v["key"], v["value"]) for v in value]
    return None
