"""Several classes: log loss, accuracy, and means over classes of F1 and of one-against-the-rest
AUC.

A class without a row in a resample (or in the test) has no AUC there and is
left out of the mean; of F1 it is left out if it is not predicted either.

Source: Hand and Till, "A simple generalisation of the area under the ROC curve
for multiple class problems", 2001, section 2 (one against the rest).
"""

from __future__ import annotations

import math

import numpy as np

from headwater.metrics.metric import Family, Floats, Metric, ScoredRows, ratio
from headwater.metrics.probability import EPSILON
from headwater.metrics.score_order import ranked


def _log_loss(rows: ScoredRows) -> Floats:
    """Rows of a class that the model does not know (NaN) are left out."""
    present = ~np.isnan(rows.y)
    probabilities = rows.probability[np.flatnonzero(present), rows.y[present].astype(np.int64)]
    losses = np.zeros(len(present))
    losses[present] = -np.log(np.clip(probabilities, EPSILON, 1))
    return ratio(rows.total(losses), rows.total(present))


def _accuracy(rows: ScoredRows) -> Floats:
    return ratio(rows.total(rows.score.argmax(axis=1) == rows.y), rows.total(np.ones(len(rows.y))))


def _macro_f1(rows: ScoredRows) -> Floats:
    predicted = rows.score.argmax(axis=1)
    scores = []
    for c in range(rows.score.shape[1]):
        predicted_c, true = predicted == c, rows.y == c
        scores.append(
            ratio(2 * rows.total(predicted_c & true), rows.total(predicted_c) + rows.total(true))
        )
    return _mean_of_known(np.array(scores))


def _auc(rows: ScoredRows) -> Floats:
    """The mean over classes of the AUC of that class against all others.

    >>> from headwater.metrics.metric import Blocks
    >>> score = np.array([[0.7, 0.2, 0.1], [0.3, 0.5, 0.2], [0.4, 0.3, 0.3], [0.1, 0.2, 0.7]])
    >>> _auc(ScoredRows("a", np.array([0.0, 1, 1, 2]), score, Blocks.whole(4))).round(3)
    array([1.])
    """
    areas = [
        ranked(ScoredRows(rows.level, (rows.y == c) * 1.0, rows.score[:, c], rows.blocks)).areas[0]
        for c in range(rows.score.shape[1])
    ]
    return _mean_of_known(np.array(areas))


def _mean_of_known(values: Floats) -> Floats:
    """The mean over classes (classes, 1 + resamples), NaN ones left out."""
    present = ~np.isnan(values)
    return ratio(np.where(present, values, 0.0).sum(axis=0), present.sum(axis=0).astype(np.float64))


FAMILY = Family(
    (
        Metric(
            "log_loss",
            "multiclass",
            _log_loss,
            higher_is_better=False,
            relative=True,
            span=(0.0, math.inf),
        ),
        Metric("accuracy", "multiclass", _accuracy),
        Metric("macro_f1", "multiclass", _macro_f1),
        Metric("auc_ovr", "multiclass", _auc),
    )
)
