"""Each task is trained on its labels, and its scores are what they are said to be."""

import sys

import numpy as np
import polars as pl
import pytest
from lightgbm import LGBMRanker
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.svm import SVC

import headwater as hw
from headwater.errors import DataError
from headwater.models.fit import fit
from headwater.models.outcomes import outcomes
from headwater.training.train import training_set
from tests.models.worlds import KINDS, RANKING, imputed, model, table

UNTIL = "2024-04-01T00:00Z"


def _train(of, **more):
    return hw.train(of, as_of=UNTIL, **more, resources=hw.Resources(threads=1))


def _fit(of, rows, *, frame=None):
    """Fitted without a training set, on the columns of a table."""
    known = outcomes(of, rows[of.labels.label], rows)
    frame = rows.select(of.features.feature_names) if frame is None else frame
    return fit(of, frame, known.y, classes=known.classes, groups=known.groups, threads=1), known


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


class Common:
    """Predicts the most frequent class, and gives no probabilities."""

    def fit(self, X, y):
        self.common_ = np.bincount(y).argmax()
        return self

    def predict(self, X):
        return np.full(len(X), self.common_)


def test_two_classes_are_two_columns_whatever_tells_them_apart():
    rows = table().with_columns(
        kind=pl.when(pl.col("kind") == "red").then(pl.lit("red")).otherwise(pl.lit("other"))
    )
    for estimator in (None, imputed(), imputed(RidgeClassifier()), Common()):
        of = model("multiclass", rows=rows, estimator=estimator)
        fitted = _train(of).fitted
        assert fitted.classes == ("other", "red")
        assert fitted.score(rows).shape == (rows.height, 2)


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


def test_no_rows_have_no_scores_of_any_class():
    of = model("multiclass")
    assert _fit(of, table())[0].score(table().clear()).shape == (0, 3)


def test_a_fitted_classifier_says_its_classes():
    rows = table()
    x = rows.select("noise").to_numpy()
    taught = RandomForestClassifier(3, random_state=0).fit(
        x, np.append(rows["kind"].to_numpy()[:-1], "violet")
    )
    fitted = _train(
        model("multiclass", estimator=taught, fields=[hw.RequestField("noise", float)])
    ).fitted
    assert fitted.replayed
    assert fitted.classes == ("blue", "green", "red", "violet")
    assert fitted.score(rows).tolist() == taught.predict_proba(x).tolist()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([0.5, 1.0, 2.0], "a class is a string or an integer, and 0.5 is among them"),
        (["a"] * 3, "all 3 labels are 'a'; at least two classes are needed"),
    ],
)
def test_labels_that_are_no_classes(values, says):
    rows = table(3).with_columns(kind=pl.Series(values))
    with pytest.raises(DataError, match=says):
        _train(model("multiclass", rows=rows))


def test_a_text_is_no_label_of_another_task():
    with pytest.raises(
        DataError, match=r"the label 'kind' is String; it must be a number or a boolean. Make one"
    ):
        _train(model("binary", "kind"))
    with pytest.raises(DataError, match="or of a multiclass task a text"):
        _train(model("multiclass", "seen"))


def test_a_training_set_of_texts_is_written(tmp_path):
    made = hw.dataset(
        model("multiclass"),
        tmp_path / "rows.parquet",
        as_of=UNTIL,
        resources=hw.Resources(cache=False),
    )
    assert pl.read_parquet(made.path)["kind"].to_list() == table()["kind"].to_list()


def test_an_outcome_may_be_a_class():
    rows = table()
    events = rows.select("request", "kind", pl.col("asked") + pl.duration(minutes=5))
    source = hw.Source("sold", history=events, timestamp_field="asked")
    labels = hw.outcome(source, hw.last("kind"), keys=["request"], within="30m")
    asked = rows.group_by("request", maintain_order=True).first().drop("kind")
    of = hw.Model(
        "sells",
        task="multiclass",
        features=hw.FeatureService("svc", [hw.RequestField("shade", str)]),
        labels=hw.Labels("sold", table=asked, timestamp_field="asked", label=labels),
    )
    assert set(training_set(of, as_of=UNTIL).requests.label) == set(KINDS)
    assert _train(of).fitted.classes == tuple(sorted(KINDS))


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


