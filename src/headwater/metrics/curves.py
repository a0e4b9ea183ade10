"""The points that a report draws its precision-recall and calibration curves from."""

from __future__ import annotations

import numpy as np

from headwater.metrics.calibration import BINS, bins
from headwater.metrics.metric import Blocks, Floats, ScoredRows
from headwater.metrics.score_order import ranked
from headwater.results.backtest_result import Curves

_POINTS = 200


def curves(y: Floats, score: Floats) -> Curves:
    """The precision-recall curve (at most 200 points, spread evenly over recall) and the
    calibration curve (10 bins).

    `y` is 0 or 1 and `score` a float, both of shape (rows,). Recall rises
    along the points; each point is a threshold that the scores allow, so rows
    of equal score are never parted. Calibration goes from low to high scores,
    in bins of equal mass. Without positives the first curve is empty, without
    rows both are.

    >>> found = curves(np.array([1.0, 0, 1, 0]), np.array([0.9, 0.8, 0.3, 0.1]))
    >>> list(found.recall), [round(value, 2) for value in found.precision]
    ([0.5, 0.5, 1.0, 1.0], [1.0, 0.5, 0.67, 0.5])
    """
    y, score = np.asarray(y, dtype=np.float64), np.asarray(score, dtype=np.float64)
    if not y.size:
        return Curves([], [], [], [])
    rows = ScoredRows("", y, score, Blocks.whole(len(y)))
    recall, precision = _precision_recall(rows)
    predicted, observed = bins(rows)
    mass = len(y) / BINS
    return Curves(
        recall.tolist(),
        precision.tolist(),
        (predicted[::-1, 0] / mass).tolist(),
        (observed[::-1, 0] / mass).tolist(),
    )


def _precision_recall(rows: ScoredRows) -> tuple[Floats, Floats]:
    ends = np.flatnonzero(ranked(rows).last)
    hits = np.cumsum(ranked(rows).positive)[ends].astype(np.float64)
    if hits[-1] == 0:
        return np.empty(0), np.empty(0)
    recall, precision = hits / hits[-1], hits / (ends + 1)
    if len(ends) > _POINTS:
        chosen = np.unique(np.searchsorted(recall, np.linspace(0, 1, _POINTS)))
        recall, precision = recall[chosen], precision[chosen]
    return recall, precision
