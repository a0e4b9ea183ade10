"""Each task is trained on its labels, and its scores are what they are said to be."""

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression, RidgeClassifier
from sklearn.svm import SVC

import headwater as hw
from headwater.models.fit import fit
from headwater.models.outcomes import outcomes
from tests.models.worlds import KINDS, RANKING, imputed, model, table

UNTIL = "2024-04-01T00:00Z"


def _train(of, **more):
    return hw.train(of, as_of=UNTIL, **more, resources=hw.Resources(threads=1))


# ---- multiclass


@pytest.mark.parametrize(
    "estimator",
    [
        None,
        imputed(),
        imputed(RidgeClassifier()),
        HistGradientBoostingClassifier(max_iter=20),
        imputed(SVC(kernel="linear")),
    ],
    ids=["lightgbm", "logistic", "ridge", "histogram", "svc"],
)
@pytest.mark.parametrize("label", ["kind", "number"])
def test_a_class_has_a_score_of_its_own(label, estimator):
    rows = table()
    trained = _train(model("multiclass", label, estimator=estimator))
    assert trained.fitted.classes == (tuple(sorted(KINDS)) if label == "kind" else (3, 5, 7))
    scores = trained.fitted.score(rows)
    assert scores.shape == (rows.height, 3)
    best = np.array(trained.fitted.classes)[scores.argmax(axis=1)]
    assert (best == rows[label].to_numpy()).mean() > 0.6
    if trained.fitted.in_units_of_label and hasattr(trained.fitted.estimator, "predict_proba"):
        np.testing.assert_allclose(scores.sum(axis=1), 1)


def test_a_class_that_no_training_row_has_scores_nothing():
    rows, of = table(), model("multiclass")
    known = outcomes(of, rows["kind"], rows)
    without = np.flatnonzero(known.y != known.classes.index("green"))
    fitted = fit(
        of,
        rows[without].select(of.features.feature_names),
        known.y[without],
        classes=known.classes,
        threads=1,
    )
    scores = fitted.score(rows)
    assert scores.shape == (rows.height, 3)
    assert (scores[:, known.classes.index("green")] == 0).all()
    assert scores[:, known.classes.index("red")].max() > 0.9


# ---- ranking


def _top(scores, rows, label):
    """The mean label of what each list puts first."""
    best = rows.with_columns(score=pl.Series(scores)).sort(
        "request", "score", descending=[False, True], maintain_order=True
    )
    return best.group_by("request", maintain_order=True).first()[label].mean()


@pytest.mark.parametrize("label", ["grade", "clicked"])
@pytest.mark.parametrize(
    "estimator",
    [None, imputed(), imputed(LinearRegression()), imputed(RidgeClassifier())],
    ids=["lambdarank", "logistic", "linear", "ridge"],
)
def test_what_is_relevant_comes_first(label, estimator):
    rows = table()
    trained = _train(model(RANKING, label, estimator=estimator))
    scores = trained.fitted.score(rows)
    assert scores.shape == (rows.height,)
    assert not trained.fitted.in_units_of_label
    ideal = rows.group_by("request").agg(pl.col(label).max())[label].mean()
    assert _top(scores, rows, label) > rows[label].mean() + 0.7 * (ideal - rows[label].mean())
    assert trained.fitted.description.endswith("each candidate by itself") == (
        estimator is not None
    )