def test_lists_stay_together_whatever_the_order_of_rows():
    rows = table()
    scattered = rows.with_columns(
        asked=pl.lit(rows["asked"][0]) + pl.duration(seconds=pl.int_range(pl.len()).shuffle(seed=1))
    )
    for of in (model(RANKING, rows=scattered), model(RANKING, rows=scattered.sort("asked"))):
        assert _top(_train(of).fitted.score(rows), rows, "grade") > 1.6


def test_group_sizes_reach_an_estimator_that_takes_them():
    class Told(LGBMRanker):
        def fit(self, X, y, group=None):
            self.told_, self.noise_ = group, X[:, 1]
            return super().fit(X, y, group=group)

    rows = table(40).with_columns(request=pl.Series(["b", "a", "a", "c"] * 10))
    fitted, known = _fit(
        model(RANKING, rows=rows, estimator=Told(min_child_samples=1, verbose=-1)), rows
    )
    assert known.groups.tolist() == [0, 1, 1, 2] * 10
    assert fitted.estimator.told_.tolist() == [10, 20, 10]
    together = pl.concat(rows.filter(request=name) for name in "bac")
    assert fitted.estimator.noise_.tolist() == together["noise"].to_list()


def test_the_mean_grade_orders_where_classes_are_told_apart():
    rows = table()
    fitted, _ = _fit(model(RANKING, estimator=imputed()), rows)
    shares = fitted.estimator.predict_proba(fitted.encoding.transform(rows))
    np.testing.assert_allclose(fitted.score(rows), shares @ [0, 1, 2])


@pytest.mark.parametrize("label", ["grade", "clicked"])
def test_a_ranking_without_lightgbm_judges_each_candidate(monkeypatch, label):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    rows = table()
    fitted, _ = _fit(model(RANKING, label), rows)
    assert fitted.description.startswith(
        "scikit-learn HistGradientBoosting, each candidate by itself (LightGBM does not load: "
    )
    assert _top(fitted.score(rows), rows, label) > rows[label].mean() + 0.2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"grade": pl.lit(0)},
            "in none of the 20 lists one candidate is more relevant than another",
        ),
        ({"grade": pl.col("request").str.slice(1).cast(pl.Int64)}, "in none of the 20 lists"),
        ({"grade": pl.col("grade") - 1}, "0 or more, and -1 is among them"),
        ({"grade": pl.col("grade") + 0.5}, "integers from 0 to 30, and [012].5 is among them"),
        ({"grade": pl.col("grade") * 20}, "from 0 to 30, and 40 is among them"),
        (
            {"request": pl.lit(None, pl.String)},
            "120 rows have no 'request', the group of the ranking",
        ),
    ],
)
def test_labels_that_rank_nothing(change, says):
    with pytest.raises(DataError, match=says):
        _train(model(RANKING, rows=table(120).with_columns(**change)))


@pytest.mark.parametrize(
    ("column", "says"),
    [
        ("request", "no column 'request', which the ranking's group"),
        ("item", "no column 'item', which the ranking's item"),
    ],
)
def test_a_ranking_needs_its_columns(column, says):
    with pytest.raises(DataError, match=says):
        _train(model(RANKING, rows=table(120).drop(column)))


def test_a_list_longer_than_lightgbm_ranks_is_told():
    rows = pl.concat([table(200)] * 55).with_columns(request=pl.lit("all"))
    with pytest.raises(
        DataError, match="a list has 11,000 candidates, and LightGBM ranks at most 10,000"
    ):
        _fit(model(RANKING, rows=rows), rows)


# ---- lists of strings


def test_lists_of_texts_are_counted():
    rows = table().with_columns(clicked=pl.col("seen").list.contains("hat").cast(pl.Int64))
    of = model("binary", rows=rows)
    fitted, _ = _fit(of, rows, frame=rows.select("noise", "seen"))
    assert set(fitted.encoding.inputs) == {"noise", "seen=hat", "seen=sock", "seen=shoe"}
    assert ((fitted.score(rows) > 0.5) == (rows["clicked"] == 1).to_numpy()).mean() > 0.99


def test_logistic_regression_of_a_ranking_is_by_probability():
    rows = table()
    fitted, _ = _fit(model(RANKING, "clicked", estimator=imputed(LogisticRegression())), rows)
    assert (
        fitted.score(rows).tolist()
        == fitted.estimator.predict_proba(fitted.encoding.transform(rows))[:, 1].tolist()
    )
