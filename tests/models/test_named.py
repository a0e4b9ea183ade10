"""Estimators that ask for columns by name or as categories, and weights of rows: alike in training,
in a backtest, served and loaded.
"""

import importlib.util
import json
from functools import partial

import numpy as np
import polars as pl
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import headwater as hw
from headwater.errors import DataError, DefinitionError, MissingExtraError
from headwater.models.artifact import MANIFEST, open_model
from headwater.models.estimators import fresh_copy
from headwater.models.feature_encoding import fit_encoding
from headwater.models.named import frames_for
from headwater.models.serving_model import ServedModel
from headwater.training.schema_check import problems
from tests.models.worlds import imputed, model, table

NUMBERS = make_pipeline(SimpleImputer(), StandardScaler())
TEXTS = make_pipeline(
    SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")
)


class ByName(ClassifierMixin, BaseEstimator):
    """A user's own estimator, which reads one column by its name."""

    takes_frames = True

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.above_ = float(np.nanmean(np.asarray(X["x"])))
        return self

    def predict_proba(self, X):
        high = (np.asarray(X["x"]) > self.above_).astype(float)
        return np.column_stack([1 - high, high])

    def predict(self, X):
        return self.predict_proba(X)[:, 1]


class CatBoostLike(HistGradientBoostingClassifier):
    """Changes a parameter as CatBoost does, which scikit-learn's clone() refuses."""

    def __init__(self, cat_features=None):
        super().__init__(max_iter=5)
        self.cat_features = list(cat_features or [])


def columns(*parts, **more):
    return make_pipeline(ColumnTransformer(list(parts), **more), LogisticRegression())


# the estimator, and the library of its frames
ESTIMATORS = {
    "columns by name": (columns(("n", NUMBERS, ["x", "noise"]), ("t", TEXTS, ["shade"])), "pandas"),
    "one column by name": (
        columns(("t", OneHotEncoder(handle_unknown="ignore"), ["shade"])),
        "pandas",
    ),
    "columns by selectors": (
        columns(
            ("n", NUMBERS, make_column_selector(dtype_include="number")),
            ("t", TEXTS, make_column_selector(dtype_include="category")),
        ),
        "pandas",
    ),
    "columns by a function": (
        columns(("n", NUMBERS, lambda X: [c for c in X.columns if c != "shade"])),
        "pandas",
    ),
    "the rest passed on": (columns(("t", TEXTS, ["shade"]), remainder=SimpleImputer()), "pandas"),
    "below a search": (
        GridSearchCV(columns(("n", NUMBERS, ["x"])), {"logisticregression__C": [0.1, 1.0]}, cv=2),
        "pandas",
    ),
    "below a calibration": (CalibratedClassifierCV(columns(("n", NUMBERS, ["x"])), cv=2), "pandas"),
    "categories below a transformer": (
        make_pipeline(
            ColumnTransformer(
                [("n", "passthrough", ["x", "shade"])], verbose_feature_names_out=False
            ).set_output(transform="pandas"),
            HistGradientBoostingClassifier(max_iter=5, categorical_features="from_dtype"),
        ),
        "pandas",
    ),
    "an estimator of one's own": (ByName(), "pandas"),
    "columns by position": (columns(("n", NUMBERS, [0, 1])), ""),
    "categories of dtype": (
        HistGradientBoostingClassifier(max_iter=5, categorical_features="from_dtype"),
        "",
    ),
    "categories by name": (
        HistGradientBoostingClassifier(max_iter=5, categorical_features=["shade"]),
        "",
    ),
    "a parameter that changes": (CatBoostLike(["shade"]), ""),
    "a plain pipeline": (imputed(), ""),
    "a plain forest": (RandomForestClassifier(5), ""),
    "the default": (None, ""),
}
ROW = [0.5, 0.2, "mid"]
ODD = [[None, 0.1, "dark"], [1.0, None, None], [0.1, 0.2, "never seen"], [None, None, None]]


