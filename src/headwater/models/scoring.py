"""From what an estimator says to scores: one number a row, or one for each class."""

from __future__ import annotations

from typing import Protocol, cast

import numpy as np

from headwater.definitions.model import Estimator, TaskType
from headwater.errors import DataError
from headwater.kernel.arrays import F64


class Probabilities(Protocol):
    """An estimator of classes."""

    def predict_proba(self, X: object) -> object: ...


class Decides(Protocol):
    """An estimator that tells classes apart by a value."""

    def decision_function(self, X: object) -> object: ...


def in_units_of_label(estimator: Estimator, task: TaskType) -> bool:
    """Whether a score is a probability or a value; False where it only orders."""
    if task.lists:
        return False
    return (
        task.values
        or hasattr(estimator, "predict_proba")
        or not hasattr(estimator, "decision_function")
    )


def scores_of(estimator: Estimator, task: TaskType, classes: int, x: object) -> F64:
    """What the estimator says of each row: float64, (rows) or for a multiclass task (rows,
    classes).

    Binary: the probability of the outcome; without `predict_proba` the decision function, or the
    prediction. Regression: the value. Multiclass: the probability of each class, or else the
    decision function. Ranking: the higher, the nearer to the top; of an estimator of classes, the
    mean grade by their probabilities.

    Args:
        estimator: fitted.
        task: of the model.
        classes: how many there are in a multiclass task.
        x: as the estimator takes it.

    Raises:
        DataError: it tells another number of classes apart.
    """
    if task.classes:
        return _each_class(estimator, classes, x)
    if not task.values and hasattr(estimator, "predict_proba"):
        return _of_classes(
            estimator,
            task,
            np.asarray(cast("Probabilities", estimator).predict_proba(x), np.float64),
        )
    if not task.values and hasattr(estimator, "decision_function"):
        scores = np.asarray(cast("Decides", estimator).decision_function(x), np.float64)
        if scores.ndim == 1:
            return scores
    scores = np.asarray(estimator.predict(x), np.float64)
    return scores if scores.ndim == 1 else _of_classes(estimator, task, scores)


def _of_classes(estimator: Estimator, task: TaskType, shares: F64) -> F64:
    """One number a row, of a column for each class: the share of the last, or in a ranking the mean
    grade.
    """
    if shares.shape[1] == 1:
        return np.ascontiguousarray(shares[:, 0])
    if task.values or (task.positives and shares.shape[1] != 2):
        raise DataError(
            f"{type(estimator).__name__} gives {shares.shape[1]} numbers a row, and a {task.name} "
            "model has one"
        )
    return (
        shares @ _grades(estimator, shares.shape[1])
        if task.lists
        else np.ascontiguousarray(shares[:, -1])
    )


def _each_class(estimator: Estimator, classes: int, x: object) -> F64:
    if hasattr(estimator, "predict_proba"):
        scores = np.asarray(cast("Probabilities", estimator).predict_proba(x), np.float64)
    elif hasattr(estimator, "decision_function"):
        scores = np.asarray(cast("Decides", estimator).decision_function(x), np.float64)
        if scores.ndim == 1:  # of two classes, scikit-learn says only how much it is the second
            scores = np.column_stack([-scores, scores])
    else:
        scores = np.asarray(estimator.predict(x), np.float64)
        if scores.ndim == 1:  # the class itself
            scores = (scores[:, None] == np.arange(classes)).astype(np.float64)
    if scores.ndim != 2 or scores.shape[1] != classes:
        raise DataError(
            f"{type(estimator).__name__} tells {scores.shape[-1]} classes apart, and the labels "
            f"have {classes}"
        )
    return np.ascontiguousarray(scores)


def _grades(estimator: Estimator, count: int) -> F64:
    classes = getattr(estimator, "classes_", None)
    return (
        np.arange(count, dtype=np.float64) if classes is None else np.asarray(classes, np.float64)
    )
