"""Which estimator a model is fitted with, and whether a given one is fitted already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from headwater.definitions.model import Estimator, Task


def default_estimator(task: Task, categorical: Sequence[int], *, seed: int, threads: int) -> tuple[Estimator, str]:
    """LightGBM's gradient boosting; scikit-learn's where LightGBM does not load (a slim image lacks libgomp). With a description."""
    try:
        import lightgbm
    except (ImportError, OSError) as error:
        return _histogram(task, categorical, seed), f"scikit-learn HistGradientBoosting (LightGBM does not load: {error})"
    kind = lightgbm.LGBMClassifier if task == "binary" else lightgbm.LGBMRegressor
    made = kind(
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
    return cast("Estimator", made), f"LightGBM {lightgbm.__version__}, 80 trees of 48 leaves"


def fresh_copy(estimator: Estimator) -> Estimator:
    """An unfitted copy with the same parameters."""
    from sklearn.base import clone

    return cast("Estimator", clone(estimator))


def is_fitted(estimator: Estimator) -> bool:
    """Whether `estimator` has been fitted, by scikit-learn's own rule."""
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    except TypeError:  # not one of scikit-learn's kind: it has no way to be trained again here
        return True
    return True


def _histogram(task: Task, categorical: Sequence[int], seed: int) -> Estimator:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingClassifier if task == "binary" else HistGradientBoostingRegressor
    return cast(
        "Estimator",
        kind(
            max_iter=80,
            learning_rate=0.08,
            max_leaf_nodes=48,
            min_samples_leaf=80,
            categorical_features=list(categorical) or None,
            random_state=seed,
        ),
    )
