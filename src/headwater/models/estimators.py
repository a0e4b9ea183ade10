"""Which estimator a model is fitted with, and whether a given one is fitted already."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

from headwater.definitions.model import Estimator, TaskKind
from headwater.models.encoding import Encoding

# Of classes LightGBM chooses by their number.
_OBJECTIVES = {"binary": "binary", "multiclass": None, "regression": "regression_l1", "ranking": "lambdarank"}
_WIDEST = 255  # categories that scikit-learn's histogram gradient boosting can tell apart in a column


def default_estimator(kind: TaskKind, encoding: Encoding, *, graded: bool = False, seed: int, threads: int) -> tuple[Estimator, str]:
    """LightGBM's gradient boosting; scikit-learn's where LightGBM does not load (a slim image lacks libgomp). With a description.

    LightGBM's regression is fitted to the absolute error, as the headline metric is the mean of that; scikit-learn's to the squared one.
    LightGBM ranks by LambdaRank (Burges, 2010); scikit-learn knows no lists, and judges each candidate by itself. `graded`: whether
    the labels of a ranking are more than 0 and 1.
    """
    try:
        import lightgbm
    except (ImportError, OSError) as error:
        made = _histogram(kind, narrow(encoding), graded=graded, seed=seed)
        alone = ", each candidate by itself" if kind == "ranking" else ""
        return made, f"scikit-learn HistGradientBoosting{alone} (LightGBM does not load: {error})"
    makers = {"binary": lightgbm.LGBMClassifier, "multiclass": lightgbm.LGBMClassifier, "regression": lightgbm.LGBMRegressor}
    made = makers.get(kind, lightgbm.LGBMRanker)(
        objective=_OBJECTIVES[kind],
        n_estimators=80,
        learning_rate=0.08,
        num_leaves=48,
        min_child_samples=80,
        colsample_bytree=0.6,
        subsample=0.8,
        subsample_freq=1,
        max_bin=63,
        cat_smooth=100,
        cat_l2=50,
        random_state=seed,
        n_jobs=threads,
        deterministic=True,
        force_col_wise=True,
        verbose=-1,
    )
    each = " a class" if kind == "multiclass" else ""
    return cast("Estimator", made), f"LightGBM {lightgbm.__version__}, 80 trees{each} of 48 leaves"


def fresh_copy(estimator: Estimator, encoding: Encoding, *, seed: int) -> Estimator:
    """An unfitted copy with the same parameters.

    What they leave open is filled in: the seed of every part that draws at random, and the text columns of scikit-learn's histogram
    gradient boosting. An estimator without scikit-learn's `get_params` is copied as it is.
    """
    from sklearn.base import clone

    if not hasattr(estimator, "get_params"):
        return copy.deepcopy(estimator)
    made = clone(estimator)
    given = made.get_params(deep=True)
    open_: dict[str, object] = {
        name: seed for name, value in given.items() if value is None and (name == "random_state" or name.endswith("__random_state"))
    }
    if given.get("categorical_features", 0) in (None, "from_dtype") and type(made).__name__.startswith("HistGradientBoosting"):
        open_["categorical_features"] = narrow(encoding) or None
    return cast("Estimator", made.set_params(**open_))


def narrow(encoding: Encoding) -> list[int]:
    """The positions of the text columns with few enough categories for scikit-learn; wider ones stay ordinal numbers."""
    return [i for i in encoding.categorical if len(encoding.categories[encoding.inputs[i]]) <= _WIDEST]


def is_fitted(estimator: Estimator) -> bool:
    """Whether `estimator` has been fitted, by scikit-learn's own rule: it says so, or has an attribute that ends with "_"."""
    says = getattr(estimator, "__sklearn_is_fitted__", None)
    if says is not None:
        return bool(says())
    if not hasattr(estimator, "get_params"):
        return any(name.endswith("_") and not name.startswith("_") for name in vars(estimator))
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True


def _histogram(kind: TaskKind, categorical: Sequence[int], *, graded: bool, seed: int) -> Estimator:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    # Its absolute error does not learn where many outcomes equal their median, so a regression keeps the squared error here.
    maker = HistGradientBoostingRegressor if kind == "regression" or graded else HistGradientBoostingClassifier
    return cast(
        "Estimator",
        maker(
            max_iter=80,
            learning_rate=0.08,
            max_leaf_nodes=48,
            min_samples_leaf=80,
            categorical_features=list(categorical) or None,
            random_state=seed,
        ),
    )
