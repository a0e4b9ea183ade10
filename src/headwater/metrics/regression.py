"""Errors of a regression, in the outcome's unit (WAPE: a share).

WAPE is the summed absolute error over the summed absolute outcome; unlike the
mean percentage error (MAPE, by name only), it stands outcomes of zero. The
pinball loss at q is that of a model of the q-quantile; at 0.5 half the MAE.

Source: Koenker and Bassett, "Regression quantiles", 1978 (pinball loss).
"""

from __future__ import annotations

import math
import re

import numpy as np

from headwater.errors import UsageError
from headwater.metrics.metric import Family, Floats, Metric, ScoredRows, ratio

_ERROR = (0.0, math.inf)
_PINBALL = re.compile(r"pinball@(0?\.\d+|[01](?:\.0*)?)")


def _mae(rows: ScoredRows) -> Floats:
    return ratio(rows.total(np.abs(rows.score - rows.y)), rows.total(np.ones(len(rows.y))))


def _rmse(rows: ScoredRows) -> Floats:
    return np.sqrt(ratio(rows.total((rows.score - rows.y) ** 2), rows.total(np.ones(len(rows.y)))))


def _wape(rows: ScoredRows) -> Floats:
    return ratio(rows.total(np.abs(rows.score - rows.y)), rows.total(np.abs(rows.y)))


def _mape(rows: ScoredRows) -> Floats:
    """Rows whose outcome is 0 have no percentage, and are left out."""
    nonzero = rows.y != 0
    shares = np.divide(
        np.abs(rows.score - rows.y), np.abs(rows.y), out=np.zeros(len(rows.y)), where=nonzero
    )
    return ratio(rows.total(shares), rows.total(nonzero))


def _pinball(rows: ScoredRows, q: float) -> Floats:
    over = rows.y - rows.score
    return ratio(rows.total(np.maximum(q * over, (q - 1) * over)), rows.total(np.ones(len(rows.y))))


def parse(name: str) -> Metric | None:
    """Read "pinball@0.9"; None if `name` is not of that form.

    Raises UsageError if the quantile is not between 0 and 1.

    >>> parse("pinball@.90").name
    'pinball@0.9'
    """
    match = _PINBALL.fullmatch(name)
    if not match:
        return None
    q = float(match[1])
    if not 0 < q < 1:
        raise UsageError(f"{name!r}: the quantile lies between 0 and 1, as in pinball@0.9")
    return Metric(
        f"pinball@{q:.10g}",
        "regression",
        lambda rows: _pinball(rows, q),
        higher_is_better=False,
        relative=True,
        span=_ERROR,
    )


FAMILY = Family(
    (
        Metric("mae", "regression", _mae, higher_is_better=False, relative=True, span=_ERROR),
        Metric("rmse", "regression", _rmse, higher_is_better=False, relative=True, span=_ERROR),
        Metric("wape", "regression", _wape, higher_is_better=False, relative=True, span=_ERROR),
    ),
    parse,
    "pinball@Q for any Q between 0 and 1",
    more=(Metric("mape", "regression", _mape, higher_is_better=False, relative=True, span=_ERROR),),
)
