"""Proper scores of probabilities: log loss (natural logarithm) and Brier score."""

from __future__ import annotations

import math

import numpy as np

from headwater.metrics.metric import Family, Floats, Metric, ScoredRows, ratio

EPSILON = np.finfo(np.float64).eps  # as scikit-learn: a sure and wrong score costs 36, not infinity


def _log_loss(rows: ScoredRows) -> Floats:
    sure = np.clip(rows.probability, EPSILON, 1 - EPSILON)
    losses = -np.log(np.where(rows.y > 0, sure, 1 - sure))
    return ratio(rows.total(losses), rows.total(np.ones(len(losses))))


def _brier(rows: ScoredRows) -> Floats:
    return ratio(rows.total((rows.probability - rows.y) ** 2), rows.total(np.ones(len(rows.y))))


FAMILY = Family(
    (
        Metric(
            "log_loss",
            "binary",
            _log_loss,
            higher_is_better=False,
            relative=True,
            span=(0.0, math.inf),
        ),
        Metric(
            "brier", "binary", _brier, higher_is_better=False, relative=True, span=(0.0, math.inf)
        ),
    )
)