def trained(estimator, **more):
    return hw.train(model(estimator=estimator, **more), seed=1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Skipping features without any observed values")
@pytest.mark.parametrize(("estimator", "frames"), ESTIMATORS.values(), ids=ESTIMATORS)
def test_offline_is_served_and_loaded(estimator, frames, tmp_path, monkeypatch):
    made = trained(estimator)
    assert made.fitted.frames == frames
    rows = table().select("x", "noise", "shade")[:20]
    offline = made.fitted.score(rows)
    served = ServedModel(made.fitted)
    # BLAS may add up one row in another order than many
    alike = partial(np.testing.assert_allclose, rtol=1e-12)
    alike([served.one(row) for row in rows.iter_rows()], offline)
    odd = pl.DataFrame(ODD, schema=rows.schema, orient="row")
    if not isinstance(estimator, RandomForestClassifier):
        alike([served.one(row) for row in ODD], made.fitted.score(odd))
    if "<lambda>" in repr(estimator):
        return  # which pickle cannot keep
    made.save(tmp_path)
    loaded = open_model(tmp_path, made.model, allow_pickle=True)
    assert loaded.fitted.frames == frames
    alike(loaded.score(rows), offline)
    alike([loaded.one(row) for row in rows.iter_rows()], offline)


def test_a_backtest_takes_an_estimator_by_names():
    estimator = columns(("n", NUMBERS, ["x", "noise"]), ("t", TEXTS, ["shade"]))
    found = hw.backtest(
        model(estimator=estimator),
        levels={"as defined": hw.Level()},
        evaluation=hw.Evaluation(resamples=50),
    )
    assert found.result.levels[0].metrics["auc"].value > 0.8


def test_without_pandas_frames_are_of_polars(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name == "pandas" else real(name, *more),
    )
    made = trained(
        columns(
            ("n", NUMBERS, ["x", "noise"]), ("t", OneHotEncoder(handle_unknown="ignore"), ["shade"])
        )
    )
    assert made.fitted.frames == "polars"
    assert [ServedModel(made.fitted).one(ROW)] == made.fitted.score(
        pl.DataFrame([ROW], schema=["x", "noise", "shade"], orient="row")
    ).tolist()
    with pytest.raises(
        MissingExtraError,
        match=r"pandas, which make_column_selector needs, .* pip install 'headwater\[pandas\]'",
    ):
        trained(columns(("n", NUMBERS, make_column_selector(dtype_include="number"))))


def test_an_estimator_that_misses_names_is_told_how_to_get_them():
    class Own(ByName):
        takes_frames = False

    with pytest.raises((DataError, IndexError)):
        trained(Own())


def test_categories_of_text_reach_each_kind_of_estimator():
    encoding = fit_encoding(table().select("x", "shade"))
    assert fresh_copy(
        HistGradientBoostingClassifier(categorical_features="from_dtype"), encoding, seed=1
    ).categorical_features == [1]
    assert fresh_copy(
        HistGradientBoostingClassifier(categorical_features=["shade"]), encoding, seed=1
    ).categorical_features == [1]
    with pytest.raises(
        DataError,
        match=(
            "categorical_features names 'shdae', which is not a feature of the model; did you "
            "mean 'shade'"
        ),
    ):
        fresh_copy(HistGradientBoostingClassifier(categorical_features=["shdae"]), encoding, seed=1)

    class Boosted(LogisticRegression):
        def __init__(self, enable_categorical=False, feature_types=None):
            self.enable_categorical, self.feature_types = enable_categorical, feature_types

    assert fresh_copy(Boosted(), encoding, seed=1).feature_types is None
    assert fresh_copy(Boosted(enable_categorical=True), encoding, seed=1).feature_types == [
        "q",
        "c",
    ]


def test_catboost_gets_texts_as_they_are():
    class CatBoost(CatBoostLike):
        pass

    CatBoost.__module__ = "catboost.core"
    encoding = fit_encoding(table().select("x", "shade"))
    assert frames_for(CatBoost(), encoding) == "catboost"
    assert frames_for(CatBoost(), fit_encoding(table().select("x"))) == ""


def test_a_class_is_no_estimator():
    with pytest.raises(
        DefinitionError,
        match=r"estimator is the class RandomForestClassifier, not an instance; give one: estimator=RandomForestClassifier\(\)",
    ):
        model(estimator=RandomForestClassifier)


def test_other_columns_than_the_manifest_s_are_refused_on_load(tmp_path):
    made = trained(columns(("n", NUMBERS, ["x", "noise"])))
    made.save(tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    manifest["features"][:2] = ["noise", "x"]
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(
        DataError,
        match=r"takes .*'x', 'noise', 'shade'.*, and its manifest says .*'noise', 'x', 'shade'",
    ):
        open_model(tmp_path, allow_pickle=True)


# ---------------------------------------------------------------- weights


def weighted(weight, *, estimator=None, rows=None, **more):
    rows = (table() if rows is None else rows).with_columns(w=weight)
    return model(estimator=estimator, rows=rows, weight="w", **more)


WEIGHED = {
    "the default": None,
    "a pipeline": imputed(),
    "columns by name": columns(("n", NUMBERS, ["x", "noise"])),
    "histogram gradient boosting": HistGradientBoostingClassifier(max_iter=5),
}


@pytest.mark.parametrize("estimator", WEIGHED.values(), ids=WEIGHED)
def test_weights_reach_the_estimator(estimator):
    rows = table().select("x", "noise", "shade")[:50]
    plain = trained(estimator).fitted.score(rows)
    ones = hw.train(weighted(pl.lit(1), estimator=estimator), seed=1).fitted.score(rows)
    few = hw.train(
        weighted(pl.when(pl.col("clicked") == 1).then(20.0).otherwise(1.0), estimator=estimator),
        seed=1,
    ).fitted.score(rows)
    np.testing.assert_allclose(ones, plain, atol=1e-6)
    assert few.mean() > plain.mean() + 0.05


def test_weights_of_a_ranking_follow_its_lists():
    made = hw.train(weighted(pl.lit(2.0), task=hw.Ranking("request", "item")))
    assert made.fitted.score(table().select("x", "noise", "shade")[:3]).shape == (3,)


def test_a_backtest_trains_with_weights_and_measures_without():
    levels = {"as defined": hw.Level()}
    plain = hw.backtest(
        model(estimator=imputed()), levels=levels, evaluation=hw.Evaluation(resamples=50)
    ).result.levels[0]
    many = pl.when(pl.col("clicked") == 1).then(20.0).otherwise(1.0)
    found = hw.backtest(
        weighted(many, estimator=imputed()), levels=levels, evaluation=hw.Evaluation(resamples=50)
    ).result.levels[0]
    # scores are too high by design
    assert found.metrics["log_loss"].value > plain.metrics["log_loss"].value
    assert found.metrics["auc"].value == pytest.approx(plain.metrics["auc"].value, abs=0.05)


def test_rows_without_a_weight_are_left_out_and_counted():
    made = hw.train(
        weighted(
            pl.when(pl.int_range(pl.len()) < 100).then(None).otherwise(1.0), estimator=imputed()
        )
    )
    assert made.left_out["labels: no w"] == 100
    assert made.rows == 1100


BAD = {
    "negative": (pl.lit(-1.0), "1200 weights of 'w' are negative or no numbers, such as -1.0"),
    "not a number": (
        pl.lit(float("nan")),
        "1200 weights of 'w' are negative or no numbers, such as nan",
    ),
    "endless": (pl.lit(float("inf")), "such as inf"),
    "a text": (pl.lit("heavy"), "the weight 'w' is String; it must be a number of 0 or more"),
}


@pytest.mark.parametrize(("weight", "said"), BAD.values(), ids=BAD)
def test_what_is_no_weight_is_refused(weight, said):
    with pytest.raises(DataError, match=said):
        hw.train(weighted(weight))


def test_an_estimator_without_weights_is_refused_before_anything_is_read():
    said = r"the labels have weight=, and KNeighborsClassifier.fit takes no sample_weight; leave weight= out"
    assert (
        said.replace(r"\.", ".")
        in problems([weighted(pl.lit(1), estimator=imputed(KNeighborsClassifier()))])[0].message
    )
    with pytest.raises(DataError, match=said):
        hw.train(weighted(pl.lit(1), estimator=imputed(KNeighborsClassifier())))


def test_a_missing_column_of_weights_is_named():
    with pytest.raises(DataError, match="no column 'W'; did you mean"):
        hw.train(model(weight="W", rows=table().with_columns(Wt=1)))


def test_a_weight_makes_other_labels_and_none_makes_the_same():
    assert model().labels.fingerprint != weighted(pl.lit(1)).labels.fingerprint
