"""Which estimator a model is fitted with, and whether a given one is fitted already."""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Mapping, Sequence
from typing import Protocol, cast

from headwater.definitions.model import Estimator, Model, TaskType
from headwater.errors import DataError, nearest
from headwater.models.feature_encoding import Encoding

# categories that scikit-learn's histogram gradient boosting can tell apart in a column
_WIDEST = 255


def default_estimator(
    task: TaskType, encoding: Encoding, *, graded: bool = False, seed: int, threads: int
) -> tuple[Estimator, str]:
    """LightGBM's gradient boosting; scikit-learn's where LightGBM does not load (a slim image lacks
    libgomp). With a description.

    LightGBM's regression is fitted to the absolute error, as the headline metric is the mean of
    that; scikit-learn's to the squared one. LightGBM ranks by LambdaRank (Burges, 2010);
    scikit-learn knows no lists, and judges each candidate by itself. `graded`: whether the labels
    of a ranking are more than 0 and 1.
    """
    try:
        import lightgbm
    except (ImportError, OSError) as error:
        estimator = _histogram(task, narrow(encoding), graded=graded, seed=seed)
        alone = ", each candidate by itself" if task.lists else ""
        library = (
            "libomp (brew install libomp)"
            if sys.platform == "darwin"
            else "libgomp (apt install libgomp1)"
        )
        remedy = (
            "pip install lightgbm"
            if isinstance(error, ModuleNotFoundError)
            else f"it needs {library}"
        )
        return (
            estimator,
            f"scikit-learn HistGradientBoosting{alone} (LightGBM does not load: {error}; {remedy})",
        )
    makers = {
        "classifier": lightgbm.LGBMClassifier,
        "regressor": lightgbm.LGBMRegressor,
        "ranker": lightgbm.LGBMRanker,
    }
    estimator = makers[task.estimator](
        objective=task.objective,
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
    per_class = " a class" if task.classes else ""
    return cast(
        "Estimator", estimator
    ), f"LightGBM {lightgbm.__version__}, 80 trees{per_class} of 48 leaves"


class Settable(Protocol):
    """An estimator whose parameters can be read and set, as scikit-learn's."""

    def get_params(self) -> Mapping[str, object]: ...

    def set_params(self, **params: object) -> Estimator: ...


def fresh_copy(estimator: Estimator, encoding: Encoding, *, seed: int) -> Estimator:
    """A copy of an unfitted estimator, with what its parameters leave open filled in.

    That is the seed of every part that draws at random, and which columns are text: of
    scikit-learn's histogram gradient boosting (`categorical_features` of None or "from_dtype";
    names become positions) and of XGBoost with `enable_categorical`.
    """
    # scikit-learn's clone() refuses estimators that change a parameter, such as CatBoost's
    # cat_features
    copied = copy.deepcopy(estimator)
    if not hasattr(copied, "get_params"):
        return copied
    parameters = copied.get_params(deep=True)
    open_: dict[str, object] = {
        name: seed
        for name, value in parameters.items()
        if value is None and (name == "random_state" or name.endswith("__random_state"))
    }
    if type(copied).__name__.startswith("HistGradientBoosting"):
        chosen = parameters.get("categorical_features", 0)
        if chosen is None or isinstance(chosen, str):
            open_["categorical_features"] = narrow(encoding) or None
        elif (
            isinstance(chosen, list | tuple)
            and chosen
            and all(isinstance(column, str) for column in chosen)
        ):
            open_["categorical_features"] = [_position(name, encoding) for name in chosen]
    if (
        parameters.get("enable_categorical")
        and parameters.get("feature_types", 0) is None
        and encoding.categorical
    ):
        open_["feature_types"] = [
            "c" if i in encoding.categorical else "q" for i in range(len(encoding.inputs))
        ]
    return cast("Settable", copied).set_params(**open_) if open_ else copied


def _position(name: str, encoding: Encoding) -> int:
    if name not in encoding.inputs:
        raise DataError(
            f"categorical_features names {name!r}, which is not a feature of the model; "
            f"{nearest(name, encoding.inputs)}"
        )
    return encoding.inputs.index(name)


def narrow(encoding: Encoding) -> list[int]:
    """The positions of the text columns with few enough categories for scikit-learn; wider ones
    stay ordinal numbers.
    """
    return [
        i for i in encoding.categorical if len(encoding.categories[encoding.inputs[i]]) <= _WIDEST
    ]


def weight_parameter(estimator: Estimator) -> str:
    """The name under which the estimator's `fit` takes the weights of rows: `sample_weight`, of a
    pipeline that of its last step.

    Raises:
        DataError: it takes none.

    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> (
    ...     weight_parameter(LogisticRegression()),
    ...     weight_parameter(make_pipeline(StandardScaler(), LogisticRegression())),
    ... )
    ('sample_weight', 'logisticregression__sample_weight')
    """
    steps = getattr(estimator, "steps", None)
    if isinstance(steps, list) and steps:
        return f"{steps[-1][0]}__{weight_parameter(steps[-1][1])}"
    takes = inspect.signature(estimator.fit).parameters
    if "sample_weight" not in takes and not any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values()
    ):
        raise DataError(
            f"the labels have weight=, and {type(estimator).__name__}.fit takes no sample_weight; "
            "leave weight= out, or take another estimator"
        )
    return "sample_weight"


