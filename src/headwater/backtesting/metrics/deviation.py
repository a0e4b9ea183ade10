"""Errors of a regression, in the outcome's unit (WAPE: a share).

WAPE is the summed absolute error over the summed absolute outcome; unlike the
mean percentage error it stands outcomes of zero.
"""

from __future__ import annotations

import numpy as np

from headwater.backtesting.metrics.base import Family, Floats, Metric, Scored, ratio


def _mae(rows: Scored) -> Floats:
    return ratio(rows.total(np.abs(rows.score - rows.y)), rows.total(np.ones(len(rows.y))))


def _rmse(rows: Scored) -> Floats:
    return np.sqrt(ratio(rows.total((rows.score - rows.y) ** 2), rows.total(np.ones(len(rows.y)))))


def _wape(rows: Scored) -> Floats:
    return ratio(rows.total(np.abs(rows.score - rows.y)), rows.total(np.abs(rows.y)))


FAMILY = Family(
    (
        Metric("mae", "regression", _mae, higher_is_better=False, relative=True),
        Metric("rmse", "regression", _rmse, higher_is_better=False, relative=True),
        Metric("wape", "regression", _wape, higher_is_better=False, relative=True),
    )
)
