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


class _Decides(Protocol):
    def decision_function(self, X: object) -> object: ...


@dataclass(frozen=True)
class Fitted:
    """An estimator with the encoding of its input; `description` names it in reports."""

    estimator: Estimator
    encoding: Encoding
    task: Task
    description: str
    replayed: bool = False  # given fitted, and not trained here

    @property
    def in_units_of_label(self) -> bool:
        """Whether a score is a probability or a value; False for a decision function, which only orders."""
        return self.task == "regression" or hasattr(self.estimator, "predict_proba") or not hasattr(self.estimator, "decision_function")

    def score(self, frame: pl.DataFrame) -> F64:
        """The probability of the outcome (binary) or the predicted value (regression) of each row: float64 (rows).

        A binary estimator without `predict_proba` gives its `decision_function`, or what it predicts.

        Raises:
            DataError: an estimator that refuses the data, or was given fitted on other columns.
        """
        if frame.height == 0:
            return np.empty(0)
        x = self.encoding.transform(frame)
        try:
            if self.task == "binary" and hasattr(self.estimator, "predict_proba"):
                both = np.asarray(cast("_Probabilities", self.estimator).predict_proba(x), np.float64)
                return np.ascontiguousarray(both[:, -1])
            if not self.in_units_of_label:
                return np.asarray(cast("_Decides", self.estimator).decision_function(x), np.float64)
            return np.asarray(self.estimator.predict(x), np.float64).reshape(-1)
        except ValueError as error:
            raise DataError(f"{self.description}, cannot score the features {list(self.encoding.columns)}: {_first_line(error)}") from error


def fit(model: Model, frame: pl.DataFrame, label: F64, *, seed: int = 0, threads: int | None = None) -> Fitted:
    """The model's estimator fitted on these rows; a fitted one is taken as it is.

    Args:
        model: says which estimator.
        frame: one row a training row, one column a feature.
        label: float64 (rows).

    Raises:
        DataError: labels of one class, or an estimator that refuses the data.
    """
    if model.task_kind in ("multiclass", "ranking"):
        raise DataError(f"model {model.name!r} has the task {model.task_kind!r}, which is not trained yet; binary and regression are")
    if model.task == "binary":
        check_classes(label, f"model {model.name!r}, training rows")
    encoding = fit_encoding(frame)
    if model.estimator is not None and is_fitted(model.estimator):
        _check_given(model, encoding)
        return Fitted(model.estimator, encoding, model.task, f"{type(model.estimator).__name__}, given fitted", replayed=True)
    if model.estimator is None:
        estimator, description = default_estimator(model.task, encoding, seed=seed, threads=threads or settings.threads())
    else:
        estimator, description = fresh_copy(model.estimator, encoding, seed=seed), type(model.estimator).__name__
    y = label.astype(np.int64) if model.task == "binary" else label
    more = {}
    if "categorical_feature" in inspect.signature(estimator.fit).parameters and encoding.categorical:
        more = {"categorical_feature": encoding.categorical}
    try:
        estimator.fit(encoding.transform(frame), y, **more)
    except ValueError as error:
        raise DataError(
            f"model {model.name!r}: {description} cannot be fitted: {_first_line(error)} Missing values are NaN and texts are category numbers; "
            "a pipeline with an imputer takes them"
        ) from error
    return Fitted(estimator, encoding, model.task, description)


def _first_line(error: ValueError) -> str:
    """Without the page of advice that scikit-learn adds."""
    return str(error).partition("\n")[0].rstrip(".") + "."


def _check_given(model: Model, encoding: Encoding) -> None:
    """Refuse to replay an estimator that was fitted on other columns, or on texts whose numbers are not known here."""
    what = f"model {model.name!r}: {type(model.estimator).__name__} was given fitted, and is not trained again"
    if encoding.categories:
        raise DataError(
            f"{what}; which numbers it was taught for the texts of {', '.join(map(repr, encoding.categories))} is not known here. Give it "
            "unfitted, or make numbers of these columns in a source's select or a request feature"
        )
    width = getattr(model.estimator, "n_features_in_", None)
    if width is not None and width != len(encoding.columns):
        raise DataError(f"{what}; it takes {width} columns, and the features are {len(encoding.columns)}: {', '.join(encoding.columns)}")
    names = [str(n) for n in getattr(model.estimator, "feature_names_in_", ())]
    if set(names) & set(encoding.columns) and names != list(encoding.columns):
        raise DataError(f"{what}; it takes the columns {names}, and the features are {list(encoding.columns)}: give the service that order")


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