def is_fitted(estimator: Estimator) -> bool:
    """Whether `estimator` has been fitted, by scikit-learn's own rule: it says so, or has an
    attribute that ends with "_".
    """
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


def kind_of_estimator(estimator: Estimator) -> str | None:
    """The kind, such as "classifier" or "regressor", that the estimator states by scikit-learn's
    tags; None where it states none.
    """
    tags = getattr(estimator, "__sklearn_tags__", None)
    if tags is None:
        return getattr(estimator, "_estimator_type", None)
    try:
        kind: str | None = tags().estimator_type
    except (AttributeError, TypeError, ValueError):  # a pipeline of what has no tags
        return None
    return kind


def misfit(model: Model) -> str:
    """Why the model's estimator cannot be used for its task; "" where it can, as far as it says
    what it is.
    """
    if model.estimator is None:
        return ""
    if model.labels.weight is not None and not is_fitted(model.estimator):
        try:
            weight_parameter(model.estimator)
        except DataError as error:
            return str(error)
    kind, name = kind_of_estimator(model.estimator), type(model.estimator).__name__
    if name.endswith("Ranker") and not model.task_type.lists:
        return (
            f"the estimator {name} ranks the candidates of lists, and the task is "
            f"{model.task_kind!r}; give a classifier or a regressor, or hw.Ranking(...)"
        )
    if kind == "regressor" and model.task_type.classes:
        return (
            f"the estimator {name} predicts numbers, and the task is {model.task_kind!r}; give a "
            f"classifier, such as {_sister(name, 'Classifier')}"
        )
    if kind == "classifier" and model.task_type.values:
        return (
            f"the estimator {name} predicts classes, and the task is {model.task_kind!r}; give a "
            f"regressor, such as {_sister(name, 'Regressor')}"
        )
    return ""


def _sister(name: str, wanted: str) -> str:
    """The sister class of an estimator: of a classifier the regressor, and the other way round;
    else one that is always there.
    """
    for suffix, sister in (("Classifier", "Regressor"), ("Regressor", "Classifier")):
        if name.endswith(suffix):
            return name.removesuffix(suffix) + sister
    return f"HistGradientBoosting{wanted} of scikit-learn"


def _histogram(task: TaskType, categorical: Sequence[int], *, graded: bool, seed: int) -> Estimator:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    # Its absolute error does not learn where many outcomes equal their median, so a regression
    # keeps the squared error here.
    maker = (
        HistGradientBoostingRegressor if task.values or graded else HistGradientBoostingClassifier
    )
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
