"""Estimators that ask for columns by name or as categories, and weights of rows: alike in training,
in a backtest, served and loaded.
"""

import json
from functools import partial

import numpy as np
import polars as pl
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import headwater as hw
from headwater.errors import DataError
from headwater.models.artifact import MANIFEST, open_model
from headwater.models.serving_model import ServedModel
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


def columns(*parts, **more):
    return make_pipeline(ColumnTransformer(list(parts), **more), LogisticRegression())


# the estimator, and the library of its frames
ESTIMATORS = {
    "columns by name": (columns(("n", NUMBERS, ["x", "noise"]), ("t", TEXTS, ["shade"])), "pandas"),
    "an estimator of one's own": (ByName(), "pandas"),
    "columns by position": (columns(("n", NUMBERS, [0, 1])), ""),
    "categories of dtype": (
        HistGradientBoostingClassifier(max_iter=5, categorical_features="from_dtype"),
        "",
    ),
    "a plain pipeline": (imputed(), ""),
    "the default": (None, ""),
}
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
