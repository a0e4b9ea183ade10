"""Fitting a model on features, and scoring rows with it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from headwater import settings
from headwater.compute.arrays import F64
from headwater.definitions.model import Estimator, Model, Task
from headwater.errors import DataError
from headwater.models.encoding import Encoding, fit_encoding
from headwater.models.estimators import default_estimator, fresh_copy, is_fitted

if TYPE_CHECKING:
    import polars as pl


class _Probabilities(Protocol):
    def predict_proba(self, X: object) -> object: ...


@dataclass(frozen=True)
class Fitted:
    """An estimator with the encoding of its input; `description` names it in reports."""

    estimator: Estimator
    encoding: Encoding
    task: Task
    description: str
    replayed: bool = False  # given fitted, and not trained here

    def score(self, frame: pl.DataFrame) -> F64:
        """The probability of the outcome (binary) or the predicted value (regression) of each row: float64 (rows)."""
        if frame.height == 0:
            return np.empty(0)
        x = self.encoding.transform(frame)
        if self.task == "binary" and hasattr(self.estimator, "predict_proba"):
            both = np.asarray(cast("_Probabilities", self.estimator).predict_proba(x), np.float64)
            return np.ascontiguousarray(both[:, -1])
        return np.asarray(self.estimator.predict(x), np.float64).reshape(-1)


def fit(model: Model, frame: pl.DataFrame, label: F64, *, seed: int = 0, threads: int | None = None) -> Fitted:
    """The model's estimator fitted on these rows; a fitted one is taken as it is.

    Args:
        model: says which estimator.
        frame: one row a training row, one column a feature.
        label: float64 (rows).

    Raises:
        DataError: labels of one class, or an estimator that refuses the data.
    """
    if model.task == "binary":
        check_classes(label, f"model {model.name!r}, training rows")
    encoding = fit_encoding(frame)
    if model.estimator is not None and is_fitted(model.estimator):
        return Fitted(model.estimator, encoding, model.task, f"{type(model.estimator).__name__}, given fitted", replayed=True)
    if model.estimator is None:
        estimator, description = default_estimator(model.task, encoding.categorical, seed=seed, threads=threads or settings.threads())
    else:
        estimator, description = fresh_copy(model.estimator), type(model.estimator).__name__
    y = label.astype(np.int64) if model.task == "binary" else label
    more = {}
    if "categorical_feature" in inspect.signature(estimator.fit).parameters and encoding.categorical:
        more = {"categorical_feature": encoding.categorical}
    try:
        estimator.fit(encoding.transform(frame), y, **more)
    except ValueError as error:
        raise DataError(
            f"model {model.name!r}: {description} cannot be fitted: {error}. Missing values are NaN and texts are category numbers; a pipeline "
            "with an imputer takes them"
        ) from error
    return Fitted(estimator, encoding, model.task, description)


def check_classes(label: F64, what: str) -> None:
    """Refuse labels that are not 0 and 1, or only one of them."""
    classes = np.unique(label)
    strange = [c for c in classes.tolist() if c not in (0.0, 1.0)]
    if strange:
        raise DataError(
            f"{what}: a binary label is 0 or 1, and {strange[0]:g} is among them; make one in the labels' select, or set task='regression'"
        )
    if len(classes) < 2:
        held = f"all {len(label)} labels are {classes[0]:g}" if len(classes) else "there are no labels"
        raise DataError(f"{what}: {held}; both outcomes are needed. Check the label, the filter and the split")
