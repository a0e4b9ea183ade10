"""How well scores order the rows: AUC (ties count half) and average precision (ties as one
step).
"""

from __future__ import annotations

from headwater.metrics.metric import Family, Floats, Metric, ScoredRows
from headwater.metrics.score_order import ranked


def _auc(rows: ScoredRows) -> Floats:
    return ranked(rows).areas[0]


def _average_precision(rows: ScoredRows) -> Floats:
    return ranked(rows).areas[1]


FAMILY = Family(
    (Metric("auc", "binary", _auc), Metric("average_precision", "binary", _average_precision))
)
