"""Details of a feature value of an online read: its status, age and flags."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from headwater.definitions.checks import rounded
from headwater.definitions.definition import stack_level
from headwater.definitions.feature_view import FeatureView
from headwater.errors import StaleWarning
from headwater.events.columns import status_name, status_series
from headwater.online.read_versions import ReadVersion


def details_of(
    names: Sequence[str],
    statuses: Sequence[bytes],
    read_versions: Sequence[ReadVersion],
    version_indexes: Sequence[int],
    t: int,
) -> list[pl.Series]:
    """The columns of details of all features; `of`: for each feature the index of its read version,
    -1 where it has none.
    """
    count = len(statuses[0]) if statuses else 0
    words = status_series("", np.frombuffer(b"".join(statuses), np.uint8).astype(np.int64))
    alike = [
        _constants(version.age(t), count, stale=version.stale, incomplete=version.incomplete)
        for version in read_versions
    ]
    alike.append(_constants(0, count, stale=False, incomplete=False))
    columns = []
    for index, (name, version) in enumerate(zip(names, version_indexes, strict=True)):
        columns.append(words.slice(index * count, count).alias(status_name(name)))
        columns += [series.alias(f"{name}__{series.name}") for series in alike[version]]
    return columns


def _constants(age: int, count: int, *, stale: bool, incomplete: bool) -> list[pl.Series]:
    values = {
        "age": np.full(count, age / 1e6),
        "stale": np.full(count, stale),
        "incomplete": np.full(count, incomplete),
    }
    return [pl.Series(name, column) for name, column in values.items()]


def warn_stale(served: Mapping[FeatureView, ReadVersion], t: int) -> None:
    """Warn once of all views whose values, asked for at t, are older than promised and served all
    the same.

    Warns:
        StaleWarning: there is such a view.
    """
    old = {
        view.name: (view, read_version.age(t))
        for view, read_version in served.items()
        if read_version.stale and view.on_stale == "previous"
    }
    if not old:
        return
    listed = "; ".join(
        f"view {name!r} is {_old(age)} (defined: {view.freshness})"
        for name, (view, age) in old.items()
    )
    verbs = dict.fromkeys(view.freshness.command for view, _ in old.values())
    runs = " and ".join(f"`headwater {verb}`" for verb in verbs)
    message = (
        f"stale values: {listed}. See that {runs} runs, and `headwater status`; details=True says "
        "it in columns instead of this warning, and on_stale= of the view serves null or refuses "
        "instead"
    )
    warnings.warn(
        StaleWarning(message, {name: age / 1e6 for name, (_, age) in old.items()}),
        stacklevel=stack_level(),
    )


def _old(age: int) -> str:
    if age >= 0:
        return f"{rounded(age)} old"
    return (
        f"{rounded(age)} later than the request: a store keeps the last values alone, and "
        "get_historical_features has those of an earlier time"
    )
