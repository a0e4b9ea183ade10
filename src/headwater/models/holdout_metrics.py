"""Metrics of a fitted model on held-out rows with a known outcome."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from headwater.kernel.arrays import F64, I64
from headwater.models.fit import Fitted
from headwater.models.outcomes import Outcomes

_SHOWN = 10  # candidates of a list that NDCG looks at


def measure(fitted: Fitted, known: Outcomes, score: F64) -> Mapping[str, float]:
    """The task's metrics, by name; NaN where the rows do not tell.

    Binary: auc, average_precision, and log_loss of probabilities. Multiclass: accuracy, and log_loss of probabilities. Regression: mae,
    rmse. Ranking: ndcg@10, with gain = relevance (Järvelin and Kekäläinen, 2002), over lists with something relevant.

    Args:
        fitted: what gave the scores.
        known: the outcomes.
        score: float64, (rows) or (rows, classes), as `Fitted.score` gives it.
    """
    from sklearn import metrics

    y = known.y
    if fitted.task.values:
        return {"mae": float(np.abs(y - score).mean()), "rmse": float(np.sqrt(((y - score) ** 2).mean()))}
    if fitted.task.lists:
        assert known.groups is not None
        return {f"ndcg@{_SHOWN}": _ndcg(y, score, known.groups)}
    if fitted.task.classes:
        seen = ~np.isnan(y)
        right = {"accuracy": float((score.argmax(axis=1) == y).mean())}
        if not fitted.in_units_of_label or not seen.any():
            return right
        likelihood = score[seen, y[seen].astype(np.int64)]
        return right | {"log_loss": float(-np.log(np.clip(likelihood, 1e-15, None)).mean())}
    both = len(np.unique(y)) == 2
    values = {
        "auc": float(metrics.roc_auc_score(y, score)) if both else float("nan"),
        "average_precision": float(metrics.average_precision_score(y, score)) if both else float("nan"),
    }
    within = fitted.in_units_of_label and len(score) and score.min() >= 0 and score.max() <= 1
    return values | ({"log_loss": float(metrics.log_loss(y, score, labels=[0, 1]))} if within else {})


def _ndcg(y: F64, score: F64, groups: I64) -> float:
    """The mean over lists of the discounted gain of the first ten over the best there could be; equal scores in the order of rows."""
    gained, best = (_gains(y, by, groups) for by in (score, y))
    relevant_lists = best > 0
    return float((gained[relevant_lists] / best[relevant_lists]).mean()) if relevant_lists.any() else float("nan")


def _gains(y: F64, by: F64, groups: I64) -> F64:
    order = np.lexsort((-by, groups))
    _, first, of = np.unique(groups[order], return_index=True, return_inverse=True)
    rank = np.arange(len(order)) - first[of] + 1
    return np.bincount(of, weights=np.where(rank <= _SHOWN, y[order] / np.log2(1 + rank), 0.0)).astype(np.float64)
