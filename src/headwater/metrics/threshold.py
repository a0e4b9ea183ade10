"""Precision and recall at the operating threshold, and how the threshold is chosen."""

from __future__ import annotations

import math

import numpy as np

from headwater.metrics.metric import Family, Floats, Metric, ScoredRows, ratio


def _precision(rows: ScoredRows) -> Floats:
    return ratio(rows.total(rows.y * rows.flagged), rows.total(rows.flagged))


def _recall(rows: ScoredRows) -> Floats:
    return ratio(rows.total(rows.y * rows.flagged), rows.total(rows.y))


def operating_threshold(y: Floats, score: Floats) -> float:
    """The score that maximises F1 on rows that the model did not learn from: rows that reach it are
    flagged.

    Pass TRAINING rows that were held out when the scores' model was fitted: a threshold chosen on
    the test rows would flatter them, and one chosen on the rows that were fitted lies too high. `y`
    is 0 or 1 and `score` a float, both of shape (rows,). Of several equally good thresholds it is
    the highest; infinity (nothing is flagged) without positives.

    >>> operating_threshold(np.array([0.0, 1, 0, 1]), np.array([0.1, 0.4, 0.2, 0.9]))
    0.4
    """
    order = np.argsort(-score, kind="stable")
    hits, ranked = np.cumsum(y[order]), score[order]
    if not hits.size or hits[-1] == 0:
        return math.inf
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + hits[-1])
    f1[:-1][ranked[1:] == ranked[:-1]] = -1  # a threshold cannot part rows of equal score
    return float(ranked[np.argmax(f1)])


FAMILY = Family(
    (
        Metric("precision", "binary", _precision, cut="operating"),
        Metric("recall", "binary", _recall, cut="operating"),
    )
)
