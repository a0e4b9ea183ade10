"""How well scores order the rows: AUC (ties count half) and average precision (ties as one step)."""

from __future__ import annotations

from headwater.backtesting.metrics.base import Family, Floats, Metric, Scored


def _auc(rows: Scored) -> Floats:
    return rows.ranked.areas[0]


def _average_precision(rows: Scored) -> Floats:
    return rows.ranked.areas[1]


FAMILY = Family((Metric("auc", "binary", _auc), Metric("average_precision", "binary", _average_precision)))
