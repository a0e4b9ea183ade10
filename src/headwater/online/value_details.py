"""Details of a feature value of an online read: its status, age and flags."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import polars as pl

from headwater.definitions.base import StaleWarning, stack_level
from headwater.definitions.durations import rounded
from headwater.definitions.feature_view import FeatureView
from headwater.events import statuses
from headwater.online.read_versions import ReadVersion

ValueDetails = tuple[pl.Series, int, bool, bool]
"""Details of a feature: its statuses, its age in microseconds, whether it is stale, and whether it is incomplete."""


def details_of(series: pl.Series, details: ValueDetails | None) -> list[pl.Series]:
    """The columns of details of one feature."""
    name = series.name
    nothing = statuses.status_series("", series.is_null().cast(pl.Int64).to_numpy()), 0, False, False
    status, age, stale, incomplete = details or nothing
    return [
        status.alias(statuses.status_name(name)),
        pl.Series(f"{name}__age", np.full(len(series), age / 1e6)),
        pl.Series(f"{name}__stale", np.full(len(series), stale)),
        pl.Series(f"{name}__incomplete", np.full(len(series), incomplete)),
    ]


def warn_stale(served: Mapping[str, tuple[FeatureView, ReadVersion]], t: int) -> None:
    """Warn once of all views whose values, asked for at t, are older than promised and served all the same.

    Warns:
        StaleWarning: there is such a view.
    """
    old = {
        name: (view, t - read_version.K)
        for name, (view, read_version) in served.items()
        if read_version.stale and view.on_stale == "previous"
    }
    if not old:
        return
    listed = "; ".join(f"view {name!r} is {_old(age)} old (defined: {view.freshness})" for name, (view, age) in old.items())
    verbs = dict.fromkeys(view.freshness.command for view, _ in old.values())
    runs = " and ".join(f"`headwater {verb}`" for verb in verbs)
    message = (
        f"stale values: {listed}. See that {runs} runs, and `headwater status`; details=True says it in columns instead of this warning, and "
        "on_stale= of the view serves null or refuses instead"
    )
    warnings.warn(StaleWarning(message, {name: age / 1e6 for name, (_, age) in old.items()}), stacklevel=stack_level())


def _old(age: int) -> str:
    return rounded(age) if age >= 0 else f"-{rounded(age)}"
